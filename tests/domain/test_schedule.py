"""When an activity takes place, and how many minutes it is: rules, clocks and local midnights."""

import time
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timebank.domain.schedule import (
    LONGEST_MINUTES,
    LONGEST_SHIFT_MINUTES,
    MOST_OCCURRENCES,
    FaultyRuleError,
    LocalTime,
    by_local_day,
    count_minutes,
    list_starts,
    parse_rule,
    start_of,
    to_instants,
)

SHANGHAI = ZoneInfo("Asia/Shanghai")
LONDON = ZoneInfo("Europe/London")
FRIDAY = datetime(2026, 1, 2, 9)

ZONES = st.sampled_from([SHANGHAI, LONDON, ZoneInfo("America/Sao_Paulo"), ZoneInfo("UTC")])
INSTANTS = st.datetimes(datetime(1986, 1, 1), datetime(2026, 12, 31), timezones=st.just(UTC))


def starts(rule: str | None, first: datetime = FRIDAY, until: date = date(2099, 1, 1)) -> list[str]:
    return [f"{start:%Y-%m-%d}" for start in list_starts(first, rule, first.date(), until)]


# ---- Rules -------------------------------------------------------------------------------------


def test_every_friday() -> None:
    fridays = starts("FREQ=WEEKLY;BYDAY=FR", until=date(2026, 1, 30))
    assert fridays == ["2026-01-02", "2026-01-09", "2026-01-16", "2026-01-23", "2026-01-30"]
    assert starts("FREQ=WEEKLY;COUNT=2") == ["2026-01-02", "2026-01-09"]
    assert starts("FREQ=WEEKLY;UNTIL=20260109T235959") == ["2026-01-02", "2026-01-09"]


def test_once_is_once() -> None:
    assert starts(None) == ["2026-01-02"]
    assert list_starts(FRIDAY, None, date(2026, 1, 3), date(2026, 2, 1)) == []


def test_a_leap_day_comes_every_fourth_year() -> None:
    leap = datetime(2024, 2, 29, 9)
    assert starts("FREQ=YEARLY", leap, date(2033, 1, 1)) == [
        "2024-02-29",
        "2028-02-29",
        "2032-02-29",
    ]
    last = starts("FREQ=MONTHLY;BYMONTHDAY=-1;COUNT=3", datetime(2028, 1, 31, 9))
    assert last == ["2028-01-31", "2028-02-29", "2028-03-31"]


def test_what_is_planned_at_once_is_bounded() -> None:
    assert len(starts("FREQ=DAILY")) == MOST_OCCURRENCES


@pytest.mark.parametrize(
    "rule",
    [
        "",
        "FREQ=FRIDAYS",
        "FREQ=SECONDLY",
        "FREQ=HOURLY;COUNT=3",
        "BYDAY=FR",
        "FREQ=WEEKLY;FREQ=DAILY",
        "FREQ=WEEKLY;BYDAY=XX",
        "FREQ=WEEKLY;BYDAY=2FR",
        "FREQ=WEEKLY;BYMONTH=2",
        "FREQ=DAILY;BYDAY=MO",
        "FREQ=DAILY;BYHOUR=9",
        "FREQ=WEEKLY;INTERVAL=0",
        "FREQ=WEEKLY;INTERVAL=100",
        "FREQ=WEEKLY;COUNT=1000",
        "FREQ=WEEKLY;COUNT=2;UNTIL=20260101",
        "FREQ=WEEKLY;UNTIL=20260101T000000Z",
        "FREQ=WEEKLY;UNTIL=99999999",
        "FREQ=MONTHLY;BYMONTHDAY=32",
        "FREQ=WEEKLY;BYDAY=MO",
        "RRULE:FREQ=WEEKLY",
        "FREQ=WEEKLY\nEXRULE:FREQ=WEEKLY",
        "FREQ=WEEKLY;BYDAY=FR;",
    ],
)
def test_a_rule_that_cannot_be_is_refused(rule: str) -> None:
    with pytest.raises(FaultyRuleError):
        parse_rule(rule, FRIDAY)


@pytest.mark.parametrize(
    "rule", ["FREQ=MONTHLY;BYDAY=5MO;BYMONTHDAY=1", "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30"]
)
def test_a_rule_for_a_day_that_never_comes_does_not_hold_us_up(rule: str) -> None:
    started = time.monotonic()
    with pytest.raises(FaultyRuleError, match="no occurrence"):
        parse_rule(rule, FRIDAY)
    assert time.monotonic() - started < 10


@given(st.text(alphabet="FREQ=WKLYDAMONTHBYCUI;,:-+0123456789\n Ω", max_size=40))
def test_no_text_breaks_the_parser(rule: str) -> None:
    with suppress(FaultyRuleError):
        list_starts(FRIDAY, rule, FRIDAY.date(), FRIDAY.date())


