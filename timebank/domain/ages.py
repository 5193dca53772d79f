"""Ages and what they allow: under 14 the guardian acts, from 14 to 17 within a cap.

Days are local to the bank: a birthday begins at its midnight. Who was born on 29 February grows
older on 1 March of other years, so nobody counts as older before a full year is over.
Sources: PIPL 28 and 31 (under 14), Civil Code 19 and 20, Henan volunteer regulations 8.
"""

from datetime import date
from enum import StrEnum

from msgspec import Struct

ADULT_AGE = 18
YOUTH_AGE = 14
OLDEST_AGE = 130


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


def needs_guardian(band: AgeBand, points: int, redeemed_today: int, cap: MinorCap) -> bool:
    """Return whether redeeming this many points is for the guardian to do.

    `redeemed_today` is what the minor has redeemed alone on this local day already.
    """
    if band is not AgeBand.YOUTH:
        return band is AgeBand.CHILD
    return points > cap.points_at_once or redeemed_today + points > cap.points_a_day
