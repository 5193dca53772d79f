"""Holds over HTTP for residents, their kin and coordinators: quote, place, see, release, codes.

Codes are shown once. No answer that is stored holds one, so asking for a new one takes no key.
"""

from typing import Annotated
from uuid import UUID

from litestar import Response, Router
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter
from msgspec.structs import replace

from timebank.api.accounts import Cursor, Limit
from timebank.api.acts import (
    TILLS,
    act_id_of,
    answer_act,
    get_reached,
    quantity_of,
    view_code,
    view_hold,
    view_with_name,
)
from timebank.api.call import Call, IdempotencyKey
from timebank.api.cursors import make_cursor, read_cursor
from timebank.api.logins import NO_STORE
from timebank.api.minors import check_guardian, find_band
from timebank.api.once import note_deed
from timebank.api.operations import get, post
from timebank.api.paper import check_paper, use_paper
from timebank.api.wire_redemption import (
    ActView,
    CodeView,
    EmptyBody,
    HoldBody,
    HoldPage,
    HoldView,
    PaymentCodeView,
    QuoteView,
    ReleaseBody,
    Wanted,
)
from timebank.db import Connection, repeat_on_conflict, transaction
from timebank.domain.ages import AgeBand
from timebank.domain.errors import GuardianNeededError, InvalidInputError
from timebank.domain.ledger import LARGEST_AMOUNT, AccountKind, Unit
from timebank.domain.redemption import (
    COUNTER_LIFETIME,
    PICKUP_LIFETIME,
    ActKind,
    Answer,
    Channel,
    Code,
    RedemptionStatus,
    Wish,
    check_reason,
)
from timebank.ledger.accounts import get_account_of
from timebank.ledger.ids import new_id
from timebank.people.access import Action, Role, SessionMethod
from timebank.people.sheets import SheetKind
from timebank.people.targets import check_reaches_party
from timebank.redemption import codes, holds
from timebank.redemption.families import check_may_hold


@get("/quote", opt={"action": Action.QUOTE}, operation_id="quote")
async def read_quote(
    request: Call,
    *,
    merchant_id: FromQuery[UUID],
    account_id: FromQuery[UUID],
    offer_id: FromQuery[UUID | None] = None,
    shop_id: FromQuery[UUID | None] = None,
    quantity: Annotated[int, QueryParameter(ge=1, le=LARGEST_AMOUNT)] = 1,
) -> QuoteView:
    """Return what a hold of so many units, or points without an offer, would be answered now.

    Nothing is held, and nothing promised.
    """
    wanted = Wanted(offer_id=offer_id, shop_id=shop_id)
    if offer_id is None:
        wanted.points = quantity
    else:
        wanted.quantity = quantity
    wish = await _wish(request, Action.QUOTE, merchant_id, account_id, wanted)
    async with transaction(request.desk.pool) as connection:
        quoted = await holds.quote(connection, request.user.bank_id, wish)
    return QuoteView(
        status=quoted.status, cap=quoted.cap, points=quoted.points, expires_at=quoted.expires_at
    )


@post("/holds", opt={"action": Action.PLACE_HOLD}, operation_id="place_hold")
async def place_hold(
    request: Call, data: JSONBody[HoldBody], idempotency_key: IdempotencyKey
) -> Response[ActView]:
    """Hold points, and stock, for goods at a merchant.

    With the printed card and PIN it is a hold at the counter, under the cap of a card's day, and
    needs no pick-up code. At a service point the resident signs a sheet before a witness, and it is
    entered in the same commit as the hold.
    """
    check_paper(request, data.paper)
    wish = await _wish(request, Action.PLACE_HOLD, data.merchant_id, data.account_id, data)
    band = await find_band(request, wish.resident_id)
    hold_id = new_id()  # not made from the key: holds are listed by time
    pickup: Code | None = None

    async def act(connection: Connection) -> Answer:
        nonlocal pickup
        await check_guardian(connection, request, wish, band)
        if await _is_pool_of_family(request, data.account_id):
            await _check_may_hold(connection, request, data.account_id)
        placed = await holds.place_hold(
            connection, request.user.bank_id, hold_id, wish, actor_id=request.user.principal_id
        )
        pickup = placed.pickup
        if placed.answer.status is RedemptionStatus.DONE and wish.resident_id:
            # last: of a refusal nothing is recorded, and the sheet stays good
            await use_paper(
                connection,
                request,
                data.paper,
                SheetKind.REDEMPTION,
                wish.resident_id,
                subject_id=hold_id,
            )
        return placed.answer

    answer = await answer_act(request, act, hold_id)
    if pickup is None:
        return answer
    view = replace(answer.content, pickup=view_code(request, pickup))
    return Response(view, status_code=201, headers=NO_STORE)


async def _wish(
    request: Call, action: Action, merchant_id: UUID, account_id: UUID, wanted: Wanted
) -> Wish:
    """Return the wish, from a wallet that the caller reaches or their family's pool."""
    quantity = quantity_of(wanted)
    if await _is_pool_of_family(request, account_id):
        async with transaction(request.desk.pool) as connection:
            await _check_may_hold(connection, request, account_id)
        owner_id: UUID | None = request.user.principal_id
    else:
        account = await request.desk.account_seen_by(request.user, account_id, action)
        if account.kind is not AccountKind.WALLET or account.unit is not Unit.POINTS:
            raise InvalidInputError(
                "Points are held from a wallet of points.", pointer="/account_id"
            )
        owner_id = account.owner_id
    by_card = request.user.method is SessionMethod.PIN
    return Wish(
        merchant_id=merchant_id,
        quantity=quantity,
        lifetime=COUNTER_LIFETIME if by_card else PICKUP_LIFETIME,
        channel=Channel.CARD if by_card else Channel.SESSION,
        resident_id=owner_id,
        source_account_id=account_id,
        offer_id=wanted.offer_id,
        shop_id=wanted.shop_id,
        override_id=wanted.override_id,
    )


