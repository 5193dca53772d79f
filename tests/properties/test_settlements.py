"""Settlements at random cut-offs against a plain model: every line once, every point and fen."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
from hypothesis import given
from hypothesis import strategies as st

from tests.book import Book
from tests.redemption.checks import check_market
from tests.redemption.market import Market, noon_zone
from tests.redemption.test_settlements import approve, clock, close, draft
from timebank.domain.redemption import CapScope
from timebank.domain.settlement import RATE_UNIT, Settlement
from timebank.domain.settlement_errors import SettlementRefusedError
from timebank.redemption import settlements

steps = st.lists(
    st.one_of(
        st.tuples(st.just("capture"), st.integers(1, 30)),
        st.tuples(st.just("refund"), st.integers(1, 20)),
        st.tuples(st.just("mark"), st.just(0)),
        st.tuples(st.just("draft"), st.sampled_from([0, 1, 3333, 10_000, 123_457])),
        st.tuples(st.just("close"), st.just(0)),
    ),
    min_size=4,
    max_size=14,
)


@dataclass
class Shop:
    """What a merchant should be paid: lines in order, and which of them are settled."""

    market: Market
    resident: tuple[UUID, UUID]
    marked: datetime
    lines: list[int] = field(default_factory=list)
    marked_at: int = 0
    settled: int = 0
    carried: int = 0
    has: int = 0
    parts: int = 0
    holds: dict[UUID, int] = field(default_factory=dict)
    drafted: Settlement | None = None
    drafted_to: int = 0
    done: list[Settlement] = field(default_factory=list)

    async def capture(self, points: int) -> None:
        hold_id = await self.market.held(self.resident, points)
        await self.market.capture(hold_id)
        self.holds[hold_id] = points
        self._line(points)

    async def refund(self, points: int) -> None:
        if not self.holds:
            return
        hold_id = max(self.holds, key=lambda one: self.holds[one])
        answer = await self.market.refund(hold_id, points)
        wanted = (
            "refund_exceeds_captured" if points > self.holds[hold_id]
            else "merchant_lacks_points" if points > self.has
            else "done"
        )  # fmt: skip
        assert answer.status == wanted
        if wanted == "done":
            self.holds[hold_id] -= points
            self._line(-points)

    def _line(self, points: int) -> None:
        self.lines.append(points)
        self.has += points

    async def mark(self, _: int) -> None:
        self.marked, self.marked_at = await clock(self.market), len(self.lines)

    async def draft(self, rate: int) -> None:
        if self.drafted:
            return
        covered = self.lines[self.settled : self.marked_at]
        try:
            drafted = await draft(self.market, cut_off=self.marked, fen_rate=rate or None)
        except SettlementRefusedError as refusal:
            assert refusal.status == "settlement_empty"
            assert not covered
            return
        assert covered
        assert (drafted.total, drafted.carried_in) == (sum(covered), self.carried)
        self.drafted, self.drafted_to = drafted, self.marked_at

    async def close(self, _: int) -> None:
        if not self.drafted:
            return
        closed = await close(self.market, await approve(self.market, self.drafted))
        due = self.carried + sum(self.lines[self.settled : self.drafted_to])
        paid = max(0, min(due, self.has))
        assert (closed.paid, closed.carried_out) == (paid, due - paid)
        if closed.fen_rate is not None:
            self.parts += paid * closed.fen_rate - (closed.fen or 0) * RATE_UNIT
        assert closed.remainder_out == self.parts
        self.carried, self.has = due - paid, self.has - paid
        self.settled, self.drafted = max(self.settled, self.drafted_to), None
        self.done.append(closed)

    async def check(self) -> None:
        """Lines of all settlements together are the passbook, once each and without a gap."""
        async with self.market.book.pool.acquire() as connection:
            seqs: list[int] = []
            for one in self.done:
                lines = await settlements.list_lines(connection, self.market.bank_id, one)
                seqs += [line.seq for line in lines]
                assert sum(line.points for line in lines if line.counts) == one.total
        assert seqs == list(range(1, len(seqs) + 1))
        assert 0 <= self.parts < RATE_UNIT
        await check_market(self.market)


@given(walk=steps)
async def test_settlements_follow_the_plain_model(worker_pool: asyncpg.Pool, walk: Any) -> None:
    market = await Market.open(await Book.open(worker_pool, time_zone=noon_zone()))
    await market.cap(CapScope.CLERK_DAY, None)
    shop = Shop(market, await market.resident(10_000), await clock(market))
    for step, argument in walk:
        await getattr(shop, step)(argument)
    await shop.mark(0)
    await shop.close(0)
    await shop.capture(1)
    await shop.mark(0)
    await shop.draft(1)
    await shop.close(0)
    assert shop.settled == len(shop.lines)
    await shop.check()
