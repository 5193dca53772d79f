"""Reading the book: balances now and as of an instant, passbook lines, the trial balance."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from uuid import UUID

from timebank.db import Connection, as_struct, load_queries
from timebank.domain.errors import NotFoundError
from timebank.domain.ledger import Balance, PassbookLine, TrialBalanceRow

_QUERIES = load_queries(__package__)
_AFTER_ALL = 2**63 - 1


async def list_balances(
    connection: Connection, bank_id: int, account_ids: Iterable[UUID]
) -> list[Balance]:
    """Return the balances of those accounts that exist, in no particular order."""
    records = await connection.fetch(_QUERIES["list_balances"], bank_id, list(account_ids))
    return [Balance(*record) for record in records]


async def get_balance(connection: Connection, bank_id: int, account_id: UUID) -> Balance:
    """Return the balance now; NotFoundError if there is no such account."""
    for balance in await list_balances(connection, bank_id, [account_id]):
        return balance
    raise NotFoundError


async def get_balance_as_of(
    connection: Connection,
    bank_id: int,
    account_id: UUID,
    recorded_by: datetime,
    occurred_by: datetime | None = None,
) -> int:
    """Return what the book said at `recorded_by` of what had occurred by `occurred_by`.

    It waits for a posting under way on the account, so the answer never changes later.
    AsOfInFutureError when `recorded_by` has not passed yet.
    """
    occurred_by = occurred_by or datetime.max.replace(tzinfo=UTC)
    balance: int = await connection.fetchval(
        _QUERIES["read_balance_as_of"], bank_id, account_id, recorded_by, occurred_by
    )
    return balance


async def read_clock(connection: Connection) -> datetime:
    """Return the instant now by the clock that stamps what is recorded."""
    now: datetime = await connection.fetchval(_QUERIES["read_clock"])
    return now


async def list_passbook(
    connection: Connection,
    bank_id: int,
    account_id: UUID,
    *,
    before: int | None = None,
    limit: int = 50,
) -> list[PassbookLine]:
    """Return the newest lines first, at most `limit`, those with seq below `before` if given."""
    records = await connection.fetch(
        _QUERIES["list_passbook"],
        bank_id,
        account_id,
        _AFTER_ALL if before is None else before,
        limit,
    )
    return [as_struct(record, PassbookLine) for record in records]


async def list_trial_balance(connection: Connection, bank_id: int) -> list[TrialBalanceRow]:
    """Return the debits and credits of each unit and kind; within a unit they are equal."""
    records = await connection.fetch(_QUERIES["list_trial_balance"], bank_id)
    return [as_struct(record, TrialBalanceRow) for record in records]


async def list_blocked(
    connection: Connection, bank_id: int, account_ids: Iterable[UUID]
) -> Mapping[UUID, int]:
    """Return for each account how many of its points cannot be spent now; 0 where all can.

    More than the balance where a correction has taken points that were blocked.
    """
    rows = await connection.fetch(_QUERIES["list_blocked"], bank_id, list(account_ids))
    return dict(map(tuple, rows))
