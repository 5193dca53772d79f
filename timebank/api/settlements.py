"""Settlements over HTTP: drafted, approved by two, closed; the statement as JSON and as files."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any, TypeAlias
from uuid import UUID
from zoneinfo import ZoneInfo

from litestar import MediaType, Response, Router
from litestar.params import FromPath, FromQuery, JSONBody
from msgspec import Struct

from timebank.api.accounts import Cursor, Limit
from timebank.api.call import Call, IdempotencyKey
from timebank.api.cursors import make_cursor, read_cursor
from timebank.api.merchants import check_reaches_merchant
from timebank.api.once import Deed, do_once, note_deed
from timebank.api.operations import delete, get, post
from timebank.api.reaching import action_of
from timebank.api.wire import as_utc
from timebank.api.wire_redemption import EmptyBody
from timebank.api.wire_settlements import (
    DraftBody,
    SeenBody,
    SettlementPage,
    SettlementView,
    StatementLineView,
    StatementPage,
)
from timebank.db import Connection, repeat_on_conflict, transaction
from timebank.domain.settlement import Settlement, SettlementLine
from timebank.ledger.ids import new_id
from timebank.people.access import Action
from timebank.people.targets import check_reaches_party
from timebank.redemption import settlements
from timebank.redemption.merchants import get_merchant
from timebank.redemption.statements import statement_csv, statement_html, statement_xlsx

XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"

Answer: TypeAlias = Response[SettlementView]


class Statement(Struct, frozen=True):
    """What a statement is written from."""

    settlement: Settlement
    lines: list[SettlementLine]
    zone: ZoneInfo
    merchant: str


async def _get_reached(connection: Connection, request: Call, settlement_id: UUID) -> Settlement:
    """Return the settlement if the caller may do this to it; NotFoundError as if absent."""
    found = await settlements.get_settlement(connection, request.user.bank_id, settlement_id)
    merchant_id = found.merchant_id
    await check_reaches_party(
        connection, request.user, action_of(request), merchant_id, merchant_id
    )
    return found


# ---- Steps -------------------------------------------------------------------------------------


@post(
    "/merchants/{merchant_id:uuid}/settlements",
    opt={"action": Action.DRAFT_SETTLEMENT},
    operation_id="draft_settlement",
)
async def draft_settlement(
    request: Call,
    merchant_id: FromPath[UUID],
    data: JSONBody[DraftBody],
    idempotency_key: IdempotencyKey,
) -> Answer:
    """Draft the statement of all that was recorded before a cut-off, and not settled before.

    What is refunded later goes to the next one.
    """
    bank_id, settlement_id = request.user.bank_id, new_id()
    cut_off = as_utc(data.cut_off, "/cut_off")

    async def step(connection: Connection) -> Settlement:
        await check_reaches_merchant(connection, request, action_of(request), merchant_id)
        return await settlements.draft_settlement(
            connection,
            bank_id,
            settlement_id,
            merchant_id,
            cut_off=cut_off,
            fen_rate=data.fen_rate,
            actor_id=request.user.principal_id,
        )

    return await _answer(request, step)


@post(
    "/settlements/{settlement_id:uuid}/approvals",
    opt={"action": Action.APPROVE_SETTLEMENT},
    operation_id="approve_settlement",
)
async def approve_settlement(
    request: Call,
    settlement_id: FromPath[UUID],
    data: JSONBody[SeenBody],
    idempotency_key: IdempotencyKey,
) -> Answer:
    """Approve what was seen, as one of two persons, neither of them of the merchant."""

    async def step(connection: Connection) -> Settlement:
        await _get_reached(connection, request, settlement_id)
        return await settlements.approve_settlement(
            connection,
            request.user.bank_id,
            settlement_id,
            content_hash=bytes.fromhex(data.content_hash),
            actor_id=request.user.principal_id,
        )

    return await _answer(request, step)


@post(
    "/settlements/{settlement_id:uuid}/closure",
    opt={"action": Action.CLOSE_SETTLEMENT},
    operation_id="close_settlement",
)
async def close_settlement(
    request: Call,
    settlement_id: FromPath[UUID],
    data: JSONBody[EmptyBody],
    idempotency_key: IdempotencyKey,
) -> Answer:
    """Pay what two persons approved: its points leave the merchant, and it never changes again."""

    async def step(connection: Connection) -> Settlement:
        await _get_reached(connection, request, settlement_id)
        return await settlements.close_settlement(
            connection,
            request.user.bank_id,
            settlement_id,
            actor_id=request.user.principal_id,
        )

    return await _answer(request, step)


async def _answer(request: Call, step: Callable[[Connection], Awaitable[Settlement]]) -> Answer:
    async def work(connection: Connection) -> Deed[SettlementView]:
        stepped = await step(connection)
        return Deed(_view(stepped), stepped.settlement_id)

    return await do_once(request, SettlementView, work)


@delete(
    "/settlements/{settlement_id:uuid}",
    opt={"action": Action.DISCARD_SETTLEMENT, "keyless": True},
    operation_id="discard_settlement",
)
async def discard_settlement(request: Call, settlement_id: FromPath[UUID]) -> None:
    """Take back a settlement that is not closed, to draft it anew; nothing is left of it."""

    async def work(connection: Connection) -> None:
        await _get_reached(connection, request, settlement_id)
        await settlements.discard_settlement(connection, request.user.bank_id, settlement_id)
        await note_deed(connection, request, settlement_id)

    await repeat_on_conflict(request.desk.pool, work)


# ---- Reading -----------------------------------------------------------------------------------


@get("/settlements", opt={"action": Action.READ_SETTLEMENT}, operation_id="list_settlements")
async def list_settlements(
    request: Call,
    merchant_id: FromQuery[UUID | None] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> SettlementPage:
    """List settlements, the last drafted first: at a merchant's its own, else all within reach."""
    principal = request.user
    bank = await request.desk.bank(principal.bank_id)
    of, within = principal.merchant_id or merchant_id, principal.branch_id
    if principal.merchant_id is not None:
        within = None
    listed = f"settlements of {of} within {within}"
    before = _read_place(read_cursor(bank.cursor_key, listed, cursor)) if cursor else None
    async with transaction(request.desk.pool) as connection:
        found = await settlements.list_settlements(
            connection,
            bank.bank_id,
            merchant_id=of,
            within=within,
            before=before,
            limit=limit + 1,
        )
    page, more = found[:limit], len(found) > limit
    last = f"{page[-1].drafted_at.isoformat()} {page[-1].settlement_id}" if more else ""
    next_cursor = make_cursor(bank.cursor_key, listed, last) if more else None
    return SettlementPage([_view(settlement) for settlement in page], next_cursor, more)


