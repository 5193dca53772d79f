"""What the service does by itself, again and again: overdue holds end, forgotten check-outs close.

Every job is harmless when it runs twice or in several processes at once. One that fails is logged
and tried again the next time; it never stops the service.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import structlog

from timebank.db import Pool, transaction
from timebank.ledger.banks import list_banks
from timebank.redemption.holds import sweep
from timebank.service.attendance import close_forgotten

log = structlog.get_logger()


async def _end_overdue_holds(pool: Pool, bank_id: int) -> int:
    return await sweep(pool, bank_id)


async def _close_forgotten_attendances(pool: Pool, bank_id: int) -> int:
    async with transaction(pool) as connection:
        return len(await close_forgotten(connection, bank_id, datetime.now(UTC)))


JOBS: Mapping[str, Callable[[Pool, int], Awaitable[int]]] = {
    "end_overdue_holds": _end_overdue_holds,
    "close_forgotten_attendances": _close_forgotten_attendances,
}
"""By name; each says how many things it ended in a bank."""


async def run_jobs(pool: Pool) -> dict[str, int]:
    """Run every job once for every bank; return how many things each ended."""
    ended = dict.fromkeys(JOBS, 0)
    async with pool.acquire() as connection:
        banks = await list_banks(connection)
    for name, job in JOBS.items():
        for bank in banks:
            try:
                ended[name] += await job(pool, bank.bank_id)
            except Exception as error:
                log.error("job_failed", job=name, bank_id=bank.bank_id, exc_info=error)
    return ended


@asynccontextmanager
async def running_jobs(pool: Pool, every_seconds: int) -> AsyncIterator[None]:
    """Run the jobs beside the block, pausing between runs; 0 seconds: not at all."""
    task = asyncio.create_task(_repeat(pool, every_seconds)) if every_seconds else None
    try:
        yield
    finally:
        if task:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def _repeat(pool: Pool, every_seconds: int) -> None:
    while True:
        await asyncio.sleep(every_seconds)
        try:
            await run_jobs(pool)
        except Exception as error:
            log.error("jobs_failed", exc_info=error)
