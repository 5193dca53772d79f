"""What the access matrix asks about service: activities, shifts, attendance, records and wishes."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from tests.api.things import Maker, Things
from timebank.db import Connection
from timebank.domain.service import ActivityPlan, Claim, Evidence, RecordNote
from timebank.domain.suspicions import Reason
from timebank.ledger.ids import new_id
from timebank.people.parties import PartyKind, register_parties
from timebank.service.activities import list_shifts, make_activity
from timebank.service.anomalies import hold_activity
from timebank.service.attendance import check_in, close_forgotten, get_code
from timebank.service.awards import confirm_records
from timebank.service.categories import open_category
from timebank.service.honours import nominate, open_honour_title
from timebank.service.records import claim_service, submit_records
from timebank.service.sign_ups import sign_up
from timebank.service.wishes import assign_wish, collect_wish, finish_wish

NOTE = Evidence(note=RecordNote.FORGOT_TO_CHECK_IN)


async def _do(things: Things, work: Callable[..., Awaitable[Any]], *args: Any, **rest: Any) -> Any:
    """Do something in a transaction of its own."""
    async with things.book.pool.acquire() as connection, connection.transaction():
        return await work(connection, things.book.bank_id, *args, **rest)


def _past() -> datetime:
    """An instant of yesterday, in whole minutes."""
    return datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(days=1)


async def _category(things: Things) -> UUID:
    code = f"c{new_id().hex[-12:]}"
    category = await _do(things, open_category, code, "卫生清洁")
    return UUID(str(category.category_id))


async def _activity_at(things: Things, start: datetime) -> UUID:
    local = start.astimezone(things.book.bank.zone).replace(tzinfo=None, second=0, microsecond=0)
    plan = ActivityPlan(
        category_id=await things.get("category_id"),
        title="周五大扫除",
        organiser_id=new_id(),
        first_start=local,
        wall_minutes=120,
        branch_id=things.branch_id,
    )
    activity = await _do(things, make_activity, new_id(), plan)
    return UUID(str(activity.activity_id))


async def _shift_at(things: Things, start: datetime) -> UUID:
    activity_id = await _activity_at(things, start)
    day = start.astimezone(things.book.bank.zone).date()
    [shift] = await _do(things, list_shifts, day, day, activity_id=activity_id)
    return UUID(str(shift.shift_id))


async def _activity(things: Things) -> UUID:
    return await _activity_at(things, datetime.now(UTC) + timedelta(days=1))


async def _shift(things: Things) -> UUID:
    """Not begun, and already open for those who come."""
    return await _shift_at(things, datetime.now(UTC) + timedelta(minutes=15))


async def _past_shift(things: Things) -> UUID:
    return await _shift_at(things, _past())


async def _joined_shift(things: Things) -> UUID:
    shift_id = await _shift(things)
    await _do(
        things,
        sign_up,
        things.owner_id,
        shift_id=shift_id,
        person_id=things.owner_id,
        now=datetime.now(UTC),
    )
    return shift_id


async def _attended_shift(things: Things) -> UUID:
    shift_id = await _joined_shift(things)
    now = datetime.now(UTC)
    await _do(things, check_in, new_id(), shift_id=shift_id, person_id=things.owner_id, now=now)
    return shift_id


async def _code_of(things: Things, shift: str) -> str:
    shift_id = await things.get(shift)
    return str(await _do(things, get_code, shift_id, datetime.now(UTC)))


async def _code_of_joined(things: Things) -> str:
    return await _code_of(things, "joined_shift_id")


async def _code_of_attended(things: Things) -> str:
    return await _code_of(things, "attended_shift_id")


async def _attendance(things: Things) -> UUID:
    """One that nobody checked out of: it waits for a review."""
    shift_id, then = await _past_shift(things), _past() + timedelta(minutes=5)
    who = things.owner_id
    await _do(things, check_in, new_id(), shift_id=shift_id, person_id=who, now=then)
    [attendance_id] = await _do(things, close_forgotten, datetime.now(UTC))
    return UUID(str(attendance_id))


async def _draft(things: Things) -> UUID:
    start = _past()
    claim = Claim(
        person_id=things.owner_id,
        shift_id=await things.get("past_shift_id"),
        started_at=start,
        ended_at=start + timedelta(minutes=60),
        evidence=NOTE,
    )
    [record] = await _do(things, claim_service, new_id(), [claim])
    return UUID(str(record.record_id))


async def _record(things: Things) -> UUID:
    record_id = await _draft(things)
    await _do(things, submit_records, [record_id])
    return record_id


async def _confirmed(things: Things) -> UUID:
    record_id = await _record(things)
    await _do(things, confirm_records, new_id(), [record_id])
    return record_id


async def _started_at(things: Things) -> str:
    return _past().isoformat()


async def _ended_at(things: Things) -> str:
    return (_past() + timedelta(minutes=30)).isoformat()


async def _volunteer(things: Things) -> UUID:
    person = new_id()
    async with things.book.pool.acquire() as connection:
        await register_parties(connection, things.book.bank_id, PartyKind.PERSON, [person])
    return person


async def _wish(things: Things) -> UUID:
    wish = await _do(
        things,
        collect_wish,
        new_id(),
        category_id=await things.get("category_id"),
        title="修一盏灯",
        served_id=things.owner_id,
        branch_id=things.branch_id,
    )
    return UUID(str(wish.wish_id))


async def _assigned_wish(things: Things) -> UUID:
    wish_id, volunteer = await _wish(things), await things.get("volunteer_id")
    await _do(things, assign_wish, new_id(), wish_id, volunteer)
    return wish_id


async def _done_wish(things: Things) -> UUID:
    wish_id, start = await _assigned_wish(things), _past()

    async def finish(connection: Connection, bank_id: int) -> None:
        await finish_wish(
            connection,
            bank_id,
            new_id(),
            wish_id,
            started_at=start,
            ended_at=start + timedelta(minutes=30),
            evidence=NOTE,
        )

    await _do(things, finish)
    return wish_id


async def _question(things: Things) -> str:
    return f"{await things.get('category_id')}:30"


async def _title(things: Things) -> UUID:
    title = await _do(things, open_honour_title, f"h{new_id().hex[-12:]}", "涧贤榜样")
    return UUID(str(title.title_id))


async def _honour(things: Things) -> UUID:
    """Nominated, and not decided."""
    honour = await _do(
        things,
        nominate,
        new_id(),
        title_id=await things.get("title_id"),
        person_id=things.owner_id,
        year=2026,
    )
    return UUID(str(honour.honour_id))


async def _held_activity(things: Things) -> UUID:
    activity_id = await _activity(things)
    await _do(things, hold_activity, new_id(), activity_id, Reason.NO_SPREAD)
    return activity_id


SERVICE_MAKERS: Mapping[str, Maker] = {
    "activity_id": _activity,
    "assigned_wish_id": _assigned_wish,
    "attendance_id": _attendance,
    "held_activity_id": _held_activity,
    "honour_id": _honour,
    "title_id": _title,
    "attended_shift_id": _attended_shift,
    "category_id": _category,
    "code_of_attended": _code_of_attended,
    "code_of_joined": _code_of_joined,
    "confirmed_id": _confirmed,
    "done_wish_id": _done_wish,
    "draft_id": _draft,
    "ended_at": _ended_at,
    "joined_shift_id": _joined_shift,
    "past_shift_id": _past_shift,
    "question": _question,
    "record_id": _record,
    "shift_id": _shift,
    "started_at": _started_at,
    "volunteer_id": _volunteer,
    "wish_id": _wish,
}
