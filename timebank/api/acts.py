"""Acts of redemption over HTTP: done once for a key, and refusals are remembered as well.

A refusal commits, since a code that was shown is used up and a wrong one is counted; only then is
it told as a problem. The act's id is made from the request's key, so that a retry is the same act.
"""

from collections.abc import Awaitable, Callable
from uuid import UUID

from litestar import Response
from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from timebank.api.call import Call
from timebank.api.once import Deed, once
from timebank.api.paper import access_of
from timebank.api.wire_redemption import ActView, CodeView, HoldView, Wanted
from timebank.db import Connection
from timebank.domain.errors import (
    InvalidInputError,
    RedemptionRefusedError,
    VaultKeyMissingError,
)
from timebank.domain.names import mask_name
from timebank.domain.redemption import Answer, Code, Hold, RedemptionStatus
from timebank.ledger.ids import derive_id
from timebank.people.access import Action, Principal, Role
from timebank.people.targets import check_reaches_party
from timebank.people.vault import Purpose, read_persons
from timebank.redemption.holds import get_hold

TILLS = frozenset({Role.CLERK, Role.MERCHANT})


def act_id_of(request: Call, act: str) -> UUID:
    """Return the one id that this act has under the request's key."""
    return derive_id(request.auth.caller_id, f"{act} {request.auth.key}")


def quantity_of(wanted: Wanted) -> int:
    """Return units of the offer, or the points; InvalidInputError unless it is one of them."""
    if wanted.offer_id is None:
        if wanted.points is None or wanted.quantity is not None:
            raise InvalidInputError("Without an offer, say how many points.", pointer="/points")
        return wanted.points
    if wanted.points is not None:
        raise InvalidInputError("An offer has its price.", pointer="/points")
    return wanted.quantity or 1


async def answer_act(
    request: Call, act: Callable[[Connection], Awaitable[Answer]], object_id: UUID
) -> Response[ActView]:
    """Do the act once for the request's key; RedemptionRefusedError, the same at every repeat."""

    async def work(connection: Connection) -> Deed[ActView]:
        answer = await act(connection)
        is_done = answer.status is RedemptionStatus.DONE
        hold = None
        if is_done and answer.hold_id:
            held = await get_hold(connection, request.user.bank_id, answer.hold_id)
            hold = view_hold(request.user, held)
        return Deed(_view_act(answer, hold), object_id, is_done=is_done)

    view, headers = await once(request, ActView, work)
    if view.status is not RedemptionStatus.DONE:
        raise RedemptionRefusedError(view.status, cap=view.cap)
    return Response(view, status_code=201, headers=headers)


async def get_reached(connection: Connection, request: Call, action: Action, hold_id: UUID) -> Hold:
    """Return the hold if the caller may do this to it; NotFoundError as if absent."""
    hold = await get_hold(connection, request.user.bank_id, hold_id)
    await check_reaches_party(connection, request.user, action, hold.resident_id, hold.merchant_id)
    return hold


def view_hold(principal: Principal, hold: Hold) -> HoldView:
    """Return the hold as the caller may see it: a till sees no person and no account."""
    view = HoldView(
        hold_id=hold.hold_id,
        state=hold.state,
        channel=hold.channel,
        merchant_id=hold.merchant_id,
        offer_id=hold.offer_id,
        shop_id=hold.shop_id,
        quantity=hold.quantity,
        points=hold.points,
        captured=hold.captured,
        points_captured=hold.points_captured,
        refunded=hold.refunded,
        returned=hold.returned,
        placed_at=hold.placed_at,
        expires_at=hold.expires_at,
        ended_at=hold.ended_at,
    )
    if principal.role in TILLS:
        return view
    return replace(view, resident_id=hold.resident_id, account_id=hold.source_account_id)


async def view_with_name(request: Call, hold: Hold) -> HoldView:
    """Return the hold, to a till with the masked name; an answer that is stored has none."""
    view = view_hold(request.user, hold)
    if request.user.role not in TILLS:
        return view
    return replace(view, resident_name=await _find_masked_name(request, hold.resident_id))


async def _find_masked_name(request: Call, resident_id: UUID) -> str | UnsetType:
    try:
        found = await read_persons(
            request.desk.pool,
            request.desk.ring,
            access_of(request, Purpose.IDENTIFICATION),
            [resident_id],
            ["name"],
        )
    except VaultKeyMissingError:  # a service without a vault knows no names
        return UNSET
    data = found.get(resident_id)
    return UNSET if data is None or data.name is UNSET else mask_name(data.name)


def view_code(request: Call, code: Code) -> CodeView:
    """Return a code as it is shown, once."""
    public_url = request.desk.settings.public_url
    return CodeView(code.digits, code.token, code.address(public_url) if public_url else code.token)


def _view_act(answer: Answer, hold: HoldView | None) -> ActView:
    return ActView(
        act_id=answer.act_id,
        status=answer.status,
        cap=answer.cap,
        quantity=answer.quantity,
        points=answer.points,
        recorded_at=answer.recorded_at,
        hold=hold,
    )
