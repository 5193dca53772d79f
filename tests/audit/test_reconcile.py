"""Books that nobody touched are in order, whatever was posted to them and meanwhile."""

import asyncio
import tracemalloc

import pytest

from tests.audit.books import busy_book
from tests.book import Book
from timebank.audit.checks import CHECKS
from timebank.audit.invariants import INVARIANTS
from timebank.audit.reconcile import Report, reconcile
from timebank.audit.snapshot import open_snapshot
from timebank.domain.errors import BankNotFoundError


async def audit(book: Book, bank_code: str | None = None) -> Report:
    async with open_snapshot(book.pool) as connection:
        return await reconcile(connection, bank_code)


async def test_untouched_books_agree(own_book: Book) -> None:
    await busy_book(own_book)
    other = await Book.open(own_book.pool)
    await other.open_account(balance=5)
    report = await audit(own_book)
    assert report.findings == []
    assert report.ok
    assert (report.banks, report.accounts) == (2, 11)
    async with own_book.pool.acquire() as connection:
        assert report.transfers == await connection.fetchval("SELECT count(*) FROM transfer")
        assert report.postings == await connection.fetchval("SELECT count(*) FROM posting")
    assert [check.number for check in report.checks] == [one.number for one in INVARIANTS]


async def test_one_bank_alone(own_book: Book) -> None:
    await busy_book(own_book)
    other = await Book.open(own_book.pool)
    await other.open_account(balance=5)
    report = await audit(own_book, other.bank.code)
    assert (report.ok, report.banks, report.accounts) == (True, 1, 3)
    assert (report.transfers, report.postings) == (1, 2)
    with pytest.raises(BankNotFoundError):
        await audit(own_book, "nobody")


async def test_empty_books_agree(own_book: Book) -> None:
    report = await audit(own_book)
    assert (report.ok, report.transfers, report.accounts) == (True, 0, 2)


async def test_posting_goes_on_meanwhile_and_is_no_finding(own_book: Book) -> None:
    wallets = [await own_book.open_account(balance=100) for _ in range(4)]

    audited = asyncio.Event()

    async def post(debit: int) -> None:
        while not audited.is_set():
            await own_book.post(own_book.transfer(wallets[debit], wallets[debit - 1], 3))

    posting = asyncio.gather(*map(post, range(4)))
    reports = [await audit(own_book) for _ in range(3)]
    audited.set()
    await posting
    assert [report.findings for report in reports] == [[], [], []]
    assert reports[0].transfers < reports[1].transfers < reports[2].transfers


async def test_memory_does_not_grow_with_the_journal(own_book: Book) -> None:
    a, b = await own_book.open_account(balance=10), await own_book.open_account(balance=10)

    async def peak_after(transfers: int) -> int:
        for _ in range(transfers // 500):
            await own_book.post_all(*(own_book.transfer(a, b, 1), own_book.transfer(b, a, 1)) * 250)
        tracemalloc.start()
        assert (await audit(own_book)).ok
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return peak

    small, large = await peak_after(1_000), await peak_after(19_000)
    assert large < small * 1.2


def test_the_invariants_are_one_ordered_list() -> None:
    numbers = [one.number for one in INVARIANTS]
    assert numbers == sorted(set(numbers))
    assert len({one.name for one in INVARIANTS}) == len(INVARIANTS)
    assert {invariant for invariant, _ in CHECKS} <= set(INVARIANTS)
