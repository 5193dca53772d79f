"""A programme for one test: a bank with a category, people, and short words for what they do."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import cycle
from typing import Any, TypeVar
from uuid import UUID

from tests.book import Book
from timebank.db import Connection, repeat_on_conflict
from timebank.domain.ledger import ReversalReason, SpentPolicy, Unit
from timebank.domain.schedule import by_local_day, floor_minute
from timebank.domain.service import (
    Activity,
    ActivityPlan,
    Award,
    Evidence,
    RecordNote,
    RecordSource,
    RecordStatus,
    Shift,
)
from timebank.ledger.ids import new_id
from timebank.people.parties import PartyKind, register_parties
from timebank.service.activities import list_shifts, make_activity
from timebank.service.awards import AwardReversal, confirm_records, get_totals, reverse_record
from timebank.service.categories import open_category
from timebank.service.rates import approve_rate, propose_rate
from timebank.service.records import Entry, write_records

T = TypeVar("T")

MAKER, CHECKER, OTHER_CHECKER, THIRD_CHECKER = (new_id() for _ in range(4))

PEOPLE = [new_id() for _ in range(64)]
"""Who is registered in every programme; no test has so many."""

_next_person = cycle(PEOPLE)


def new_person() -> UUID:
    """Return the id of a person who has done nothing yet in this test."""
    return next(_next_person)


FRIDAY = datetime(2026, 1, 2, 9)
"""Nine in the morning by the wall."""

FAR = date(2099, 1, 1)


@dataclass(frozen=True)
class Programme:
    """A bank's service; its people are new ids."""

    book: Book
    category_id: UUID

    @classmethod
    async def open(cls, book: Book) -> "Programme":
        """Open a category in the bank."""
        async with book.pool.acquire() as connection:
            category = await open_category(connection, book.bank_id, "cleaning", "卫生清洁")
            everybody = [MAKER, CHECKER, OTHER_CHECKER, THIRD_CHECKER, *PEOPLE]
            await register_parties(connection, book.bank_id, PartyKind.PERSON, everybody)
        return cls(book, category.category_id)

    async def run(self, work: Callable[..., Awaitable[T]], *args: Any, **named: Any) -> T:
        """Do something in a transaction of its own, as the edges do."""

        async def call(connection: Connection) -> T:
            return await work(connection, self.book.bank_id, *args, **named)

        return await repeat_on_conflict(self.book.pool, call)

    async def open_category(self, code: str, *, is_risky: bool = False) -> UUID:
        """Open another category."""
        return (await self.run(open_category, code, code, is_risky=is_risky)).category_id

    async def set_rate(self, category_id: UUID, points_per_hour: int, effective_on: date) -> UUID:
        """Propose and approve a rate."""
        rate = await self.run(
            propose_rate,
            MAKER,
            category_id=category_id,
            points_per_hour=points_per_hour,
            effective_on=effective_on,
        )
        await self.run(approve_rate, CHECKER, rate.rate_id)
        return rate.rate_id

    async def make_activity(self, **plan: Any) -> Activity:
        """Make an activity on Fridays from nine to eleven, unless the plan says otherwise."""
        default = {
            "category_id": self.category_id,
            "title": "周五大扫除",
            "organiser_id": MAKER,
            "first_start": FRIDAY,
            "wall_minutes": 120,
        }
        return await self.run(make_activity, MAKER, ActivityPlan(**default | plan))

    async def make_shift(self, **plan: Any) -> Shift:
        """Make an activity and return its first shift."""
        activity = await self.make_activity(**plan)
        return (await self.shifts(activity.activity_id))[0]

    async def shifts(self, activity_id: UUID) -> list[Shift]:
        """All that is planned of an activity."""
        return await self.run(list_shifts, date.min, FAR, activity_id=activity_id)

    async def record(
        self,
        person_id: UUID,
        start: datetime,
        minutes: int,
        *,
        category_id: UUID | None = None,
        **rest: Any,
    ) -> UUID:
        """Hand in a back-filled record of so many minutes from an instant."""
        ids = await self.record_all([(person_id, start, minutes)], category_id=category_id, **rest)
        return ids[0]

    async def record_all(
        self,
        times: Sequence[tuple[UUID, datetime, int]],
        *,
        category_id: UUID | None = None,
        status: RecordStatus = RecordStatus.SUBMITTED,
        **rest: Any,
    ) -> list[UUID]:
        """Hand in records of people, starts and minutes at once."""
        zone = self.book.bank.zone
        entries = [
            Entry(
                record_id=new_id(),
                person_id=person_id,
                category_id=category_id or self.category_id,
                time=by_local_day(start, start + timedelta(minutes=minutes), zone),
                occurred_at=floor_minute(start),
                ended_at=floor_minute(start + timedelta(minutes=minutes)),
                evidence=Evidence(note=RecordNote.DEVICE_FAILED),
                **{"wish_id": new_id()} | rest,
            )
            for person_id, start, minutes in times
        ]
        await self.run(write_records, MAKER, RecordSource.BACK_FILLED, entries, status=status)
        return [entry.record_id for entry in entries]

    async def confirm(self, *record_ids: UUID, by: UUID = CHECKER) -> list[Award]:
        """Confirm records in one call."""
        return await self.run(confirm_records, by, record_ids)

    async def reverse(
        self, record_id: UUID, when_spent: SpentPolicy = SpentPolicy.REFUSE
    ) -> AwardReversal:
        """Reverse a record."""
        reason = ReversalReason.SERVICE_NOT_GIVEN
        return await self.run(
            reverse_record, CHECKER, record_id, reason=reason, when_spent=when_spent
        )

    async def wallets(self, person_id: UUID) -> tuple[int, int]:
        """The hours and points that a person has."""
        rows = await self.book.pool.fetch(
            "SELECT a.unit, balance FROM account a JOIN balance USING (bank_id, account_id) "
            "WHERE bank_id = $1 AND owner_id = $2 AND a.kind = 'wallet'",
            self.book.bank_id,
            person_id,
        )
        held = dict(list(rows))
        return held.get(Unit.HOURS, 0), held.get(Unit.POINTS, 0)

    async def totals(self, person_id: UUID) -> tuple[int, int]:
        """The minutes and points of a person's confirmed records."""
        totals = await self.run(get_totals, person_id)
        return totals.minutes, totals.points


def at(local: str) -> datetime:
    """An instant by the clock in Shanghai, such as 2026-01-02 09:00."""
    return datetime.fromisoformat(local + "+08:00").astimezone(UTC)
