"""Activities and their shifts: planned once or by a rule, cancelled one by one or all."""

import asyncio
import secrets
from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from uuid import UUID

from timebank.db import Connection, as_struct, load_queries
from timebank.domain.errors import InvalidInputError, NotFoundError
from timebank.domain.schedule import (
    LONGEST_SHIFT_MINUTES,
    FaultyRuleError,
    list_starts,
    parse_rule,
    to_instants,
)
from timebank.domain.service import Activity, ActivityPlan, CancelReason, Category, Shift
from timebank.domain.service_errors import InsuranceMissingError
from timebank.ledger.banks import get_zone
from timebank.ledger.ids import new_id
from timebank.service.categories import get_category

_QUERIES = load_queries(__package__)

PLANNED_AHEAD = timedelta(days=92)
"""How far from its first start an activity's shifts are planned when it is made, and from today
by `plan_ahead`."""

PLANNED_BACK = timedelta(days=31)
"""How far back `plan_ahead` makes up for what was not planned in time."""

PLANNED_EACH = timedelta(days=7)
"""A recurring activity is planned on when it has so much less left."""


async def make_activity(
    connection: Connection, bank_id: int, actor_id: UUID, plan: ActivityPlan
) -> Activity:
    """Make an activity and plan its first shifts; `plan_shifts` plans those that follow.

    NotFoundError if there is no such category, InsuranceMissingError if it is a risky one and no
    insurance is named, InvalidInputError for a start, a rule or a length that cannot be.
    """
    category = await get_category(connection, bank_id, plan.category_id)
    if category.is_risky and not plan.insurance_ref:
        raise InsuranceMissingError
    if not 0 < plan.wall_minutes <= LONGEST_SHIFT_MINUTES:
        raise InvalidInputError(
            f"A shift lasts from 1 to {LONGEST_SHIFT_MINUTES} minutes.", pointer="/wall_minutes"
        )
    start = plan.first_start
    if start.tzinfo or start.second or start.microsecond:
        raise InvalidInputError(
            "The first start is a local time in whole minutes, such as 2026-01-02T09:00.",
            pointer="/first_start",
        )
    if plan.rule is not None:
        try:
            parse_rule(plan.rule, plan.first_start)
        except FaultyRuleError as fault:
            raise InvalidInputError(str(fault), pointer="/rule") from fault
    activity_id = new_id()
    await connection.execute(
        _QUERIES["make_activity"],
        bank_id,
        activity_id,
        plan.category_id,
        plan.title,
        plan.organiser_id,
        plan.branch_id,
        plan.service_point_id,
        plan.first_start,
        plan.wall_minutes,
        plan.rule,
        plan.capacity,
        plan.insurance_ref,
        actor_id,
        plan.first_start.date() + PLANNED_AHEAD if plan.rule else None,
    )
    await connection.execute(_QUERIES["add_teams"], bank_id, activity_id, list(plan.team_ids))
    await connection.execute(
        _QUERIES["keep_code_secret"], bank_id, activity_id, secrets.token_bytes(32)
    )
    first_on = plan.first_start.date()
    await plan_shifts(connection, bank_id, activity_id, first_on, first_on + PLANNED_AHEAD)
    return await get_activity(connection, bank_id, activity_id)


async def add_team(
    connection: Connection, bank_id: int, activity_id: UUID, team_id: UUID
) -> Activity:
    """Let an organisation or a 双报到 unit attend as such; again is harmless."""
    await get_activity(connection, bank_id, activity_id)
    await connection.execute(_QUERIES["add_teams"], bank_id, activity_id, [team_id])
    return await get_activity(connection, bank_id, activity_id)


async def get_activity(connection: Connection, bank_id: int, activity_id: UUID) -> Activity:
    """Return the activity; NotFoundError if there is none."""
    record = await connection.fetchrow(_QUERIES["list_activities"], bank_id, activity_id, None, 1)
    if record is None:
        raise NotFoundError
    return as_struct(record, Activity)


async def list_activities(
    connection: Connection, bank_id: int, *, after: UUID | None = None, limit: int = 50
) -> list[Activity]:
    """Return activities in the order of their ids, the oldest first."""
    records = await connection.fetch(_QUERIES["list_activities"], bank_id, None, after, limit)
    return [as_struct(record, Activity) for record in records]


async def list_titles(
    connection: Connection, bank_id: int, subject_ids: Iterable[UUID]
) -> Mapping[UUID, str]:
    """Return the titles of those activities and wishes that awards are about."""
    records = await connection.fetch(_QUERIES["list_titles"], bank_id, list(subject_ids))
    return {record["subject_id"]: record["title"] for record in records}


async def plan_shifts(
    connection: Connection, bank_id: int, activity_id: UUID, from_on: date, until_on: date
) -> list[Shift]:
    """Plan the shifts between two local dates, both included, and return all that are there.

    Those planned before stay as they are, also the cancelled ones: again is harmless. At most
    `schedule.MOST_OCCURRENCES` are planned at once.
    """
    activity = await get_activity(connection, bank_id, activity_id)
    await _plan(connection, bank_id, activity, from_on, until_on)
    return await list_shifts(connection, bank_id, from_on, until_on, activity_id=activity_id)


