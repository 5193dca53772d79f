"""Durable transfers a second through the ledger's own way of posting, from this one process.

The transfers are made before the clock starts; turning them into a call and reading the answers is
on the clock, as it is for a service.
"""

import asyncio
import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter
from typing import NamedTuple

from timebank.bench.book import BenchBook, Shape, post_in_one_commit
from timebank.db import Pool
from timebank.domain.ledger import Transfer, TransferStatus

_WARM_UP_BATCH = 100
_MADE_READY_PER_S = 40_000
"""Transfers made ready for each second of a run; one that uses them up ends early."""


class Case(NamedTuple):
    """What one run does."""

    shape: Shape
    batch: int
    connections: int

    def __str__(self) -> str:
        plural = "s" * (self.connections > 1)
        return f"{self.shape}, {self.batch:,} a call, {self.connections} connection{plural}"


async def measure_posting(pool: Pool, book: BenchBook, case: Case, seconds: float) -> float:
    """Return transfers posted a second.

    Takes about `seconds`, and one call on each connection at the least.
    """
    shape, batch, connections = case
    per_s = min(_MADE_READY_PER_S, 5000 * batch)
    count = max(connections, int(per_s * seconds) // batch)
    warm_up = [book.draw(shape, min(batch, _WARM_UP_BATCH)) for _ in range(connections)]
    ready = [book.draw(shape, batch) for _ in range(count)]
    with _without_collector():
        await _post_all(pool, book.bank_id, iter(warm_up), connections, 0)
        return round(await _post_all(pool, book.bank_id, iter(ready), connections, seconds), 1)


async def _post_all(
    pool: Pool,
    bank_id: int,
    batches: Iterator[Sequence[Transfer]],
    connections: int,
    seconds: float,
) -> float:
    """Post batches until the time is up or none is left; return transfers posted a second."""
    start = perf_counter()

    async def work() -> int:
        posted = 0
        for batch in batches:  # shared: each connection takes the next one
            outcomes = await post_in_one_commit(pool, bank_id, batch)
            posted += sum(outcome.status is TransferStatus.POSTED for outcome in outcomes)
            if perf_counter() - start >= seconds:
                break
        return posted

    posted = sum(await asyncio.gather(*(work() for _ in range(connections))))
    return posted / (perf_counter() - start)


@contextmanager
def _without_collector() -> Iterator[None]:
    """Keep Python's collector from walking the ready transfers again and again."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
