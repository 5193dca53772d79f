"""Slips over HTTP: a resident takes points along, and a merchant tells what its tills took.

The text of a slip is what can be spent. No answer that is stored holds it: it is signed anew.
"""

from datetime import timedelta
from uuid import UUID

from litestar import MediaType, Response, Router
from litestar.params import FromPath, FromQuery, JSONBody
from msgspec.structs import replace

from timebank.api.accounts import Cursor, Limit
from timebank.api.acts import answer_act
from timebank.api.call import Call, IdempotencyKey
from timebank.api.cursors import make_cursor, read_cursor
from timebank.api.logins import NO_STORE
from timebank.api.minors import check_guardian, find_band
from timebank.api.once import Deed, do_once, note_deed
from timebank.api.operations import find_in_public, get, post
from timebank.api.paper import check_paper, use_paper
from timebank.api.reaching import check_reach
from timebank.api.wire_redemption import EmptyBody
from timebank.api.wire_slips import (
    AcceptanceBody,
    SlipBody,
    SlipPage,
    SlipView,
    SyncAnswer,
    SyncBody,
    SyncRow,
)
from timebank.db import Connection, repeat_on_conflict, transaction
from timebank.domain.certificates import PublicKey, PublicKeys
from timebank.domain.errors import (
    BankNotFoundError,
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    RedemptionRefusedError,
)
from timebank.domain.ledger import AccountKind, Unit
from timebank.domain.redemption import Answer, Channel, HoldState, RedemptionStatus, Wish
from timebank.domain.slips import RESULT_WORDS, Slip, SlipOrder, SlipResult
from timebank.ledger.banks import get_bank
from timebank.ledger.ids import new_id
from timebank.people.access import Action, Role
from timebank.people.seals import Seals
from timebank.people.sheets import SheetKind
from timebank.people.signing_keys import SigningPurpose, make_key, publish_keys
from timebank.redemption import slips
from timebank.redemption.slip_checker import Key
from timebank.redemption.slip_print import render_slip
from timebank.redemption.slips import Told

KEYS_CACHED = {"Cache-Control": "public, max-age=300"}
"""A new key is known to all who cache within five minutes; an old one stays good."""


_ENDED = {
    HoldState.CAPTURED: RedemptionStatus.HOLD_ALREADY_CAPTURED,
    HoldState.EXPIRED: RedemptionStatus.HOLD_EXPIRED,
}


@post("/slips", opt={"action": Action.ISSUE_SLIP}, operation_id="issue_slip")
async def issue_slip(
    request: Call, data: JSONBody[SlipBody], idempotency_key: IdempotencyKey
) -> Response[SlipView]:
    """Move points into a slip for one merchant, whose till takes it without a network.

    It is never called back: points of a slip not used come back when its grace is over. At a
    service point the resident signs a sheet before a witness, as for a hold.
    """
    check_paper(request, data.paper)
    wallet = await request.desk.account_seen_by(request.user, data.account_id, Action.ISSUE_SLIP)
    owner_id = wallet.owner_id
    if wallet.kind is not AccountKind.WALLET or wallet.unit is not Unit.POINTS or not owner_id:
        raise InvalidInputError("Points are held from a wallet of points.", pointer="/account_id")
    band = await find_band(request, owner_id)
    order = SlipOrder(
        resident_id=owner_id,
        source_account_id=data.account_id,
        merchant_id=data.merchant_id,
        points=data.points,
        lifetime=timedelta(days=data.days),
        override_id=data.override_id,
    )
    slip_id = new_id()  # not made from the key: slips are listed by time

    async def act(connection: Connection) -> Answer:
        await check_guardian(connection, request, _as_wish(order), band)
        answer = await slips.issue_slip(
            connection,
            Seals(request.desk.ring),
            request.user.bank_id,
            slip_id,
            order,
            actor_id=request.user.principal_id,
        )
        if answer.status is RedemptionStatus.DONE:
            # last: of a refusal nothing is recorded, and the sheet stays good
            await use_paper(
                connection,
                request,
                data.paper,
                SheetKind.REDEMPTION,
                owner_id,
                subject_id=slip_id,
            )
        return answer

    answer = await answer_act(request, act, slip_id)
    async with transaction(request.desk.pool) as connection:
        placed_id = answer.content.act_id  # of a repeat, that of the first time
        found = await slips.get_slip(connection, request.user.bank_id, placed_id)
        text = await _write(connection, request, found)
        if text is not None and "Idempotent-Replayed" in answer.headers:  # whoever has it can spend
            await note_deed(connection, request, placed_id, action=Action.PRINT_SLIP)
    headers = {**answer.headers, **NO_STORE}
    return Response(_view(found, text), status_code=201, headers=headers)


