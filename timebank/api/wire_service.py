"""The JSON of service: what callers send, and the answers that are more than a word of the domain.

Local times of an activity's plan are times on the wall; everything else is an instant.
"""

from datetime import date, datetime
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from timebank.api.wire import Instant
from timebank.domain.errors import InvalidInputError
from timebank.domain.ledger import ReversalReason, SpentPolicy
from timebank.domain.schedule import LONGEST_SHIFT_MINUTES
from timebank.domain.service import (
    Activity,
    Attendance,
    Award,
    CancelReason,
    Caps,
    Category,
    Evidence,
    Rate,
    RecordNote,
    RecordSource,
    RecordStatus,
    RosterEntry,
    ScanOutcome,
    ServiceRecord,
    Shift,
    Wish,
    WishStatus,
)
from timebank.service.scans import MOST_SCANS

_PLAIN = r"^[^\x00-\x1f\x7f]+$"
MOST_RECORDS = 500

LocalInstant = Annotated[datetime, Meta(tz=False, description="Local, without an offset")]
Title = Annotated[str, Meta(min_length=1, max_length=200, pattern=_PLAIN)]
Short = Annotated[str, Meta(min_length=1, max_length=80, pattern=_PLAIN)]
CategoryCode = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9-]{0,31}$")]
Card = Annotated[str, Meta(min_length=26, max_length=300, pattern=_PLAIN)]
Digits = Annotated[str, Meta(pattern=r"^[0-9]{6}$")]
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
    first_start: LocalInstant
    wall_minutes: Annotated[int, Meta(ge=1, le=LONGEST_SHIFT_MINUTES)]
    rule: Annotated[str, Meta(min_length=1, max_length=500, pattern=_PLAIN)] | None = None
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

    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")] | None = None
    note: RecordNote | None = None
    sheet_number: Annotated[str, Meta(min_length=1, max_length=64, pattern=_PLAIN)] | None = None

    def as_evidence(self) -> Evidence:
        """Return the evidence."""
        sha256 = bytes.fromhex(self.sha256) if self.sha256 else None
        return Evidence(sha256=sha256, note=self.note, sheet_number=self.sheet_number)


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


class CategoryList(Struct, frozen=True):
    """All categories by their codes."""

    data: list[Category]


class ActivityPage(Struct, frozen=True):
    """Activities, the oldest first."""

    data: list[Activity]
    next_cursor: str | None
    has_more: bool


class ShiftList(Struct, frozen=True):
    """Shifts by their start."""

    data: list[Shift]


class RosterView(Struct, frozen=True):
    """Who signed up: first those with a place, then those who wait."""

    data: list[RosterEntry]


class WithdrawalView(Struct, frozen=True):
    """Who got the place that was given up."""

    promoted_ids: list[UUID]


class ShownCodeView(Struct, frozen=True):
    """The code to show now; another follows after these seconds."""

    code: str
    seconds: int


class AttendanceList(Struct, frozen=True):
    """Who came, by their check-in."""

    data: list[Attendance]


class ScanResult(Struct, frozen=True):
    """What became of a scan."""

    scan_id: UUID
    outcome: ScanOutcome


class ScanResults(Struct, frozen=True):
    """What became of each scan, in the order of the list."""

    data: list[ScanResult]


class ClosedView(Struct, frozen=True):
    """How many attendances were closed at the planned end."""

    closed: int


class RecordView(Struct, frozen=True, kw_only=True):
    """A service record; the evidence is named by its hash, a note or a sheet's number."""

    record_id: UUID
    person_id: UUID
    category_id: UUID
    activity_id: UUID | None
    shift_id: UUID | None
    wish_id: UUID | None
    attendance_id: UUID | None
    served_on: date
    started_at: datetime | None
    ended_at: datetime | None
    minutes: int
    next_day_minutes: int
    source: RecordSource
    evidence_sha256: str | None
    note: RecordNote | None
    sheet_number: str | None
    status: RecordStatus
    made_by: UUID
    decided_by: UUID | None
    decided_at: datetime | None


class RecordList(Struct, frozen=True):
    """Service records."""

    data: list[RecordView]


class AwardList(Struct, frozen=True):
    """What each confirmed record earned, in the order asked for."""

    data: list[Award]


class RateList(Struct, frozen=True):
    """All versions of a category's rate, by the day they begin."""

    data: list[Rate]


class CapsList(Struct, frozen=True):
    """All caps, by the day they begin."""

    data: list[Caps]


class WallWish(Struct, frozen=True, kw_only=True):
    """A wish as it hangs on the wall: nobody is named."""

    wish_id: UUID
    category_id: UUID
    title: str
    branch_id: UUID | None
    status: WishStatus


class Wall(Struct, frozen=True):
    """Wishes, the latest first."""

    data: list[WallWish]


class ExpiryView(Struct, frozen=True):
    """What expires first; a day that has passed means: soon."""

    expires_on: date
    points: int


class SummaryView(Struct, frozen=True, kw_only=True):
    """What a resident has had confirmed, has now, and what of it expires first."""

    resident_id: UUID
    records: int
    minutes_confirmed: int
    points_earned: int
    minutes: int
    points: int
    points_account_id: UUID | None
    next_expiry: ExpiryView | UnsetType = UNSET


class ExplanationView(Struct, frozen=True):
    """Why a balance is what it is, in sentences of the reader's language."""

    language: str
    sentences: list[str]


def view_record(record: ServiceRecord) -> RecordView:
    """Return the record as it is answered."""
    fields = msgspec.structs.asdict(record)
    digest = record.evidence_sha256
    return RecordView(**{**fields, "evidence_sha256": digest and digest.hex()})


def view_on_wall(wish: Wish) -> WallWish:
    """Return what everybody may see of a wish."""
    return WallWish(
        wish_id=wish.wish_id,
        category_id=wish.category_id,
        title=wish.title,
        branch_id=wish.branch_id,
        status=wish.status,
    )
