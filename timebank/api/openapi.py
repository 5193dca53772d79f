"""The OpenAPI description and its page, which asks nothing of any other host."""

from pathlib import Path

from litestar import Router
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import SwaggerRenderPlugin
from litestar.openapi.spec import Components, Contact, SecurityScheme
from litestar.static_files import create_static_files_router

from timebank import __version__
from timebank.people.access import Action

VENDORED = Path(__file__).parent / "vendor" / "swagger-ui"
_ASSETS = "/docs/assets"


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
        openapi_router=Router("/docs", route_handlers=[], opt={"action": Action.PUBLIC}),
    )


def assets_router() -> Router:
    """Return the page's own scripts and styles."""
    return create_static_files_router(
        _ASSETS, [VENDORED], opt={"action": Action.PUBLIC}, include_in_schema=False
    )
