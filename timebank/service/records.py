"""Service records: written down by one, handed in, and confirmed by another (awards.py) or not.

What was checked in becomes records by itself; what was not is back-filled or taken from a sheet of
paper, with evidence. A record's time runs from minute to minute, so that any cut of it adds up.
"""

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from uuid import UUID

from msgspec import Struct

from timebank.db import Connection, as_struct, load_queries
from timebank.domain.attendance import counted_time
from timebank.domain.errors import InvalidInputError, NotFoundError
from timebank.domain.ledger import AccountKind, Unit
from timebank.domain.schedule import LocalTime, by_local_day, floor_minute
from timebank.domain.service import (
    Attendance,
    Claim,
    Evidence,
    RecordSource,
    RecordStatus,
    ServiceRecord,
    Shift,
)
from timebank.ledger.accounts import ensure_accounts
from timebank.ledger.banks import get_zone
from timebank.ledger.ids import new_id
from timebank.people.parties import check_persons
from timebank.service.activities import get_shift

_QUERIES = load_queries(__package__)

NO_EVIDENCE = Evidence()


class Entry(Struct, frozen=True, kw_only=True):
    """A record to be written; `ended_at` None where only the day is known."""

    record_id: UUID
    person_id: UUID
    category_id: UUID
    time: LocalTime
    occurred_at: datetime
    ended_at: datetime | None
    activity_id: UUID | None = None
    shift_id: UUID | None = None
    wish_id: UUID | None = None
    attendance_id: UUID | None = None
    evidence: Evidence = NO_EVIDENCE


async def record_attendances(
    connection: Connection, bank_id: int, actor_id: UUID, shift_id: UUID
) -> list[ServiceRecord]:
    """Draft a record of each attendance at a shift that is over and has none yet.

    What is 待核 is left until it is reviewed; who stayed less than a minute served none.
    NotFoundError; SecondPersonNeededError if the actor is among those who attended.
    """
    shift = await get_shift(connection, bank_id, shift_id)
    zone = await get_zone(connection, bank_id)
    rows = await connection.fetch(_QUERIES["list_unrecorded_attendances"], bank_id, shift_id)
    entries = []
    for attendance in [as_struct(row, Attendance) for row in rows]:
        if shift.starts_at is None or attendance.checked_out_at is None:
            continue
        counted = counted_time(attendance.checked_in_at, attendance.checked_out_at, shift.starts_at)
        if counted:
            entries.append(
                Entry(
                    record_id=new_id(),
                    person_id=attendance.person_id,
                    category_id=shift.category_id,
                    time=by_local_day(*counted, zone),
                    occurred_at=counted[0],
                    ended_at=counted[1],
                    activity_id=shift.activity_id,
                    shift_id=shift_id,
                    attendance_id=attendance.attendance_id,
                )
            )
    await write_records(connection, bank_id, actor_id, RecordSource.CHECKED_IN, entries)
    return await list_records(connection, bank_id, [entry.record_id for entry in entries])


async def claim_service(
    connection: Connection, bank_id: int, actor_id: UUID, claims: Sequence[Claim]
) -> list[ServiceRecord]:
    """Draft back-filled and paper records, all or none, in the order of the claims.

    NotFoundError, EvidenceMissingError, SecondPersonNeededError for one's own service,
    RecordedAlreadyError for a line of a sheet that was entered before, InvalidInputError for a
    time that is none or not of the shift's day.
    """
    zone = await get_zone(connection, bank_id)
    entries: dict[RecordSource, list[Entry]] = {source: [] for source in RecordSource}
    for place, claim in enumerate(claims):
        shift = await get_shift(connection, bank_id, claim.shift_id)
        try:
            time = by_local_day(claim.started_at, claim.ended_at, zone)
        except ValueError as error:
            raise InvalidInputError(str(error), pointer=f"/{place}/ended_at") from error
        check_day(shift, time, f"/{place}/started_at")
        paper = claim.evidence.sheet_number is not None
        entries[RecordSource.PAPER if paper else RecordSource.BACK_FILLED].append(
            Entry(
                record_id=new_id(),
                person_id=claim.person_id,
                category_id=shift.category_id,
                time=time,
                occurred_at=floor_minute(claim.started_at),
                ended_at=floor_minute(claim.ended_at),
                activity_id=shift.activity_id,
                shift_id=shift.shift_id,
                evidence=claim.evidence,
            )
        )
    for source, own in entries.items():
        await write_records(connection, bank_id, actor_id, source, own)
    written = sorted(entry.record_id for own in entries.values() for entry in own)
    return await list_records(connection, bank_id, written)


