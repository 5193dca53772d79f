"""Awards: confirming a record posts its hours and points, once; reversing it takes both back.

Lock order: rates of the categories, records by their ids, then all balances (schema.sql).
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
from msgspec import Struct

from timebank.db import Connection, as_struct, load_queries
from timebank.domain.errors import TransferRefusedError
from timebank.domain.ledger import (
    ReversalReason,
    SpentPolicy,
    Transfer,
    TransferKind,
    TransferStatus,
)
from timebank.domain.rates import undo_award
from timebank.domain.service import Award, RecordStatus
from timebank.domain.service_errors import AwardOfRecordError, WrongStepError
from timebank.ledger.ids import derive_id, new_id
from timebank.ledger.reversals import reverse

_QUERIES = load_queries(__package__)


class AwardReversal(Struct, frozen=True, kw_only=True):
    """That an award was taken back; `extra_points` went with it, or came back (-1)."""

    record_id: UUID
    reversal_id: UUID
    reversed_by: UUID
    reason: ReversalReason
    extra_points: int
    remainder_after: int
    reversed_at: datetime


class Totals(Struct, frozen=True):
    """What a person has had confirmed, in all; what was reversed does not count."""

    records: int
    minutes: int
    points: int


async def confirm_records(
    connection: Connection, bank_id: int, actor_id: UUID, record_ids: Iterable[UUID]
) -> list[Award]:
    """Confirm records and post their hours and points, all or none; in the order asked for.

    One that is confirmed already is answered as it was, whoever asks. NotFoundError,
    WrongStepError, SecondPersonNeededError, RecordOverlapError, CapExceededError,
    ServiceNotOverError, TransferRefusedError; after each of them nothing was done.
    """
    ids = list(dict.fromkeys(record_ids))
    legs = [(new_id(), new_id()) for _ in ids]  # in turn: a chain is listed in the order of ids
    try:
        rows = await connection.fetch(
            _QUERIES["award_service"],
            bank_id,
            ids,
            actor_id,
            [hours_id for hours_id, _ in legs],
            [points_id for _, points_id in legs],
        )
    except asyncpg.CheckViolationError as error:
        if error.constraint_name == "award_posted":
            raise TransferRefusedError(str(error.detail)) from error
        raise
    return [as_struct(row, Award) for row in rows]


async def find_award(connection: Connection, bank_id: int, record_id: UUID) -> Award | None:
    """Return what a record earned when it was confirmed; None if it never was."""
    row = await connection.fetchrow(_QUERIES["find_award"], bank_id, record_id)
    return row and as_struct(row, Award)


async def reverse_record(
    connection: Connection,
    bank_id: int,
    actor_id: UUID,
    record_id: UUID,
    *,
    reason: ReversalReason,
    when_spent: SpentPolicy = SpentPolicy.REFUSE,
) -> AwardReversal:
    """Take a confirmed record back with its hours and points; its time is free again.

    What is left to the person are again the whole points of all they served: a point that this
    award completed with the rest of others goes with it, one that the rest makes without it comes
    back. By the same actor for the same reason again, it is answered as it was; else, or if it
    was never confirmed, WrongStepError. NotFoundError. Points already spent: see
    `ledger.reversals.reverse`; TransferRefusedError if they are not there and may not be owed.
    """
    row = await connection.fetchrow(_QUERIES["open_reversal"], bank_id, record_id)
    if row["status"] == RecordStatus.REVERSED:
        known = await _get_reversal(connection, bank_id, record_id)
        if (known.reversed_by, known.reason) != (actor_id, reason):
            raise WrongStepError
        return known
    reversal_id = derive_id(record_id, "reversal")
    undoing = undo_award(row["remainder"], row["exact"], row["points"])
    along = _round(row, undoing.extra_points, derive_id(reversal_id, "rounding"), actor_id)
    outcomes = await reverse(
        connection,
        bank_id,
        row["hours_transfer_id"],
        reversal_id=reversal_id,
        actor_id=actor_id,
        reason=reason,
        when_spent=when_spent,
        along=along,
    )
    statuses = {outcome.status for outcome in outcomes} - {TransferStatus.POSTED}
    if statuses:
        raise TransferRefusedError(min(statuses - {TransferStatus.CHAIN_BROKEN}))
    await connection.execute(
        _QUERIES["close_reversal"],
        bank_id,
        record_id,
        reversal_id,
        actor_id,
        reason,
        undoing.extra_points,
        along[0].transfer_id if along else None,
    )
    return await _get_reversal(connection, bank_id, record_id)


def _round(row: Any, extra_points: int, transfer_id: UUID, actor_id: UUID) -> list[Transfer]:
    """Return the transfer of the one point that moves beside the award, if one does."""
    if not extra_points:
        return []
    ends = row["wallet_id"], row["issuance_id"]
    debit, credit = ends if extra_points > 0 else ends[::-1]
    return [
        Transfer(
            transfer_id=transfer_id,
            kind=TransferKind.ROUNDING,
            debit_account_id=debit,
            credit_account_id=credit,
            amount=1,
            actor_id=actor_id,
            occurred_at=row["occurred_at"],
            subject_id=row["subject_id"],
        )
    ]


async def _get_reversal(connection: Connection, bank_id: int, record_id: UUID) -> AwardReversal:
    row = await connection.fetchrow(_QUERIES["find_award_reversal"], bank_id, record_id)
    return as_struct(row, AwardReversal)


async def check_not_of_record(connection: Connection, bank_id: int, transfer_id: UUID) -> None:
    """Raise AwardOfRecordError for a transfer that only `reverse_record` may take back."""
    if await connection.fetchval(_QUERIES["is_award_of_record"], bank_id, transfer_id):
        raise AwardOfRecordError


async def get_totals(connection: Connection, bank_id: int, person_id: UUID) -> Totals:
    """Return what a person has had confirmed; zero for somebody nobody knows."""
    row = await connection.fetchrow(_QUERIES["read_totals"], bank_id, person_id)
    return as_struct(row, Totals)