def _read_place(text: str) -> tuple[datetime, UUID]:
    drafted_at, _, settlement_id = text.partition(" ")
    return datetime.fromisoformat(drafted_at), UUID(settlement_id)


@get(
    "/settlements/{settlement_id:uuid}",
    opt={"action": Action.READ_SETTLEMENT},
    operation_id="get_settlement",
)
async def read_settlement(request: Call, settlement_id: FromPath[UUID]) -> SettlementView:
    """Return a settlement, and the hash that whoever approves it names."""
    async with transaction(request.desk.pool) as connection:
        return _view(await _get_reached(connection, request, settlement_id))


@get(
    "/settlements/{settlement_id:uuid}/lines",
    opt={"action": Action.READ_SETTLEMENT},
    operation_id="list_settlement_lines",
)
async def list_settlement_lines(
    request: Call, settlement_id: FromPath[UUID], cursor: Cursor = None, limit: Limit = 50
) -> StatementPage:
    """List the lines that a settlement covers; those that count add up to its total."""
    bank = await request.desk.bank(request.user.bank_id)
    listed = f"lines of {settlement_id}"
    after = int(read_cursor(bank.cursor_key, listed, cursor)) if cursor else 0
    async with transaction(request.desk.pool) as connection:
        found = await _get_reached(connection, request, settlement_id)
        lines = await settlements.list_lines(
            connection, bank.bank_id, found, after=after, limit=limit + 1
        )
    page, more = lines[:limit], len(lines) > limit
    next_cursor = make_cursor(bank.cursor_key, listed, str(page[-1].seq)) if more else None
    return StatementPage([_line_view(line) for line in page], next_cursor, more)


# ---- Files -------------------------------------------------------------------------------------


