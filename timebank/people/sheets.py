"""Paper sheets: printed in numbered runs, each entered once before a witness, or voided.

Numbers are the bodies here; on paper they have two check digits more (domain/numbers.py). Entering
a sheet stands in the commit of what is recorded from it. Lock order: the runs of sheets that are
named (shared) or voided (alone), by number; then the sheet's own row.
"""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from msgspec import Struct

from timebank.db import Connection, as_struct, load_queries
from timebank.domain.errors import (
    InvalidInputError,
    NotFoundError,
    SheetNotIssuedError,
    SheetUsedError,
)

_QUERIES = load_queries(__package__)

LARGEST_RUN = 10_000


class SheetKind(StrEnum):
    """What a form is for."""

    REGISTRATION = "registration"
    CONSENT = "consent"
    ATTENDANCE = "attendance"
    REDEMPTION = "redemption"


class VoidReason(StrEnum):
    """Why a sheet will never be entered."""

    SPOILT = "spoilt"
    LOST = "lost"
    NEVER_USED = "never_used"
    FILLED_IN_WRONGLY = "filled_in_wrongly"


class SheetRun(Struct, frozen=True, kw_only=True):
    """Sheets that were printed in one go; `issued_to` has to account for every one of them."""

    first_number: int
    last_number: int
    kind: SheetKind
    issued_to: UUID
    issued_by: UUID
    issued_at: datetime


class Sheet(Struct, frozen=True, kw_only=True):
    """What became of a sheet: `fate` is entered or voided."""

    number: int
    fate: str
    operator_id: UUID
    witness_id: UUID | None
    member_id: UUID | None
    subject_id: UUID | None
    void_reason: VoidReason | None
    recorded_at: datetime


async def issue_sheets(
    connection: Connection,
    bank_id: int,
    count: int,
    kind: SheetKind,
    *,
    issued_to: UUID,
    issued_by: UUID,
) -> SheetRun:
    """Return the next run of so many numbers, to be printed; InvalidInputError for too many."""
    if not 1 <= count <= LARGEST_RUN:
        raise InvalidInputError(f"A run has 1 to {LARGEST_RUN:,} sheets.", pointer="/count")
    record = await connection.fetchrow(
        _QUERIES["issue_sheets"], bank_id, count, kind, issued_to, issued_by
    )
    return as_struct(record, SheetRun)


async def enter_sheet(
    connection: Connection,
    bank_id: int,
    number: int,
    kind: SheetKind,
    *,
    member_id: UUID,
    operator_id: UUID,
    witness_id: UUID,
    subject_id: UUID | None = None,
) -> None:
    """Note that a member's sheet was typed in by an operator before a witness.

    Call it first in the transaction that records what the sheet says; `subject_id` is that.
    SheetUsedError for a number that was entered or voided before, SheetNotIssuedError,
    SecondPersonNeededError unless they are three persons, NotFoundError for one who is none.
    """
    entered = await connection.fetchval(
        _QUERIES["enter_sheet"],
        bank_id,
        number,
        kind,
        operator_id,
        witness_id,
        member_id,
        subject_id,
    )
    if entered is None:
        raise SheetNotIssuedError


async def check_sheets(
    connection: Connection, bank_id: int, numbers: Sequence[int], kind: SheetKind
) -> None:
    """Raise unless these may be named: SheetNotIssuedError, SheetUsedError for a voided one.

    They are not voided before the transaction ends.
    """
    await connection.execute(_QUERIES["hold_sheets"], bank_id, list(numbers), False)
    unfit = await connection.fetchrow(_QUERIES["find_unfit_sheets"], bank_id, list(numbers), kind)
    if unfit["not_issued"]:
        raise SheetNotIssuedError
    if unfit["voided"]:
        raise SheetUsedError


async def list_fit_sheets(
    connection: Connection, bank_id: int, numbers: Sequence[int], kind: SheetKind
) -> set[int]:
    """Return those that were printed for this and have been used by nobody; they stay so."""
    await connection.execute(_QUERIES["hold_sheets"], bank_id, list(numbers), True)
    records = await connection.fetch(_QUERIES["list_fit_sheets"], bank_id, list(numbers), kind)
    return {record["number"] for record in records}


async def void_sheets(
    connection: Connection,
    bank_id: int,
    numbers: Sequence[int],
    reason: VoidReason,
    *,
    operator_id: UUID,
) -> None:
    """Take sheets out of use for good, all or none; SheetUsedError, SheetNotIssuedError."""
    await connection.execute(
        _QUERIES["void_sheets"], bank_id, sorted(set(numbers)), operator_id, reason
    )


async def find_sheet(connection: Connection, bank_id: int, number: int) -> Sheet | None:
    """Return what became of a sheet; None if nothing yet."""
    record = await connection.fetchrow(_QUERIES["find_sheet"], bank_id, number)
    return None if record is None else as_struct(record, Sheet)


async def list_runs(
    connection: Connection,
    bank_id: int,
    issued_to: UUID | None = None,
    *,
    within: UUID | None = None,
) -> list[SheetRun]:
    """Return the runs in the order of their numbers, of one party and within a branch if given."""
    records = await connection.fetch(_QUERIES["list_runs"], bank_id, issued_to, within)
    return [as_struct(record, SheetRun) for record in records]


async def list_holders(connection: Connection, bank_id: int, numbers: Sequence[int]) -> list[UUID]:
    """Return to whom sheets of these numbers were issued."""
    records = await connection.fetch(_QUERIES["list_sheet_holders"], bank_id, list(numbers))
    return [record["issued_to"] for record in records]


async def list_missing(connection: Connection, bank_id: int, first_number: int) -> list[int]:
    """Return the numbers of a run that were neither entered, cited nor voided; NotFoundError."""
    record = await connection.fetchrow(_QUERIES["list_missing"], bank_id, first_number)
    if record is None:
        raise NotFoundError
    return list(record["numbers"])
