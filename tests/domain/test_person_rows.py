"""Rows of a list of people: what is understood, what is faulty, and that no value is quoted."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from timebank.domain.csv_rows import FaultyRowError
from timebank.domain.numbers import add_check
from timebank.domain.person_rows import (
    PERSON_COLUMNS,
    PersonRow,
    find_person_faults,
    parse_person,
)
from timebank.domain.personal import IdDocument, IdType

TODAY = date(2026, 11, 25)

GOOD = {
    "ref": "A-1",
    "name": "王小英",
    "phone": "13800138000",
    "id_type": "",
    "id_number": "11010519491231002X",
    "birth_date": "",
    "address": "长安路 1 号",
    "guardian_ref": "",
    "sheet": "",
}


def row(**cells: str) -> PersonRow:
    return parse_person(GOOD | cells)


def adult(ref: str, **cells: str) -> PersonRow:
    return row(ref=ref, id_number="", birth_date="1950-01-01", **cells)


def child(ref: str, guardian_ref: str) -> PersonRow:
    return row(ref=ref, id_number="", birth_date="2015-01-01", guardian_ref=guardian_ref)


def faults(*rows: PersonRow) -> list[tuple[int, str]]:
    return list(find_person_faults(dict(enumerate(rows, 2)), TODAY))


def test_a_whole_row() -> None:
    assert GOOD.keys() == set(PERSON_COLUMNS)
    parsed = row(sheet=add_check(1_000_000))
    assert (parsed.ref, parsed.guardian_ref, parsed.sheet) == ("A-1", None, 1_000_000)
    assert parsed.data.born_on == date(1949, 12, 31)
    assert parsed.data.id_document == IdDocument(IdType.RESIDENT_ID, "11010519491231002X")
    assert faults(parsed) == []


def test_cells_may_be_empty() -> None:
    parsed = parse_person(
        dict.fromkeys(PERSON_COLUMNS, "") | {"ref": "1", "name": "王", "birth_date": "1950-01-01"}
    )
    assert parsed.data.known() == ["name", "born_on", "import_ref"]
    assert parsed.data.phone is UNSET


@pytest.mark.parametrize(
    ("cells", "fault"),
    [
        ({"ref": ""}, "ref is empty"),
        ({"name": ""}, "name is empty"),
        ({"birth_date": "29.6.1953"}, "birth_date must be"),
        ({"birth_date": "1953-02-30"}, "birth_date must be"),
        ({"id_number": ""}, "birth_date is empty"),
        ({"id_type": "身份证"}, "id_type must be one of resident_id"),
        ({"id_type": "passport", "id_number": "E12345678"}, "birth_date is empty"),
        ({"sheet": "123"}, "sheet is no sheet number"),
    ],
)
def test_a_row_that_is_not_understood(cells: dict[str, str], fault: str) -> None:
    with pytest.raises(FaultyRowError, match=fault):
        row(**cells)


@pytest.mark.parametrize(
    ("cells", "fault"),
    [
        ({"phone": "138"}, "phone must be"),
        ({"id_number": "110105194912310021", "birth_date": "1949-12-31"}, "id_number must be"),
        ({"birth_date": "1953-06-29"}, "birth_date must be the birthday that the id number holds"),
        (
            {"id_number": "", "birth_date": "2026-11-26", "guardian_ref": "x"},
            "birth_date must be a day",
        ),
        ({"ref": "x" * 65}, "ref must be"),
        ({"name": "王\u202e英"}, ""),
    ],
)
def test_a_row_that_is_not_in_order(cells: dict[str, str], fault: str) -> None:
    found = faults(row(**cells))
    assert [(line, text[: len(fault)]) for line, text in found] == ([(2, fault)] if fault else [])


def test_rows_that_do_not_go_together() -> None:
    same = [row(), row(ref="A-2"), adult("A-1", phone="")]
    assert faults(*same) == [
        (3, "id_number stands in line 2 already"),
        (4, "ref stands in line 2 already"),
    ]
    family = [adult("mum"), child("kid", "mum"), child("baby", "kid"), child("orphan", "")]
    assert faults(*family) == [
        (4, "guardian_ref is the ref of a minor"),
        (5, "guardian_ref is empty, and this is a minor"),
    ]
    assert faults(child("kid", "imported before")) == []


@pytest.mark.parametrize("column", PERSON_COLUMNS)
def test_a_fault_names_the_column_and_not_the_cell(column: str) -> None:
    try:
        told = repr(faults(row(**{column: "§" * 250})))
    except FaultyRowError as fault:
        told = str(fault)
    assert "§" not in told
    assert column == "guardian_ref" or column in told


CELL = st.text(max_size=12) | st.sampled_from(["1950-01-01", "passport", "E1234567", "13800138000"])


@given(st.fixed_dictionaries(dict.fromkeys(PERSON_COLUMNS, CELL)))
def test_no_fault_quotes_a_cell(cells: dict[str, str]) -> None:
    marked = {column: f"§{cell}§" if cell else "" for column, cell in cells.items()}
    try:
        told = repr(faults(parse_person(marked)))
    except FaultyRowError as fault:
        told = str(fault)
    assert "§" not in told
