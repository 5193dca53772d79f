"""微心愿: a wish is collected, assigned to somebody, granted, and confirmed with its hours.

The hours are a service record of who granted it. The person served pays nothing. Lock order: the
wish, then what awards.py locks.
"""

from datetime import datetime
from uuid import UUID

from timebank.db import Connection, as_struct, load_queries
from timebank.domain.errors import InvalidInputError, NotFoundError
from timebank.domain.schedule import by_local_day, floor_minute
from timebank.domain.service import (
    Award,
    Evidence,
    RecordSource,
    RecordStatus,
    Wish,
    WishStatus,
)
from timebank.domain.service_errors import WrongStepError
from timebank.ledger.banks import get_zone
from timebank.ledger.ids import new_id
from timebank.people.parties import check_persons
from timebank.service.awards import confirm_records
from timebank.service.categories import get_category
from timebank.service.records import Entry, get_record, write_records

_QUERIES = load_queries(__package__)


async def collect_wish(
    connection: Connection,
    bank_id: int,
    actor_id: UUID,
    *,
    category_id: UUID,
    title: str,
    served_id: UUID,
    branch_id: UUID | None = None,
) -> Wish:
    """Put somebody's wish on the wall; the title names nobody. NotFoundError."""
    await get_category(connection, bank_id, category_id)
    await check_persons(connection, bank_id, [served_id])
    wish_id = new_id()
    await connection.execute(
        _QUERIES["collect_wish"],
        bank_id,
        wish_id,
        category_id,
        title,
        served_id,
        branch_id,
        actor_id,
    )
    return await get_wish(connection, bank_id, wish_id)


async def assign_wish(
    connection: Connection, bank_id: int, actor_id: UUID, wish_id: UUID, volunteer_id: UUID
) -> Wish:
    """Give a wish to a volunteer, or back to one whose record of it was rejected.

    NotFoundError, WrongStepError, SecondPersonNeededError if the volunteer wished it.
    """
    wish = await _lock_wish(connection, bank_id, wish_id)
    if wish.record_id is not None:
        record = await get_record(connection, bank_id, wish.record_id)
        if record.status is not RecordStatus.REJECTED:
            raise WrongStepError
    await check_persons(connection, bank_id, [volunteer_id])
    await connection.execute(_QUERIES["assign_wish"], bank_id, wish_id, volunteer_id, actor_id)
    return await get_wish(connection, bank_id, wish_id)


async def hand_back_wish(connection: Connection, bank_id: int, wish_id: UUID) -> Wish:
    """Put an assigned wish back on the wall. NotFoundError, WrongStepError."""
    await _lock_wish(connection, bank_id, wish_id, WishStatus.ASSIGNED)
    await connection.execute(_QUERIES["hand_back_wish"], bank_id, wish_id)
    return await get_wish(connection, bank_id, wish_id)


async def finish_wish(
    connection: Connection,
    bank_id: int,
    actor_id: UUID,
    wish_id: UUID,
    *,
    started_at: datetime,
    ended_at: datetime,
    evidence: Evidence,
) -> Wish:
    """Write down that a wish was granted, and when: a record that waits for a decision.

    NotFoundError, WrongStepError, EvidenceMissingError, SecondPersonNeededError for who granted
    it, InvalidInputError for a time that is none.
    """
    wish = await _lock_wish(connection, bank_id, wish_id, WishStatus.ASSIGNED)
    if wish.assigned_to is None:
        raise WrongStepError
    try:
        time = by_local_day(started_at, ended_at, await get_zone(connection, bank_id))
    except ValueError as error:
        raise InvalidInputError(str(error), pointer="/ended_at") from error
    entry = Entry(
        record_id=new_id(),
        person_id=wish.assigned_to,
        category_id=wish.category_id,
        time=time,
        occurred_at=floor_minute(started_at),
        ended_at=floor_minute(ended_at),
        wish_id=wish_id,
        evidence=evidence,
    )
    source = RecordSource.PAPER if evidence.sheet_number else RecordSource.BACK_FILLED
    await write_records(
        connection, bank_id, actor_id, source, [entry], status=RecordStatus.SUBMITTED
    )
    await connection.execute(_QUERIES["finish_wish"], bank_id, wish_id, entry.record_id)
    return await get_wish(connection, bank_id, wish_id)


async def confirm_wish(
    connection: Connection, bank_id: int, actor_id: UUID, wish_id: UUID
) -> Award:
    """Confirm that a wish was granted, and award its hours and points; again is answered alike.

    NotFoundError, WrongStepError, and what `awards.confirm_records` raises.
    """
    wish = await _lock_wish(connection, bank_id, wish_id, WishStatus.DONE, WishStatus.CONFIRMED)
    if wish.record_id is None:
        raise WrongStepError
    [award] = await confirm_records(connection, bank_id, actor_id, [wish.record_id])
    if wish.status is WishStatus.DONE:
        await connection.execute(_QUERIES["confirm_wish"], bank_id, wish_id)
    return award


async def get_wish(connection: Connection, bank_id: int, wish_id: UUID) -> Wish:
    """Return the wish; NotFoundError if there is none."""
    row = await connection.fetchrow(_QUERIES["find_wish"], bank_id, wish_id)
    if row is None:
        raise NotFoundError
    return as_struct(row, Wish)


async def list_wishes(
    connection: Connection,
    bank_id: int,
    *,
    status: WishStatus | None = None,
    before: UUID | None = None,
    limit: int = 50,
) -> list[Wish]:
    """Return wishes, the latest collected first; of one status, and older than one, if given."""
    rows = await connection.fetch(_QUERIES["list_wishes"], bank_id, status, before, limit)
    return [as_struct(row, Wish) for row in rows]


async def _lock_wish(
    connection: Connection, bank_id: int, wish_id: UUID, *expected: WishStatus
) -> Wish:
    """Return the wish, alone with it; WrongStepError unless it is in one of these statuses."""
    row = await connection.fetchrow(_QUERIES["lock_wish"], bank_id, wish_id)
    if row is None:
        raise NotFoundError
    wish = as_struct(row, Wish)
    if expected and wish.status not in expected:
        raise WrongStepError
    return wish
