"""Rates: versions by day, approved by another, never changing what was confirmed."""

import asyncio
from datetime import date

import pytest

from tests.service.programme import CHECKER, MAKER, OTHER_CHECKER, Programme, at, new_person
from timebank.domain.errors import NotFoundError, SecondPersonNeededError
from timebank.domain.service import Caps
from timebank.domain.service_errors import CapsExistError, RateExistsError, RateTooEarlyError
from timebank.ledger.ids import new_id
from timebank.service.rates import approve_rate, list_rates, propose_rate, set_caps

FIRST, SECOND = date(2026, 1, 1), date(2026, 2, 1)


async def test_a_rate_counts_from_its_day_on(programme: Programme) -> None:
    person = new_person()
    first = await programme.set_rate(programme.category_id, 6, FIRST)
    second = await programme.set_rate(programme.category_id, 60, SECOND)
    days = [("2025-12-31", 10, None), ("2026-01-31", 6, first), ("2026-02-01", 60, second)]
    for day, points, rate_id in days:
        [award] = await programme.confirm(await programme.record(person, at(f"{day} 09:00"), 60))
        assert (award.points, award.points_per_hour, award.rate_id) == (points, points, rate_id)
    assert await programme.wallets(person) == (180, 76)


async def test_a_night_between_two_rates_is_parted_at_midnight(programme: Programme) -> None:
    await programme.set_rate(programme.category_id, 6, FIRST)
    await programme.set_rate(programme.category_id, 12, SECOND)
    [award] = await programme.confirm(
        await programme.record(new_person(), at("2026-01-31 22:00"), 300)
    )
    assert (award.points_per_hour, award.next_points_per_hour) == (6, 12)
    assert award.points == 2 * 6 + 3 * 12


async def test_a_category_may_earn_no_points_and_full_hours(programme: Programme) -> None:
    person = new_person()
    await programme.set_rate(programme.category_id, 0, FIRST)
    [award] = await programme.confirm(await programme.record(person, at("2026-01-02 09:00"), 90))
    assert (award.points, award.points_transfer_id) == (0, None)
    assert await programme.wallets(person) == (90, 0)


async def test_another_approves_it(programme: Programme) -> None:
    rate = await programme.run(
        propose_rate, MAKER, category_id=programme.category_id, points_per_hour=6,
        effective_on=FIRST,
    )  # fmt: skip
    [award] = await programme.confirm(
        await programme.record(new_person(), at("2025-12-02 09:00"), 60)
    )
    assert award.points == 10  # proposed is not in force
    with pytest.raises(SecondPersonNeededError):
        await programme.run(approve_rate, MAKER, rate.rate_id)
    for approver in (CHECKER, OTHER_CHECKER):
        approved = await programme.run(approve_rate, approver, rate.rate_id)
        assert approved.approved_by == CHECKER
    assert await programme.run(list_rates, programme.category_id) == [approved]
    with pytest.raises(NotFoundError):
        await programme.run(approve_rate, CHECKER, new_person())
    with pytest.raises(NotFoundError):
        await programme.run(
            propose_rate, MAKER, category_id=new_id(), points_per_hour=6, effective_on=FIRST
        )


async def test_what_was_confirmed_keeps_its_rate(programme: Programme) -> None:
    record = await programme.record(new_person(), at("2026-01-31 23:00"), 61)
    await programme.confirm(record)
    with pytest.raises(RateTooEarlyError):
        await programme.set_rate(programme.category_id, 6, SECOND)
    await programme.set_rate(programme.category_id, 6, date(2026, 2, 2))
    await programme.set_rate(await programme.open_category("tutoring"), 6, FIRST)
    await programme.reverse(record)
    await programme.set_rate(programme.category_id, 7, SECOND)


async def test_one_rate_takes_effect_on_a_day(programme: Programme) -> None:
    await programme.set_rate(programme.category_id, 6, FIRST)
    with pytest.raises(RateExistsError):
        await programme.set_rate(programme.category_id, 7, FIRST)


async def test_caps_of_a_day_are_set_once(programme: Programme) -> None:
    caps = Caps(effective_on=FIRST, minutes_per_activity=60, minutes_per_day=480)
    await programme.run(set_caps, MAKER, caps)
    with pytest.raises(CapsExistError):
        await programme.run(set_caps, MAKER, caps)


async def test_approval_and_award_at_once_agree(programme: Programme) -> None:
    """Either the award is first and the rate comes too early, or the award has the new rate."""
    for n in range(8):
        category = await programme.open_category(f"c{n}")
        record = await programme.record(
            new_person(), at("2026-01-02 09:00"), 60, category_id=category
        )
        rate = await programme.run(
            propose_rate, MAKER, category_id=category, points_per_hour=1, effective_on=FIRST
        )
        awards, approved = await asyncio.gather(
            programme.confirm(record),
            programme.run(approve_rate, CHECKER, rate.rate_id),
            return_exceptions=True,
        )
        assert not isinstance(awards, BaseException)
        was_early = isinstance(approved, RateTooEarlyError)
        assert [award.points for award in awards] == [10 if was_early else 1]
