"""A connection lost around COMMIT: the caller hears that it is unknown; the retry settles it."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import asyncpg
import pytest

from tests.book import STAFF, Book
from tests.races.checks import FINGERPRINT, check_books
from tests.races.wire_proxy import Cut, WireProxy, wire_proxy
from timebank.db import Connection, Pool, open_pool, repeat_on_conflict
from timebank.domain.errors import NotFoundError, OutcomeUnknownError
from timebank.domain.ledger import JournalEntry, Outcome, Transfer, Unit
from timebank.embedded import Server
from timebank.ledger.ids import new_id
from timebank.ledger.requests import PostingAnswer, PostingRequest, RequestKey, post_requests
from timebank.ledger.transfers import get_transfer, post

REPETITIONS = 20


class Line(NamedTuple):
    """The way to the database that can be cut."""

    proxy: WireProxy
    pool: Pool

    async def post(self, book: Book, transfer: Transfer) -> list[Outcome]:
        """Post through the proxy as the service does."""
        return await repeat_on_conflict(self.pool, lambda c: post(c, book.bank_id, [[transfer]]))

    async def ask(self, book: Book, request: PostingRequest) -> list[PostingAnswer]:
        """Post a request through the proxy as the service does."""

        async def work(connection: Connection) -> list[PostingAnswer]:
            return await post_requests(connection, book.bank_id, [request])

        return await repeat_on_conflict(self.pool, work, one_statement=True)

    async def prepare(self, book: Book) -> None:
        """Ask for nothing, so that the connection knows statement and types from here on."""
        key = RequestKey(STAFF, str(new_id()), FINGERPRINT)
        nothing = book.award(book.issuance[Unit.POINTS], 0)
        await self.ask(book, PostingRequest(key, [[nothing]]))


@pytest.fixture
async def line(server: Server, worker_database: str, open_dir: Path) -> AsyncIterator[Line]:
    async with (
        wire_proxy(server, open_dir) as (proxy, seen),
        open_pool(seen.dsn(worker_database, "timebank_app"), size=1) as pool,
    ):
        yield Line(proxy, pool)


async def find_entry(book: Book, transfer: Transfer) -> JournalEntry | None:
    """Look into the journal past the proxy."""
    async with book.pool.acquire() as connection:
        try:
            return await get_transfer(connection, book.bank_id, transfer.transfer_id)
        except NotFoundError:
            return None


async def test_a_lost_commit_reply_is_settled_by_the_same_ids(line: Line, book: Book) -> None:
    wallet = await book.open_account()
    for n in range(1, REPETITIONS + 1):
        award = book.award(wallet, 1)
        line.proxy.cut_next = Cut.AFTER_COMMIT
        with pytest.raises(OutcomeUnknownError):
            await line.post(book, award)
        entry = await find_entry(book, award)
        assert entry is not None
        answer = [Outcome(entry.transfer_id, entry.status, entry.recorded_at)]
        assert await line.post(book, award) == answer
        assert (line.proxy.cuts, await book.balance(wallet)) == (n, n)
    await check_books(book)


async def test_a_lost_commit_reply_is_settled_by_the_same_key(line: Line, book: Book) -> None:
    wallet, shop = await book.open_account(balance=REPETITIONS), await book.open_account()
    for n in range(1, REPETITIONS + 1):
        key = RequestKey(STAFF, str(new_id()), FINGERPRINT)
        first, again = [PostingRequest(key, [[book.transfer(wallet, shop, 1)]]) for _ in range(2)]
        await line.prepare(book)
        line.proxy.cut_next = Cut.AFTER_COMMIT
        with pytest.raises(OutcomeUnknownError):
            await line.ask(book, first)
        entry = await find_entry(book, first.chains[0][0])
        assert entry is not None
        (answer,) = await line.ask(book, again)
        outcome = Outcome(entry.transfer_id, entry.status, entry.recorded_at)
        assert (answer.use, answer.outcomes) == ("replayed", [outcome])
        assert await find_entry(book, again.chains[0][0]) is None
        assert (line.proxy.cuts, await book.balance(shop)) == (n, n)
    await check_books(book)


async def test_a_commit_that_never_arrives_has_no_effect(line: Line, book: Book) -> None:
    wallet = await book.open_account()
    for n in range(1, REPETITIONS + 1):
        award = book.award(wallet, 1)
        line.proxy.cut_next = Cut.BEFORE_COMMIT
        with pytest.raises(OutcomeUnknownError):
            await line.post(book, award)
        assert await find_entry(book, award) is None
        assert [outcome.status for outcome in await line.post(book, award)] == ["posted"]
        assert (line.proxy.cuts, await book.balance(wallet)) == (n, n)
    await check_books(book)


async def test_a_request_that_never_arrives_leaves_its_key_free(line: Line, book: Book) -> None:
    wallet, shop = await book.open_account(balance=REPETITIONS), await book.open_account()
    for n in range(1, REPETITIONS + 1):
        key = RequestKey(STAFF, str(new_id()), FINGERPRINT)
        request = PostingRequest(key, [[book.transfer(wallet, shop, 1)]])
        await line.prepare(book)
        line.proxy.cut_next = Cut.BEFORE_EXECUTION
        with pytest.raises(OutcomeUnknownError):
            await line.ask(book, request)
        assert await book.balance(shop) == n - 1
        (answer,) = await line.ask(book, request)
        assert (answer.use, [o.status for o in answer.outcomes]) == ("new", ["posted"])
        assert (line.proxy.cuts, await book.balance(shop)) == (n, n)
    await check_books(book)


async def test_a_statement_that_is_its_own_transaction_commits_with_its_reply(
    line: Line, book: Book
) -> None:
    wallet = await book.open_account()
    for n in range(1, REPETITIONS + 1):
        award = book.award(wallet, 1)
        async with line.pool.acquire() as connection:
            await post(connection, book.bank_id, [[book.award(wallet, 0)]])  # prepared from here on
            line.proxy.cut_next = Cut.AFTER_COMMIT
            with pytest.raises(asyncpg.PostgresConnectionError):
                await post(connection, book.bank_id, [[award]])
        assert await find_entry(book, award) is not None
        assert [outcome.status for outcome in await line.post(book, award)] == ["posted"]
        assert (line.proxy.cuts, await book.balance(wallet)) == (n, n)
    await check_books(book)


async def test_a_server_that_shuts_down_leaves_the_outcome_unknown(
    server: Server, book: Book
) -> None:
    """The server's own farewell may arrive in place of the reply to a COMMIT that happened."""
    wallet = await book.open_account()
    award = book.award(wallet, 1)
    admin = await asyncpg.connect(server.dsn())

    async def work(connection: Connection) -> list[Outcome]:
        outcomes = await post(connection, book.bank_id, [[award]])
        await admin.execute("SELECT pg_terminate_backend($1, 5000)", connection.get_server_pid())
        await connection.execute("SELECT 1")
        return outcomes

    try:
        with pytest.raises(OutcomeUnknownError):
            await repeat_on_conflict(book.pool, work)
    finally:
        await admin.close()
    assert await book.post(award) == ["posted"]
    assert await book.balance(wallet) == 1
