"""The JSON of service that callers send; what they are answered is in wire_service_views.py.

Local times of an activity's plan are times on the wall; everything else is an instant.
"""

from datetime import date, datetime
from typing import Annotated
from uuid import UUID

from msgspec import Meta, Struct

from timebank.api.wire import END, LINE, Instant
from timebank.domain.errors import InvalidInputError
from timebank.domain.ledger import ReversalReason, SpentPolicy
from timebank.domain.numbers import add_check, parse_sheet_number
from timebank.domain.schedule import LONGEST_SHIFT_MINUTES
from timebank.domain.service import (
    CancelReason,
    Evidence,
    RecordNote,
)
from timebank.service.scans import MOST_SCANS

MOST_RECORDS = 500

LocalMinute = Annotated[
    str,
    Meta(
        pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(:00)?" + END,
        description="By the clock on the wall, as 2026-01-02T09:00: it has no offset",
    ),
]
Title = Annotated[str, Meta(min_length=1, max_length=200, pattern=LINE)]
Short = Annotated[str, Meta(min_length=1, max_length=80, pattern=LINE)]
CategoryCode = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9-]{0,31}" + END)]
Card = Annotated[str, Meta(min_length=26, max_length=300, pattern=LINE)]
Digits = Annotated[str, Meta(pattern=r"^[0-9]{6}" + END)]
RecordIds = Annotated[list[UUID], Meta(min_length=1, max_length=MOST_RECORDS)]


def check_days(from_on: date, until_on: date, pointer: str) -> None:
    """Raise InvalidInputError unless the days are a span of a year at most, of our times."""
    if not (from_on.year >= 1900 and until_on.year <= 2199):
        raise InvalidInputError("Days are from 1900 to 2199.", pointer=pointer)
    if not 0 <= (until_on - from_on).days <= 366:
        raise InvalidInputError("The days end where they begin, or a year later.", pointer=pointer)


class CategoryBody(Struct, forbid_unknown_fields=True):
    """A new kind of service."""

    code: CategoryCode
    name: Short
    is_risky: bool = False


class ActivityBody(Struct, forbid_unknown_fields=True, kw_only=True):
    """A new activity; without a rule (RFC 5545) it takes place once.

    Without a branch it is the caller's; without an organiser, the caller organises it.
    """

    category_id: UUID
    title: Title
    first_start: LocalMinute
    wall_minutes: Annotated[int, Meta(ge=1, le=LONGEST_SHIFT_MINUTES)]
    rule: Annotated[str, Meta(min_length=1, max_length=500, pattern=LINE)] | None = None
    branch_id: UUID | None = None
    service_point_id: UUID | None = None
    organiser_id: UUID | None = None
    capacity: Annotated[int, Meta(ge=1, le=100_000)] | None = None
    insurance_ref: Short | None = None
    team_ids: Annotated[list[UUID], Meta(max_length=50)] = []


class DaysBody(Struct, forbid_unknown_fields=True):
    """Local days, both included."""

    from_on: date
    until_on: date


class TeamBody(Struct, forbid_unknown_fields=True):
    """An organisation or a 双报到 unit that attends as such."""

    team_id: UUID


class CancelBody(Struct, forbid_unknown_fields=True):
    """Why it does not take place."""

    reason: CancelReason


class SignUpBody(Struct, forbid_unknown_fields=True):
    """Who takes part, and with which team."""

    resident_id: UUID
    team_id: UUID | None = None


class LeaveBody(Struct, forbid_unknown_fields=True):
    """Who gives their place up."""

    resident_id: UUID


class CheckBody(Struct, forbid_unknown_fields=True, kw_only=True):
    """Whom the coordinator sees: by the text of their card, or by their id."""

    card: Card | None = None
    resident_id: UUID | None = None


class CheckInBody(CheckBody, forbid_unknown_fields=True, kw_only=True):
    """Whom the coordinator sees arrive, and with which team."""

    team_id: UUID | None = None


class CodeBody(Struct, forbid_unknown_fields=True):
    """The code that is shown at the activity now."""

    code: Digits


class ScanBody(CheckBody, forbid_unknown_fields=True, kw_only=True):
    """A line that a device kept while it was offline."""

    scan_id: UUID
    shift_id: UUID
    is_arrival: bool
    scanned_at: Instant


class ScansBody(Struct, forbid_unknown_fields=True):
    """A list of scans; each has its own result."""

    scans: Annotated[list[ScanBody], Meta(min_length=1, max_length=MOST_SCANS)]


class ReviewBody(Struct, forbid_unknown_fields=True):
    """When they left; without it, the planned end stands."""

    checked_out_at: Instant | None = None


class StepBody(Struct, forbid_unknown_fields=True):
    """Nothing more to say."""


class EvidenceBody(Struct, forbid_unknown_fields=True, kw_only=True):
    """What stands for time that nobody checked in: one of these at least."""

    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}" + END)] | None = None
    note: RecordNote | None = None
    sheet_number: Annotated[str, Meta(min_length=1, max_length=64, pattern=LINE)] | None = None

    def as_evidence(self) -> Evidence:
        """Return the evidence, the sheet's number in nine digits; NumberMistypedError."""
        sha256 = bytes.fromhex(self.sha256) if self.sha256 else None
        sheet = add_check(parse_sheet_number(self.sheet_number)) if self.sheet_number else None
        return Evidence(sha256=sha256, note=self.note, sheet_number=sheet)


class ClaimBody(Struct, forbid_unknown_fields=True, kw_only=True):
    """Service of a person at a shift; with the number of a sheet it is a paper record."""

    resident_id: UUID
    shift_id: UUID
    started_at: Instant
    ended_at: Instant
    evidence: EvidenceBody


class ClaimsBody(Struct, forbid_unknown_fields=True):
    """All are drafted, or none."""

    claims: Annotated[list[ClaimBody], Meta(min_length=1, max_length=MOST_RECORDS)]


class RecordIdsBody(Struct, forbid_unknown_fields=True):
    """Records of a roster: the step is taken for all of them, or none."""

    record_ids: RecordIds


class RecordReversalBody(Struct, forbid_unknown_fields=True):
    """Why a confirmed record is taken back, and what to do where its points are spent."""

    reason: ReversalReason
    when_spent: SpentPolicy = SpentPolicy.REFUSE


class WishBody(Struct, forbid_unknown_fields=True, kw_only=True):
    """A wish; the title names nobody."""

    category_id: UUID
    title: Title
    served_id: UUID
    branch_id: UUID | None = None


class AssignBody(Struct, forbid_unknown_fields=True):
    """Who is to grant it."""

    volunteer_id: UUID


class GrantedBody(Struct, forbid_unknown_fields=True, kw_only=True):
    """When a wish was granted, and what stands for it."""

    started_at: Instant
    ended_at: Instant
    evidence: EvidenceBody


def parse_first_start(text: str) -> datetime:
    """Return the local time of a plan; InvalidInputError if it is none, or not of our times."""
    try:
        start = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidInputError("There is no such day or time.", pointer="/first_start") from error
    check_days(start.date(), start.date(), "/first_start")
    return start