def check_day(shift: Shift, time: LocalTime, pointer: str) -> None:
    """Raise InvalidInputError unless the time begins on the day of the shift or the day after.

    NotFoundError for a shift that was imported from a rota: it has all its records.
    """
    if shift.starts_at is None:
        raise NotFoundError
    if not 0 <= (time.served_on - shift.served_on).days <= 1:
        raise InvalidInputError("This is not the day of the shift.", pointer=pointer)


async def write_records(
    connection: Connection,
    bank_id: int,
    maker_id: UUID,
    source: RecordSource,
    entries: Sequence[Entry],
    *,
    status: RecordStatus = RecordStatus.DRAFT,
) -> None:
    """Write records of one source and open the wallets they will need; draft or submitted.

    NotFoundError for somebody who is not in the registry.
    """
    people = sorted({entry.person_id for entry in entries})
    await check_persons(connection, bank_id, people)
    for unit in Unit:
        await ensure_accounts(connection, bank_id, unit, AccountKind.WALLET, people)
    await connection.execute(
        _QUERIES["make_records"],
        bank_id,
        [entry.record_id for entry in entries],
        [entry.person_id for entry in entries],
        [entry.category_id for entry in entries],
        [entry.activity_id for entry in entries],
        [entry.shift_id for entry in entries],
        [entry.wish_id for entry in entries],
        [entry.attendance_id for entry in entries],
        [entry.time.served_on for entry in entries],
        [entry.occurred_at for entry in entries],
        [entry.ended_at for entry in entries],
        [entry.time.minutes for entry in entries],
        [entry.time.next_day_minutes for entry in entries],
        source,
        [entry.evidence.sha256 for entry in entries],
        [entry.evidence.note for entry in entries],
        [entry.evidence.sheet_number for entry in entries],
        status,
        maker_id,
    )


async def submit_records(
    connection: Connection, bank_id: int, record_ids: Iterable[UUID]
) -> list[ServiceRecord]:
    """Hand drafts in for a decision, all or none; those handed in before are left as they are.

    NotFoundError, WrongStepError. Locks the records in the order of their ids.
    """
    ids = list(dict.fromkeys(record_ids))
    await connection.execute(_QUERIES["submit_records"], bank_id, ids)
    return await list_records(connection, bank_id, ids)


async def reject_records(
    connection: Connection, bank_id: int, actor_id: UUID, record_ids: Iterable[UUID]
) -> list[ServiceRecord]:
    """Decide that records do not count, all or none; those rejected before are left as they are.

    NotFoundError, WrongStepError, SecondPersonNeededError. Locks the records as above.
    """
    ids = list(dict.fromkeys(record_ids))
    await connection.execute(_QUERIES["reject_records"], bank_id, ids, actor_id)
    return await list_records(connection, bank_id, ids)


async def get_record(connection: Connection, bank_id: int, record_id: UUID) -> ServiceRecord:
    """Return the record; NotFoundError if there is none."""
    for record in await list_records(connection, bank_id, [record_id]):
        return record
    raise NotFoundError


async def list_records(
    connection: Connection, bank_id: int, record_ids: Sequence[UUID]
) -> list[ServiceRecord]:
    """Return those of the records that exist, in the order asked for."""
    rows = await connection.fetch(_QUERIES["list_records"], bank_id, record_ids)
    return [as_struct(row, ServiceRecord) for row in rows]


async def list_records_of_person(
    connection: Connection,
    bank_id: int,
    person_id: UUID,
    *,
    before: tuple[date, UUID] | None = None,
    limit: int = 50,
) -> list[ServiceRecord]:
    """Return a person's records of any status, the latest day first.

    Those before a day and the id of a record of that day, if given.
    """
    day, record_id = before or (None, None)
    rows = await connection.fetch(
        _QUERIES["list_records_of_person"], bank_id, person_id, day, record_id, limit
    )
    return [as_struct(row, ServiceRecord) for row in rows]


async def list_records_of_shift(
    connection: Connection,
    bank_id: int,
    shift_id: UUID,
    *,
    after: UUID | None = None,
    limit: int = 50,
) -> list[ServiceRecord]:
    """Return the records of a shift, of any status, in the order in which they were made."""
    rows = await connection.fetch(
        _QUERIES["list_records_of_shift"], bank_id, shift_id, after, limit
    )
    return [as_struct(row, ServiceRecord) for row in rows]