# ---- Minutes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("zone", "start", "wall_minutes", "served"),
    [
        (SHANGHAI, datetime(2026, 1, 2, 9), 120, LocalTime(date(2026, 1, 2), 120, 0)),
        # Over midnight, over the end of a month and of a leap day.
        (SHANGHAI, datetime(2026, 1, 2, 22), 300, LocalTime(date(2026, 1, 2), 300, 180)),
        (SHANGHAI, datetime(2028, 2, 28, 23), 120, LocalTime(date(2028, 2, 28), 120, 60)),
        (SHANGHAI, datetime(2028, 2, 29, 23), 120, LocalTime(date(2028, 2, 29), 120, 60)),
        (SHANGHAI, datetime(2026, 1, 2, 22), 120, LocalTime(date(2026, 1, 2), 120, 0)),
        # Summer time in China, 1986 to 1991: the night that is an hour short, and the long one.
        (SHANGHAI, datetime(1986, 5, 3, 22), 360, LocalTime(date(1986, 5, 3), 300, 180)),
        (SHANGHAI, datetime(1986, 9, 13, 22), 360, LocalTime(date(1986, 9, 13), 420, 300)),
        (SHANGHAI, datetime(1991, 4, 13, 22), 360, LocalTime(date(1991, 4, 13), 300, 180)),
        (SHANGHAI, datetime(1991, 9, 14, 22), 360, LocalTime(date(1991, 9, 14), 420, 300)),
        (SHANGHAI, datetime(1992, 4, 11, 22), 360, LocalTime(date(1992, 4, 11), 360, 240)),
        (LONDON, datetime(2026, 3, 28, 23), 180, LocalTime(date(2026, 3, 28), 120, 60)),
        (LONDON, datetime(2026, 10, 24, 23), 180, LocalTime(date(2026, 10, 24), 240, 180)),
        # A start in the hour that the clock leaves out, and an end in it.
        (LONDON, datetime(2026, 3, 29, 1, 30), 45, LocalTime(date(2026, 3, 29), 45, 0)),
        (LONDON, datetime(2026, 3, 29, 0, 30), 60, LocalTime(date(2026, 3, 29), 60, 0)),
    ],
)
def test_minutes_are_counted_between_instants(
    zone: ZoneInfo, start: datetime, wall_minutes: int, served: LocalTime
) -> None:
    assert by_local_day(*to_instants(start, wall_minutes, zone), zone) == served


@given(ZONES, INSTANTS, st.lists(st.timedeltas(timedelta(0), timedelta(hours=6)), max_size=4))
def test_any_cut_of_the_same_time_has_the_same_minutes_on_the_same_days(
    zone: ZoneInfo, start: datetime, parts: list[timedelta]
) -> None:
    ends = [start + sum(parts[: n + 1], timedelta(0)) for n in range(len(parts))]
    minutes: dict[date, int] = {}
    whole: dict[date, int] = {}
    for begins, ended in zip([start, *ends], ends, strict=False):
        add(minutes, begins, ended, zone)
    if ends:
        add(whole, start, ends[-1], zone)
    if ends and count_minutes(start, ends[-1]) <= LONGEST_MINUTES:
        assert minutes == whole


def add(minutes: dict[date, int], start: datetime, end: datetime, zone: ZoneInfo) -> None:
    """Add the minutes of a stretch to their days; one too short or too long adds none."""
    if 0 < count_minutes(start, end) <= LONGEST_MINUTES:
        time = by_local_day(start, end, zone)
        parts = {0: time.minutes - time.next_day_minutes, 1: time.next_day_minutes}
        for day, part in parts.items():
            if part:
                served_on = time.served_on + timedelta(days=day)
                minutes[served_on] = minutes.get(served_on, 0) + part


@given(ZONES, INSTANTS, st.integers(1, LONGEST_MINUTES))
def test_minutes_lie_on_the_days_they_are_counted_to(
    zone: ZoneInfo, start: datetime, minutes: int
) -> None:
    """Counted one by one, each by the local day in which it begins."""
    served = by_local_day(start, start + timedelta(minutes=minutes), zone)
    first = start.replace(second=0, microsecond=0)
    days = [(first + timedelta(minutes=n)).astimezone(zone).date() for n in range(minutes)]
    assert served.served_on == days[0]
    assert (served.minutes, served.next_day_minutes) == (
        minutes,
        sum(day == days[0] + timedelta(days=1) for day in days),
    )
    assert set(days) <= {days[0], days[0] + timedelta(days=1)}


@given(ZONES, st.datetimes(datetime(1986, 1, 1), datetime(2026, 12, 31)))
def test_the_longest_shift_with_late_check_out_can_be_recorded(
    zone: ZoneInfo, start: datetime
) -> None:
    begins, ends = to_instants(start, LONGEST_SHIFT_MINUTES, zone)
    assert by_local_day(begins, ends + timedelta(hours=2), zone).minutes <= LONGEST_MINUTES


@pytest.mark.parametrize("minutes", [0, -1, LONGEST_MINUTES + 1])
def test_no_time_and_too_much_time_are_refused(minutes: int) -> None:
    start = datetime(2026, 1, 2, tzinfo=UTC)
    with pytest.raises(ValueError, match="minutes are not between"):
        by_local_day(start, start + timedelta(minutes=minutes), SHANGHAI)


@pytest.mark.parametrize(
    ("zone", "day", "instant"),
    [
        ("Asia/Shanghai", date(2023, 6, 29), datetime(2023, 6, 28, 16, tzinfo=UTC)),
        ("Europe/London", date(2023, 1, 11), datetime(2023, 1, 11, tzinfo=UTC)),
        ("Europe/London", date(2023, 6, 29), datetime(2023, 6, 28, 23, tzinfo=UTC)),
        ("Europe/London", date(2023, 3, 26), datetime(2023, 3, 26, tzinfo=UTC)),
        ("Europe/London", date(2023, 3, 27), datetime(2023, 3, 26, 23, tzinfo=UTC)),
        # Here the clocks jump at midnight: the day begins at 01:00, three hours behind UTC.
        ("America/Sao_Paulo", date(2018, 11, 4), datetime(2018, 11, 4, 3, tzinfo=UTC)),
    ],
)
def test_a_day_begins_at_local_midnight(zone: str, day: date, instant: datetime) -> None:
    assert start_of(day, ZoneInfo(zone)) == instant
