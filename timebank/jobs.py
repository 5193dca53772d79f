"""What the service does by itself: overdue holds, forgotten check-outs and minorities end.

Every job is harmless when it runs twice or in several processes at once. One that fails is logged
and tried again the next time; it never stops the service.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import structlog

from timebank.db import Pool, transaction
from timebank.domain.ages import AgeBand
from timebank.domain.errors import TimebankError
from timebank.ledger.banks import Bank, list_banks
from timebank.people.grants import OPERATOR_ID
from timebank.people.kin import claim_minors, find_age_band
from timebank.people.registration import local_today
from timebank.people.vault import Access, Purpose
from timebank.people.vault_keys import KeyRing
from timebank.redemption.holds import sweep
from timebank.service.attendance import close_forgotten

log = structlog.get_logger()

MINORS_AT_ONCE = 200

OpenRing = Callable[[], KeyRing]
"""Opens the master keys when a job needs them: a service may run without."""


async def _end_overdue_holds(pool: Pool, open_ring: OpenRing, bank: Bank) -> int:
    return await sweep(pool, bank.bank_id)


async def _close_forgotten_attendances(pool: Pool, open_ring: OpenRing, bank: Bank) -> int:
    async with transaction(pool) as connection:
        return len(await close_forgotten(connection, bank.bank_id, datetime.now(UTC)))


async def _end_minorities(pool: Pool, open_ring: OpenRing, bank: Bank) -> int:
    """Ask the vault for each minor's birthday, once a day: who is none acts for themselves.

    Guardians are out at the midnight of that day without it, and after some days without a look.
    """
    try:
        ring = open_ring()
    except TimebankError:  # no key, no vault: nobody's birthday is there to be read
        return 0
    today, ended = local_today(bank), 0
    access = Access(
        bank_id=bank.bank_id,
        reader_id=OPERATOR_ID,
        purpose=Purpose.AGE_RULE,
        request_id="end_minorities",
    )
    while True:
        async with transaction(pool) as connection:
            minors = await claim_minors(connection, bank.bank_id, today, MINORS_AT_ONCE)
        for resident_id in minors:
            try:
                band = await find_age_band(pool, ring, access, resident_id, today, zone=bank.zone)
            except TimebankError as error:  # such as one whose data are frozen: the others' turn
                log.warning("age_not_found", bank_id=bank.bank_id, error=type(error).__name__)
            else:
                ended += band is AgeBand.ADULT
        if not minors:
            return ended


JOBS: Mapping[str, Callable[[Pool, OpenRing, Bank], Awaitable[int]]] = {
    "end_overdue_holds": _end_overdue_holds,
    "close_forgotten_attendances": _close_forgotten_attendances,
    "end_minorities": _end_minorities,
}
"""By name; each says how many things it ended in a bank."""


async def run_jobs(pool: Pool, open_ring: OpenRing) -> dict[str, int]:
    """Run every job once for every bank; return how many things each ended."""
    ended = dict.fromkeys(JOBS, 0)
    async with pool.acquire() as connection:
        banks = await list_banks(connection)
    for name, job in JOBS.items():
        for bank in banks:
            try:
                ended[name] += await job(pool, open_ring, bank)
            except Exception as error:
                log.error("job_failed", job=name, bank_id=bank.bank_id, exc_info=error)
    return ended


@asynccontextmanager
async def running_jobs(pool: Pool, open_ring: OpenRing, every_seconds: int) -> AsyncIterator[None]:
    """Run the jobs beside the block, pausing between runs; 0 seconds: not at all."""
    task = asyncio.create_task(_repeat(pool, open_ring, every_seconds)) if every_seconds else None
    try:
        yield
    finally:
        if task:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def _repeat(pool: Pool, open_ring: OpenRing, every_seconds: int) -> None:
    while True:
        await asyncio.sleep(every_seconds)
        try:
            await run_jobs(pool, open_ring)
        except Exception as error:
            log.error("jobs_failed", exc_info=error)
