"""Service against the model: whatever is written, decided and taken back, only what is confirmed
counts, in no two places at once, and points are the floor of what was served.
"""

from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.book import Book
from tests.properties.service_model import Record, ServiceModel
from tests.properties.test_ledger_machine import Database
from tests.service.programme import CHECKER, MAKER, OTHER_CHECKER, Programme, at, new_person
from timebank.audit.reconcile import reconcile
from timebank.audit.snapshot import open_snapshot
from timebank.domain.errors import TimebankError
from timebank.domain.ledger import AccountKind, SpentPolicy, Unit
from timebank.domain.schedule import LocalTime, start_of
from timebank.domain.service import Evidence, RecordSource, RecordStatus
from timebank.domain.service_errors import RateExistsError, RateTooEarlyError
from timebank.embedded import Server
from timebank.ledger.accounts import get_account_of
from timebank.ledger.ids import new_id
from timebank.service.records import Entry, reject_records, write_records

MIDNIGHT = at("2026-01-01 00:00")
DAYS = [date(2026, 1, 1) + timedelta(days=n) for n in range(4)]
STARTS = st.integers(0, 3 * 24).map(lambda n: MIDNIGHT + timedelta(minutes=60 * n))
MINUTES = st.one_of(st.integers(1, 90), st.sampled_from([1, 5, 55, 600]))


