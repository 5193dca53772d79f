"""Numbers with check digits: what is printed is read again, and slips are found."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from timebank.domain.errors import NumberMistypedError
from timebank.domain.numbers import (
    MEMBER_BODIES,
    SHEET_BODIES,
    add_check,
    parse_member_number,
    parse_sheet_number,
    spell_number,
)

MEMBERS = st.integers(MEMBER_BODIES.start, MEMBER_BODIES.stop - 1).map(add_check)
SHEETS = st.integers(SHEET_BODIES.start, SHEET_BODIES.stop - 1)


def is_found(text: str) -> bool:
    with pytest.raises(NumberMistypedError):
        parse_member_number(text)
    return True


@given(MEMBERS)
def test_a_number_is_read_as_it_was_printed(number: str) -> None:
    assert len(number) == 10
    assert int(number) % 97 == 1
    assert parse_member_number(number) == number
    assert parse_member_number(f" {spell_number(number)} ") == number
    assert parse_member_number("-".join(number)) == number


@given(SHEETS)
def test_a_sheet_number_is_read_as_its_body(body: int) -> None:
    assert parse_sheet_number(spell_number(add_check(body))) == body


@given(MEMBERS, st.integers(0, 9), st.integers(1, 9))
def test_every_wrong_digit_is_found(number: str, place: int, by: int) -> None:
    wrong = (int(number[place]) + by) % 10
    assert is_found(number[:place] + str(wrong) + number[place + 1 :])


@given(MEMBERS, st.integers(0, 8))
def test_every_swap_of_neighbours_is_found(number: str, place: int) -> None:
    a, b = number[place : place + 2]
    assume(a != b)
    assert is_found(number[:place] + b + a + number[place + 2 :])


@given(MEMBERS, st.integers(0, 9))
def test_a_lost_or_doubled_digit_is_found(number: str, place: int) -> None:
    assert is_found(number[:place] + number[place + 1 :])
    assert is_found(number[:place] + number[place] + number[place:])


@given(SHEETS, MEMBERS)
def test_sheets_and_members_are_never_taken_for_one_another(body: int, number: str) -> None:
    assert is_found(add_check(body))
    with pytest.raises(NumberMistypedError):
        parse_sheet_number(number)


@pytest.mark.parametrize(
    "text",
    ["", "x", "12345678", "１２３", "-1", "1e9", "９９９９９９９９９９", "王小明", "1" * 5000],
)
def test_what_is_no_number_is_refused(text: str) -> None:
    assert is_found(text)


def test_wide_digits_are_digits() -> None:
    assert parse_member_number("１２３４ ５６７８　８９") == add_check(12345678)
