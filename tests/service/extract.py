"""Rota extracts for tests: the bundled sample, the whole one, and any that a test writes."""

from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path

from msgspec import Struct

from timebank.domain.rota import Shift

SHIFT_HEADER = "date,shift_id,volunteer_hours,attended,event_id,event_name"

SAMPLE = Path(str(resources.files("timebank"))) / "sample"
WHOLE = Path(__file__).parents[3] / "shared" / "data" / "leeds2023"


class Extract(Struct, frozen=True):
    """Two files to import."""

    shifts: Path
    residents: Path

    @classmethod
    def of(cls, folder: Path) -> "Extract":
        """The files as LEEDS 2023 named them."""
        return cls(folder / "shifts.csv", folder / "volunteers.csv")


def write(
    folder: Path,
    rows: Iterable[str],
    *,
    volunteers: Sequence[str] = ("ann", "bo", "cy"),
    name: str = "shifts.csv",
) -> Extract:
    """Write shifts from lines of text, and volunteers who are all confirmed."""
    extract = Extract(folder / name, folder / "volunteers.csv")
    extract.shifts.write_text("\n".join([SHIFT_HEADER, *rows, ""]), "utf-8")
    lines = ["hash,confirmed", *(f"{ref},2022-12-17" for ref in volunteers), ""]
    extract.residents.write_text("\n".join(lines), "utf-8")
    return extract


def row(shift: Shift) -> str:
    """The line of a shift whose hours, to nine places, are its minutes."""
    hours = f"{shift.minutes / 60:.9f}"
    return (
        f"{shift.served_on},{shift.shift_ref},{hours},{shift.attended},"
        f"{shift.event_ref},{shift.event_name}"
    )