class ServiceMachine(RuleBasedStateMachine):
    """Does everything in a new bank and in the model, and compares all that can be seen."""

    def __init__(self, database: Database) -> None:
        super().__init__()
        self.database = database
        self.run = database.run
        self.book = self.run(Book.open(database.pool))
        self.programme = self.run(Programme.open(self.book))
        self.model = ServiceModel(self.book.bank.zone)
        self.people = [new_person(), new_person(), CHECKER]
        self.categories = [
            self.programme.category_id,
            self.run(self.programme.open_category("tutoring")),
        ]
        self.sheets = 0

    def some_ids(self, data: st.DataObject) -> list[UUID]:
        return data.draw(
            st.lists(st.sampled_from(list(self.model.records)), min_size=1, max_size=4, unique=True)
        )

    # ---- Rules ---------------------------------------------------------------------------------

    @rule(
        who=st.integers(0, 2), what=st.integers(0, 1), start=STARTS, minutes=MINUTES,
        others=st.lists(st.tuples(STARTS, MINUTES), max_size=2),
    )  # fmt: skip
    def write(self, who: int, what: int, start: Any, minutes: int, others: list[Any]) -> None:
        person, category = self.people[who], self.categories[what]
        times = [(start, minutes), *others]
        ids = self.run(
            self.programme.record_all(
                [(person, begin, length) for begin, length in times], category_id=category
            )
        )
        for record_id, (begin, length) in zip(ids, times, strict=True):
            self.model.records[record_id] = Record(
                record_id, person, category, begin.date(), begin, length, MAKER
            )

    @rule(who=st.integers(0, 2), what=st.integers(0, 1), start=STARTS, minutes=MINUTES)
    def serve(self, who: int, what: int, start: Any, minutes: int) -> None:
        self.write(who, what, start, minutes, [])
        self.decide([list(self.model.records)[-1]], OTHER_CHECKER)

    @rule(who=st.integers(0, 2), day=st.sampled_from(DAYS), minutes=MINUTES)
    def write_paper_that_knows_the_day_alone(self, who: int, day: date, minutes: int) -> None:
        self.sheets += 1
        entry = Entry(
            record_id=new_id(),
            person_id=self.people[who],
            category_id=self.categories[0],
            time=LocalTime(day, minutes, 0),
            occurred_at=start_of(day, self.book.bank.zone),
            ended_at=None,
            wish_id=new_id(),
            evidence=Evidence(sheet_number=str(self.sheets)),
        )
        self.run(
            self.programme.run(
                write_records, MAKER, RecordSource.PAPER, [entry], status=RecordStatus.SUBMITTED
            )
        )
        self.model.records[entry.record_id] = Record(
            entry.record_id, entry.person_id, entry.category_id, day, None, minutes, MAKER
        )

    @precondition(lambda self: self.model.records)
    @rule(data=st.data(), by=st.sampled_from([CHECKER, OTHER_CHECKER, MAKER]), again=st.booleans())
    def confirm(self, data: st.DataObject, by: UUID, *, again: bool) -> None:
        self.decide(self.some_ids(data), by, again=again)

    def decide(self, ids: list[UUID], by: UUID, *, again: bool = False) -> None:
        if self.model.may_confirm(ids, by):
            awards = self.run(self.programme.confirm(*ids, by=by))
            for record_id in ids:
                self.model.records[record_id].status = "confirmed"
            if again:
                assert self.run(self.programme.confirm(*ids, by=OTHER_CHECKER)) == awards
        else:
            with pytest.raises(TimebankError):
                self.run(self.programme.confirm(*ids, by=by))

    @precondition(lambda self: self.model.records)
    @rule(data=st.data(), by=st.sampled_from([CHECKER, OTHER_CHECKER, MAKER]))
    def reject(self, data: st.DataObject, by: UUID) -> None:
        ids = self.some_ids(data)
        asked = [self.model.records[record_id] for record_id in ids]
        fresh = [record for record in asked if record.status == "submitted"]
        work = self.programme.run(reject_records, by, ids)
        if all(record.status in {"submitted", "rejected"} for record in asked) and all(
            by not in {record.maker, record.person} for record in fresh
        ):
            self.run(work)
            for record in fresh:
                record.status = "rejected"
        else:
            with pytest.raises(TimebankError):
                self.run(work)

    @precondition(lambda self: self.model.records)
    @rule(data=st.data())
    def reverse(self, data: st.DataObject) -> None:
        confirmed = [one for one in self.model.records.values() if one.status == "confirmed"]
        record = data.draw(st.sampled_from(confirmed or list(self.model.records.values())))
        work = self.programme.reverse(record.record_id, SpentPolicy.DEBT)
        if record.status in {"confirmed", "reversed"}:
            self.run(work)
            record.status = "reversed"
        else:
            with pytest.raises(TimebankError):
                self.run(work)

    @rule(who=st.integers(0, 2), part=st.integers(1, 3))
    def spend(self, who: int, part: int) -> None:
        person = self.people[who]
        points = self.run(self.programme.wallets(person))[1] // part
        if points:
            wallet = self.run(
                get_account_of(
                    self.book.pool, self.book.bank_id, Unit.POINTS, AccountKind.WALLET, person
                )
            )
            pool = self.run(self.book.open_account(AccountKind.POOL))
            gift = self.book.transfer(wallet.account_id, pool, points)
            self.run(self.book.post_all(gift))
            self.model.spent[person] += points

    @rule(what=st.integers(0, 1), rate=st.integers(0, 61), day=st.sampled_from(DAYS))
    def set_rate(self, what: int, rate: int, day: date) -> None:
        category = self.categories[what]
        if self.model.may_approve(category, day):
            self.run(self.programme.set_rate(category, rate, day))
            self.model.rates[category][day] = rate
        else:
            with pytest.raises((RateTooEarlyError, RateExistsError)):
                self.run(self.programme.set_rate(category, rate, day))

    # ---- What is always so ---------------------------------------------------------------------

    @invariant()
    def only_what_is_confirmed_counts(self) -> None:
        rows = self.run(
            self.book.pool.fetch(
                "SELECT owner_id, unit, sum(balance)::bigint "
                "FROM account JOIN balance USING (bank_id, account_id, unit, kind) "
                "WHERE bank_id = $1 AND kind IN ('wallet', 'debt') GROUP BY owner_id, unit",
                self.book.bank_id,
            )
        )
        held = {(owner, unit): total for owner, unit, total in rows}
        for person in self.people:
            points = sum(self.model.exact(person, one) // 60 for one in self.categories)
            assert held.get((person, "hours"), 0) == self.model.minutes(person)
            assert held.get((person, "points"), 0) == points - self.model.spent[person]

    @invariant()
    def the_rest_is_carried(self) -> None:
        rows = self.run(
            self.book.pool.fetch(
                "SELECT person_id, category_id, remainder FROM carry WHERE bank_id = $1",
                self.book.bank_id,
            )
        )
        carried = {(row["person_id"], row["category_id"]): row["remainder"] for row in rows}
        for person in self.people:
            for category in self.categories:
                rest = self.model.exact(person, category) % 60
                assert carried.get((person, category), 0) == rest

    @invariant()
    def nobody_is_at_two_places(self) -> None:
        assert not self.run(
            self.book.pool.fetch(
                "SELECT FROM service_record a JOIN service_record b "
                "USING (bank_id, person_id, status) WHERE bank_id = $1 AND status = 'confirmed' "
                "AND a.record_id < b.record_id AND a.during && b.during",
                self.book.bank_id,
            )
        )

    def teardown(self) -> None:
        """Totals count what is confirmed, and an auditor finds nothing."""
        for person in self.people:
            totals = self.run(self.programme.totals(person))
            assert totals[0] == self.model.minutes(person)

        async def audit() -> list[Any]:
            async with open_snapshot(self.database.pool) as connection:
                return (await reconcile(connection, self.book.bank.code)).findings

        assert self.run(audit()) == []


@pytest.fixture
def database(server: Server, worker_database: str) -> Iterator[Database]:
    """The worker's database, seen from a loop of its own."""
    database = Database(server.dsn(worker_database, "timebank_app"))
    yield database
    database.close()


def test_service_does_what_the_model_does(database: Database) -> None:
    enough = settings(max_examples=max(40, settings().max_examples))
    run_state_machine_as_test(lambda: ServiceMachine(database), settings=enough)
