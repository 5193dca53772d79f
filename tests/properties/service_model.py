"""What service does, as a person would reckon it: plain sums over plain records."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

BANK_RATE = 10


@dataclass
class Record:
    """Time that somebody served, from minute to minute, or on a day alone (`start` None)."""

    record_id: UUID
    person: UUID
    category: UUID
    day: date
    start: datetime | None
    minutes: int
    maker: UUID
    status: str = "submitted"

    def minutes_by_day(self, zone: ZoneInfo) -> Iterator[date]:
        """Yield the local day of each minute."""
        for n in range(self.minutes):
            yield (
                (self.start + timedelta(minutes=n)).astimezone(zone).date()
                if self.start
                else self.day
            )

    def overlaps(self, other: "Record") -> bool:
        """Whether both lie in one time, where both know their time."""
        if self.start is None or other.start is None or self.person != other.person:
            return False
        return self.start < other.start + timedelta(
            minutes=other.minutes
        ) and other.start < self.start + timedelta(minutes=self.minutes)


@dataclass
class ServiceModel:
    """All records of a bank and the rates in force."""

    zone: ZoneInfo
    records: dict[UUID, Record] = field(default_factory=dict)
    rates: dict[UUID, dict[date, int]] = field(default_factory=lambda: defaultdict(dict))
    spent: dict[UUID, int] = field(default_factory=lambda: defaultdict(int))

    def may_confirm(self, ids: Sequence[UUID], by: UUID) -> bool:
        """Whether all of these may be confirmed at once by this person."""
        asked = [self.records[one] for one in ids]
        fresh = [record for record in asked if record.status == "submitted"]
        standing = [one for one in self.records.values() if one.status == "confirmed"]
        return (
            all(record.status in {"submitted", "confirmed"} for record in asked)
            and all(by not in {record.maker, record.person} for record in fresh)
            and not any(
                record.overlaps(other)
                for place, record in enumerate(fresh)
                for other in [*standing, *fresh[:place]]
            )
        )

    def may_approve(self, category: UUID, day: date) -> bool:
        """Whether a rate may take effect on this day."""
        return day not in self.rates[category] and not any(
            record.category == category
            and record.status == "confirmed"
            and max(record.minutes_by_day(self.zone)) >= day
            for record in self.records.values()
        )

    def rate(self, category: UUID, day: date) -> int:
        """The rate in force on a day."""
        versions = {on: rate for on, rate in self.rates[category].items() if on <= day}
        return versions[max(versions)] if versions else BANK_RATE

    def exact(self, person: UUID, category: UUID) -> int:
        """Sixtieths of a point that the confirmed minutes earn, minute by minute."""
        return sum(
            self.rate(category, day)
            for record in self.records.values()
            if (record.person, record.category, record.status) == (person, category, "confirmed")
            for day in record.minutes_by_day(self.zone)
        )

    def minutes(self, person: UUID) -> int:
        """Confirmed minutes of all categories."""
        return sum(
            record.minutes
            for record in self.records.values()
            if record.person == person and record.status == "confirmed"
        )
