"""Ages: at the boundaries, by a count that knows nothing of the rule."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timebank.domain.ages import AgeBand, MinorCap, age_on, band_on, needs_guardian, turns_on

BIRTHS = st.dates(date(1900, 1, 1), date(2100, 12, 31))
DAY = timedelta(days=1)


@given(BIRTHS, st.integers(0, 110))
def test_a_year_older_on_the_birthday_and_not_a_day_before(born_on: date, age: int) -> None:
    birthday = turns_on(born_on, age)
    assert age_on(born_on, birthday) == age
    assert age_on(born_on, birthday - DAY) == age - 1
    leap_day = (born_on.month, born_on.day) == (2, 29)
    same = (birthday.month, birthday.day) == (born_on.month, born_on.day)
    assert same or (leap_day and (birthday.month, birthday.day) == (3, 1))


@given(BIRTHS, st.integers(0, 40_000))
def test_the_age_is_the_number_of_birthdays_since(born_on: date, days: int) -> None:
    day = born_on + timedelta(days=days)
    birthdays = 0
    for year in range(born_on.year + 1, day.year + 1):
        anniversary = (year, born_on.month, born_on.day)
        birthdays += anniversary <= (day.year, day.month, day.day)
    assert age_on(born_on, day) == birthdays


@given(BIRTHS)
def test_bands_change_on_two_birthdays(born_on: date) -> None:
    for age, before, after in (
        (14, AgeBand.CHILD, AgeBand.YOUTH),
        (18, AgeBand.YOUTH, AgeBand.ADULT),
    ):
        assert band_on(born_on, turns_on(born_on, age) - DAY) is before
        assert band_on(born_on, turns_on(born_on, age)) is after


@pytest.mark.parametrize(
    ("day", "band"),
    [
        (date(2026, 2, 28), AgeBand.CHILD),
        (date(2026, 3, 1), AgeBand.YOUTH),
        (date(2030, 2, 28), AgeBand.YOUTH),
        (date(2030, 3, 1), AgeBand.ADULT),
    ],
)
def test_born_on_a_leap_day_one_grows_older_on_the_first_of_march(day: date, band: AgeBand) -> None:
    assert band_on(date(2012, 2, 29), day) is band


def test_on_a_leap_day_of_a_leap_year() -> None:
    assert age_on(date(2012, 2, 29), date(2028, 2, 28)) == 15
    assert age_on(date(2012, 2, 29), date(2028, 2, 29)) == 16


def test_nobody_is_of_an_age_before_birth() -> None:
    assert age_on(date(2020, 5, 5), date(2020, 5, 4)) == -1
    assert band_on(date(2020, 5, 5), date(2019, 1, 1)) is AgeBand.CHILD


CAP = MinorCap(points_at_once=20, points_a_day=50)


@pytest.mark.parametrize(
    ("band", "points", "today", "needed"),
    [
        (AgeBand.ADULT, 10**9, 10**9, False),
        (AgeBand.CHILD, 1, 0, True),
        (AgeBand.YOUTH, 20, 0, False),
        (AgeBand.YOUTH, 21, 0, True),
        (AgeBand.YOUTH, 20, 30, False),
        (AgeBand.YOUTH, 20, 31, True),
    ],
)
def test_who_needs_a_guardian(band: AgeBand, points: int, today: int, needed: bool) -> None:
    assert needs_guardian(band, points, today, CAP) is needed


def test_a_bank_that_set_no_cap_allows_nothing() -> None:
    assert needs_guardian(AgeBand.YOUTH, 1, 0, MinorCap())
