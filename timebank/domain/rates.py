"""From minutes to points, so that any cut of the same time earns the same.

Exact points are counted in sixtieths: a minute at a rate of r points an hour is r of them. A person
has the whole points of all their sixtieths in a category; the rest, below 60, is carried.
"""

from msgspec import Struct

SIXTIETHS = 60

HIGHEST_RATE = 1000
"""The most points for an hour (schema.sql, rate_sane)."""


class Undoing(Struct, frozen=True):
    """What taking an award back needs beyond its own points, and the remainder afterwards.

    `extra_points` is 1 if the award completed a point of others that falls with it, -1 if what
    remains of the others makes a point without it, else 0.
    """

    extra_points: int
    remainder: int


def undo_award(remainder: int, exact: int, points: int) -> Undoing:
    """Say how to take an award of `points` for `exact` sixtieths back out of what is carried.

    `remainder` is carried now, perhaps after later awards. What is left is again the floor of
    what the other records earn.
    """
    left = remainder - exact + SIXTIETHS * points
    extra = -(left // SIXTIETHS)
    return Undoing(extra, left + SIXTIETHS * extra)
