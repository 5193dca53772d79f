"""Posting finds its rows by index, also with plans that were made while the tables were empty."""

from uuid import UUID

from msgspec.structs import replace

from tests.book import STAFF, Book
from timebank.db import Connection
from timebank.domain.ledger import AccountKind, TransferKind, Unit
from timebank.ledger.accounts import find_account_of, open_accounts
from timebank.ledger.blocks import place_block
from timebank.ledger.ids import new_id
from timebank.ledger.passbook import list_blocked
from timebank.ledger.requests import PostingRequest, RequestKey, post_requests
from timebank.ledger.transfers import post

SCANNED = """
    SELECT relname FROM pg_stat_xact_user_tables WHERE schemaname = 'timebank' AND seq_scan > 0
"""
"""The tables that the transaction under way has read from end to end."""

READ = """
    SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables
    WHERE schemaname = 'timebank' AND relname = $1
"""
"""How many rows of a table the transaction under way has looked at."""

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
            assert await connection.fetchval(READ, "account") < 100


async def test_the_passbook_is_read_once_for_all_that_is_blocked_of_it(own_book: Book) -> None:
    book = own_book
    wallet, held = await book.open_account(), await book.open_account(AccountKind.HELD)
    awards = [book.award(wallet, 1) for _ in range(12)]
    await book.post_all(*awards)
    holds = [
        replace(book.transfer(wallet, held, 4, kind=TransferKind.HOLD), subject_id=new_id())
        for _ in range(2)
    ]
    await book.post_all(*holds)
    async with book.pool.acquire() as connection:
        await place_block(
            connection, book.bank, new_id(), {one.transfer_id: wallet for one in awards}
        )
    back = book.transfer(held, wallet, 2, kind=TransferKind.RELEASE)
    await book.post_all(replace(back, subject_id=holds[0].subject_id))
    await book.post_all(*(book.award(wallet, 1) for _ in range(5)))
    async with book.pool.acquire() as connection, connection.transaction():
        before = await connection.fetchval(READ, "posting")
        assert await list_blocked(connection, book.bank_id, [wallet]) == {wallet: 6}
        assert await connection.fetchval(READ, "posting") - before == 6
