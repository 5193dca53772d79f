"""Banks, found by their id."""

import asyncpg
import pytest

from tests.book import Book
from timebank.domain.errors import BankNotFoundError
from timebank.ledger.banks import get_bank_of_id


async def test_a_bank_is_found_by_its_id_without_reading_the_others(book: Book) -> None:
    asked: list[asyncpg.connection.LoggedQuery] = []
    async with book.pool.acquire() as connection:
        with connection.query_logger(asked.append):
            assert await get_bank_of_id(connection, book.bank_id) == book.bank
        with pytest.raises(BankNotFoundError):
            await get_bank_of_id(connection, -1)
    assert [query.args for query in asked] == [(book.bank_id,)]
