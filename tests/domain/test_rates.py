"""Taking an award back: what is left is again the floor of what the others earn."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timebank.domain.rates import SIXTIETHS, Undoing, undo_award


@pytest.mark.parametrize(
    ("remainder", "exact", "points", "undoing"),
    [
        (0, 600, 10, Undoing(0, 0)),
        (30, 600, 10, Undoing(0, 30)),
        # It completed a point with the rest of others: that point goes with it.
        (10, 50, 0, Undoing(1, 20)),
        # The others make a point without the rest it had used up.
        (50, 50, 1, Undoing(-1, 0)),
    ],
)
def test_undoing(remainder: int, exact: int, points: int, undoing: Undoing) -> None:
    assert undo_award(remainder, exact, points) == undoing


@given(st.lists(st.integers(0, 500), min_size=1, max_size=12), st.data())
def test_what_is_left_is_the_floor_of_the_others(exacts: list[int], data: st.DataObject) -> None:
    """Award all, then take some back in any order; against plain sums."""
    total, points, awarded = 0, 0, {}
    for place, exact in enumerate(exacts):
        awarded[place] = (total + exact) // SIXTIETHS - total // SIXTIETHS
        total += exact
        points += awarded[place]
    remainder = total % SIXTIETHS
    for place in data.draw(st.permutations(range(len(exacts)))):
        undoing = undo_award(remainder, exacts[place], awarded[place])
        total -= exacts[place]
        points -= awarded[place] + undoing.extra_points
        remainder = undoing.remainder
        assert (points, remainder) == divmod(total, SIXTIETHS)
        assert undoing.extra_points in {-1, 0, 1}
