"""How a page is made: its language, its headers, its templates; and the page of a refusal.

Everything is escaped. No page has a script, loads from elsewhere, tells the next site where one
came from, or may stand in another's frame. `root` and `asset` are addresses within ours.
"""

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import structlog
from jinja2 import Environment, PackageLoader, StrictUndefined
from litestar import MediaType, Request, Response
from litestar.datastructures import State
from litestar.exceptions import HTTPException

from timebank.db import Pool, translate
from timebank.domain.errors import NotFoundError, TimebankError
from timebank.domain.languages import Language, preferred_language
from timebank.web.words import LANGUAGE_NAMES, WORDS

Visit: TypeAlias = Request[Any, Any, State]

log = structlog.get_logger()

ASSETS = Path(__file__).parent / "assets"
_VERSIONS = {
    path.name: sha256(path.read_bytes()).hexdigest()[:12] for path in sorted(ASSETS.iterdir())
}

HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""Of every page."""

_TAGS = {language.tag: language for language in Language}

_templates = Environment(
    loader=PackageLoader("timebank.web"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def find_pool(visit: Visit) -> Pool:
    """Return the pool of the service."""
    pool: Pool = visit.app.state.desk.pool
    return pool


def find_root(visit: Visit) -> str:
    """Return the path under which people reach the service, without a slash at its end."""
    return urlsplit(visit.app.state.desk.settings.public_url or "").path.rstrip("/")


def find_choice(visit: Visit) -> Language | None:
    """Return the language of `?lang=`, None if it is none of ours."""
    return _TAGS.get(visit.query_params.get("lang", ""))


def choose_language(visit: Visit) -> Language:
    """Return the language of `?lang=`, else the one that the browser prefers."""
    return find_choice(visit) or preferred_language(visit.headers.get("accept-language", ""))


def show(
    visit: Visit,
    template: str,
    *,
    status: int = 200,
    cached: str = "no-store",
    **known: Any,
) -> Response[str]:
    """Return the page of a template that is given what is `known`, besides what all are given.

    `say(key, …)` is a text in the reader's language.
    """
    language, root = choose_language(visit), find_root(visit)

    def say(key: str, **filled: object) -> str:
        text: str = getattr(WORDS[key], language)
        return text.format(**filled) if filled else text

    page = _templates.get_template(template).render(
        known,
        say=say,
        language=language,
        language_names=LANGUAGE_NAMES,
        root=root,
        asset=lambda name: f"{root}/assets/{name}?v={_VERSIONS[name]}",
    )
    headers = {**HEADERS, "Cache-Control": cached, "Vary": "Accept-Language"}
    headers["Content-Language"] = language.tag
    return Response(page, status_code=status, media_type=MediaType.HTML, headers=headers)


def wants_page(visit: Visit) -> bool:
    """Return whether a browser asks, outside of the API: it is refused by a page."""
    is_api = visit.scope["path"].startswith("/api/")
    return not is_api and "text/html" in visit.headers.get("accept", "")


def show_refusal(visit: Visit, error: Exception) -> Response[str]:
    """Return the page for any exception of a page; what we do not know stands in the log."""
    meaning = error if isinstance(error, TimebankError) else translate(error) or error
    is_refused = isinstance(meaning, HTTPException) and meaning.status_code < 500
    if is_refused or isinstance(meaning, NotFoundError):
        return show(visit, "problem.html", status=404, what="absent")
    if not isinstance(meaning, TimebankError):
        log.error("page_failed", exc_info=error, operation=visit.scope.get("path_template"))
    answer = show(visit, "problem.html", status=503, what="failed")
    answer.set_header("Retry-After", "60")
    return answer
