"""Rows of a rota extract, one fault a case; sharing and drawing."""

from datetime import date
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timebank.domain.csv_rows import FaultyRowError
from timebank.domain.rota import (
    Shift,
    Volunteer,
    draw_attendances,
    find_shift_faults,
    find_volunteer_faults,
    minutes_of,
    parse_shift,
    parse_volunteer,
)

ROW = {
    "date": "2023-06-29",
    "shift_id": "91227",
    "volunteer_hours": "3.0",
    "attended": "2",
    "event_id": "14184",
    "event_name": "Making a Stand - Volunteer Tours",
}
SHIFT = Shift(
    shift_ref="91227",
    served_on=date(2023, 6, 29),
    minutes=180,
    attended=2,
    event_ref="14184",
    event_name="Making a Stand - Volunteer Tours",
)


def shift(ref: str, minutes: int = 60, attended: int = 1, day: int = 1) -> Shift:
    return Shift(
        shift_ref=ref,
        served_on=date(2023, 5, day),
        minutes=minutes,
        attended=attended,
        event_ref="e",
        event_name="扫街",
    )


SHIFTS = st.lists(
    st.builds(
        shift,
        ref=st.integers(1, 99).map(str),
        attended=st.integers(1, 5),
        minutes=st.integers(5, 500),
        day=st.integers(1, 31),
    ),
    max_size=12,
    unique_by=lambda made: made.shift_ref,
)


def test_a_row_is_a_shift() -> None:
    assert parse_shift(ROW) == SHIFT
    assert parse_shift(ROW | {"volunteer_hours": "46"}).minutes == 2 * 1380


@pytest.mark.parametrize(
    ("hours", "minutes"),
    [
        ("0.667", 40),
        ("1.286", 77),
        ("32.933", 1976),
        ("0.008333333", 0),
        ("0.025", 2),
        ("0.175", 11),
        ("2", 120),
    ],
)
def test_hours_are_rounded_once_half_up(hours: str, minutes: int) -> None:
    assert minutes_of(hours) == minutes


@given(st.decimals(0, 999_999, places=3))
def test_minutes_are_the_nearest(hours: Decimal) -> None:
    error = Fraction(minutes_of(str(hours))) - Fraction(hours) * 60
    assert -Fraction(1, 2) < error <= Fraction(1, 2)


@pytest.mark.parametrize(
    ("column", "texts", "message"),
    [
        (
            "date",
            ["", "29/06/2023", "2023-02-30", "20230629", "2023-W26-4", "0001-01-01", "٢٠٢٣-06-29"],
            "date must be a date",
        ),
        (
            "volunteer_hours",
            ["", "-1", "+1", "NaN", "inf", "1e400", "1e2", "1_0", "0x1", "3,5", "٣", "9" * 99],
            "volunteer_hours must be a number",
        ),
        ("attended", ["", "2.0", "-2", "two", "٣", "1e3", "9" * 99], "attended must be a whole"),
        ("attended", ["0", "000"], "attended is 0"),
        ("volunteer_hours", ["0", "0.02"], "less than one for each of the 2"),
        ("volunteer_hours", ["46.01", "999999"], "nobody serves longer than 1380"),
        ("shift_id", [""], "shift_id is empty"),
        ("event_id", ["x" * 65], "event_id is longer than 64"),
        ("shift_id", ["4\0", "4\x1b[2J", "4\u202e"], "a character that cannot be seen"),
        ("event_name", ["", " \t "], "event_name is empty"),
        ("event_name", ["名" * 201], "event_name is longer than 200"),
        ("event_name", ["a\0b", "\x1b[31m"], "event_name holds a control character"),
    ],
)
def test_a_faulty_shift_is_refused_by_column(column: str, texts: list[str], message: str) -> None:
    for text in texts:
        with pytest.raises(FaultyRowError, match=message) as caught:
            parse_shift(ROW | {column: text})
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 150


def test_names_are_kept_but_for_line_breaks() -> None:
    parsed = parse_shift(ROW | {"event_name": 'Talk, "live"\r\n 微心愿 👩‍🌾'})
    assert parsed.event_name == 'Talk, "live" 微心愿 👩‍🌾'


def test_a_volunteer_without_a_date_is_not_confirmed() -> None:
    assert parse_volunteer({"hash": "a1", "confirmed": ""}) == Volunteer("a1", None)
    day = date(2022, 11, 5)
    assert parse_volunteer({"hash": "a1", "confirmed": "2022-11-05"}) == Volunteer("a1", day)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"hash": "", "confirmed": ""}, "hash is empty"),
        ({"hash": "a", "confirmed": "yes"}, "confirmed must be a date"),
    ],
)
def test_a_faulty_volunteer_is_refused(row: dict[str, str], message: str) -> None:
    with pytest.raises(FaultyRowError, match=message):
        parse_volunteer(row)


def test_shifts_must_go_together() -> None:
    other = Shift(
        shift_ref="c",
        served_on=SHIFT.served_on,
        minutes=9,
        attended=9,
        event_ref="e",
        event_name="洗菜",
    )
    faults = find_shift_faults({2: shift("a"), 3: shift("b"), 5: shift("a"), 6: other}, 8)
    assert list(faults) == [
        (5, "shift a stands in line 2 already"),
        (6, "event e is '扫街' above, '洗菜' here"),
        (6, "attended is 9, more than are confirmed (8)"),
    ]


def test_a_volunteer_stands_on_the_list_once() -> None:
    a, b = Volunteer("a", None), Volunteer("b", None)
    faults = find_volunteer_faults({2: a, 3: b, 4: a})
    assert list(faults) == [(4, "hash a stands in line 2 already")]


@given(SHIFTS, st.permutations("abcdefg"))
def test_parts_add_up_and_the_draw_is_the_same_in_any_order(
    shifts: list[Shift], volunteers: list[str]
) -> None:
    drawn = draw_attendances(shifts, volunteers)
    assert drawn == draw_attendances(shifts[::-1], sorted(volunteers))
    for made in shifts:
        parts = [entry for entry in drawn if entry.shift is made]
        minutes = [part.minutes for part in parts]
        assert sum(minutes) == made.minutes
        assert max(minutes) - min(minutes) <= 1
        assert len({part.volunteer_ref for part in parts}) == made.attended


def test_the_draw_never_changes() -> None:
    """A golden case: another draw would award the next import of old shifts to other people."""
    drawn = draw_attendances([shift("41725", minutes=100, attended=3)], ["a", "b", "c", "d"])
    assert [(entry.volunteer_ref, entry.minutes) for entry in drawn] == [
        ("d", 34),
        ("c", 33),
        ("b", 33),
    ]


def test_shifts_are_drawn_by_date_then_id() -> None:
    drawn = draw_attendances([shift("b", day=2), shift("c"), shift("a", day=2)], ["v"])
    assert [entry.shift.shift_ref for entry in drawn] == ["c", "a", "b"]