async def _is_pool_of_family(request: Call, account_id: UUID) -> bool:
    """Return whether a resident asks for points of a pool."""
    if request.user.role is not Role.RESIDENT:
        return False
    account = await request.desk.find_account(request.user.bank_id, account_id)
    return account is not None and account.kind is AccountKind.POOL


async def _check_may_hold(connection: Connection, request: Call, account_id: UUID) -> None:
    principal = request.user
    await check_may_hold(connection, principal.bank_id, principal.principal_id, account_id)


@get("/holds", opt={"action": Action.READ_HOLD}, operation_id="list_holds")
async def list_holds(
    request: Call,
    resident_id: FromQuery[UUID | None] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> HoldPage:
    """List holds, newest first: at a till those of its merchant, else of a resident or oneself."""
    principal = request.user
    bank = await request.desk.bank(principal.bank_id)
    at_till = principal.role in TILLS
    subject = principal.merchant_id if at_till else resident_id
    if principal.role is Role.RESIDENT:
        subject = resident_id or principal.principal_id
    if subject is None:
        raise InvalidInputError("Say whose holds.", pointer="resident_id")
    listed = f"holds of {subject}"
    before = read_cursor(bank.cursor_key, listed, cursor) if cursor else f"{2**128 - 1:032x}"
    list_of = holds.list_holds_of_merchant if at_till else holds.list_holds_of_resident
    async with transaction(request.desk.pool) as connection:
        if not at_till:
            await check_reaches_party(connection, principal, Action.READ_HOLD, subject)
        found = await list_of(
            connection, bank.bank_id, subject, before=UUID(before), limit=limit + 1
        )
    page, more = found[:limit], len(found) > limit
    next_cursor = make_cursor(bank.cursor_key, listed, str(page[-1].hold_id)) if more else None
    return HoldPage([view_hold(principal, hold) for hold in page], next_cursor, more)


@get("/holds/{hold_id:uuid}", opt={"action": Action.READ_HOLD}, operation_id="get_hold")
async def read_hold(request: Call, hold_id: FromPath[UUID]) -> HoldView:
    """Return a hold; one that is overdue is open until it is swept."""
    async with transaction(request.desk.pool) as connection:
        hold = await get_reached(connection, request, Action.READ_HOLD, hold_id)
    return await view_with_name(request, hold)


@post(
    "/holds/{hold_id:uuid}/release",
    opt={"action": Action.RELEASE_HOLD},
    operation_id="release_hold",
)
async def release_hold(
    request: Call,
    hold_id: FromPath[UUID],
    data: JSONBody[ReleaseBody],
    idempotency_key: IdempotencyKey,
) -> Response[ActView]:
    """Give all back to where it was held from: the redemption does not take place."""
    check_reason(ActKind.RELEASE, data.reason)

    async def act(connection: Connection) -> Answer:
        await get_reached(connection, request, Action.RELEASE_HOLD, hold_id)
        return await holds.release_hold(
            connection,
            request.user.bank_id,
            act_id_of(request, "release"),
            hold_id,
            reason=data.reason,
            actor_id=request.user.principal_id,
        )

    return await answer_act(request, act, hold_id)


@post(
    "/holds/{hold_id:uuid}/pickup-codes",
    opt={"action": Action.RENEW_PICKUP_CODE, "keyless": True},
    operation_id="renew_pickup_code",
)
async def renew_pickup_code(
    request: Call, hold_id: FromPath[UUID], data: JSONBody[EmptyBody]
) -> Response[CodeView]:
    """Show a new pick-up code of an open hold; the one before is worth nothing now."""

    async def work(connection: Connection) -> Code:
        await get_reached(connection, request, Action.RENEW_PICKUP_CODE, hold_id)
        code = await codes.renew_pickup_code(connection, request.user.bank_id, hold_id)
        await note_deed(connection, request, hold_id)
        return code

    code = await repeat_on_conflict(request.desk.pool, work)
    return Response(view_code(request, code), status_code=201, headers=NO_STORE)


@post(
    "/payment-codes",
    opt={"action": Action.ISSUE_PAYMENT_CODE, "keyless": True},
    operation_id="issue_payment_code",
)
async def issue_payment_code(request: Call, data: JSONBody[EmptyBody]) -> Response[PaymentCodeView]:
    """Show a code that pays from one's wallet, once, for a minute; it ends the one before.

    How much it pays is not known yet, so minors have none: GuardianNeededError.
    """
    bank_id, me = request.user.bank_id, request.user.principal_id
    if await find_band(request, me) is not AgeBand.ADULT:
        raise GuardianNeededError

    async def work(connection: Connection) -> codes.PaymentCode:
        wallet = await get_account_of(connection, bank_id, Unit.POINTS, AccountKind.WALLET, me)
        issued = await codes.issue_payment_code(connection, bank_id, me, wallet.account_id)
        await note_deed(connection, request, wallet.account_id)
        return issued

    issued = await repeat_on_conflict(request.desk.pool, work)
    shown = view_code(request, issued.code)
    view = PaymentCodeView(
        digits=shown.digits, token=shown.token, qr=shown.qr, expires_at=issued.expires_at
    )
    return Response(view, status_code=201, headers=NO_STORE)


router = Router(
    "/",
    route_handlers=[
        read_quote,
        place_hold,
        list_holds,
        read_hold,
        release_hold,
        renew_pickup_code,
        issue_payment_code,
    ],
)
