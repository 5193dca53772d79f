"""The pages behind printed QR codes: of a certificate's check, of codes and cards.

What a QR code holds of a code or card stands after the `#` of its address: no browser sends it, so
neither we nor a proxy before us can log it, use it up, or tell whether it is real.
"""

from typing import Any, Literal
from urllib.parse import quote

from litestar import Response, Router, get
from litestar.params import FromPath
from litestar.response import File, Redirect

from timebank.db import transaction
from timebank.domain.certificates import parse_number
from timebank.domain.errors import NotFoundError
from timebank.people.access import Action
from timebank.service.certificates import check_number
from timebank.web.pages import (
    ASSETS,
    HEADERS,
    Visit,
    find_choice,
    find_pool,
    find_root,
    show,
    show_refusal,
)
from timebank.web.words import SYMBOLS

_FOR_A_DAY = "public, max-age=86400"
_FOR_EVER = "public, max-age=31536000, immutable"
_SERVED = frozenset(path.name for path in ASSETS.iterdir())
_LONGEST_NUMBER = 80


@get("/certificates")
async def ask_for_number(request: Visit) -> Response[str] | Redirect:
    """Ask for the number of a certificate, or go to the page of the one that was typed."""
    number = request.query_params.get("number", "").strip()[:_LONGEST_NUMBER]
    if number:
        chosen = find_choice(request)
        address = f"{find_root(request)}/certificates/{quote(number, safe='')}"
        address += f"?lang={chosen.tag}" if chosen else ""
        return Redirect(address, status_code=303, headers=dict(HEADERS))
    return show(request, "certificate.html", status_word=None, certificate=None)


@get("/certificates/{number:str}")
async def show_certificate(request: Visit, number: FromPath[str]) -> Response[str]:
    """Tell whether a certificate stands, to anybody who has its number.

    A number that is none is not said again: the page would carry what a stranger wrote.
    """
    try:
        async with transaction(find_pool(request)) as connection:
            found = await check_number(connection, number)
    except NotFoundError:
        return _show_status(request, "unknown", status=404, certificate=None)
    bank, _ = parse_number(found.number)
    return _show_status(request, found.status, certificate=found, bank=bank)


def _show_status(request: Visit, word: str, *, status: int = 200, **known: Any) -> Response[str]:
    return show(
        request,
        "certificate.html",
        status=status,
        status_word=word,
        symbol=SYMBOLS[word],
        **known,
    )


@get("/pay")
async def explain_payment_code(request: Visit) -> Response[str]:
    """Tell whose camera opened a payment code what it is."""
    return _explain(request, "pay")


@get("/pickup")
async def explain_pickup_code(request: Visit) -> Response[str]:
    """Tell whose camera opened a pick-up code what it is."""
    return _explain(request, "pickup")


@get("/card")
async def explain_card(request: Visit) -> Response[str]:
    """Tell whose camera opened a member's card what it is."""
    return _explain(request, "card")


def _explain(request: Visit, kind: Literal["pay", "pickup", "card"]) -> Response[str]:
    return show(request, "code.html", cached=_FOR_A_DAY, kind=kind)


@get("/assets/{name:str}")
async def send_asset(name: FromPath[str]) -> File:
    """Return a file that the pages load, by a name that changes with its content."""
    if name not in _SERVED:
        raise NotFoundError
    headers = {**HEADERS, "Cache-Control": _FOR_EVER}
    return File(ASSETS / name, filename=name, content_disposition_type="inline", headers=headers)


router = Router(
    "/",
    route_handlers=[
        ask_for_number,
        show_certificate,
        explain_payment_code,
        explain_pickup_code,
        explain_card,
        send_asset,
    ],
    opt={"action": Action.PUBLIC},
    exception_handlers={Exception: show_refusal},
    include_in_schema=False,
)
