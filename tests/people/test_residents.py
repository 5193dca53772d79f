"""The registry: one resident for each pseudonym, for ever."""

import asyncio
from datetime import date

from tests.book import Book
from timebank.ledger.ids import new_id
from timebank.people.residents import ensure_residents, is_registered

DAY = date(2022, 12, 17)


async def register(book: Book, *refs: str, confirmed_on: date = DAY) -> dict[str, object]:
    async with book.pool.acquire() as connection:
        return dict(
            await ensure_residents(connection, book.bank_id, dict.fromkeys(refs, confirmed_on))
        )


async def test_a_pseudonym_is_one_resident_for_ever(book: Book) -> None:
    first = await register(book, "b", "a")
    later = await register(book, "c", "a", confirmed_on=date(2024, 2, 29))
    assert first.keys() == {"a", "b"}
    assert later.keys() == {"a", "c"}
    assert later["a"] == first["a"]
    assert len({*first.values(), *later.values()}) == 3
    confirmed = await book.pool.fetch(
        "SELECT source_ref, confirmed_on FROM resident WHERE bank_id = $1", book.bank_id
    )
    assert dict(confirmed) == {"a": DAY, "b": DAY, "c": date(2024, 2, 29)}


async def test_nobody_is_registered_by_an_empty_list(book: Book) -> None:
    assert await register(book) == {}


async def test_the_same_pseudonym_is_another_resident_in_another_bank(book: Book) -> None:
    other = await Book.open(book.pool)
    assert (await register(book, "a"))["a"] != (await register(other, "a"))["a"]


async def test_registering_at_once_gives_the_same_ids(book: Book) -> None:
    refs = [f"r{n}" for n in range(50)]
    answers = await asyncio.gather(
        *(register(book, *(refs if n % 2 else reversed(refs))) for n in range(6))
    )
    assert all(answer == answers[0] for answer in answers)


async def test_who_is_registered(book: Book) -> None:
    known = await register(book, "a")
    async with book.pool.acquire() as connection:
        for resident_id, expected in ((known["a"], True), (new_id(), False)):
            assert await is_registered(connection, book.bank_id, resident_id) is expected
