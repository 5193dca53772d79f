"""What the service does by itself: every job is run, and one that fails stops nothing."""

import asyncio
from datetime import datetime, time, timedelta
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest
import structlog
from structlog.testing import capture_logs

from tests.api.service import serving
from tests.book import Book
from tests.people.desk import Desk, person
from tests.redemption.market import INSTANT, Market
from tests.service.programme import MAKER, Programme, at, new_person
from timebank import jobs
from timebank.api import desk
from timebank.config import Settings
from timebank.db import Pool
from timebank.domain.redemption import HoldState
from timebank.domain.service import CancelReason
from timebank.embedded import Server
from timebank.jobs import OpenRing, run_jobs
from timebank.ledger.banks import Bank
from timebank.people.kin import is_guardian
from timebank.people.registration import local_today
from timebank.people.vault import list_accesses
from timebank.people.vault_keys import KeyRing, ensure_key_file
from timebank.service.activities import cancel_activity, cancel_shift
from timebank.service.attendance import check_in


@pytest.fixture
def ring(tmp_path: Path) -> KeyRing:
    """Keys of its own."""
    ensure_key_file(tmp_path / "jobs.key")
    return KeyRing(tmp_path / "jobs.key")


async def overdue_hold(book: Book) -> tuple[Market, UUID]:
    market = await Market.open(book)
    resident = await market.resident(10)
    return market, await market.held(resident, 4, lifetime=INSTANT)


async def test_overdue_holds_end_and_forgotten_check_outs_close(
    own_book: Book, ring: KeyRing
) -> None:
    market, hold_id = await overdue_hold(own_book)
    programme = await Programme.open(own_book)
    shift = await programme.make_shift()
    came = {"shift_id": shift.shift_id, "person_id": new_person()}
    await programme.run(check_in, MAKER, now=at("2026-01-02 09:00"), **came)
    done = {
        "end_overdue_holds": 1,
        "close_forgotten_attendances": 1,
        "end_minorities": 0,
        "forget_webhook_events": 0,
        "plan_ahead": 0,
    }
    assert await run_jobs(own_book.pool, lambda: ring) == done
    assert (await market.get(hold_id)).state is HoldState.EXPIRED
    assert await run_jobs(own_book.pool, lambda: ring) == dict.fromkeys(done, 0)


async def test_a_guardians_part_ends_with_the_minority(
    own_book: Book, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though nobody asks for the birthday; the vault is asked once a day for each minor."""
    desk = await Desk.open(own_book, tmp_path)
    today = local_today(own_book.bank)
    guardian_id = await desk.person()
    born = [today - timedelta(days=365 * 10), today - timedelta(days=365 * 17)]
    child, youth = [await desk.member(person(on), guardian_id=guardian_id) for on in born]

    async def left() -> list[bool]:
        async with desk.at() as connection:
            return [
                await is_guardian(connection, desk.bank_id, guardian_id, one)
                for one in (child, youth)
            ]

    async def looks() -> int:
        return len(await list_accesses(own_book.pool, desk.bank_id, child))

    for days, ended, guarded in ((0, 0, [True, True]), (800, 1, [True, False])):
        monkeypatch.setattr(jobs, "local_today", lambda _, days=days: today + timedelta(days=days))
        assert (await run_jobs(own_book.pool, lambda: desk.ring))["end_minorities"] == ended
        assert await left() == guarded
        before = await looks()
        assert (await run_jobs(own_book.pool, lambda: desk.ring))["end_minorities"] == 0
        assert await looks() == before > 0


async def test_recurring_activities_are_planned_ahead(
    own_book: Book, ring: KeyRing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every Friday for as long as it goes on, each once, also where several processes plan."""
    programme, today = await Programme.open(own_book), local_today(own_book.bank)
    first = datetime.combine(today, time(9))
    plan = {"first_start": first, "rule": "FREQ=WEEKLY"}
    goes_on, cancelled = [await programme.make_activity(**plan) for _ in range(2)]
    ends = await programme.make_activity(first_start=first, rule="FREQ=WEEKLY;COUNT=16")
    once = await programme.make_activity(first_start=first)
    gone = await programme.shifts(cancelled.activity_id)
    await programme.run(cancel_shift, MAKER, gone[-1].shift_id, CancelReason.WEATHER)
    reason = CancelReason.ORGANISER
    await programme.run(cancel_activity, MAKER, cancelled.activity_id, reason)

    async def planned() -> list[int]:
        every = (goes_on, cancelled, ends, once)
        return [len(await programme.shifts(one.activity_id)) for one in every]

    assert await planned() == [14, 14, 14, 1]
    for days, new, there in (
        (6, 0, [14, 14, 14, 1]),
        (7, 0, [14, 14, 14, 1]),
        (8, 2, [15, 14, 15, 1]),
        (90, 13, [27, 14, 16, 1]),
        (400, 18, [45, 14, 16, 1]),  # from a month back on, though nobody planned for ten
    ):
        monkeypatch.setattr(jobs, "local_today", lambda _, days=days: today + timedelta(days=days))
        at_once = [run_jobs(own_book.pool, lambda: ring) for _ in range(3)]
        told = [one["plan_ahead"] for one in await asyncio.gather(*at_once)]
        assert (sum(told), await planned()) == (new, there)
        assert (await run_jobs(own_book.pool, lambda: ring))["plan_ahead"] == 0
    starts = [shift.starts_at for shift in await programme.shifts(goes_on.activity_id)]
    assert starts[0] is not None
    week = timedelta(days=7)
    assert starts == [starts[0] + n * week for n in (*range(27), *range(53, 71))]


async def test_a_job_that_fails_is_logged_and_the_others_run(
    own_book: Book, ring: KeyRing, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(pool: Pool, open_ring: OpenRing, bank: Bank) -> int:
        raise asyncpg.PostgresError("the disk is full")

    market, hold_id = await overdue_hold(own_book)
    monkeypatch.setattr(jobs, "JOBS", {"fails": fail, **jobs.JOBS})
    monkeypatch.setattr(jobs, "log", structlog.get_logger())  # no app before us has cached this one
    with capture_logs() as logged:
        assert (await run_jobs(own_book.pool, lambda: ring))["end_overdue_holds"] == 1
    assert [(line["event"], line["job"]) for line in logged] == [("job_failed", "fails")]
    assert (await market.get(hold_id)).state is HoldState.EXPIRED


async def test_a_key_that_is_missing_is_told_once(
    own_book: Book, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And again when the reason is another."""
    monkeypatch.setattr(desk, "log", structlog.get_logger())  # no app before us has cached this one
    key_file = tmp_path / "later.key"
    service = desk.Desk(own_book.pool, Settings(master_key_file=key_file))
    with capture_logs() as logged:
        for _ in range(2):
            await run_jobs(own_book.pool, lambda: service.ring)
        key_file.touch(mode=0o644)
        for _ in range(2):
            await run_jobs(own_book.pool, lambda: service.ring)
    service.close()
    assert [line["event"] for line in logged] == ["master_key_unfit"] * 2
    assert "cannot be read" in logged[0]["reason"]
    assert "chmod 600" in logged[1]["reason"]


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
