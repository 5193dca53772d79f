"""From minutes to points, so that any cut of the same time earns the same."""


def points_for(minutes_before: int, minutes: int, points_per_hour: int) -> int:
    """Return the points that `minutes` more earn after `minutes_before`.

    The remainder below a point is carried: it stands in the minutes already served, so splitting
    or merging shifts changes nothing.
    """
    earned_before = minutes_before * points_per_hour // 60
    earned_after = (minutes_before + minutes) * points_per_hour // 60
    return earned_after - earned_before
