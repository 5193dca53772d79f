"""Titles and names stand on walls and pages: no number that leads to a person stands in them."""

import asyncpg
import pytest

from tests.book import Book
from tests.people.desk import ADULT, resident_id_number
from timebank.db import transaction
from timebank.domain.errors import PersonsNumberError
from timebank.ledger.ids import new_id

PHONES = [
    "找王阿姨13800138000",
    "13800138000",
    "138 0013 8000",
    "138-0013-8000",
    "联系１３８００１３８０００",
    "+86 13800138000",
    "8613800138000",
    "tel.13800138000 at 10",
]
DOCUMENTS = [
    f"陪{resident_id_number(ADULT)}就医",
    resident_id_number(ADULT, 1).lower(),
    "410305 19530629 002X",
    "４１０３０５１９５３０６２９００２Ｘ",
    "410305530629002",
]
FOUND = [*PHONES, *DOCUMENTS]

PLAIN = [
    "周五清洁（2026-11-27 09:00-11:30）",
    "第13届 8000 人健步走",
    "20261127 大扫除",
    "合同 JX-2026-000012345678",
    "订单 20261126000012345678",
    "12345 热线",
    "0379-64912345",  # of a shop
    "涧西区长安路13号楼2单元",
    "",
]


async def holds(book: Book, text: str) -> bool:
    found: bool = await book.pool.fetchval("SELECT holds_persons_number($1)", text)
    return found


@pytest.mark.parametrize("text", [pytest.param(text, id=f"{n}") for n, text in enumerate(FOUND)])
async def test_what_looks_like_a_persons_number_is_found(book: Book, text: str) -> None:
    assert await holds(book, text)


@pytest.mark.parametrize("text", PLAIN)
async def test_days_prices_and_references_are_none(book: Book, text: str) -> None:
    assert not await holds(book, text)


async def test_every_label_is_looked_at_whoever_writes(book: Book) -> None:
    """A table with a name or title that was forgotten would be a hole."""
    labels = await book.pool.fetch(
        """
        SELECT c.relname, a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
        WHERE c.relnamespace = 'timebank'::regnamespace AND c.relkind = 'r'
          AND a.attname IN ('name', 'title', 'reference') AND NOT a.attisdropped
        """
    )
    guarded = await book.pool.fetch(
        "SELECT conrelid::regclass::text AS relname FROM pg_constraint "
        "WHERE conname = 'label_holds_no_persons_number'"
    )
    assert {row["relname"] for row in labels} == {row["relname"] for row in guarded}


async def test_the_refusal_says_what_to_do(book: Book) -> None:
    with pytest.raises(PersonsNumberError, match="Leave it out"):
        async with transaction(book.pool) as connection:
            await connection.execute(
                "SELECT open_branch($1, $2, $3, 'x', $4, NULL)",
                book.bank_id,
                new_id(),
                book.bank.root_id,
                PHONES[0],
            )
    with pytest.raises(asyncpg.CheckViolationError, match="label_holds_no_persons_number"):
        await book.pool.execute(
            "SELECT open_bank($1, $2, 'Asia/Shanghai', 10)", f"t{new_id().hex[:20]}", DOCUMENTS[0]
        )
