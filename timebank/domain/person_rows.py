"""Rows of a list of people: what they say and what makes them faulty, never quoting what they hold.

Cells come stripped. A fault is a FaultyRowError here; the reader of the file knows the line.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import date

from msgspec import UNSET, Struct, UnsetType

from timebank.domain.ages import AgeBand, band_on
from timebank.domain.csv_rows import FaultyRowError
from timebank.domain.errors import NumberMistypedError
from timebank.domain.names import clean_name
from timebank.domain.numbers import parse_sheet_number
from timebank.domain.personal import (
    IdDocument,
    IdType,
    PersonalData,
    born_on_of,
    comparable_document,
    find_faults,
)

PERSON_COLUMNS = (
    "ref",
    "name",
    "phone",
    "id_type",
    "id_number",
    "birth_date",
    "address",
    "guardian_ref",
    "sheet",
)

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


class PersonRow(Struct, frozen=True):
    """Somebody on the list; `sheet` is the signed paper, `guardian_ref` the ref of an adult."""

    data: PersonalData
    guardian_ref: str | None
    sheet: int | None

    @property
    def ref(self) -> str:
        """What the other programme calls them."""
        return str(self.data.import_ref)

    def is_minor_on(self, day: date) -> bool:
        """Return whether they are under 18 on a day."""
        born_on = self.data.born_on
        return born_on is UNSET or band_on(born_on, day) is not AgeBand.ADULT


def parse_person(row: Mapping[str, str]) -> PersonRow:
    """Return the person of a row with PERSON_COLUMNS; FaultyRowError names its first fault."""
    for column in ("ref", "name"):
        if not row[column]:
            raise FaultyRowError(f"{column} is empty")
    document = _parse_document(row["id_type"], row["id_number"])
    born_on = _parse_date(row["birth_date"])
    if born_on is UNSET and document is not UNSET:
        born_on = born_on_of(document) or UNSET
    if born_on is UNSET:
        raise FaultyRowError("birth_date is empty, and id_number holds no birthday")
    data = PersonalData(
        name=clean_name(row["name"]),
        phone=row["phone"] or UNSET,
        id_document=document,
        born_on=born_on,
        address=row["address"] or UNSET,
        import_ref=row["ref"],
    )
    return PersonRow(data, row["guardian_ref"] or None, _parse_sheet(row["sheet"]))


def find_person_faults(rows: Mapping[int, PersonRow], today: date) -> Iterator[tuple[int, str]]:
    """Yield line and fault of each row that is not in order or does not go with the others."""
    lines: dict[str, int] = {}
    documents: dict[str, int] = {}
    sheets: dict[int, int] = {}
    by_ref = {row.ref: row for row in rows.values()}
    for line, row in rows.items():
        for field, fault in find_faults(row.data, today):
            yield line, f"{_COLUMN_OF.get(field, field)} {fault}"
        first = lines.setdefault(row.ref, line)
        if first != line:
            yield line, f"ref stands in line {first} already"
        if row.data.id_document is not UNSET:
            same = documents.setdefault(comparable_document(row.data.id_document), line)
            if same != line:
                yield line, f"id_number stands in line {same} already"
        if row.sheet is not None and (same := sheets.setdefault(row.sheet, line)) != line:
            yield line, f"sheet stands in line {same} already"
        if not row.is_minor_on(today):
            continue
        if row.guardian_ref is None:
            yield line, "guardian_ref is empty, and this is a minor"
        elif row.guardian_ref in by_ref and by_ref[row.guardian_ref].is_minor_on(today):
            yield line, "guardian_ref is the ref of a minor"


_COLUMN_OF = {"born_on": "birth_date", "id_document": "id_number", "import_ref": "ref"}


def _parse_document(kind: str, number: str) -> IdDocument | UnsetType:
    if not number:
        return UNSET
    try:
        return IdDocument(IdType(kind or IdType.RESIDENT_ID), number)
    except ValueError:
        raise FaultyRowError(f"id_type must be one of {', '.join(IdType)}") from None


def _parse_date(text: str) -> date | UnsetType:
    if not text:
        return UNSET
    try:
        if _DATE.fullmatch(text):
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise FaultyRowError("birth_date must be a date such as 1953-06-29")


def _parse_sheet(text: str) -> int | None:
    try:
        return parse_sheet_number(text) if text else None
    except NumberMistypedError:
        raise FaultyRowError("sheet is no sheet number: the check digits do not fit") from None
