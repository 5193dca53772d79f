"""From minutes to points: any cut of the same time earns the same."""

from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timebank.domain.rates import points_for

MINUTES = st.integers(0, 10_000)
RATES = st.integers(0, 1000)


@pytest.mark.parametrize(
    ("before", "minutes", "rate", "points"),
    [
        (0, 60, 10, 10),
        (0, 5, 10, 0),
        (5, 1, 10, 1),
        (59, 1, 1, 1),
        (0, 59, 1, 0),
        (60, 0, 10, 0),
        (0, 60, 0, 0),
    ],
)
def test_whole_points_only_and_the_rest_is_carried(
    before: int, minutes: int, rate: int, points: int
) -> None:
    assert points_for(before, minutes, rate) == points


@given(st.lists(MINUTES, max_size=20), RATES)
def test_any_cut_of_the_same_time_earns_the_same(shifts: list[int], rate: int) -> None:
    starts = accumulate(shifts, initial=0)
    earned = [points_for(start, shift, rate) for start, shift in zip(starts, shifts, strict=False)]
    assert sum(earned) == sum(shifts) * rate // 60


@given(MINUTES, MINUTES, RATES)
def test_the_carried_rest_is_below_a_point(before: int, minutes: int, rate: int) -> None:
    exact = minutes * rate / 60
    assert exact - 1 < points_for(before, minutes, rate) < exact + 1
