"""Activities: planned once or by a rule, cancelled one by one or all."""

import asyncio
import threading
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from tests.book import Book
from tests.service.programme import FRIDAY, MAKER, Programme, at
from timebank.domain.errors import InvalidInputError, NotFoundError
from timebank.domain.schedule import list_starts
from timebank.domain.service import CancelReason
from timebank.domain.service_errors import CategoryExistsError, InsuranceMissingError
from timebank.ledger.ids import new_id
from timebank.service import activities
from timebank.service.activities import (
    add_team,
    cancel_activity,
    cancel_shift,
    get_activity,
    get_shift,
    list_activities,
    plan_shifts,
)
from timebank.service.categories import get_category, list_categories

WEEKLY = "FREQ=WEEKLY;BYDAY=FR"


def local_now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None, second=0, microsecond=0)


async def test_every_friday_from_nine_to_eleven(programme: Programme) -> None:
    activity = await programme.make_activity(rule=WEEKLY, capacity=12, branch_id=new_id())
    shifts = await programme.shifts(activity.activity_id)
    assert [(shift.starts_at, shift.ends_at) for shift in shifts[:2]] == [
        (at("2026-01-02 09:00"), at("2026-01-02 11:00")),
        (at("2026-01-09 09:00"), at("2026-01-09 11:00")),
    ]
    assert (len(shifts), shifts[-1].served_on) == (14, date(2026, 4, 3))
    assert {shift.category_id for shift in shifts} == {programme.category_id}
    assert await programme.run(get_activity, activity.activity_id) == activity
    assert (activity.capacity, activity.rule, activity.first_start) == (12, WEEKLY, FRIDAY)


async def test_planning_again_adds_only_what_is_new(programme: Programme) -> None:
    activity = await programme.make_activity(rule=WEEKLY)
    before = await programme.shifts(activity.activity_id)
    await programme.run(cancel_shift, MAKER, before[1].shift_id, CancelReason.WEATHER)
    for _ in range(2):
        span = date(2026, 1, 1), date(2026, 5, 1)
        planned = await programme.run(plan_shifts, activity.activity_id, *span)
    assert len(planned) == 18
    assert [shift.shift_id for shift in planned[:14]] == [shift.shift_id for shift in before]
    planning = [programme.run(plan_shifts, activity.activity_id, *span) for _ in range(4)]
    assert [len(shifts) for shifts in await asyncio.gather(*planning)] == [18] * 4


