"""Crowds on real connections: points are spent once, however many hands reach for them."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence

import asyncpg
import pytest

from tests.book import Book
from tests.races.checks import THOROUGH, check_books, connections, post_on
from timebank.db import Connection, open_pool
from timebank.domain.ledger import Transfer, TransferStatus, Unit
from timebank.embedded import Server
from timebank.ledger.transfers import post

CLIENTS = 64
ROUNDS = 100 if THOROUGH else 25


@pytest.fixture(scope="module")
async def crowd(server: Server, worker_database: str) -> AsyncIterator[asyncpg.Pool]:
    """A connection for each client, and one more for the book itself."""
    dsn = server.dsn(worker_database, "timebank_app")
    async with open_pool(dsn, size=CLIENTS + 1) as pool:
        yield pool


@pytest.fixture
async def crowded_book(crowd: asyncpg.Pool) -> Book:
    return await Book.open(crowd)


async def post_at_once(book: Book, *transfers: Transfer) -> Counter[str]:
    """Post each transfer on a connection of its own, all at once; count the statuses."""
    async with connections(book, len(transfers)) as clients:
        return await post_on_all(clients, book, transfers)


async def post_on_all(
    clients: Sequence[Connection], book: Book, transfers: Sequence[Transfer]
) -> Counter[str]:
    posting = [post_on(c, book, t) for c, t in zip(clients, transfers, strict=True)]
    return Counter(status for (status,) in await asyncio.gather(*posting))


async def test_the_last_hundred_points_are_spent_once(crowded_book: Book) -> None:
    book = crowded_book
    wallet, shop = await book.open_account(), await book.open_account()
    async with connections(book, CLIENTS) as clients:
        for _ in range(ROUNDS):
            await book.post_all(book.award(wallet, 100))
            spending = [book.transfer(wallet, shop, 10) for _ in range(CLIENTS)]
            statuses = await post_on_all(clients, book, spending)
            assert statuses == {"posted": 10, "insufficient_balance": CLIENTS - 10}
    assert (await book.balance(wallet), await book.balance(shop)) == (0, ROUNDS * 100)
    await check_books(book)


async def test_the_first_lines_of_new_accounts_are_written_at_once(crowded_book: Book) -> None:
    book = crowded_book
    wallet, shop = await book.open_account(), await book.open_account()
    awards = [book.award(wallet, 1) for _ in range(20)]
    assert await post_at_once(book, *awards) == {"posted": 20}
    spending = [book.transfer(wallet, shop, 1) for _ in range(25)]
    assert await post_at_once(book, *spending) == {"posted": 20, "insufficient_balance": 5}
    assert (await book.balance(book.issuance[Unit.POINTS]), await book.balance(shop)) == (-20, 20)
    await check_books(book)


async def test_spending_from_nothing_is_refused_to_all(crowded_book: Book) -> None:
    book = crowded_book
    wallet, shop = await book.open_account(), await book.open_account()
    spending = [book.transfer(wallet, shop, 1) for _ in range(20)]
    assert await post_at_once(book, *spending) == {"insufficient_balance": 20}
    await check_books(book)


async def test_the_same_transfer_at_once_counts_once(crowded_book: Book) -> None:
    book = crowded_book
    a, b = await book.open_account(balance=1000), await book.open_account()
    for _ in range(10):
        paid = book.transfer(a, b, 10)
        async with connections(book, 20) as clients:
            posting = [post(client, book.bank_id, [[paid]]) for client in clients]
            answers = await asyncio.gather(*posting)
        assert answers == [answers[0]] * 20
    assert await book.balance(b) == 100
    await check_books(book)


async def test_one_id_for_different_transfers_at_once_counts_once(crowded_book: Book) -> None:
    book = crowded_book
    pairs = [(await book.open_account(balance=100), await book.open_account()) for _ in range(20)]
    for _ in range(5):
        first = book.transfer(*pairs[0], 1)
        others = [book.transfer(*pair, 1, transfer_id=first.transfer_id) for pair in pairs[1:]]
        answers = await asyncio.gather(*(book.post(transfer) for transfer in [first, *others]))
        statuses = Counter(status for (status,) in answers)
        assert statuses == {TransferStatus.POSTED: 1, TransferStatus.ID_CONFLICT: 19}
    assert sum([await book.balance(shop) for _, shop in pairs]) == 5
    await check_books(book)


async def test_one_id_on_overlapping_accounts_is_settled_by_their_locks(
    crowded_book: Book,
) -> None:
    book = crowded_book
    a, b = await book.open_account(balance=100), await book.open_account()
    first = book.transfer(a, b, 1)
    others = [book.transfer(a, b, n, transfer_id=first.transfer_id) for n in range(2, 21)]
    assert await post_at_once(book, first, *others) == {"posted": 1, "id_conflict": 19}
    await check_books(book)
