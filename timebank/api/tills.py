"""The counter over HTTP, for clerks and merchants' own systems: charge, fetch, capture, refund."""

from uuid import UUID

from litestar import Response, Router
from litestar.params import FromPath, JSONBody
from msgspec import Struct

from timebank.api.acts import (
    act_id_of,
    answer_act,
    get_reached,
    quantity_of,
    view_with_name,
)
from timebank.api.call import Call, IdempotencyKey
from timebank.api.once import note_deed
from timebank.api.operations import post
from timebank.api.wire_redemption import (
    ActView,
    CaptureBody,
    ChargeBody,
    HoldView,
    PickupBody,
    RefundBody,
)
from timebank.db import Connection, repeat_on_conflict, transaction
from timebank.domain.errors import ForbiddenError, RedemptionRefusedError
from timebank.domain.redemption import (
    COUNTER_LIFETIME,
    ActKind,
    ActReason,
    Answer,
    CapScope,
    Channel,
    Hold,
    RedemptionStatus,
    Wish,
    check_reason,
)
from timebank.ledger.ids import new_id
from timebank.people.access import Action
from timebank.redemption import codes, holds
from timebank.redemption.caps import find_scope_of_override


@post("/charges", opt={"action": Action.CHARGE, "personal": True}, operation_id="charge")
async def charge(
    request: Call, data: JSONBody[ChargeBody], idempotency_key: IdempotencyKey
) -> Response[ActView]:
    """Take points by a payment code: hold and capture in one commit, or nothing but the code.

    An override of the clerk's own cap is for the capture, any other for the hold.
    """
    bank_id, actor_id = request.user.bank_id, request.user.principal_id
    merchant_id = own_merchant(request)
    by_override = await _find_overrides(request, data.override_id)
    wish = Wish(
        merchant_id=merchant_id,
        quantity=quantity_of(data),
        lifetime=COUNTER_LIFETIME,
        channel=Channel.CODE,
        offer_id=data.offer_id,
        shop_id=data.shop_id,
        override_id=by_override.hold,
        code=data.code,
    )
    hold_id = new_id()  # not made from the key: holds are listed by time

    async def act(connection: Connection) -> Answer:
        placed = await holds.place_hold(connection, bank_id, hold_id, wish, actor_id=actor_id)
        if placed.answer.status is not RedemptionStatus.DONE:
            return placed.answer
        captured = await holds.capture_hold(
            connection,
            bank_id,
            act_id_of(request, "charge"),
            hold_id,
            merchant_id=merchant_id,
            actor_id=actor_id,
            override_id=by_override.capture,
        )
        if captured.status is not RedemptionStatus.DONE:  # the clerk's own cap
            await holds.release_hold(
                connection,
                bank_id,
                act_id_of(request, "uncharge"),
                hold_id,
                reason=ActReason.NOT_HANDED_OVER,
                actor_id=actor_id,
            )
        return captured

    return await answer_act(request, act, hold_id)


class Overrides(Struct, frozen=True):
    """Which of the two acts of a charge an override is for."""

    hold: UUID | None
    capture: UUID | None


async def _find_overrides(request: Call, override_id: UUID | None) -> Overrides:
    if override_id is None:
        return Overrides(None, None)
    async with transaction(request.desk.pool) as connection:
        scope = await find_scope_of_override(connection, request.user.bank_id, override_id)
    if scope is CapScope.CLERK_DAY:
        return Overrides(None, override_id)
    return Overrides(override_id, None)


@post(
    "/pickups",
    opt={"action": Action.CAPTURE, "keyless": True},
    status_code=200,
    operation_id="find_pickup",
)
async def find_pickup(request: Call, data: JSONBody[PickupBody]) -> HoldView:
    """Return the hold that a pick-up code opens here; another merchant's code is a wrong one.

    Wrong codes are counted: after a few, no more are looked at for a quarter of an hour.
    """
    bank_id = request.user.bank_id

    async def work(connection: Connection) -> tuple[RedemptionStatus, Hold | None]:
        status, hold_id = await codes.find_pickup(
            connection,
            bank_id,
            own_merchant(request),
            data.code,
            actor_id=request.user.principal_id,
        )
        if hold_id is None:
            return status, None
        await note_deed(connection, request, hold_id)
        return status, await holds.get_hold(connection, bank_id, hold_id)

    status, hold = await repeat_on_conflict(request.desk.pool, work)
    if hold is None:
        raise RedemptionRefusedError(status)
    return await view_with_name(request, hold)


@post(
    "/holds/{hold_id:uuid}/captures",
    opt={"action": Action.CAPTURE, "personal": True},
    operation_id="capture_hold",
)
async def capture_hold(
    request: Call,
    hold_id: FromPath[UUID],
    data: JSONBody[CaptureBody],
    idempotency_key: IdempotencyKey,
) -> Response[ActView]:
    """Hand the goods over: the merchant has the points of a quantity, the rest goes back.

    A hold that was placed in a session needs its pick-up code.
    """

    async def act(connection: Connection) -> Answer:
        hold = await get_reached(connection, request, Action.CAPTURE, hold_id)
        return await holds.capture_hold(
            connection,
            request.user.bank_id,
            act_id_of(request, "capture"),
            hold_id,
            merchant_id=hold.merchant_id,
            actor_id=request.user.principal_id,
            quantity=data.quantity,
            code=data.code,
            override_id=data.override_id,
        )

    return await answer_act(request, act, hold_id)


@post(
    "/holds/{hold_id:uuid}/refunds",
    opt={"action": Action.REFUND},
    operation_id="refund_capture",
)
async def refund_capture(
    request: Call,
    hold_id: FromPath[UUID],
    data: JSONBody[RefundBody],
    idempotency_key: IdempotencyKey,
) -> Response[ActView]:
    """Give points of a capture back to where they came from, in parts if need be."""
    check_reason(ActKind.REFUND, data.reason)

    async def act(connection: Connection) -> Answer:
        hold = await get_reached(connection, request, Action.REFUND, hold_id)
        return await holds.refund_capture(
            connection,
            request.user.bank_id,
            act_id_of(request, "refund"),
            hold_id,
            merchant_id=hold.merchant_id,
            points=data.points,
            returned=data.returned,
            reason=data.reason,
            actor_id=request.user.principal_id,
        )

    return await answer_act(request, act, hold_id)


def own_merchant(request: Call) -> UUID:
    """Return the merchant the caller works for."""
    if request.user.merchant_id is None:
        raise ForbiddenError
    return request.user.merchant_id


router = Router("/", route_handlers=[charge, find_pickup, capture_hold, refund_capture])
