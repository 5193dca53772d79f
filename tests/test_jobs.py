"""What the service does by itself: every job is run, and one that fails stops nothing."""

import asyncio
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest
from structlog.testing import capture_logs

from tests.api.service import serving
from tests.book import Book
from tests.redemption.market import INSTANT, Market
from tests.service.programme import MAKER, Programme, at, new_person
from timebank import jobs
from timebank.db import Pool
from timebank.domain.redemption import HoldState
from timebank.embedded import Server
from timebank.jobs import run_jobs
from timebank.service.attendance import check_in


async def overdue_hold(book: Book) -> tuple[Market, UUID]:
    market = await Market.open(book)
    resident = await market.resident(10)
    return market, await market.held(resident, 4, lifetime=INSTANT)


async def test_overdue_holds_end_and_forgotten_check_outs_close(own_book: Book) -> None:
    market, hold_id = await overdue_hold(own_book)
    programme = await Programme.open(own_book)
    shift = await programme.make_shift()
    came = {"shift_id": shift.shift_id, "person_id": new_person()}
    await programme.run(check_in, MAKER, now=at("2026-01-02 09:00"), **came)
    done = {"end_overdue_holds": 1, "close_forgotten_attendances": 1}
    assert await run_jobs(own_book.pool) == done
    assert (await market.get(hold_id)).state is HoldState.EXPIRED
    assert await run_jobs(own_book.pool) == dict.fromkeys(done, 0)


async def test_a_job_that_fails_is_logged_and_the_others_run(
    own_book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(pool: Pool, bank_id: int) -> int:
        raise asyncpg.PostgresError("the disk is full")

    market, hold_id = await overdue_hold(own_book)
    monkeypatch.setattr(jobs, "JOBS", {"fails": fail, **jobs.JOBS})
    with capture_logs() as logged:
        assert (await run_jobs(own_book.pool))["end_overdue_holds"] == 1
    assert [(line["event"], line["job"]) for line in logged] == [("job_failed", "fails")]
    assert (await market.get(hold_id)).state is HoldState.EXPIRED


async def test_the_service_runs_them_by_itself(
    server: Server, own_database: str, own_book: Book, tmp_path: Path
) -> None:
    environment = {
        "TIMEBANK_DATABASE_URL": server.dsn(own_database, "timebank_app"),
        "TIMEBANK_JOB_SECONDS": "1",
    }
    market, hold_id = await overdue_hold(own_book)
    async with serving(tmp_path, environment), asyncio.timeout(60):
        while (await market.get(hold_id)).state is HoldState.OPEN:  # noqa: ASYNC110 - of a process
            await asyncio.sleep(0.1)
