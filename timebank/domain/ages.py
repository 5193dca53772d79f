"""Ages and what they allow: under 14 the guardian acts, from 14 to 17 within a cap.

Days are local to the bank: a birthday begins at its midnight. Who was born on 29 February grows
older on 1 March of other years, so nobody counts as older before a full year is over.
Sources: PIPL 28 and 31 (under 14), Civil Code 19 and 20, Henan volunteer regulations 8.
"""

from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from msgspec import Struct

ADULT_AGE = 18
YOUTH_AGE = 14
OLDEST_AGE = 130

DAYS_AHEAD = 3
"""For how many days after a look somebody is known to be a minor, if no birthday comes first.

So many days may pass without a look before guardians are kept out; and so many days before it the
registry tells a birthday, which it tells ever after as the end of the guardian's part.
"""


class AgeBand(StrEnum):
    """What somebody may do for themselves."""

    CHILD = "child"  # under 14
    YOUTH = "youth"  # 14 to 17
    ADULT = "adult"


class MinorCap(Struct, frozen=True):
    """How many points one from 14 to 17 may redeem without the guardian.

    A bank that has set none allows none.
    """

    points_at_once: int = 0
    points_a_day: int = 0


def turns_on(born_on: date, age: int) -> date:
    """Return the day on which somebody reaches an age."""
    try:
        return born_on.replace(year=born_on.year + age)
    except ValueError:  # 29 February
        return date(born_on.year + age, 3, 1)


def age_on(born_on: date, day: date) -> int:
    """Return the full years somebody has lived on a day; below 0 for a day before the birth."""
    age = day.year - born_on.year
    return age if turns_on(born_on, age) <= day else age - 1


def band_on(born_on: date, day: date) -> AgeBand:
    """Return the band somebody is in on a day."""
    age = age_on(born_on, day)
    if age >= ADULT_AGE:
        return AgeBand.ADULT
    return AgeBand.YOUTH if age >= YOUTH_AGE else AgeBand.CHILD


def known_minor_until(born_on: date | None, today: date, zone: ZoneInfo) -> datetime:
    """Return until when a look on this local day tells that somebody is a minor.

    The midnight at which they turn 18 if it comes within DAYS_AHEAD days, and nothing about it if
    not; `born_on` None is not known, and so under 18. Where that midnight is skipped by the clocks
    the day begins with the hour after.
    """
    until = today + timedelta(days=DAYS_AHEAD + 1)
    if born_on is not None:
        until = min(until, turns_on(born_on, ADULT_AGE))
    return datetime(until.year, until.month, until.day, tzinfo=zone).astimezone(UTC)


def needs_guardian(band: AgeBand, points: int, redeemed_today: int, cap: MinorCap) -> bool:
    """Return whether redeeming this many points is for the guardian to do.

    `redeemed_today` is what the minor has redeemed alone on this local day already.
    """
    if band is not AgeBand.YOUTH:
        return band is AgeBand.CHILD
    return points > cap.points_at_once or redeemed_today + points > cap.points_a_day
