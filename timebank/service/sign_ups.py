"""Signing up for a shift: first come, first served; who comes later waits for a place.

Nothing is stored about who waits: a place belongs to the first by their order, as many as the
activity takes. So a place that is given up goes to the next by itself.
Lock order: the shift.
"""

from datetime import datetime
from uuid import UUID

from timebank.db import Connection, as_struct, load_queries
from timebank.domain.errors import NotFoundError
from timebank.domain.service import RosterEntry
from timebank.domain.service_errors import TeamNotAttendingError
from timebank.people.parties import check_persons
from timebank.service.activities import get_shift

_QUERIES = load_queries(__package__)


async def sign_up(
    connection: Connection,
    bank_id: int,
    actor_id: UUID,
    *,
    shift_id: UUID,
    person_id: UUID,
    now: datetime,
    team_id: UUID | None = None,
) -> RosterEntry:
    """Sign a person up; the answer says whether they have a place or wait. Again is harmless.

    NotFoundError, ShiftClosedError, TeamNotAttendingError.
    """
    shift = await get_shift(connection, bank_id, shift_id)
    await check_persons(connection, bank_id, [person_id])
    await check_team(connection, bank_id, shift.activity_id, team_id)
    await connection.execute(
        _QUERIES["join_shift"], bank_id, shift_id, person_id, team_id, actor_id, now
    )
    entry = await find_roster_entry(connection, bank_id, shift_id, person_id)
    if entry is None:
        raise NotFoundError
    return entry


async def leave(
    connection: Connection, bank_id: int, *, shift_id: UUID, person_id: UUID, now: datetime
) -> list[UUID]:
    """Give a person's place up; return who got it, if anybody waited. Again is harmless.

    NotFoundError, ShiftClosedError.
    """
    await get_shift(connection, bank_id, shift_id)
    promoted = await connection.fetch(_QUERIES["leave_shift"], bank_id, shift_id, person_id, now)
    return [person for (person,) in promoted]


async def list_roster(connection: Connection, bank_id: int, shift_id: UUID) -> list[RosterEntry]:
    """Return who signed up in their order: first those with a place, then those who wait."""
    records = await connection.fetch(_QUERIES["list_roster"], bank_id, shift_id)
    return [as_struct(record, RosterEntry) for record in records]


async def find_roster_entry(
    connection: Connection, bank_id: int, shift_id: UUID, person_id: UUID
) -> RosterEntry | None:
    """Return where a person stands on the roster, if they do."""
    record = await connection.fetchrow(_QUERIES["find_roster_entry"], bank_id, shift_id, person_id)
    return record and as_struct(record, RosterEntry)


async def check_team(
    connection: Connection, bank_id: int, activity_id: UUID, team_id: UUID | None
) -> None:
    """Raise TeamNotAttendingError unless the team attends the activity; None is no team."""
    if team_id and not await connection.fetchval(
        _QUERIES["has_team"], bank_id, activity_id, team_id
    ):
        raise TeamNotAttendingError
