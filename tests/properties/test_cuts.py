"""However the same time is cut into records, and in whatever lots they are confirmed, it earns the
same: over midnight and between two rates as well.
"""

from datetime import date, timedelta
from itertools import pairwise

import asyncpg
from hypothesis import given
from hypothesis import strategies as st

from tests.book import Book
from tests.service.programme import Programme, at, new_person

EVENING = at("2026-01-31 18:00")
LONGEST = 720
RATES = st.integers(0, 61)


@given(
    minutes=st.integers(1, LONGEST),
    cuts=st.sets(st.integers(1, LONGEST - 1), max_size=5),
    rates=st.tuples(RATES, RATES),
    data=st.data(),
)
async def test_any_cut_earns_the_same(
    worker_pool: asyncpg.Pool,
    minutes: int,
    cuts: set[int],
    rates: tuple[int, int],
    data: st.DataObject,
) -> None:
    programme = await Programme.open(await Book.open(worker_pool))
    for rate, day in zip(rates, (date(2026, 1, 1), date(2026, 2, 1)), strict=True):
        await programme.set_rate(programme.category_id, rate, day)
    whole, parted = new_person(), new_person()
    ends = [0, *sorted(cut for cut in cuts if cut < minutes), minutes]
    parts = [(parted, EVENING + timedelta(minutes=a), b - a) for a, b in pairwise(ends)]
    await programme.confirm(await programme.record(whole, EVENING, minutes))
    waiting = data.draw(st.permutations(await programme.record_all(parts)))
    while waiting:
        lot = data.draw(st.integers(1, len(waiting)))
        await programme.confirm(*waiting[:lot])
        waiting = waiting[lot:]
    before_midnight = min(minutes, 360)
    exact = before_midnight * rates[0] + (minutes - before_midnight) * rates[1]
    assert await programme.wallets(whole) == (minutes, exact // 60)
    assert await programme.wallets(parted) == (minutes, exact // 60)
