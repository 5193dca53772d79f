"""The words of service: activities, shifts, attendance, records, awards and wishes.

Minutes are whole; instants are UTC, days (`_on`) and `first_start` are local to the bank. People,
organisers and teams are random ids of the registry.
"""

from datetime import date, datetime
from enum import StrEnum
from uuid import UUID

from msgspec import Struct


class CancelReason(StrEnum):
    """Why an activity or a shift does not take place."""

    WEATHER = "weather"
    TOO_FEW = "too_few"
    ORGANISER = "organiser"
    EMERGENCY = "emergency"


class CheckMeans(StrEnum):
    """How somebody was checked in or out (schema.sql, check_means)."""

    CARD = "card"
    CODE = "code"
    SCAN_LIST = "scan_list"
    PLANNED_END = "planned_end"
    REVIEW = "review"


class ScanOutcome(StrEnum):
    """What became of a line of a scan list; everything but `applied` changed nothing."""

    APPLIED = "applied"
    SHIFT_NOT_FOUND = "shift_not_found"
    SHIFT_CANCELLED = "shift_cancelled"
    PERSON_NOT_FOUND = "person_not_found"
    OUT_OF_HOURS = "out_of_hours"
    NOT_CHECKED_IN = "not_checked_in"
    ALREADY_CHECKED_IN = "already_checked_in"


class RecordSource(StrEnum):
    """Where a record comes from; what nobody checked in needs evidence."""

    CHECKED_IN = "checked_in"
    BACK_FILLED = "back_filled"
    PAPER = "paper"


class RecordStatus(StrEnum):
    """draft -> submitted -> confirmed or rejected; confirmed -> reversed. Only confirmed counts."""

    DRAFT = "draft"
    SUBMITTED = "submitted"
    CONFIRMED = "confirmed"
    REJECTED = "rejected"
    REVERSED = "reversed"


class RecordNote(StrEnum):
    """Why a record is back-filled: a code, so that nobody writes a name into it."""

    FORGOT_TO_CHECK_IN = "forgot_to_check_in"
    DEVICE_FAILED = "device_failed"
    NO_COORDINATOR_THERE = "no_coordinator_there"
    ORGANISER_STATEMENT = "organiser_statement"
    THANKS_OF_THE_SERVED = "thanks_of_the_served"


class WishStatus(StrEnum):
    """collected -> assigned -> done -> confirmed; assigned and done may be taken back a step."""

    COLLECTED = "collected"
    ASSIGNED = "assigned"
    DONE = "done"
    CONFIRMED = "confirmed"


class Category(Struct, frozen=True):
    """A kind of service; activities of a risky one need an insurance reference."""

    category_id: UUID
    code: str
    name: str
    is_risky: bool


class Rate(Struct, frozen=True, kw_only=True):
    """A version of a category's points for an hour; in force once approved, from its day on."""

    rate_id: UUID
    category_id: UUID
    points_per_hour: int
    effective_on: date
    proposed_by: UUID
    approved_by: UUID | None


class Caps(Struct, frozen=True, kw_only=True):
    """Minutes a person may have confirmed on a local day, from a day on; None: no cap."""

    effective_on: date
    minutes_per_activity: int | None
    minutes_per_day: int | None


class ActivityPlan(Struct, frozen=True, kw_only=True):
    """What an activity is to be; without a rule it takes place once.

    `wall_minutes` are from start to end by the clock on the wall, `capacity` None is no limit.
    """

    category_id: UUID
    title: str
    organiser_id: UUID
    first_start: datetime
    wall_minutes: int
    rule: str | None = None
    branch_id: UUID | None = None
    service_point_id: UUID | None = None
    capacity: int | None = None
    insurance_ref: str | None = None
    team_ids: tuple[UUID, ...] = ()


class Activity(Struct, frozen=True, kw_only=True):
    """What residents serve at; what was imported from a rota has a `source_ref` and no plan."""

    activity_id: UUID
    category_id: UUID
    title: str
    organiser_id: UUID
    branch_id: UUID | None
    service_point_id: UUID | None
    first_start: datetime | None
    wall_minutes: int | None
    rule: str | None
    capacity: int | None
    insurance_ref: str | None
    source_ref: str | None
    cancelled_at: datetime | None
    team_ids: tuple[UUID, ...]


class Shift(Struct, frozen=True, kw_only=True):
    """One occurrence of an activity; one that was imported has no instants."""

    shift_id: UUID
    activity_id: UUID
    category_id: UUID
    served_on: date
    starts_at: datetime | None
    ends_at: datetime | None
    cancelled_at: datetime | None


class RosterEntry(Struct, frozen=True, kw_only=True):
    """Somebody who signed up; without a place they wait for the first that is left."""

    place: int
    person_id: UUID
    team_id: UUID | None
    signed_up_at: datetime
    has_place: bool


class Attendance(Struct, frozen=True, kw_only=True):
    """Somebody's stay at a shift; `is_pending` (待核) waits for a review."""

    attendance_id: UUID
    shift_id: UUID
    person_id: UUID
    team_id: UUID | None
    checked_in_at: datetime
    checked_in_means: CheckMeans
    checked_out_at: datetime | None
    checked_out_means: CheckMeans | None
    is_pending: bool


class Scan(Struct, frozen=True, kw_only=True):
    """A line of a scan list that a device kept while offline; its id makes it count once."""

    scan_id: UUID
    shift_id: UUID
    person_id: UUID
    is_arrival: bool
    scanned_at: datetime


class Evidence(Struct, frozen=True, kw_only=True):
    """What stands for time that nobody checked in: a file's hash, a note, a sheet's number."""

    sha256: bytes | None = None
    note: RecordNote | None = None
    sheet_number: str | None = None


class Claim(Struct, frozen=True, kw_only=True):
    """Service that somebody writes down for a person, at a shift, from minute to minute.

    With the number of a sheet it is a paper record, else a back-filled one.
    """

    person_id: UUID
    shift_id: UUID
    started_at: datetime
    ended_at: datetime
    evidence: Evidence


class ServiceRecord(Struct, frozen=True, kw_only=True):
    """Time that somebody served; `started_at` and `ended_at` are None where only the day is known.

    `next_day_minutes` of the `minutes` lie after the local midnight that follows `served_on`.
    """

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
    evidence_sha256: bytes | None
    note: RecordNote | None
    sheet_number: str | None
    status: RecordStatus
    made_by: UUID
    decided_by: UUID | None
    decided_at: datetime | None


class Award(Struct, frozen=True, kw_only=True):
    """What a confirmed record earned; remainders are in sixtieths of a point.

    A rate_id of None is the bank's own rate; the `next_` rate is that of the minutes after
    midnight.
    """

    record_id: UUID
    hours_transfer_id: UUID
    points_transfer_id: UUID | None
    minutes: int
    next_day_minutes: int
    rate_id: UUID | None
    points_per_hour: int
    next_rate_id: UUID | None
    next_points_per_hour: int
    remainder_before: int
    points: int
    remainder_after: int
    awarded_at: datetime


class Wish(Struct, frozen=True, kw_only=True):
    """微心愿: what somebody wishes for, who grants it, and the record of the hours."""

    wish_id: UUID
    category_id: UUID
    title: str
    served_id: UUID
    branch_id: UUID | None
    status: WishStatus
    assigned_to: UUID | None
    record_id: UUID | None
