"""What the service does by itself: what is overdue ends, activities and webhooks go on.

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
from timebank.people.seals import Seals
from timebank.people.vault import Access, Purpose
from timebank.people.vault_keys import KeyRing
from timebank.redemption.holds import sweep
from timebank.service.activities import plan_ahead
from timebank.service.attendance import close_forgotten
from timebank.webhooks.delivery import Worker, deliver_due
from timebank.webhooks.events import forget_events
from timebank.webhooks.sending import Sender

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


async def _forget_webhook_events(pool: Pool, open_ring: OpenRing, bank: Bank) -> int:
    async with transaction(pool) as connection:
        return await forget_events(connection, bank.bank_id)


async def _plan_ahead(pool: Pool, open_ring: OpenRing, bank: Bank) -> int:
    """Plan the shifts of recurring activities, each in a transaction of its own."""
    planned = 0
    while True:
        async with transaction(pool) as connection:
            new = await plan_ahead(connection, bank.bank_id, local_today(bank))
        if new is None:
            return planned
        planned += new


JOBS: Mapping[str, Callable[[Pool, OpenRing, Bank], Awaitable[int]]] = {
    "end_overdue_holds": _end_overdue_holds,
    "close_forgotten_attendances": _close_forgotten_attendances,
    "end_minorities": _end_minorities,
    "forget_webhook_events": _forget_webhook_events,
    "plan_ahead": _plan_ahead,
}
"""By name; each says how many things it ended, or shifts it planned, in a bank."""


async def run_jobs(pool: Pool, open_ring: OpenRing) -> dict[str, int]:
    """Run every job once for every bank; return how many things each did."""
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
    async with _repeating("jobs_failed", lambda: run_jobs(pool, open_ring), every_seconds):
        yield


@asynccontextmanager
async def running_deliveries(
    pool: Pool, open_ring: OpenRing, every_seconds: int
) -> AsyncIterator[None]:
    """Deliver webhooks beside the block, pausing when none is due; 0 seconds: not at all.

    Without a master key there are no secrets to sign with, and nothing is sent.
    """
    sender: Sender | None = None

    async def deliver() -> None:
        nonlocal sender
        try:
            seals = Seals(open_ring())
        except TimebankError:
            return
        sender = sender or Sender()
        await deliver_due(Worker(pool=pool, seals=seals, sender=sender))

    async with _repeating("deliveries_failed", deliver, every_seconds):
        yield


@asynccontextmanager
async def _repeating(
    failure: str, work: Callable[[], Awaitable[object]], every_seconds: int
) -> AsyncIterator[None]:
    """Do `work` again and again beside the block, pausing before each; 0 seconds: not at all."""

    async def repeat() -> None:
        while True:
            await asyncio.sleep(every_seconds)
            try:
                await work()
            except Exception as error:
                log.error(failure, exc_info=error)

    task = asyncio.create_task(repeat()) if every_seconds else None
    try:
        yield
    finally:
        if task:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