@get(
    "/settlements/{settlement_id:uuid}/statement.csv",
    opt={"action": Action.READ_SETTLEMENT},
    operation_id="export_settlement_csv",
    media_type="text/csv",
)
async def export_csv(request: Call, settlement_id: FromPath[UUID]) -> Response[bytes]:
    """Return the lines as CSV for spreadsheets; the last column adds up to the last row."""
    statement = await _read_statement(request, settlement_id)
    content = statement_csv(statement.settlement, statement.lines, statement.zone)
    return _file(content, "text/csv", statement, "csv")


@get(
    "/settlements/{settlement_id:uuid}/statement.xlsx",
    opt={"action": Action.READ_SETTLEMENT},
    operation_id="export_settlement_xlsx",
    media_type=XLSX,
)
async def export_xlsx(request: Call, settlement_id: FromPath[UUID]) -> Response[bytes]:
    """Return a workbook of two sheets: what it comes to, and the lines."""
    found = await _read_statement(request, settlement_id)
    content = await asyncio.to_thread(
        statement_xlsx, found.settlement, found.lines, found.zone, found.merchant
    )
    return _file(content, XLSX, found, "xlsx")


@get(
    "/settlements/{settlement_id:uuid}/statement.html",
    opt={"action": Action.READ_SETTLEMENT},
    operation_id="print_settlement",
    media_type=MediaType.HTML,
)
async def print_settlement(request: Call, settlement_id: FromPath[UUID]) -> Response[str]:
    """Return a page to print and sign."""
    found = await _read_statement(request, settlement_id)
    page = statement_html(found.settlement, found.lines, found.zone, found.merchant)
    policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
    headers = {"Content-Security-Policy": policy, "Cache-Control": "private, no-store"}
    return Response(page, media_type=MediaType.HTML, headers=headers)


async def _read_statement(request: Call, settlement_id: UUID) -> Statement:
    bank = await request.desk.bank(request.user.bank_id)
    async with transaction(request.desk.pool) as connection:
        found = await _get_reached(connection, request, settlement_id)
        lines = await settlements.list_lines(connection, bank.bank_id, found)
        merchant = await get_merchant(connection, bank.bank_id, found.merchant_id)
    return Statement(found, lines, bank.zone, merchant.name)


def _file(content: bytes, media_type: str, of: Statement, ending: str) -> Response[bytes]:
    name = f"settlement-{of.settlement.number}-{of.settlement.settlement_id}.{ending}"
    headers: Mapping[str, Any] = {
        "Content-Disposition": f'attachment; filename="{name}"',
        "Cache-Control": "private, no-store",
    }
    return Response(content, media_type=media_type, headers=headers)


def _view(settlement: Settlement) -> SettlementView:
    approvers = (settlement.first_approver, settlement.second_approver)
    return SettlementView(
        settlement_id=settlement.settlement_id,
        merchant_id=settlement.merchant_id,
        number=settlement.number,
        state=settlement.state,
        cut_off=settlement.cut_off,
        first_line=settlement.first_seq,
        last_line=settlement.last_seq,
        captured=settlement.captured,
        refunded=settlement.refunded,
        reissued=settlement.reissued,
        total=settlement.total,
        carried_in=settlement.carried_in,
        payable=settlement.payable,
        fen_rate=settlement.fen_rate,
        content_hash=settlement.content_hash.hex(),
        drafted_by=settlement.drafted_by,
        drafted_at=settlement.drafted_at,
        approved_by=[one for one in approvers if one],
        approved_at=settlement.approved_at,
        paid=settlement.paid,
        carried_out=settlement.carried_out,
        fen=settlement.fen,
        remainder=settlement.remainder_out,
        closed_by=settlement.closed_by,
        closed_at=settlement.closed_at,
    )


def _line_view(line: SettlementLine) -> StatementLineView:
    return StatementLineView(
        line=line.seq,
        recorded_at=line.recorded_at,
        kind=line.kind,
        transfer_id=line.transfer_id,
        hold_id=line.hold_id,
        points=line.points,
        counts=line.counts,
    )


router = Router(
    "/",
    route_handlers=[
        draft_settlement,
        approve_settlement,
        close_settlement,
        discard_settlement,
        list_settlements,
        read_settlement,
        list_settlement_lines,
        export_csv,
        export_xlsx,
        print_settlement,
    ],
)
