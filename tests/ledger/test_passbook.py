"""Reading the book: balances, pages of a passbook, the trial balance."""

import pytest

from tests.book import Book
from timebank.domain.errors import NotFoundError
from timebank.domain.ledger import AccountKind, Balance, TransferKind, Unit
from timebank.ledger.ids import new_id
from timebank.ledger.passbook import (
    get_balance,
    list_balances,
    list_passbook,
    list_trial_balance,
)


async def test_a_line_says_what_moved_and_what_stood_afterwards(book: Book) -> None:
    wallet, other = await book.open_account(), await book.open_account()
    awarded, paid = book.award(wallet, 30), book.transfer(wallet, other, 12)
    first, second = await book.post_chains([awarded], [paid])
    async with book.pool.acquire() as connection:
        newest, oldest = await list_passbook(connection, book.bank_id, wallet)
    assert (newest.seq, newest.amount, newest.balance_after) == (2, -12, 18)
    assert (oldest.seq, oldest.amount, oldest.balance_after) == (1, 30, 30)
    assert (newest.kind, oldest.kind) == (TransferKind.TRANSFER, TransferKind.AWARD)
    assert (newest.transfer_id, oldest.transfer_id) == (paid.transfer_id, awarded.transfer_id)
    assert (newest.recorded_at, oldest.recorded_at) == (second.recorded_at, first.recorded_at)
    assert newest.occurred_at == newest.recorded_at


async def test_pages_join_without_gap_or_repeat(book: Book) -> None:
    wallet = await book.open_account()
    await book.post_all(*(book.award(wallet, amount) for amount in range(1, 8)))
    pages = []
    before: int | None = None
    async with book.pool.acquire() as connection:
        for _ in range(3):
            page = await list_passbook(connection, book.bank_id, wallet, before=before, limit=3)
            pages.append([line.seq for line in page])
            before = page[-1].seq
    assert pages == [[7, 6, 5], [4, 3, 2], [1]]


@pytest.mark.parametrize("before", [0, 1])
async def test_before_the_first_line_there_is_nothing(book: Book, before: int) -> None:
    wallet = await book.open_account(balance=1)
    async with book.pool.acquire() as connection:
        assert await list_passbook(connection, book.bank_id, wallet, before=before) == []


async def test_a_refused_transfer_leaves_no_line(book: Book) -> None:
    wallet, other = await book.open_account(balance=5), await book.open_account()
    assert await book.post(book.transfer(wallet, other, 6)) == ["insufficient_balance"]
    async with book.pool.acquire() as connection:
        assert len(await list_passbook(connection, book.bank_id, wallet)) == 1
        assert await list_passbook(connection, book.bank_id, other) == []


async def test_balances_of_those_that_exist(book: Book) -> None:
    wallet, empty = await book.open_account(balance=5), await book.open_account()
    async with book.pool.acquire() as connection:
        found = await list_balances(connection, book.bank_id, [wallet, new_id(), empty])
        with pytest.raises(NotFoundError):
            await get_balance(connection, book.bank_id, new_id())
    assert sorted(found, key=lambda b: b.seq) == [Balance(empty, 0, 0), Balance(wallet, 5, 1)]


async def test_another_bank_sees_nothing_of_it(book: Book) -> None:
    wallet = await book.open_account(balance=5)
    other = await Book.open(book.pool)
    async with book.pool.acquire() as connection:
        assert await list_balances(connection, other.bank_id, [wallet]) == []
        assert await list_passbook(connection, other.bank_id, wallet) == []
    assert await other.post(other.award(wallet, 1)) == ["account_not_found"]


async def test_the_trial_balance_is_by_unit_and_kind(book: Book) -> None:
    await book.open_account(balance=30)
    await book.open_account(balance=12)
    await book.open_account(AccountKind.POOL, Unit.HOURS, balance=90)
    async with book.pool.acquire() as connection:
        rows = await list_trial_balance(connection, book.bank_id)
    assert [(row.unit, row.kind, row.accounts, row.debit, row.credit) for row in rows] == [
        ("hours", "issuance", 1, 90, 0),
        ("hours", "pool", 1, 0, 90),
        ("points", "issuance", 1, 42, 0),
        ("points", "wallet", 2, 0, 42),
    ]
