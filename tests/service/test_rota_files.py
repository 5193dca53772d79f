"""Reading a rota extract: what a file may look like, and every fault by its line."""

from pathlib import Path

import pytest

from tests.service.extract import SHIFT_HEADER, Extract, write
from timebank import files
from timebank.domain.errors import ImportRefusedError, InvalidInputError
from timebank.service.rota_files import read_rota

GOOD = "2023-06-29,1,3.0,2,7,Tour"


def faults(extract: Extract) -> list[tuple[str, int, str]]:
    """Return what is wrong with the files: name, line, message."""
    with pytest.raises(ImportRefusedError) as caught:
        read_rota(extract.shifts, extract.residents)
    return [(Path(row.file).name, row.line, row.message) for row in caught.value.rows]


def fault(extract: Extract) -> tuple[str, int, str]:
    """Return the one thing that is wrong with the files."""
    [found] = faults(extract)
    return found


def test_a_file_may_come_from_any_editor(tmp_path: Path) -> None:
    extract = write(tmp_path, [])
    extract.shifts.write_bytes(
        b"\xef\xbb\xbfevent_name,date,shift_id, attended ,postcode,event_id,volunteer_hours\r\n"
        b"\r\n"
        b'"Talk, ""live""\r\nand more",2023-06-29, 1 ,2,LS1,7,3.0\r\n'
        b"\xe6\x89\xab\xe8\xa1\x97,2023-06-30,2,1,,8,1.5"
    )
    shifts = read_rota(extract.shifts, extract.residents).shifts
    assert [(line, shift.event_name) for line, shift in shifts.items()] == [
        (3, 'Talk, "live" and more'),
        (5, "扫街"),
    ]


def test_every_fault_of_both_files_is_listed_by_line(tmp_path: Path) -> None:
    rows = [GOOD, "2023-06-29,2,x,2,7,Tour", '2023-06-29,3,1,1,7,"', '"', "2023-06-29,4,1,0,7,Tour"]
    extract = write(tmp_path, rows, volunteers=["ann", "bo", "ann", ""])
    assert [(file, line) for file, line, _ in faults(extract)] == [
        ("shifts.csv", 3),
        ("shifts.csv", 4),
        ("shifts.csv", 6),
        ("volunteers.csv", 4),
        ("volunteers.csv", 5),
    ]


def test_more_attended_than_are_confirmed(tmp_path: Path) -> None:
    extract = write(tmp_path, [GOOD], volunteers=["ann"])
    message = "attended is 2, more than are confirmed (1)"
    assert fault(extract) == ("shifts.csv", 2, message)


def test_a_row_has_as_many_cells_as_there_are_columns(tmp_path: Path) -> None:
    extract = write(tmp_path, [f"{GOOD},more", GOOD.removesuffix(",Tour")])
    assert [(line, message) for _, line, message in faults(extract)] == [
        (2, "7 cells under 6 columns"),
        (3, "5 cells under 6 columns"),
    ]


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        (b"", 1, "amiss: date, shift_id"),
        (b"hash,confirmed\n", 1, "amiss: date, shift_id"),
        (SHIFT_HEADER.replace(",", ";").encode(), 1, "amiss: date, shift_id"),
        (SHIFT_HEADER.encode() + b",date\n", 1, "amiss: date"),
        (SHIFT_HEADER.encode() + b"\n\n2023-06-29,1,3.0,2,7,\xc9\xa8\xbd\xd6", 3, "not UTF-8"),
        (SHIFT_HEADER.encode("utf-16"), 1, "not UTF-8"),
        (f'{SHIFT_HEADER}\n{GOOD}\n\n2023-06-29,2,1,1,7,"Tour\n{GOOD}'.encode(), 4, "not CSV"),
        (f'{SHIFT_HEADER}\n{GOOD}\n2023-06-29,2,1,1,7,"To"ur\n'.encode(), 3, "not CSV"),
        (f"{SHIFT_HEADER}\n{GOOD}{'x' * 200_000}\n".encode(), 2, "not CSV"),
        (f"{SHIFT_HEADER}\n2023-06-29,1\0,1,1,7,Tour\n".encode(), 2, "cannot be seen"),
    ],
)
def test_a_faulty_file_is_refused_at_a_line(
    tmp_path: Path, content: bytes, line: int, message: str
) -> None:
    extract = write(tmp_path, [])
    extract.shifts.write_bytes(content)
    found = fault(extract)
    assert found[:2] == ("shifts.csv", line)
    assert message in found[2]


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    extract = write(tmp_path, [GOOD])
    with pytest.raises(InvalidInputError, match=r"absent\.csv cannot be read: No such file"):
        read_rota(tmp_path / "absent.csv", extract.residents)


def test_a_file_is_not_endless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    extract = write(tmp_path, [GOOD])
    monkeypatch.setattr(files, "LARGEST_FILE", 20)
    with pytest.raises(InvalidInputError, match="larger than"):
        read_rota(extract.shifts, extract.residents)
