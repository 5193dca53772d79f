"""Posting transfers, one or thousands in one call.

One transaction makes one call of `post` (or locks all its accounts first with `lock_balances`):
that is what keeps it free of deadlocks. Run it under `db.repeat_on_conflict`.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar
from uuid import UUID

from timebank.db import Connection, as_struct, load_queries
from timebank.domain.errors import NotFoundError
from timebank.domain.ledger import Chain, JournalEntry, Outcome, Transfer, TransferStatus

T = TypeVar("T")

_QUERIES = load_queries(__package__)

STATUSES: Mapping[str, TransferStatus] = {str(status): status for status in TransferStatus}
"""A status by its word: a look-up costs a fifth of calling the enum."""


async def post(connection: Connection, bank_id: int, chains: Sequence[Chain]) -> list[Outcome]:
    """Post the chains in order and return the outcome of each transfer, in order.

    A chain is all or nothing; a refusal changes what follows it, as if each had come alone.
    Transfers known from before are answered as they were and post nothing.
    Locks the balance rows of all accounts in the order of their ids.
    """
    transfers = [transfer for chain in chains for transfer in chain]
    if not transfers:
        return []
    record = await connection.fetchrow(
        _QUERIES["post_transfers"],
        bank_id,
        *_content_columns(transfers),
        _once_if_same([transfer.actor_id for transfer in transfers]),
        _unless_all_null(chain_ids(chains)),
        _unless_all_null([transfer.subject_id for transfer in transfers]),
        _unless_all_null([transfer.reverses_id for transfer in transfers]),
        _unless_all_null([transfer.reason for transfer in transfers]),
    )
    statuses = [STATUSES[status] for status in record["statuses"]]
    columns = (_for_each(transfers, statuses), _for_each(transfers, record["recorded_ats"]))
    return [
        Outcome(transfer.transfer_id, status, recorded_at)
        for transfer, status, recorded_at in zip(transfers, *columns, strict=True)
    ]


def _unless_all_null(column: Sequence[Any]) -> Sequence[Any] | None:
    """Return the column, or None: a column that is missing is null throughout, and costs less."""
    return None if column.count(None) == len(column) else column


def _once_if_same(column: list[Any]) -> list[Any]:
    """Return the column, or one element where all are the same: the others would tell nothing."""
    return column[:1] if column.count(column[0]) == len(column) else column


def _for_each(transfers: Sequence[Transfer], column: list[T]) -> list[T]:
    return column * len(transfers) if len(column) == 1 else column


def chain_ids(chains: Iterable[Chain]) -> list[UUID | None]:
    """Return for each transfer the id of its chain's first, None where it stands alone."""
    return [chain[0].transfer_id if len(chain) > 1 else None for chain in chains for _ in chain]


def _content_columns(transfers: Sequence[Transfer]) -> tuple[list[Any], ...]:
    return (
        [transfer.transfer_id for transfer in transfers],
        _once_if_same([transfer.kind for transfer in transfers]),
        [transfer.debit_account_id for transfer in transfers],
        [transfer.credit_account_id for transfer in transfers],
        [transfer.amount for transfer in transfers],
        [transfer.occurred_at for transfer in transfers],
    )


async def lock_balances(
    connection: Connection, bank_id: int, account_ids: Iterable[UUID]
) -> Mapping[UUID, int]:
    """Lock the balance rows in the order of their ids until the transaction ends; read them."""
    record = await connection.fetchrow(_QUERIES["lock_balances"], bank_id, list(account_ids))
    return dict(zip(record["account_ids"] or (), record["balances"] or (), strict=True))


async def get_transfer(connection: Connection, bank_id: int, transfer_id: UUID) -> JournalEntry:
    """Return the journal's entry, posted or refused; NotFoundError if the id was never used."""
    record = await connection.fetchrow(_QUERIES["find_transfer"], bank_id, transfer_id)
    if record is None:
        raise NotFoundError
    return as_struct(record, JournalEntry)


async def list_chain(connection: Connection, bank_id: int, transfer_id: UUID) -> list[JournalEntry]:
    """Return the whole chain that a transfer belongs to: itself alone if it is in none.

    In the order of the ids, which is that of the chain where `new_id` made them in turn. What was
    added to it in a later call is among them, refused.
    """
    entry = await get_transfer(connection, bank_id, transfer_id)
    if entry.chain_id is None:
        return [entry]
    records = await connection.fetch(_QUERIES["list_chain"], bank_id, entry.chain_id)
    return [as_struct(record, JournalEntry) for record in records]
