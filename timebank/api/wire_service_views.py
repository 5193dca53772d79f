"""The JSON of service that callers are answered, where a word of the domain is not enough."""

from datetime import date, datetime
from uuid import UUID

import msgspec
from msgspec import UNSET, Struct, UnsetType

from timebank.api.wire_service import LocalMinute
from timebank.domain.service import (
    Activity,
    Attendance,
    Award,
    Caps,
    Category,
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


class CategoryList(Struct, frozen=True):
    """All categories by their codes."""

    data: list[Category]


class ActivityView(Struct, frozen=True, kw_only=True):
    """An activity; what was imported from a rota has a `source_ref` and no plan."""

    activity_id: UUID
    category_id: UUID
    title: str
    organiser_id: UUID
    branch_id: UUID | None
    service_point_id: UUID | None
    first_start: LocalMinute | None
    wall_minutes: int | None
    rule: str | None
    capacity: int | None
    insurance_ref: str | None
    source_ref: str | None
    cancelled_at: datetime | None
    team_ids: list[UUID]


class ActivityPage(Struct, frozen=True):
    """Activities, the oldest first."""

    data: list[ActivityView]
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


class RecordPage(Struct, frozen=True):
    """Service records, in the order that the list says."""

    data: list[RecordView]
    next_cursor: str | None
    has_more: bool


class AwardList(Struct, frozen=True):
    """What each confirmed record earned, in the order asked for."""

    data: list[Award]


class RatePage(Struct, frozen=True):
    """Versions of a category's rate, by the day they begin."""

    data: list[Rate]
    next_cursor: str | None
    has_more: bool


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
    next_cursor: str | None
    has_more: bool


class ExpiryView(Struct, frozen=True):
    """What expires first; a day that has passed means: soon."""

    expires_on: date
    points: int


class SummaryView(Struct, frozen=True, kw_only=True):
    """What a resident has had confirmed, has now, and what of it expires first.

    `points_available` can be spent; the rest of `points` is blocked while the service that brought
    it is examined.
    """

    resident_id: UUID
    records: int
    minutes_confirmed: int
    points_earned: int
    minutes: int
    points: int
    points_available: int
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


def view_activity(activity: Activity) -> ActivityView:
    """Return the activity as it is answered."""
    fields = msgspec.structs.asdict(activity)
    start = activity.first_start and activity.first_start.isoformat(timespec="minutes")
    return ActivityView(**{**fields, "first_start": start, "team_ids": list(activity.team_ids)})
