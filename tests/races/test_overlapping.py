"""Writers with overlapping batches never deadlock, and readers beside them see whole books."""

import asyncio
import random
from collections.abc import AsyncIterator
from time import monotonic
from uuid import UUID

import pytest

from tests.book import Book
from tests.races.checks import THOROUGH, check_books, connections
from timebank.db import open_pool
from timebank.domain.ledger import Transfer
from timebank.embedded import Server
from timebank.ledger.passbook import list_balances, list_trial_balance
from timebank.ledger.transfers import post

SECONDS = 20 if THOROUGH else 5
WRITERS = 32
ACCOUNTS = 8


@pytest.fixture
async def wide_book(server: Server, own_database: str) -> AsyncIterator[Book]:
    """A book with a connection for each writer, for the reader and for the checks."""
    dsn = server.dsn(own_database, "timebank_app")
    async with open_pool(dsn, size=WRITERS + 2) as pool:
        yield await Book.open(pool)


async def test_overlapping_batches_never_deadlock(wide_book: Book) -> None:
    """`post` is called without repeating: a deadlock would reach us and fail the test."""
    book = wide_book
    accounts = [await book.open_account(balance=50) for _ in range(ACCOUNTS)]
    until = monotonic() + SECONDS

    async def write(seed: int) -> int:
        chance, batches = random.Random(seed), 0
        while monotonic() < until:
            batch = [random_transfer(book, accounts, chance) for _ in range(chance.randint(1, 12))]
            size = chance.randint(1, 3)
            chains = [batch[i : i + size] for i in range(0, len(batch), size)]
            async with book.pool.acquire() as connection:
                await post(connection, book.bank_id, chains)
            batches += 1
        return batches

    written, seen = await asyncio.gather(
        asyncio.gather(*(write(seed) for seed in range(WRITERS))),
        read(book, accounts, until),
    )
    assert min(written) > 0
    assert seen > 0
    await check_books(book)


async def read(book: Book, accounts: list[UUID], until: float) -> int:
    """Look at the balances, and at the whole book in one snapshot, as long as others write."""
    looks = 0
    async with connections(book, 1) as (connection,):
        while monotonic() < until:
            balances = await list_balances(connection, book.bank_id, accounts)
            assert min(balance.balance for balance in balances) >= 0
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                for row in await list_trial_balance(connection, book.bank_id):
                    looks += row.accounts
                total = await connection.fetchval(
                    "SELECT sum(balance) FROM balance WHERE bank_id = $1", book.bank_id
                )
            assert total == 0
    return looks


def random_transfer(book: Book, accounts: list[UUID], chance: random.Random) -> Transfer:
    debit, credit = chance.sample(accounts, 2)
    if chance.random() < 0.1:
        return book.award(credit, chance.randint(1, 5))
    return book.transfer(debit, credit, chance.randint(1, 40))
