"""Settlements with merchants: drafted up to a cut-off, approved by two persons, closed for ever.

Each step is one SQL function and one transaction; run it under `db.repeat_on_conflict`. It raises
SettlementRefusedError, and is harmless to repeat.
"""

from datetime import datetime
from uuid import UUID

from timebank.db import Connection, as_struct, load_queries
from timebank.domain.errors import NotFoundError
from timebank.domain.settlement import Settlement, SettlementLine, SettlementStatus
from timebank.domain.settlement_errors import SettlementRefusedError

_QUERIES = load_queries(__package__)


async def draft_settlement(
    connection: Connection,
    bank_id: int,
    settlement_id: UUID,
    merchant_id: UUID,
    *,
    cut_off: datetime,
    fen_rate: int | None = None,
    actor_id: UUID,
) -> Settlement:
    """Draft the statement of all that was recorded before `cut_off` and not settled before.

    `fen_rate` is fen for 10,000 points. The one before must be closed, the cut-off have passed.
    """
    return await _step(
        connection,
        "draft_settlement",
        bank_id,
        settlement_id,
        merchant_id,
        cut_off,
        fen_rate,
        actor_id,
    )


async def approve_settlement(
    connection: Connection,
    bank_id: int,
    settlement_id: UUID,
    *,
    content_hash: bytes,
    actor_id: UUID,
) -> Settlement:
    """Approve what was seen; the second person's approval makes it approved.

    Neither may act for the merchant, or guard who does. Persons are compared: pass the person,
    not a login.
    """
    return await _step(
        connection, "approve_settlement", bank_id, settlement_id, content_hash, actor_id
    )


async def close_settlement(
    connection: Connection, bank_id: int, settlement_id: UUID, *, actor_id: UUID
) -> Settlement:
    """Pay what was approved, at most what the merchant still has; the rest is carried."""
    return await _step(connection, "close_settlement", bank_id, settlement_id, actor_id)


async def discard_settlement(connection: Connection, bank_id: int, settlement_id: UUID) -> None:
    """Take back a settlement that is not closed; nothing is left of it, and none is no fault."""
    status = await connection.fetchval(_QUERIES["discard_settlement"], bank_id, settlement_id)
    _check(status)


async def get_settlement(connection: Connection, bank_id: int, settlement_id: UUID) -> Settlement:
    """Return the settlement; NotFoundError if there is none."""
    record = await connection.fetchrow(_QUERIES["find_settlement"], bank_id, settlement_id)
    if record is None:
        raise NotFoundError
    return as_struct(record, Settlement)


async def list_settlements(
    connection: Connection,
    bank_id: int,
    *,
    merchant_id: UUID | None = None,
    within: UUID | None = None,
    before: tuple[datetime, UUID] | None = None,
    limit: int = 50,
) -> list[Settlement]:
    """Return settlements, of one merchant and within one branch if given, the last drafted first.

    `before` is when one was drafted, and its id: only those after it in this order.
    """
    drafted_at, settlement_id = before or (None, None)
    records = await connection.fetch(
        _QUERIES["list_settlements"],
        bank_id,
        merchant_id,
        within,
        drafted_at,
        settlement_id,
        limit,
    )
    return [as_struct(record, Settlement) for record in records]


async def list_lines(
    connection: Connection,
    bank_id: int,
    settlement: Settlement,
    *,
    after: int = 0,
    limit: int | None = None,
) -> list[SettlementLine]:
    """Return the lines a settlement covers, in order: what counts adds up to its total.

    Those after line `after`, all of them where there is no limit.
    """
    records = await connection.fetch(
        _QUERIES["list_settlement_lines"],
        bank_id,
        settlement.account_id,
        max(settlement.first_seq, after + 1),
        settlement.last_seq,
        limit,
    )
    return [as_struct(record, SettlementLine) for record in records]


async def _step(connection: Connection, query: str, bank_id: int, *terms: object) -> Settlement:
    record = await connection.fetchrow(_QUERIES[query], bank_id, *terms)
    _check(record["status"])
    return as_struct(record, Settlement)


def _check(status: str) -> None:
    if status != SettlementStatus.DONE:
        raise SettlementRefusedError(status)
