"""The OpenAPI description and its page, which asks nothing of any other host."""

from pathlib import Path

from litestar import Router, get
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import SwaggerRenderPlugin
from litestar.openapi.spec import Components, Contact, SecurityScheme
from litestar.params import FromPath
from litestar.response import File

from timebank import __version__
from timebank.domain.errors import NotFoundError
from timebank.people.access import Action

VENDORED = Path(__file__).parent / "vendor" / "swagger-ui"
_ASSETS = "/docs/assets"
_SERVED = frozenset(
    path.name for path in VENDORED.iterdir() if path.suffix in {".css", ".js", ".png"}
)


def openapi_config() -> OpenAPIConfig:
    """Return the description at /docs/openapi.json with its page at /docs."""
    page = SwaggerRenderPlugin(
        js_url=f"{_ASSETS}/swagger-ui-bundle.js",
        css_url=f"{_ASSETS}/swagger-ui.css",
        standalone_preset_js_url=f"{_ASSETS}/swagger-ui-standalone-preset.js",
        favicon=f'<link rel="icon" href="{_ASSETS}/favicon-32x32.png">',
        path="/",
    )
    return OpenAPIConfig(
        title="timebank 时间银行",
        version=__version__,
        description="志愿服务时间银行的账本 · A volunteer time bank's ledger",
        contact=Contact(name="timebank"),
        components=Components(
            security_schemes={"bearer": SecurityScheme(type="http", scheme="bearer")}
        ),
        security=[{"bearer": []}],
        use_handler_docstrings=True,
        render_plugins=[page],
        openapi_router=Router(
            "/docs", route_handlers=[], opt={"action": Action.PUBLIC}, include_in_schema=False
        ),
    )


@get(
    f"{_ASSETS}/{{name:str}}",
    opt={"action": Action.PUBLIC},
    include_in_schema=False,
)
async def send_asset(name: FromPath[str]) -> File:
    """Return one of the page's own scripts and styles; 404 for any other name."""
    if name not in _SERVED:
        raise NotFoundError
    return File(VENDORED / name, filename=name, content_disposition_type="inline")
