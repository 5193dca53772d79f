"""Reading the two CSV files of a rota extract, every fault with its line."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from msgspec import Struct

from timebank.domain.csv_rows import parse_rows, refuse_if_any
from timebank.domain.errors import RowFault
from timebank.domain.rota import (
    SHIFT_COLUMNS,
    VOLUNTEER_COLUMNS,
    Shift,
    Volunteer,
    find_shift_faults,
    find_volunteer_faults,
    parse_shift,
    parse_volunteer,
)
from timebank.files import read_file

Row = TypeVar("Row")


class Rota(Struct, frozen=True):
    """What the two files say: shifts by the line they begin in, and who is confirmed."""

    shifts_file: str
    shifts: Mapping[int, Shift]
    confirmed: Sequence[Volunteer]


def read_rota(shifts_path: Path, residents_path: Path) -> Rota:
    """Read and check both files; ImportRefusedError lists every faulty row of both.

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


def _read(
    path: Path, columns: Sequence[str], parse: Callable[[Mapping[str, str]], Row]
) -> tuple[dict[int, Row], list[RowFault]]:
    return parse_rows(str(path), read_file(path), columns, parse)
