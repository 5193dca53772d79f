"""From the bytes of a CSV file to parsed rows, every fault with the line where its row begins.

UTF-8 with or without a byte order mark, lines ended in any way, columns beyond those asked for
ignored, cells stripped of the space around them.
"""

import csv
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

from timebank.domain.errors import ImportRefusedError, RowFault

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")

Row = TypeVar("Row")


class FaultyRowError(ValueError):
    """What is wrong with a row, as a sentence for the person who can mend it."""


class _FaultyFileError(Exception):
    """A fault that ends the reading: what follows it cannot be told apart."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


def parse_rows(
    file: str, content: bytes, columns: Sequence[str], parse: Callable[[Mapping[str, str]], Row]
) -> tuple[dict[int, Row], list[RowFault]]:
    """Return the parsed rows by line, and the faults of the others; `parse` gets `columns`."""
    rows: dict[int, Row] = {}
    faults: list[RowFault] = []
    try:
        lines = _list_lines(_decode(content))
        header = _read_header(lines, columns)
        for line, cells in lines:
            try:
                rows[line] = parse(_by_column(header, cells))
            except FaultyRowError as fault:
                faults.append(RowFault(file, line, str(fault)))
    except _FaultyFileError as fault:
        faults.append(RowFault(file, fault.line, str(fault)))
    return rows, faults


def refuse_if_any(faults: Sequence[RowFault]) -> None:
    """Raise ImportRefusedError if there are faults, by file and line."""
    if faults:
        files = list(dict.fromkeys(fault.file for fault in faults))
        raise ImportRefusedError(sorted(faults, key=lambda f: (files.index(f.file), f.line)))


def parse_name(column: str, text: str, longest: int) -> str:
    """Return a text for people, its spaces made one; FaultyRowError if it is not printable."""
    name = " ".join(text.split())
    check_length(column, name, longest)
    if _CONTROL.search(name):
        raise FaultyRowError(f"{column} holds a control character: {quote(name)}")
    return name


def check_length(column: str, text: str, longest: int) -> None:
    """Raise FaultyRowError if a cell is empty or too long."""
    if not text:
        raise FaultyRowError(f"{column} is empty")
    if len(text) > longest:
        raise FaultyRowError(f"{column} is longer than {longest} characters: {quote(text)}")


def quote(text: str) -> str:
    """Show what stands in the file, harmless to a terminal and short."""
    return repr(text) if len(text) <= 40 else repr(text[:40]) + "…"


def _decode(content: bytes) -> str:
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
