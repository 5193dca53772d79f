"""A sheet that records name is not voided, and the other way round, whoever comes first."""

import asyncio
from typing import Any

import pytest

from tests.book import Book
from tests.races.checks import hold_up
from timebank.domain.numbers import add_check
from timebank.ledger.ids import new_id
from timebank.people.sheets import SheetKind, VoidReason, issue_sheets, list_missing, void_sheets

RECORD = """
    INSERT INTO service_record
        (bank_id, record_id, person_id, category_id, wish_id, served_on, minutes, occurred_at,
         source, sheet_number, made_by)
    VALUES ($1, $2, $3, $4, $5, current_date, 60, clock_timestamp(), 'paper', $6, $7)
"""


async def record(book: Book, connection: Any, sheet: int) -> None:
    """Write a record from a sheet, past all that Python checks."""
    ids = [new_id() for _ in range(4)]
    await connection.execute(RECORD, book.bank_id, *ids, add_check(sheet), new_id())


async def void(book: Book, connection: Any, sheet: int) -> None:
    await void_sheets(connection, book.bank_id, [sheet], VoidReason.LOST, operator_id=new_id())


@pytest.mark.parametrize(("first", "second"), [(record, void), (void, record)])
async def test_of_a_record_and_a_void_at_once_one_counts(
    book: Book, first: Any, second: Any
) -> None:
    async with book.pool.acquire() as connection:
        run = await issue_sheets(
            connection,
            book.bank_id,
            1,
            SheetKind.ATTENDANCE,
            issued_to=new_id(),
            issued_by=new_id(),
        )
    sheet = run.first_number
    async with book.pool.acquire() as holder, book.pool.acquire() as other:
        async with holder.transaction():
            await first(book, holder, sheet)
            waiting = await hold_up(book, other, second(book, other, sheet))
        [error] = await asyncio.gather(waiting, return_exceptions=True)
        assert getattr(error, "constraint_name", error) == "sheet_used_once"
        assert await list_missing(other, book.bank_id, sheet) == []


async def test_records_from_one_sheet_do_not_wait_for_each_other(book: Book) -> None:
    async with book.pool.acquire() as connection:
        run = await issue_sheets(
            connection,
            book.bank_id,
            1,
            SheetKind.ATTENDANCE,
            issued_to=new_id(),
            issued_by=new_id(),
        )
    async with (
        book.pool.acquire() as holder,
        book.pool.acquire() as other,
        holder.transaction(),
        asyncio.timeout(5),
    ):
        await record(book, holder, run.first_number)
        await record(book, other, run.first_number)