async def plan_ahead(connection: Connection, bank_id: int, today: date) -> int | None:
    """Plan the next shifts of one recurring activity; say how many are new, None if none is due.

    From where it was planned to, or from PLANNED_BACK if that lies further back: what it missed
    before that, `plan_shifts` adds. Locks the activity; one that another locks is passed over.
    Run it until it answers None.
    """
    horizon = today + PLANNED_AHEAD
    row = await connection.fetchrow(
        _QUERIES["claim_activity_to_plan"], bank_id, horizon - PLANNED_EACH
    )
    if row is None or row["activity_id"] is None:
        return None
    activity = await get_activity(connection, bank_id, row["activity_id"])
    from_on = max(row["planned_until"] + timedelta(days=1), today - PLANNED_BACK)
    planned = await _plan(connection, bank_id, activity, from_on, horizon)
    await connection.execute(_QUERIES["note_planned"], bank_id, activity.activity_id, horizon)
    return planned


async def _plan(
    connection: Connection, bank_id: int, activity: Activity, from_on: date, until_on: date
) -> int:
    """Plan what is not there yet of an activity that goes on; return how many shifts are new."""
    if not activity.first_start or not activity.wall_minutes or activity.cancelled_at:
        return 0
    zone = await get_zone(connection, bank_id)
    starts = await asyncio.to_thread(  # a rule is walked from its first start: 1900, at worst
        list_starts, activity.first_start, activity.rule, from_on, until_on
    )
    spans = [to_instants(start, activity.wall_minutes, zone) for start in starts]
    planned = await connection.fetch(
        _QUERIES["plan_shifts"],
        bank_id,
        activity.activity_id,
        [new_id() for _ in spans],
        [begins.astimezone(zone).date() for begins, _ in spans],
        [begins for begins, _ in spans],
        [ends for _, ends in spans],
    )
    return len(planned)


async def get_shift(connection: Connection, bank_id: int, shift_id: UUID) -> Shift:
    """Return the shift; NotFoundError if there is none."""
    record = await connection.fetchrow(_QUERIES["find_shift"], bank_id, shift_id)
    if record is None:
        raise NotFoundError
    return as_struct(record, Shift)


async def get_planned_shift(
    connection: Connection, bank_id: int, shift_id: UUID
) -> tuple[Shift, datetime, datetime]:
    """Return the shift, its start and its end; NotFoundError if there is none with a plan."""
    shift = await get_shift(connection, bank_id, shift_id)
    if shift.starts_at is None or shift.ends_at is None:
        raise NotFoundError
    return shift, shift.starts_at, shift.ends_at


async def list_shifts(
    connection: Connection,
    bank_id: int,
    from_on: date,
    until_on: date,
    *,
    activity_id: UUID | None = None,
) -> list[Shift]:
    """Return the shifts between two local dates by their start, those of one activity if given."""
    records = await connection.fetch(
        _QUERIES["list_shifts"], bank_id, activity_id, from_on, until_on
    )
    return [as_struct(record, Shift) for record in records]


async def cancel_shift(
    connection: Connection, bank_id: int, actor_id: UUID, shift_id: UUID, reason: CancelReason
) -> bool:
    """Cancel one shift; False if it was cancelled before, or has begun."""
    shift = await get_shift(connection, bank_id, shift_id)
    cancelled = await connection.fetch(
        _QUERIES["cancel_shifts"], bank_id, shift.activity_id, shift_id, actor_id, reason
    )
    return bool(cancelled)


async def cancel_activity(
    connection: Connection, bank_id: int, actor_id: UUID, activity_id: UUID, reason: CancelReason
) -> list[UUID]:
    """Cancel an activity for good; return its shifts that were cancelled with it now.

    Those that have begun stay: what was served counts.
    """
    await get_activity(connection, bank_id, activity_id)
    cancelled = await connection.fetch(
        _QUERIES["cancel_shifts"], bank_id, activity_id, None, actor_id, reason
    )
    return [shift_id for (shift_id,) in cancelled]


async def ensure_imported(
    connection: Connection,
    bank_id: int,
    titles: Mapping[str, str],
    *,
    category: Category,
    organiser_id: UUID,
    actor_id: UUID,
) -> Mapping[str, UUID]:
    """Return the activity_id of each event of a rota in `titles`, made now if it is new.

    One that exists keeps its title and category. New rows are written in the order of the
    events' names, so that two callers at once wait and do not deadlock.
    """
    refs = sorted(titles)
    await connection.execute(
        _QUERIES["register_activities"],
        bank_id,
        [new_id() for _ in refs],
        refs,
        [titles[ref] for ref in refs],
        category.category_id,
        organiser_id,
        actor_id,
    )
    records = await connection.fetch(_QUERIES["list_activity_ids_by_refs"], bank_id, refs)
    return {record["source_ref"]: record["activity_id"] for record in records}
