"""A balance of the past is what adding up by hand gives, and stays so whatever is posted later."""

import asyncio
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.book import Book
from tests.properties.model import BookAccount, Model
from tests.properties.strategies import NOON, OCCURRED
from tests.races.checks import WAITING_LIMIT, hold_up
from timebank.db import repeat_on_conflict, transaction
from timebank.domain.errors import AsOfInFutureError
from timebank.domain.ledger import AccountKind, Unit
from timebank.ledger.passbook import get_balance_as_of, read_clock
from timebank.ledger.transfers import lock_balances, post

MOMENT = timedelta(microseconds=1)
CALL = st.lists(
    st.tuples(st.sampled_from(["award", "pay", "back"]), OCCURRED), min_size=1, max_size=4
)
"""What one call posts: between issuance and two wallets, when it occurred or None."""


class Past:
    """A bank, its model, and every question about its past that was ever answered."""

    def __init__(self, book: Book, mine: UUID, other: UUID) -> None:
        self.book, self.mine, self.other = book, mine, other
        self.issuance = book.issuance[Unit.POINTS]
        self.model = Model()
        self.model.accounts = {
            self.issuance: BookAccount(Unit.POINTS, AccountKind.ISSUANCE),
            mine: BookAccount(Unit.POINTS, AccountKind.WALLET),
            other: BookAccount(Unit.POINTS, AccountKind.WALLET),
        }
        self.answers: dict[tuple[UUID, datetime, datetime], int] = {}

    async def post(self, call: Sequence[tuple[str, datetime | None]]) -> None:
        """Post one call to the bank and to the model."""
        chains = []
        for what, occurred_at in call:
            debit, credit = (self.mine, self.other) if what == "pay" else (self.other, self.mine)
            if what == "award":
                chains.append([self.book.award(self.mine, 5, occurred_at=occurred_at)])
            else:
                chains.append([self.book.transfer(debit, credit, 2, occurred_at=occurred_at)])
        outcomes = await self.book.post_chains(*chains)
        self.model.post(chains, max(outcome.recorded_at for outcome in outcomes))

    async def ask(self) -> None:
        """Ask at, just before and just after every instant on record, for all pairs."""
        lines = [line for account in self.model.accounts.values() for line in account.lines]
        recorded = around(line.recorded_at for line in lines)
        occurred = [*around(line.occurred_at for line in lines), datetime.max.replace(tzinfo=UTC)]
        asked = [(r, o) for r in recorded for o in occurred]
        for account_id in self.model.accounts:
            found = await self.read(account_id, asked)
            for pair, balance in zip(asked, found, strict=True):
                assert balance == self.model.balance_as_of(account_id, *pair)
                self.answers[account_id, *pair] = balance

    async def ask_again(self) -> None:
        """Every answer is still the same."""
        for account_id in self.model.accounts:
            earlier = {
                key[1:]: answer for key, answer in self.answers.items() if key[0] == account_id
            }
            assert await self.read(account_id, list(earlier)) == list(earlier.values())

    async def read(self, account_id: UUID, asked: Sequence[tuple[datetime, datetime]]) -> list[int]:
        """Ask many questions in one round trip."""
        rows = await self.book.pool.fetch(
            "SELECT read_balance_as_of($1, $2, recorded_by, occurred_by) FROM unnest("
            "$3::timestamptz[], $4::timestamptz[]) AS asked(recorded_by, occurred_by)",
            self.book.bank_id,
            account_id,
            [recorded_by for recorded_by, _ in asked],
            [occurred_by for _, occurred_by in asked],
        )
        return [row[0] for row in rows]


def around(instants: Iterable[datetime]) -> list[datetime]:
    """Each instant, the one just before and the one just after."""
    return sorted({at + step for at in instants for step in (-MOMENT, MOMENT * 0, MOMENT)})


@given(st.lists(CALL, min_size=1, max_size=5))
async def test_the_past_is_the_sum_by_hand_and_stays(
    worker_pool: asyncpg.Pool, calls: list[list[tuple[str, datetime | None]]]
) -> None:
    book = await Book.open(worker_pool)
    past = Past(book, await book.open_account(), await book.open_account())
    for call in calls:
        await past.post(call)
        await past.ask()
        await past.ask_again()


async def read(book: Book, account_id: UUID, recorded_by: datetime) -> int:
    """Ask as the service does, on a connection of its own."""
    return await repeat_on_conflict(
        book.pool, lambda c: get_balance_as_of(c, book.bank_id, account_id, recorded_by)
    )


@pytest.mark.parametrize("committed", [True, False])
async def test_a_posting_under_way_is_waited_for(book: Book, committed: bool) -> None:
    wallet = await book.open_account(balance=10)
    async with book.pool.acquire() as poster, book.pool.acquire() as reader:
        posting = poster.transaction()
        await posting.start()
        [outcome] = await post(poster, book.bank_id, [[book.award(wallet, 7)]])
        stamp = outcome.recorded_at
        asking = get_balance_as_of(reader, book.bank_id, wallet, stamp)
        asked = await hold_up(book, reader, asking)
        await (posting.commit() if committed else posting.rollback())
        assert await asked == (17 if committed else 10)
    await book.post_all(book.award(wallet, 1))
    assert await read(book, wallet, stamp) == (17 if committed else 10)
    assert await read(book, wallet, stamp - MOMENT) == 10


async def test_nobody_waits_for_who_asks(book: Book) -> None:
    wallet = await book.open_account()
    [first] = await book.post_chains([book.award(wallet, 10)])
    await book.post_all(book.award(wallet, 1))
    async with book.pool.acquire() as asker, asker.transaction():
        for recorded_by, balance in ((await read_clock(asker), 11), (first.recorded_at, 10)):
            found = await get_balance_as_of(asker, book.bank_id, wallet, recorded_by)
            assert found == balance
            async with asyncio.timeout(WAITING_LIMIT):
                await book.post_all(book.award(wallet, 1))
            again = await get_balance_as_of(asker, book.bank_id, wallet, recorded_by)
            assert again == balance


async def test_what_was_before_the_last_line_waits_for_nobody(book: Book) -> None:
    wallet = await book.open_account()
    [first] = await book.post_chains([book.award(wallet, 10)])
    await book.post_all(book.award(wallet, 1))
    async with book.pool.acquire() as poster, poster.transaction():
        await lock_balances(poster, book.bank_id, [wallet])
        assert await read(book, wallet, first.recorded_at) == 10


async def test_the_future_is_not_known(book: Book) -> None:
    wallet = await book.open_account(balance=10)
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    with pytest.raises(AsOfInFutureError):
        async with transaction(book.pool) as connection:
            await get_balance_as_of(connection, book.bank_id, wallet, tomorrow)


async def test_any_time_zone_will_do(book: Book) -> None:
    wallet = await book.open_account()
    await book.post_all(book.award(wallet, 10, occurred_at=NOON))
    now = await book.pool.fetchval("SELECT clock_timestamp()")
    for hours in (-11, 0, 8):
        zone = timezone(timedelta(hours=hours))
        async with book.pool.acquire() as connection:
            assert [
                await get_balance_as_of(
                    connection, book.bank_id, wallet, now.astimezone(zone), occurred_by
                )
                for occurred_by in (None, NOON.astimezone(zone), (NOON - MOMENT).astimezone(zone))
            ] == [10, 10, 0]


async def test_of_an_account_without_lines_the_past_is_zero(book: Book) -> None:
    wallet = await book.open_account()
    assert await read(book, wallet, NOON) == 0
