"""When an activity takes place: recurrence rules, clocks on the wall, instants and local days.

Rules and starts are in local time, as people agree on them; what is served is counted between
instants. Where the clock is changed in between, the planned end stays where the wall says it.
"""

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from itertools import takewhile
from zoneinfo import ZoneInfo

from dateutil.rrule import rrule, rrulestr
from msgspec import Struct

LONGEST_MINUTES = 1380
"""23 hours: a record touches two local days at most, also where one of them is as short."""

LONGEST_SHIFT_MINUTES = 1200
"""20 hours by the wall: with an hour of a changed clock and late check-out, a record still fits."""

MOST_OCCURRENCES = 400
"""Of one activity that are planned at once."""

_PART = re.compile(r"([A-Z]+)=([0-9A-Z,+-]+)")
_VALUES: Mapping[str, re.Pattern[str]] = {
    "FREQ": re.compile(r"DAILY|WEEKLY|MONTHLY|YEARLY"),
    "INTERVAL": re.compile(r"[1-9][0-9]?"),
    "COUNT": re.compile(r"[1-9][0-9]{0,2}"),
    "UNTIL": re.compile(r"[0-9]{8}(T[0-9]{6})?"),
    "WKST": re.compile(r"MO|TU|WE|TH|FR|SA|SU"),
    "BYDAY": re.compile(
        r"([+-]?[1-5])?(MO|TU|WE|TH|FR|SA|SU)(,([+-]?[1-5])?(MO|TU|WE|TH|FR|SA|SU))*"
    ),
    "BYMONTHDAY": re.compile(r"-?[0-9]{1,2}(,-?[0-9]{1,2})*"),
    "BYMONTH": re.compile(r"[0-9]{1,2}(,[0-9]{1,2})*"),
}
_PARTS: Mapping[str, frozenset[str]] = {
    "DAILY": frozenset(),
    "WEEKLY": frozenset({"BYDAY", "WKST"}),
    "MONTHLY": frozenset({"BYDAY", "BYMONTHDAY"}),
    "YEARLY": frozenset({"BYDAY", "BYMONTHDAY", "BYMONTH"}),
}
"""Beside FREQ, INTERVAL, COUNT and UNTIL. No rule of these parts keeps the library searching long
for an occurrence that never comes, as one by the second could."""


class FaultyRuleError(ValueError):
    """What is wrong with a recurrence rule, as a sentence for the person who can mend it."""


class LocalTime(Struct, frozen=True):
    """Minutes of service by local days: `next_day_minutes` of them lie after midnight."""

    served_on: date
    minutes: int
    next_day_minutes: int


def parse_rule(rule: str, first_start: datetime) -> rrule:
    """Return the RRULE of RFC 5545 that begins at this local time; FaultyRuleError if it cannot.

    By day, week, month or year, with INTERVAL, COUNT or UNTIL (local), BYDAY, BYMONTHDAY, BYMONTH
    and WKST. The first start must itself be an occurrence.
    """
    parts = [_PART.fullmatch(part) for part in rule.split(";")]
    named = {part[1]: part[2] for part in parts if part}
    if len(named) != len(parts):
        raise FaultyRuleError("A rule is a list such as FREQ=WEEKLY;BYDAY=FR, each part once.")
    allowed = _PARTS.get(named.get("FREQ", ""))
    if allowed is None:
        raise FaultyRuleError("FREQ must be DAILY, WEEKLY, MONTHLY or YEARLY.")
    for name, value in named.items():
        if name not in allowed | {"FREQ", "INTERVAL", "COUNT", "UNTIL"}:
            raise FaultyRuleError(f"{name} cannot be used with FREQ={named['FREQ']}.")
        if not _VALUES[name].fullmatch(value):
            raise FaultyRuleError(f"{name} cannot be {value}.")
    if {"COUNT", "UNTIL"} <= named.keys():
        raise FaultyRuleError("Use COUNT or UNTIL, not both.")
    if named["FREQ"] == "WEEKLY" and re.search("[0-9]", named.get("BYDAY", "")):
        raise FaultyRuleError("BYDAY cannot be numbered with FREQ=WEEKLY.")
    try:
        parsed = rrulestr(rule, dtstart=first_start)
        occurs = next(iter(parsed), None) == first_start
    except ValueError as error:
        raise FaultyRuleError(f"The rule cannot be read: {error}.") from error
    if not isinstance(parsed, rrule) or not occurs:
        raise FaultyRuleError(f"The first start, {first_start}, is no occurrence of the rule.")
    return parsed


def list_starts(
    first_start: datetime, rule: str | None, from_on: date, until_on: date
) -> list[datetime]:
    """Return the local starts from one local date to another, both included.

    The first MOST_OCCURRENCES of them at most. A date that a year or month does not have, such as
    29 February, is passed over.
    """
    starts = [first_start] if rule is None else parse_rule(rule, first_start)
    found: list[datetime] = []
    for start in takewhile(lambda start: start.date() <= until_on, starts):
        if start.date() >= from_on:
            found.append(start)
        if len(found) == MOST_OCCURRENCES:
            break
    return found


def to_instant(local: datetime, zone: ZoneInfo) -> datetime:
    """Return the instant of a local time: the first of two, and past a gap as far as into it."""
    return local.replace(tzinfo=zone).astimezone(UTC)


def to_instants(start: datetime, wall_minutes: int, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """Return when a shift begins and ends that lasts so long by the clock on the wall."""
    begins = to_instant(start, zone)
    ends = to_instant(start + timedelta(minutes=wall_minutes), zone)
    return begins, ends if ends > begins else begins + timedelta(minutes=wall_minutes)


def start_of(day: date, zone: ZoneInfo) -> datetime:
    """Return the instant at which a local day begins: a rota knows the day, not the time."""
    return datetime.combine(day, time.min, zone).astimezone(UTC)


def floor_minute(instant: datetime) -> datetime:
    """Return the beginning of the minute: cut anywhere, whole minutes add up to the whole."""
    return instant.astimezone(UTC).replace(second=0, microsecond=0)


def count_minutes(start: datetime, end: datetime) -> int:
    """Return the minutes from one instant to another, by the minutes in which they lie."""
    return (floor_minute(end) - floor_minute(start)) // timedelta(minutes=1)


def by_local_day(start: datetime, end: datetime, zone: ZoneInfo) -> LocalTime:
    """Return the minutes between two instants, parted at local midnight.

    ValueError if they are none, or more than LONGEST_MINUTES.
    """
    minutes = count_minutes(start, end)
    if not 0 < minutes <= LONGEST_MINUTES:
        raise ValueError(f"{minutes} minutes are not between 1 and {LONGEST_MINUTES}")
    served_on = start.astimezone(zone).date()
    midnight = start_of(served_on + timedelta(days=1), zone)
    return LocalTime(served_on, minutes, max(0, count_minutes(midnight, end)))
