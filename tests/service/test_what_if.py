"""What if: past service under other rates, to the point, and nothing is written."""

from collections import Counter
from datetime import date, timedelta
from uuid import UUID

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.book import Book
from tests.service.extract import SAMPLE, Extract
from tests.service.programme import MAKER, Programme, at, new_person
from timebank.db import transaction
from timebank.domain.errors import DatabaseUnavailableError
from timebank.service.categories import list_categories
from timebank.service.rates import propose_rate
from timebank.service.rota import import_rota
from timebank.service.what_if import WhatIf, what_if

NINE = at("2026-01-02 09:00")
ALWAYS = date.min, date.max - timedelta(days=1)


async def test_a_rate_that_was_never_in_force(programme: Programme) -> None:
    tutoring = await programme.open_category("tutoring")
    a, b = new_person(), new_person()
    cleaning = await programme.record_all([(a, NINE, 65), (b, NINE, 55)])
    taught = await programme.record(a, at("2026-02-02 09:00"), 90, category_id=tutoring)
    waiting = await programme.record(a, at("2026-02-03 09:00"), 600)
    reversed_ = await programme.record(a, at("2026-02-04 09:00"), 600)
    await programme.confirm(*cleaning, taught, reversed_)
    await programme.reverse(reversed_)
    answer = await programme.run(what_if, {programme.category_id: 60}, *ALWAYS)
    by_category = {one.category_id: one for one in answer.categories}
    own = by_category[programme.category_id]
    assert (own.persons, own.minutes) == (2, 120)
    assert (own.points_in_force, own.points_proposed) == (10 + 9, 65 + 55)
    other = by_category[tutoring]
    assert (other.points_in_force, other.points_proposed) == (15, 15)
    assert (answer.minutes, answer.points_in_force, answer.points_proposed) == (210, 34, 135)
    january = await programme.run(what_if, {}, date(2026, 1, 1), date(2026, 1, 31))
    assert (january.minutes, january.points_proposed) == (120, 19)
    assert waiting


async def test_a_night_belongs_to_both_its_days(programme: Programme) -> None:
    await programme.confirm(await programme.record(new_person(), at("2026-01-31 23:00"), 180))
    minutes = []
    for month in (1, 2):
        span = date(2026, month, 1), date(2026, month, 28 + 3 * (month == 1))
        minutes.append((await programme.run(what_if, {}, *span)).minutes)
    assert minutes == [60, 120]


async def test_nothing_can_be_written_after_it(programme: Programme) -> None:
    with pytest.raises(DatabaseUnavailableError) as refused:
        async with transaction(programme.book.pool) as connection:
            await what_if(connection, programme.book.bank_id, {}, *ALWAYS)
            await propose_rate(
                connection,
                programme.book.bank_id,
                MAKER,
                category_id=programme.category_id,
                points_per_hour=1,
                effective_on=date(2026, 1, 1),
            )
    assert isinstance(refused.value.__cause__, asyncpg.ReadOnlySQLTransactionError)


async def test_an_imported_year_replays_to_what_was_awarded(book: Book) -> None:
    sample = Extract.of(SAMPLE)
    summary = await import_rota(book.pool, book.bank.code, sample.shifts, sample.residents)
    async with transaction(book.pool) as connection:
        [category] = await list_categories(connection, book.bank_id)
        answer = await what_if(connection, book.bank_id, {category.category_id: 20}, *ALWAYS)
    assert (answer.minutes, answer.points_in_force) == (summary.minutes, summary.points)
    assert 2 * summary.points <= answer.points_proposed <= 2 * summary.points + 36


@given(
    times=st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 1), st.integers(1, 23 * 60)), max_size=6
    ),
    rates=st.lists(st.one_of(st.none(), st.integers(0, 100)), min_size=2, max_size=2),
)
async def test_against_a_plain_sum(
    worker_pool: asyncpg.Pool, times: list[tuple[int, int, int]], rates: list[int | None]
) -> None:
    programme = await Programme.open(await Book.open(worker_pool))
    categories = [programme.category_id, await programme.open_category("tutoring")]
    people = [new_person() for _ in range(3)]
    served: Counter[tuple[UUID, UUID]] = Counter()
    for day, (who, what, minutes) in enumerate(times):
        start = NINE + timedelta(days=2 * day)
        record = await programme.record(people[who], start, minutes, category_id=categories[what])
        await programme.confirm(record)
        served[people[who], categories[what]] += minutes
    proposal = {c: rate for c, rate in zip(categories, rates, strict=True) if rate is not None}
    answer: WhatIf = await programme.run(what_if, proposal, *ALWAYS)
    assert answer.minutes == served.total()
    assert answer.points_in_force == sum(minutes * 10 // 60 for minutes in served.values())
    assert answer.points_proposed == sum(
        minutes * proposal.get(category, 10) // 60 for (_, category), minutes in served.items()
    )
