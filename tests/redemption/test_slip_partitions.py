"""Whatever tills do that cannot see one another, clones among them: each slip is paid once."""

import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.api.service import key_file
from tests.book import Book
from tests.properties.test_ledger_machine import Database
from tests.races.checks import THOROUGH
from tests.redemption.checks import check_market
from tests.redemption.market import Market, noon_zone, open_merchant
from tests.redemption.slip_desk import SlipDesk
from timebank.domain.ledger import AccountKind
from timebank.domain.redemption import CapScope, HoldState
from timebank.domain.slips import Slip, SlipResult
from timebank.embedded import Server
from timebank.people.seals import Seals
from timebank.people.vault_keys import KeyRing
from timebank.redemption.slip_checker import Journal, Reason, accept

POINTS = (1, 20, 7)
FOREIGN = {Reason.WRONG_MERCHANT}
PAID = {SlipResult.CAPTURED, SlipResult.CAPTURED_BEFORE}

EVENTS = st.lists(
    st.tuples(st.just("show"), st.integers(0, 4), st.integers(0, 2))
    | st.tuples(st.just("refund"), st.integers(0, 2), st.integers(1, 6))
    | st.tuples(st.sampled_from(["sync", "sync, answer lost", "clone"]), st.integers(0, 4)),
    max_size=30,
)


@pytest.fixture(scope="module")
def database(server: Server, worker_database: str) -> Iterator[Database]:
    """The worker's database, seen from a loop of its own."""
    database = Database(server.dsn(worker_database, "timebank_app"))
    yield database
    database.close()


class Street:
    """The tills of two merchants, the slips of a resident, and what each till was told.

    The last slip is the second merchant's, as is the second till.
    """

    def __init__(self, database: Database, folder: Path) -> None:
        self.run, self.folder = database.run, folder
        book = self.run(Book.open(database.pool, time_zone=noon_zone()))
        self.market: Market = self.run(Market.open(book))
        self.desk = SlipDesk(self.market, Seals(KeyRing(key_file())))
        self.run(self.desk.make_key())
        self.run(self.market.cap(CapScope.SLIP, 100))
        self.keys = self.run(self.desk.keys())
        self.resident = self.run(self.market.resident(sum(POINTS)))
        other, _ = self.run(open_merchant(book))
        self.merchants = [self.market.merchant_id, other]
        self.slips: list[Slip] = [
            self.run(self.desk.issued(self.resident, points, merchant_id=merchant_id))
            for points, merchant_id in zip(POINTS, [*self.merchants[:1] * 2, other], strict=True)
        ]
        self.texts = [self.run(self.desk.text(slip)) for slip in self.slips]
        self.tills = {folder / "till": self.merchants[0], folder / "other till": other}
        for till in self.tills:
            Journal(till, new=True).close()
        self.handed_out: Counter[int] = Counter()
        self.refunded: Counter[int] = Counter()
        self.results: dict[UUID, set[SlipResult]] = {}

    def show(self, till: Path, which: int) -> None:
        with closing(Journal(till)) as journal:
            now = int(time.time())
            verdict = accept(journal, self.texts[which], self.keys, self.tills[till], now)
        own = self.slips[which].merchant_id == self.tills[till]
        assert verdict.reason in ({Reason.ACCEPTED, Reason.REPLAYED} if own else FOREIGN)
        self.handed_out[which] += verdict.reason is Reason.ACCEPTED

    def sync(self, till: Path, *, lost: bool = False) -> None:
        with closing(Journal(till)) as journal:
            for taken in journal.list_unsettled():
                acceptance_id = UUID(taken.acceptance_id)
                told = self.run(
                    self.desk.tell(
                        taken.slip, acceptance_id, keys=self.keys, merchant_id=self.tills[till]
                    )
                )
                self.results.setdefault(acceptance_id, set()).add(told.result)
                if not lost:
                    journal.settle(taken.acceptance_id, told.result)

    def clone(self, till: Path) -> None:
        if len(self.tills) < 5:
            copy = Path(shutil.copy(till, self.folder / f"clone {len(self.tills)}"))
            self.tills[copy] = self.tills[till]

    def refund(self, which: int, points: int) -> None:
        slip, rest = self.slips[which], POINTS[which] - self.refunded[which]
        answer = self.run(self.market.refund(slip.slip_id, points, merchant_id=slip.merchant_id))
        paid = self.run(self.desk.get(slip.slip_id)).state is HoldState.CAPTURED
        assert (answer.status == "done") == (paid and points <= rest)
        self.refunded[which] += points if answer.status == "done" else 0

    def check(self) -> None:
        """Each slip that was told of is paid once, to one acceptance; no point is lost or made."""
        paid = [which for which in range(len(POINTS)) if self.handed_out[which]]
        due = {which: POINTS[which] - self.refunded[which] for which in paid}
        market, resident_id = self.market, self.resident[0]
        for merchant_id in self.merchants:
            has = self.run(market.points_of(merchant_id, AccountKind.MERCHANT))
            mine = (which for which in paid if self.slips[which].merchant_id == merchant_id)
            assert has == sum(due[which] for which in mine)
        held = self.run(market.points_of(resident_id, AccountKind.HELD))
        assert held + sum(due.values()) + self.run(market.points_of(resident_id)) == sum(POINTS)
        winners = [results for results in self.results.values() if results & PAID]
        assert all(results <= PAID for results in winners)
        assert len(winners) == len(paid)
        assert len(self.results) == self.handed_out.total()
        self.run(check_market(market))


@settings(max_examples=30 if THOROUGH else 8)
@given(events=EVENTS)
def test_the_bank_pays_each_slip_once(database: Database, events: list[tuple[Any, ...]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        street = Street(database, Path(folder))
        for what, which, *more in events:
            till = list(street.tills)[which % len(street.tills)]
            if what == "show":
                street.show(till, *more)
            elif what == "refund":
                street.refund(which, *more)
            elif what == "clone":
                street.clone(till)
            else:
                street.sync(till, lost="lost" in what)
        for till in street.tills:
            street.sync(till)
        street.check()