async def test_what_goes_on_since_long_ago_is_planned_from_last_month_on(
    programme: Programme, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one step, and beside the others' work: the rule is walked from its first day."""
    walked_in: set[threading.Thread] = set()

    def walk(*span: Any) -> list[datetime]:
        walked_in.add(threading.current_thread())
        return list_starts(*span)

    activity = await programme.make_activity(first_start=datetime(1900, 1, 1, 9), rule="FREQ=DAILY")
    first = await programme.shifts(activity.activity_id)
    monkeypatch.setattr(activities, "list_starts", walk)
    today = date(2026, 6, 15)
    planned = [await programme.run(activities.plan_ahead, today) for _ in range(2)]
    assert planned == [31 + 1 + 92, None]
    shifts = (await programme.shifts(activity.activity_id))[len(first) :]
    days = [shift.served_on for shift in shifts]
    assert days == [today + timedelta(days=n) for n in range(-31, 93)]
    assert walked_in
    assert threading.main_thread() not in walked_in


async def test_over_midnight_and_over_a_changed_clock(programme: Programme) -> None:
    patrol = await programme.make_shift(first_start=datetime(2026, 1, 2, 22), wall_minutes=240)
    assert (patrol.served_on, patrol.ends_at) == (date(2026, 1, 2), at("2026-01-03 02:00"))
    short_night = await programme.make_shift(first_start=datetime(1986, 5, 3, 22), wall_minutes=360)
    assert short_night.starts_at
    assert short_night.ends_at == short_night.starts_at + timedelta(hours=5)


async def test_a_leap_day_activity_comes_back_in_four_years(programme: Programme) -> None:
    activity = await programme.make_activity(
        first_start=datetime(2024, 2, 29, 9), rule="FREQ=YEARLY"
    )
    planned = await programme.run(
        plan_shifts, activity.activity_id, date(2024, 1, 1), date(2030, 1, 1)
    )
    assert [shift.served_on for shift in planned] == [date(2024, 2, 29), date(2028, 2, 29)]


async def test_a_risky_category_needs_an_insurance(programme: Programme) -> None:
    risky = await programme.open_category("flood-watch", is_risky=True)
    with pytest.raises(InsuranceMissingError):
        await programme.make_activity(category_id=risky)
    activity = await programme.make_activity(category_id=risky, insurance_ref="PICC-2026-1")
    assert activity.insurance_ref == "PICC-2026-1"


async def test_a_category_is_mandatory(programme: Programme) -> None:
    with pytest.raises(NotFoundError):
        await programme.make_activity(category_id=new_id())
    [category] = await programme.run(list_categories)
    assert category == await programme.run(get_category, programme.category_id)
    with pytest.raises(CategoryExistsError):
        await programme.open_category("cleaning")


@pytest.mark.parametrize(
    ("plan", "pointer"),
    [
        ({"rule": "FREQ=SECONDLY"}, "/rule"),
        ({"rule": "FREQ=WEEKLY;BYDAY=MO"}, "/rule"),
        ({"first_start": FRIDAY.replace(second=1)}, "/first_start"),
        ({"first_start": FRIDAY.replace(tzinfo=UTC)}, "/first_start"),
        ({"wall_minutes": 0}, "/wall_minutes"),
        ({"wall_minutes": 1201}, "/wall_minutes"),
    ],
)
async def test_a_plan_that_cannot_be_is_refused(
    programme: Programme, plan: dict[str, object], pointer: str
) -> None:
    with pytest.raises(InvalidInputError) as refused:
        await programme.make_activity(**plan)
    assert refused.value.pointer == pointer
    assert await programme.run(list_activities) == []


async def test_one_shift_is_cancelled(programme: Programme) -> None:
    tomorrow = local_now() + timedelta(days=1)
    activity = await programme.make_activity(first_start=tomorrow, rule="FREQ=DAILY;COUNT=3")
    first, second, _ = await programme.shifts(activity.activity_id)
    cancelling = (cancel_shift, MAKER, second.shift_id, CancelReason.TOO_FEW)
    assert [await programme.run(*cancelling) for _ in range(2)] == [True, False]
    assert (await programme.run(get_shift, first.shift_id)).cancelled_at is None
    assert (await programme.run(get_shift, second.shift_id)).cancelled_at is not None


async def test_what_has_begun_is_not_cancelled_with_the_activity(programme: Programme) -> None:
    yesterday = local_now() - timedelta(days=1)
    activity = await programme.make_activity(first_start=yesterday, rule="FREQ=DAILY;COUNT=4")
    shifts = await programme.shifts(activity.activity_id)
    begun = [shift for shift in shifts if shift.starts_at and shift.starts_at < datetime.now(UTC)]
    cancelling = (cancel_activity, MAKER, activity.activity_id, CancelReason.ORGANISER)
    cancelled = await programme.run(*cancelling)
    assert set(cancelled) == {shift.shift_id for shift in shifts} - {s.shift_id for s in begun}
    assert begun
    assert await programme.run(*cancelling) == []
    later = date(2099, 1, 1)
    planned = await programme.run(plan_shifts, activity.activity_id, yesterday.date(), later)
    assert len(planned) == 4  # nothing new of what is cancelled


async def test_teams_of_several_organisations_attend(programme: Programme) -> None:
    party_unit, society = sorted([new_id(), new_id()])
    activity = await programme.make_activity(team_ids=(party_unit,))
    for _ in range(2):
        activity = await programme.run(add_team, activity.activity_id, society)
    assert sorted(activity.team_ids) == [party_unit, society]


async def test_a_bank_sees_only_its_own(programme: Programme) -> None:
    other = await Programme.open(await Book.open(programme.book.pool))
    activity = await programme.make_activity()
    with pytest.raises(NotFoundError):
        await other.run(get_activity, activity.activity_id)
    assert await other.run(list_activities) == []
