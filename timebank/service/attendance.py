"""Being there: check-in and check-out, by the coordinator or by the code that is shown.

`now` is the server's clock, from the edge: what a client says of the time is not asked. Times of
one shift are those of its plan; see timebank/domain/attendance.py for the windows.
"""

from datetime import datetime
from uuid import UUID

from timebank.db import Connection, as_struct, load_queries
from timebank.domain.attendance import (
    CLOSES_AFTER,
    code_at,
    derive_code_key,
    is_code_valid,
    may_check_in,
    may_check_out,
)
from timebank.domain.errors import InvalidInputError, NotFoundError, SecondPersonNeededError
from timebank.domain.service import Attendance, CheckMeans
from timebank.domain.service_errors import (
    CheckInClosedError,
    CheckOutClosedError,
    CodeWrongError,
    NotOnRosterError,
    ShiftClosedError,
    WrongStepError,
)
from timebank.ledger.ids import new_id
from timebank.people.parties import check_persons
from timebank.service.activities import get_planned_shift
from timebank.service.sign_ups import check_team, find_roster_entry

_QUERIES = load_queries(__package__)


async def check_in(
    connection: Connection,
    bank_id: int,
    actor_id: UUID,
    *,
    shift_id: UUID,
    person_id: UUID,
    now: datetime,
    team_id: UUID | None = None,
    means: CheckMeans = CheckMeans.CARD,
) -> Attendance:
    """Check a person in, whom the coordinator sees; who is in already stays in as they are.

    Signed up or not: somebody who comes along is welcome. NotFoundError, ShiftClosedError if it
    is cancelled, CheckInClosedError, TeamNotAttendingError.
    """
    shift, starts_at, ends_at = await get_planned_shift(connection, bank_id, shift_id)
    if shift.cancelled_at is not None:
        raise ShiftClosedError
    if not may_check_in(now, starts_at, ends_at):
        raise CheckInClosedError
    await check_persons(connection, bank_id, [person_id])
    await check_team(connection, bank_id, shift.activity_id, team_id)
    await connection.execute(
        _QUERIES["check_in"],
        bank_id,
        new_id(),
        shift_id,
        person_id,
        team_id,
        now,
        actor_id,
        means,
    )
    return await _get_latest(connection, bank_id, shift_id, person_id)


async def check_in_by_code(
    connection: Connection,
    bank_id: int,
    *,
    shift_id: UUID,
    person_id: UUID,
    code: str,
    now: datetime,
) -> Attendance:
    """Check a person in who has a place and types the code that is shown at the activity.

    CodeWrongError, NotOnRosterError, and what `check_in` raises.
    """
    entry = await find_roster_entry(connection, bank_id, shift_id, person_id)
    if entry is None or not entry.has_place:
        raise NotOnRosterError
    await _check_code(connection, bank_id, shift_id, code, now)
    return await check_in(
        connection,
        bank_id,
        person_id,
        shift_id=shift_id,
        person_id=person_id,
        now=now,
        team_id=entry.team_id,
        means=CheckMeans.CODE,
    )


async def check_out(
    connection: Connection,
    bank_id: int,
    actor_id: UUID,
    *,
    shift_id: UUID,
    person_id: UUID,
    now: datetime,
    means: CheckMeans = CheckMeans.CARD,
) -> Attendance:
    """Check a person out; who is out already stays out as they are.

    NotFoundError if they were never in, CheckOutClosedError when it is too late to be believed.
    """
    _, _, ends_at = await get_planned_shift(connection, bank_id, shift_id)
    if not may_check_out(now, ends_at):
        raise CheckOutClosedError
    await connection.execute(
        _QUERIES["check_out"], bank_id, shift_id, person_id, now, actor_id, means
    )
    return await _get_latest(connection, bank_id, shift_id, person_id)


async def check_out_by_code(
    connection: Connection,
    bank_id: int,
    *,
    shift_id: UUID,
    person_id: UUID,
    code: str,
    now: datetime,
) -> Attendance:
    """Check a person out who types the code that is shown; CodeWrongError if it is another."""
    await _check_code(connection, bank_id, shift_id, code, now)
    return await check_out(
        connection,
        bank_id,
        person_id,
        shift_id=shift_id,
        person_id=person_id,
        now=now,
        means=CheckMeans.CODE,
    )


async def get_code(connection: Connection, bank_id: int, shift_id: UUID, now: datetime) -> str:
    """Return the code to show at a shift now; only who holds the shift may see it."""
    return code_at(await _get_code_key(connection, bank_id, shift_id), now)


async def _check_code(
    connection: Connection, bank_id: int, shift_id: UUID, code: str, now: datetime
) -> None:
    if not is_code_valid(await _get_code_key(connection, bank_id, shift_id), code, now):
        raise CodeWrongError


async def _get_code_key(connection: Connection, bank_id: int, shift_id: UUID) -> bytes:
    shift, _, _ = await get_planned_shift(connection, bank_id, shift_id)
    secret = await connection.fetchval(_QUERIES["find_code_secret"], bank_id, shift.activity_id)
    return derive_code_key(secret, shift_id)


async def close_forgotten(connection: Connection, bank_id: int, now: datetime) -> list[UUID]:
    """Close at the planned end what nobody checked out of in time; return what was closed.

    It is then 待核. A job: again is harmless, and when it runs makes no difference to what it
    writes.
    """
    closed = await connection.fetch(_QUERIES["close_forgotten"], bank_id, now - CLOSES_AFTER)
    return [attendance_id for (attendance_id,) in closed]


async def review_attendance(
    connection: Connection,
    bank_id: int,
    actor_id: UUID,
    attendance_id: UUID,
    checked_out_at: datetime | None = None,
) -> Attendance:
    """Take an attendance out of 待核: the planned end stands, or the person left earlier.

    NotFoundError, SecondPersonNeededError for one's own, InvalidInputError for an instant that
    is not within the attendance, WrongStepError if it waits for no review.
    """
    attendance = await get_attendance(connection, bank_id, attendance_id)
    if attendance.person_id == actor_id:
        raise SecondPersonNeededError
    if attendance.checked_out_at is None or not attendance.is_pending:
        raise WrongStepError
    if checked_out_at is not None and not (
        attendance.checked_in_at <= checked_out_at <= attendance.checked_out_at
    ):
        raise InvalidInputError("They left between check-in and planned end.", pointer="/ended_at")
    if not await connection.fetchval(
        _QUERIES["review_attendance"], bank_id, attendance_id, checked_out_at, actor_id
    ):
        raise WrongStepError
    return await get_attendance(connection, bank_id, attendance_id)


async def get_attendance(connection: Connection, bank_id: int, attendance_id: UUID) -> Attendance:
    """Return the attendance; NotFoundError if there is none."""
    record = await connection.fetchrow(_QUERIES["find_attendance"], bank_id, attendance_id)
    if record is None:
        raise NotFoundError
    return as_struct(record, Attendance)


async def list_attendances(
    connection: Connection, bank_id: int, shift_id: UUID
) -> list[Attendance]:
    """Return who came to a shift, of whatever team, by their check-in."""
    records = await connection.fetch(_QUERIES["list_attendances"], bank_id, shift_id)
    return [as_struct(record, Attendance) for record in records]


async def _get_latest(
    connection: Connection, bank_id: int, shift_id: UUID, person_id: UUID
) -> Attendance:
    record = await connection.fetchrow(
        _QUERIES["find_latest_attendance"], bank_id, shift_id, person_id
    )
    if record is None:
        raise NotFoundError
    return as_struct(record, Attendance)
