"""Sharing minutes exactly, and drawing volunteers the same way for ever."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from timebank.domain.sharing import draw_volunteers, share_minutes

VOLUNTEERS = st.lists(st.text(min_size=1), unique=True, max_size=20)


@given(st.integers(0, 2**53 - 1), st.integers(1, 500))
def test_shares_add_up_exactly_and_are_fair(minutes: int, parts: int) -> None:
    shares = share_minutes(minutes, parts)
    assert len(shares) == parts
    assert sum(shares) == minutes
    assert shares == sorted(shares, reverse=True)
    assert shares[0] - shares[-1] <= 1


def test_the_larger_shares_come_first() -> None:
    assert share_minutes(200, 3) == [67, 67, 66]
    assert share_minutes(2, 3) == [1, 1, 0]


@given(st.text(), VOLUNTEERS, st.integers(0, 25), st.randoms())
def test_the_order_of_the_list_does_not_matter(
    shift: str, volunteers: list[str], count: int, random: Random
) -> None:
    drawn = draw_volunteers(shift, volunteers, count)
    shuffled = list(volunteers)
    random.shuffle(shuffled)
    assert draw_volunteers(shift, shuffled, count) == drawn


@given(st.text(), VOLUNTEERS, st.integers(0, 25))
def test_everyone_is_drawn_at_most_once(shift: str, volunteers: list[str], count: int) -> None:
    drawn = draw_volunteers(shift, volunteers, count)
    assert len(drawn) == min(count, len(volunteers))
    assert len(set(drawn)) == len(drawn)
    assert set(drawn) <= set(volunteers)


@given(st.text(), VOLUNTEERS, st.integers(0, 25))
def test_drawing_more_keeps_who_was_drawn(shift: str, volunteers: list[str], count: int) -> None:
    fewer = draw_volunteers(shift, volunteers, count)
    assert draw_volunteers(shift, volunteers, count + 1)[: len(fewer)] == fewer


def test_the_draw_is_the_same_on_every_machine() -> None:
    volunteers = [f"V{number}" for number in range(1, 7)]
    assert draw_volunteers("S1", volunteers, 3) == ["V1", "V6", "V3"]
    assert draw_volunteers("S2", volunteers, 3) == ["V1", "V6", "V4"]
