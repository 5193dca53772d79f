"""A settlement's statement as files: CSV and XLSX for spreadsheets, HTML to print and sign."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID
from zoneinfo import ZoneInfo

from litestar import MediaType, Response, Router
from litestar.params import FromPath
from litestar.response import Stream
from msgspec import Struct

from timebank.api.call import Call
from timebank.api.desk import Desk
from timebank.api.operations import get
from timebank.api.settlements import get_reached
from timebank.db import transaction
from timebank.domain.settlement import Settlement, SettlementLine
from timebank.domain.settlement_errors import StatementTooLongError
from timebank.ledger.banks import Bank
from timebank.people.access import Action
from timebank.redemption.merchants import get_merchant
from timebank.redemption.settlements import list_lines
from timebank.redemption.statements import (
    CSV_HEAD,
    csv_foot,
    csv_lines,
    statement_html,
    statement_xlsx,
)

LINES_AT_ONCE = 1000
MOST_LINES = 20_000
"""In a file that is made as a whole, in a thread, so that others do not wait for it."""

XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


class Statement(Struct, frozen=True):
    """What a statement is written from."""

    settlement: Settlement
    lines: list[SettlementLine]
    zone: ZoneInfo
    merchant: str


@get(
    "/settlements/{settlement_id:uuid}/statement.csv",
    opt={"action": Action.READ_SETTLEMENT},
    operation_id="export_settlement_csv",
    media_type="text/csv",
)
async def export_csv(request: Call, settlement_id: FromPath[UUID]) -> Stream:
    """Return the lines as CSV for spreadsheets; the last column adds up to the last row.

    However many there are: they are read and sent a thousand at a time.
    """
    bank = await request.desk.bank(request.user.bank_id)
    async with transaction(request.desk.pool) as connection:
        found = await get_reached(connection, request, settlement_id)
    return Stream(
        _csv(request.desk, bank, found),
        media_type="text/csv; charset=utf-8",
        headers=_headers(found, "csv"),
    )


async def _csv(desk: Desk, bank: Bank, found: Settlement) -> AsyncIterator[bytes]:
    """Yield the CSV page by page: which lines a settlement covers never changes."""
    yield CSV_HEAD
    after = found.first_seq - 1
    while after < found.last_seq:
        async with transaction(desk.pool) as connection:
            page = await list_lines(
                connection, bank.bank_id, found, after=after, limit=LINES_AT_ONCE
            )
        yield csv_lines(page, bank.zone)
        after += LINES_AT_ONCE  # a passbook's lines are numbered without a gap
    yield csv_foot(found)


@get(
    "/settlements/{settlement_id:uuid}/statement.xlsx",
    opt={"action": Action.READ_SETTLEMENT},
    operation_id="export_settlement_xlsx",
    media_type=XLSX,
)
async def export_xlsx(request: Call, settlement_id: FromPath[UUID]) -> Response[bytes]:
    """Return a workbook of two sheets: what it comes to, and the lines, 20,000 at most."""
    found = await _read_statement(request, settlement_id)
    content = await asyncio.to_thread(
        statement_xlsx, found.settlement, found.lines, found.zone, found.merchant
    )
    return Response(content, media_type=XLSX, headers=_headers(found.settlement, "xlsx"))


@get(
    "/settlements/{settlement_id:uuid}/statement.html",
    opt={"action": Action.READ_SETTLEMENT},
    operation_id="print_settlement",
    media_type=MediaType.HTML,
)
async def print_settlement(request: Call, settlement_id: FromPath[UUID]) -> Response[str]:
    """Return a page to print and sign, of 20,000 lines at most."""
    found = await _read_statement(request, settlement_id)
    page = await asyncio.to_thread(
        statement_html, found.settlement, found.lines, found.zone, found.merchant
    )
    policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
    headers = {"Content-Security-Policy": policy, "Cache-Control": "private, no-store"}
    return Response(page, media_type=MediaType.HTML, headers=headers)


async def _read_statement(request: Call, settlement_id: UUID) -> Statement:
    bank = await request.desk.bank(request.user.bank_id)
    async with transaction(request.desk.pool) as connection:
        found = await get_reached(connection, request, settlement_id)
        if found.last_seq - found.first_seq >= MOST_LINES:
            raise StatementTooLongError
        lines = await list_lines(connection, bank.bank_id, found)
        merchant = await get_merchant(connection, bank.bank_id, found.merchant_id)
    return Statement(found, lines, bank.zone, merchant.name)


def _headers(of: Settlement, ending: str) -> dict[str, str]:
    name = f"settlement-{of.number}-{of.settlement_id}.{ending}"
    return {
        "Content-Disposition": f'attachment; filename="{name}"',
        "Cache-Control": "private, no-store",
    }


router = Router("/", route_handlers=[export_csv, export_xlsx, print_settlement])