@get("/slips", opt={"action": Action.READ_SLIP}, operation_id="list_slips")
async def list_slips(
    request: Call,
    resident_id: FromQuery[UUID | None] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> SlipPage:
    """List slips of a resident, or one's own, newest first; without what could be spent."""
    principal = request.user
    bank = await request.desk.bank(principal.bank_id)
    if principal.role is Role.RESIDENT:
        resident_id = resident_id or principal.principal_id
    if resident_id is None:
        raise InvalidInputError("Say whose slips.", pointer="resident_id")
    listed = f"slips of {resident_id}"
    before = read_cursor(bank.cursor_key, listed, cursor) if cursor else f"{2**128 - 1:032x}"
    async with transaction(request.desk.pool) as connection:
        await check_reach(connection, request, resident_id)
        found = await slips.list_slips(
            connection, bank.bank_id, resident_id, before=UUID(before), limit=limit + 1
        )
    page, more = found[:limit], len(found) > limit
    next_cursor = make_cursor(bank.cursor_key, listed, str(page[-1].slip_id)) if more else None
    return SlipPage([_view(slip) for slip in page], next_cursor, more)


@get("/slips/{slip_id:uuid}", opt={"action": Action.PRINT_SLIP}, operation_id="get_slip")
async def read_slip(request: Call, slip_id: FromPath[UUID]) -> Response[SlipView]:
    """Return a slip, with its text for a QR code while it is open; that it was read is noted."""
    slip, text = await _read(request, slip_id)
    return Response(_view(slip, text), headers=NO_STORE)


@get(
    "/slips/{slip_id:uuid}/paper",
    opt={"action": Action.PRINT_SLIP},
    operation_id="print_slip",
    media_type=MediaType.HTML,
)
async def print_slip(request: Call, slip_id: FromPath[UUID]) -> Response[str]:
    """Return an open slip as a page to print, with its QR code; that it was read is noted."""
    slip, text = await _read(request, slip_id)
    if text is None:
        raise RedemptionRefusedError(_ENDED[slip.state])
    bank = await request.desk.bank(request.user.bank_id)
    page = render_slip(slip, text, bank.name, bank.zone)
    return Response(page, media_type=MediaType.HTML, headers=NO_STORE)


@post(
    "/slips/syncs",
    opt={"action": Action.SYNC_SLIPS, "keyless": True},
    status_code=200,
    operation_id="sync_slips",
)
async def sync_slips(request: Call, data: JSONBody[SyncBody]) -> SyncAnswer:
    """Tell what tills took offline; each slip is captured for the first acceptance told of.

    Send it again whenever the answer was lost: an acceptance is answered as before.
    """
    bank = await request.desk.bank(request.user.bank_id)
    async with transaction(request.desk.pool) as connection:
        keys = await slips.list_slip_keys(connection, bank)
    return SyncAnswer([await _sync(request, keys, one) for one in data.slips])


async def _sync(request: Call, keys: dict[str, Key], taken: AcceptanceBody) -> SyncRow:
    """Capture one slip in a commit of its own: one that is refused holds up no other."""
    principal = request.user
    if principal.merchant_id is None:
        raise ForbiddenError
    merchant_id = principal.merchant_id

    async def work(connection: Connection) -> Told:
        told = await slips.capture_slip(
            connection,
            principal.bank_id,
            keys,
            taken.slip,
            taken.acceptance_id,
            merchant_id=merchant_id,
            actor_id=principal.principal_id,
        )
        if told.result is SlipResult.CAPTURED:
            await note_deed(connection, request, told.slip_id)
        return told

    told = await repeat_on_conflict(request.desk.pool, work)
    return SyncRow(
        acceptance_id=taken.acceptance_id,
        result=told.result,
        number=told.number,
        points=told.points,
        hold_id=told.slip_id,
        words=RESULT_WORDS[told.result],
    )


@find_in_public(
    "/slip-keys/{bank:str}", opt={"action": Action.PUBLIC}, operation_id="list_slip_keys"
)
async def list_keys(request: Call, bank: FromPath[str]) -> Response[PublicKeys]:
    """Return the keys that tills verify slips of a bank with, by the bank's code."""
    try:
        async with transaction(request.desk.pool) as connection:
            named = await get_bank(connection, bank)
            found = await publish_keys(connection, named, SigningPurpose.SLIP)
    except BankNotFoundError as error:
        raise NotFoundError from error
    return Response(found, headers=KEYS_CACHED)


@post("/slip-keys", opt={"action": Action.MAKE_SIGNING_KEY}, operation_id="make_slip_key")
async def make_slip_key(
    request: Call, data: JSONBody[EmptyBody], idempotency_key: IdempotencyKey
) -> Response[PublicKey]:
    """Make a key that signs slips from now on; slips of the keys before stay good."""
    principal = request.user

    async def work(connection: Connection) -> Deed[PublicKey]:
        made = await make_key(
            connection,
            Seals(request.desk.ring),
            principal.bank_id,
            SigningPurpose.SLIP,
            principal.principal_id,
        )
        key = PublicKey(key_id=made.key_id, public_key=made.public_key.hex(), made_at=made.made_at)
        return Deed(key, None)

    return await do_once(request, PublicKey, work)


async def _read(request: Call, slip_id: UUID) -> tuple[Slip, str | None]:
    """Return a slip and its text; a coordinator's are those that a sheet asked them for."""
    async with transaction(request.desk.pool) as connection:
        slip = await slips.get_slip(connection, request.user.bank_id, slip_id)
        await check_reach(connection, request, slip.resident_id)
        if request.user.role is Role.COORDINATOR and slip.issued_by != request.user.principal_id:
            raise NotFoundError
        text = await _write(connection, request, slip)
        await note_deed(connection, request, slip_id)
    return slip, text


async def _write(connection: Connection, request: Call, slip: Slip) -> str | None:
    """Return the text of an open slip: of one that ended, tills offline are shown no more."""
    if slip.state is not HoldState.OPEN:
        return None
    bank = await request.desk.bank(request.user.bank_id)
    return await slips.write_slip(connection, Seals(request.desk.ring), bank, slip)


def _as_wish(order: SlipOrder) -> Wish:
    return Wish(
        merchant_id=order.merchant_id,
        quantity=order.points,
        lifetime=order.lifetime,
        channel=Channel.SLIP,
        resident_id=order.resident_id,
        source_account_id=order.source_account_id,
        override_id=order.override_id,
    )


def _view(slip: Slip, text: str | None = None) -> SlipView:
    view = SlipView(
        slip_id=slip.slip_id,
        number=slip.number,
        resident_id=slip.resident_id,
        merchant_id=slip.merchant_id,
        merchant_name=slip.merchant_name,
        points=slip.points,
        issued_at=slip.issued_at,
        expires_at=slip.expires_at,
        held_until=slip.held_until,
        state=slip.state,
        ended_at=slip.ended_at,
    )
    return view if text is None else replace(view, text=text)


router = Router(
    "/",
    route_handlers=[
        issue_slip,
        list_slips,
        read_slip,
        print_slip,
        sync_slips,
        list_keys,
        make_slip_key,
    ],
)
