"""A rota extract: what its rows say, what makes a row faulty, and who attended which shift.

Texts come stripped of the space around them. A fault is a FaultyRowError here; the reader of the
file knows the line. Minutes are whole, and of the shift as a whole until they are shared.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from decimal import ROUND_HALF_UP, Decimal

from msgspec import Struct

from timebank.domain.csv_rows import FaultyRowError, check_length, parse_name, quote
from timebank.domain.schedule import LONGEST_MINUTES
from timebank.domain.sharing import draw_volunteers, share_minutes

LONGEST_REF = 64
LONGEST_NAME = 200
EARLIEST = date(1970, 1, 1)
"""An earlier date is a slip of the pen."""

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_HOURS = re.compile(r"[0-9]{1,6}(\.[0-9]{1,9})?")
_COUNT = re.compile(r"[0-9]{1,6}")


class Shift(Struct, frozen=True, kw_only=True):
    """One shift of an event: the minutes are those of all who attended together."""

    shift_ref: str
    served_on: date
    minutes: int
    attended: int
    event_ref: str
    event_name: str


class Volunteer(Struct, frozen=True):
    """Somebody on the list; `confirmed_on` is None for one who never was."""

    volunteer_ref: str
    confirmed_on: date | None


class Attendance(Struct, frozen=True):
    """One volunteer's part in a shift."""

    shift: Shift
    volunteer_ref: str
    minutes: int


SHIFT_COLUMNS = ("date", "shift_id", "volunteer_hours", "attended", "event_id", "event_name")
VOLUNTEER_COLUMNS = ("hash", "confirmed")


def parse_shift(row: Mapping[str, str]) -> Shift:
    """Return the shift of a row with SHIFT_COLUMNS; FaultyRowError names its first fault."""
    minutes = minutes_of(row["volunteer_hours"])
    attended = _parse_attended(row["attended"])
    if minutes < attended:
        raise FaultyRowError(
            f"volunteer_hours are {minutes} minutes in all, less than one for each of the "
            f"{attended} who attended"
        )
    if minutes > LONGEST_MINUTES * attended:
        raise FaultyRowError(
            f"volunteer_hours are {minutes} minutes in all, and nobody serves longer than "
            f"{LONGEST_MINUTES} in one shift"
        )
    return Shift(
        shift_ref=_parse_ref("shift_id", row["shift_id"]),
        served_on=_parse_date("date", row["date"]),
        minutes=minutes,
        attended=attended,
        event_ref=_parse_ref("event_id", row["event_id"]),
        event_name=parse_name("event_name", row["event_name"], LONGEST_NAME),
    )


def parse_volunteer(row: Mapping[str, str]) -> Volunteer:
    """Return the volunteer of a row with VOLUNTEER_COLUMNS; FaultyRowError names its fault."""
    return Volunteer(
        _parse_ref("hash", row["hash"]),
        _parse_date("confirmed", row["confirmed"]) if row["confirmed"] else None,
    )


def minutes_of(hours: str) -> int:
    """Return decimal hours as whole minutes, rounded once, half up: 0.667 is 40."""
    if not _HOURS.fullmatch(hours):
        raise FaultyRowError(f"volunteer_hours must be a number such as 2.5, not {quote(hours)}")
    return int((Decimal(hours) * 60).to_integral_value(ROUND_HALF_UP))


def _parse_attended(text: str) -> int:
    if not _COUNT.fullmatch(text):
        raise FaultyRowError(f"attended must be a whole number, not {quote(text)}")
    if not int(text):
        raise FaultyRowError("attended is 0: leave out a shift that nobody attended")
    return int(text)


def _parse_date(column: str, text: str) -> date:
    try:
        parsed = date.fromisoformat(text) if _DATE.fullmatch(text) else None
    except ValueError:
        parsed = None
    if parsed is None or parsed < EARLIEST:
        raise FaultyRowError(
            f"{column} must be a date such as 2023-06-29, not before {EARLIEST}, not {quote(text)}"
        )
    return parsed


def _parse_ref(column: str, text: str) -> str:
    check_length(column, text, LONGEST_REF)
    if not text.isprintable():
        raise FaultyRowError(f"{column} holds a character that cannot be seen: {quote(text)}")
    return text


def find_shift_faults(shifts: Mapping[int, Shift], confirmed: int) -> Iterator[tuple[int, str]]:
    """Yield line and fault of each shift, by line, that does not go with those before it."""
    lines: dict[str, int] = {}
    names: dict[str, str] = {}
    for line, shift in shifts.items():
        first = lines.setdefault(shift.shift_ref, line)
        name = names.setdefault(shift.event_ref, shift.event_name)
        if first != line:
            yield line, f"shift {shift.shift_ref} stands in line {first} already"
        if name != shift.event_name:
            yield (
                line,
                f"event {shift.event_ref} is {quote(name)} above, {quote(shift.event_name)} here",
            )
        if shift.attended > confirmed:
            yield line, f"attended is {shift.attended}, more than are confirmed ({confirmed})"


def find_volunteer_faults(volunteers: Mapping[int, Volunteer]) -> Iterator[tuple[int, str]]:
    """Yield line and fault of each volunteer, by line, who stands on the list twice."""
    lines: dict[str, int] = {}
    for line, volunteer in volunteers.items():
        first = lines.setdefault(volunteer.volunteer_ref, line)
        if first != line:
            yield line, f"hash {volunteer.volunteer_ref} stands in line {first} already"


def draw_attendances(shifts: Iterable[Shift], volunteer_refs: Sequence[str]) -> list[Attendance]:
    """Say who of the confirmed volunteers attended each shift and for how long, in posting order.

    The extract counts who came and does not name them; the draw is the same for ever. The parts
    of a shift add up to its minutes. Order: date, shift, draw.
    """
    return [
        Attendance(shift, volunteer_ref, minutes)
        for shift in sorted(shifts, key=lambda shift: (shift.served_on, shift.shift_ref))
        for volunteer_ref, minutes in zip(
            draw_volunteers(shift.shift_ref, volunteer_refs, shift.attended),
            share_minutes(shift.minutes, shift.attended),
            strict=True,
        )
    ]
