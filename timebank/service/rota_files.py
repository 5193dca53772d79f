"""Reading the two CSV files of a rota extract, every fault with its line."""

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from msgspec import Struct

from timebank.domain.errors import ImportRefusedError, InvalidInputError, RowFault
from timebank.domain.rota import (
    SHIFT_COLUMNS,
    VOLUNTEER_COLUMNS,
    FaultyRowError,
    Shift,
    Volunteer,
    find_shift_faults,
    find_volunteer_faults,
    parse_shift,
    parse_volunteer,
)

LARGEST_FILE = 64 * 1024 * 1024

Row = TypeVar("Row")


class Rota(Struct, frozen=True):
    """What the two files say: shifts by the line they begin in, and who is confirmed."""

    shifts_file: str
    shifts: Mapping[int, Shift]
    confirmed: Sequence[Volunteer]


class _FaultyFileError(Exception):
    """A fault that ends the reading: what follows it cannot be told apart."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


def read_rota(shifts_path: Path, residents_path: Path) -> Rota:
    """Read and check both files; ImportRefusedError lists every faulty row of both.

    UTF-8 with or without a byte order mark, lines ended in any way, other columns ignored.
    InvalidInputError if a file cannot be read at all.
    """
    shifts, shift_faults = _read(shifts_path, SHIFT_COLUMNS, parse_shift)
    volunteers, faults = _read(residents_path, VOLUNTEER_COLUMNS, parse_volunteer)
    confirmed = [volunteer for volunteer in volunteers.values() if volunteer.confirmed_on]
    faults += [RowFault(str(residents_path), *fault) for fault in find_volunteer_faults(volunteers)]
    if not faults:  # else nobody knows yet how many are confirmed
        shift_faults += [
            RowFault(str(shifts_path), *fault)
            for fault in find_shift_faults(shifts, len(confirmed))
        ]
    refuse_if_any([*shift_faults, *faults])
    return Rota(str(shifts_path), shifts, confirmed)


def refuse_if_any(faults: Sequence[RowFault]) -> None:
    """Raise ImportRefusedError if there are faults, by file and line."""
    if faults:
        files = list(dict.fromkeys(fault.file for fault in faults))
        raise ImportRefusedError(sorted(faults, key=lambda f: (files.index(f.file), f.line)))


def _read(
    path: Path, columns: Sequence[str], parse: Callable[[Mapping[str, str]], Row]
) -> tuple[dict[int, Row], list[RowFault]]:
    """Return the parsed rows by line, and the faults of the others."""
    rows: dict[int, Row] = {}
    faults: list[RowFault] = []
    try:
        lines = _list_lines(_read_text(path))
        header = _read_header(lines, columns)
        for line, cells in lines:
            try:
                rows[line] = parse(_by_column(header, cells))
            except FaultyRowError as fault:
                faults.append(RowFault(str(path), line, str(fault)))
    except _FaultyFileError as fault:
        faults.append(RowFault(str(path), fault.line, str(fault)))
    return rows, faults


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise InvalidInputError(f"{path} cannot be read: {error.strerror}") from error
    if len(content) > LARGEST_FILE:
        raise InvalidInputError(f"{path} is larger than {LARGEST_FILE >> 20} MiB. Cut it in parts.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _FaultyFileError(line, "this is not UTF-8; save the file as CSV UTF-8") from error


def _list_lines(text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield each row that is not blank with the line it begins in, its cells stripped."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    line = 1
    try:
        for cells in reader:
            if cells:
                yield line, [cell.strip() for cell in cells]
            line = reader.line_num + 1
    except csv.Error as error:
        raise _FaultyFileError(line, f"this is not CSV: {error}") from error


def _read_header(lines: Iterator[tuple[int, list[str]]], columns: Sequence[str]) -> list[str]:
    line, header = next(lines, (1, []))
    missing = [column for column in columns if header.count(column) != 1]
    if missing:
        raise _FaultyFileError(
            line,
            f"the first row must name each column once, with commas between; amiss: "
            f"{', '.join(missing)}",
        )
    return header


def _by_column(header: Sequence[str], cells: Sequence[str]) -> Mapping[str, str]:
    if len(cells) != len(header):
        raise FaultyRowError(f"{len(cells)} cells under {len(header)} columns")
    return dict(zip(header, cells, strict=True))
