"""Posting finds its rows by index, also with plans that were made while the tables were empty."""

from uuid import UUID

from tests.book import STAFF, Book
from timebank.db import Connection
from timebank.domain.ledger import AccountKind, Unit
from timebank.ledger.accounts import find_account_of, open_accounts
from timebank.ledger.ids import new_id
from timebank.ledger.requests import PostingRequest, RequestKey, post_requests
from timebank.ledger.transfers import post

SCANNED = """
    SELECT relname FROM pg_stat_xact_user_tables WHERE schemaname = 'timebank' AND seq_scan > 0
"""
"""The tables that the transaction under way has read from end to end."""

ACCOUNTS_READ = """
    SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables
    WHERE schemaname = 'timebank' AND relname = 'account'
"""
"""How many rows of the accounts the transaction under way has looked at."""

MANY = 3000


async def open_wallets(connection: Connection, book: Book, count: int) -> list[UUID]:
    owners = [new_id() for _ in range(count)]
    opened = await open_accounts(connection, book.bank_id, Unit.POINTS, AccountKind.WALLET, owners)
    return [account.account_id for account in opened]


async def scanned_by(connection: Connection, book: Book, wallets: list[UUID]) -> list[str]:
    """Post, post again and post under keys; return the tables that were scanned."""
    async with connection.transaction():
        chains = [[book.award(wallet, 1)] for wallet in wallets]
        for _ in range(2):
            outcomes = await post(connection, book.bank_id, chains)
            assert {outcome.status for outcome in outcomes} == {"posted"}
        key = RequestKey(STAFF, str(new_id()), bytes(32))
        for use in ("new", "replayed"):
            asked = PostingRequest(key, [[book.award(wallet, 1)] for wallet in wallets])
            (answer,) = await post_requests(connection, book.bank_id, [asked])
            assert answer.use == use
        return [row["relname"] for row in await connection.fetch(SCANNED)]


async def test_posting_scans_no_table(own_book: Book) -> None:
    book = own_book
    async with book.pool.acquire() as connection:
        wallets = await open_wallets(connection, book, 2)
        for _ in range(6):  # PostgreSQL settles for a general plan after five
            assert await scanned_by(connection, book, wallets) == []
        wallets += await open_wallets(connection, book, MANY)
        assert await scanned_by(connection, book, wallets) == []
        assert await scanned_by(connection, book, wallets[:2]) == []


async def test_an_account_is_found_by_its_owner_alone(own_book: Book) -> None:
    """Also the bank's own, which has none."""
    book = own_book
    async with book.pool.acquire() as connection:
        await open_wallets(connection, book, MANY)
        async with connection.transaction():
            for owner_id, kind in ((new_id(), AccountKind.WALLET), (None, AccountKind.ISSUANCE)):
                for _ in range(6):
                    found = await find_account_of(
                        connection, book.bank_id, Unit.POINTS, kind, owner_id
                    )
                    assert (found is None) == (owner_id is not None)
            assert await connection.fetchval(ACCOUNTS_READ) < 100
