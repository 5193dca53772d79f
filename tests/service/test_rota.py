"""Importing a rota: what it awards, to whom, when, once, and all or nothing."""

import asyncio
import secrets
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.book import Book
from tests.service.extract import SAMPLE, WHOLE, Extract, row, write
from tests.service.programme import Programme, new_person
from timebank.domain.errors import BankNotFoundError, ImportRefusedError, TransferRefusedError
from timebank.domain.ledger import AccountKind, Unit
from timebank.domain.rota import Shift
from timebank.domain.service_errors import ImportTooLateError
from timebank.ledger.accounts import ensure_issuance
from timebank.ledger.banks import ensure_bank
from timebank.ledger.passbook import list_trial_balance
from timebank.service import rota
from timebank.service.rota import IMPORTER_ID, RotaSummary, import_rota

SAMPLE_SUMMARY = RotaSummary(
    shifts=49, events=10, attendances=189, minutes=29_528, points=4_917, posted=378
)


async def load(book: Book, extract: Extract, **options: Any) -> RotaSummary:
    return await import_rota(
        book.pool, book.bank.code, extract.shifts, extract.residents, **options
    )


async def faults(book: Book, extract: Extract) -> list[tuple[int, str]]:
    with pytest.raises(ImportRefusedError) as caught:
        await load(book, extract)
    return [(row.line, row.message) for row in caught.value.rows]


async def open_book(pool: asyncpg.Pool, time_zone: str = "Asia/Shanghai", rate: int = 10) -> Book:
    code = f"t{secrets.token_hex(8)}"
    async with pool.acquire() as connection:
        bank = await ensure_bank(
            connection, code, "测试", time_zone=time_zone, points_per_hour=rate
        )
        return Book(pool, bank, await ensure_issuance(connection, bank.bank_id))


async def wallets(book: Book) -> dict[str, tuple[int, int]]:
    """Return the hours and points balance of each resident by source_ref."""
    records = await book.pool.fetch(
        """
        SELECT source_ref, max(balance) FILTER (WHERE unit = 'hours'),
               max(balance) FILTER (WHERE unit = 'points')
        FROM resident JOIN account USING (bank_id)
             JOIN balance USING (bank_id, account_id, unit, kind)
        WHERE bank_id = $1 AND owner_id = resident_id AND kind = 'wallet'
        GROUP BY source_ref
        """,
        book.bank_id,
    )
    return {ref: (hours, points) for ref, hours, points in records}


async def count_rows(book: Book) -> list[int]:
    """Return how many rows of each table the bank has."""
    tables = ["resident", "activity", "shift", "account", "balance", "transfer", "posting"]
    return [
        await book.pool.fetchval(f"SELECT count(*) FROM {table} WHERE bank_id = $1", book.bank_id)
        for table in tables
    ]


async def check_sums(book: Book, summary: RotaSummary) -> None:
    """What was awarded stands in the wallets, to the minute and the point."""
    held = await wallets(book)
    assert sum(hours for hours, _ in held.values()) == summary.minutes
    assert sum(points for _, points in held.values()) == summary.points
    rate = book.bank.points_per_hour
    assert all(points == hours * rate // 60 for hours, points in held.values())
    async with book.pool.acquire() as connection:
        trial = await list_trial_balance(connection, book.bank_id)
    for unit, total in ((Unit.HOURS, summary.minutes), (Unit.POINTS, summary.points)):
        own = {line.kind: (line.debit, line.credit) for line in trial if line.unit is unit}
        assert own == {AccountKind.ISSUANCE: (total, 0), AccountKind.WALLET: (0, total)}


async def test_the_sample_is_awarded_to_the_unit(book: Book) -> None:
    summary = await load(book, Extract.of(SAMPLE))
    assert summary == SAMPLE_SUMMARY
    await check_sums(book, summary)
    assert await count_rows(book) == [36, 10, 49, 74, 74, 378, 756]


async def test_the_same_file_again_posts_nothing(book: Book) -> None:
    await load(book, Extract.of(SAMPLE))
    before = await count_rows(book), await wallets(book)
    again = await load(book, Extract.of(SAMPLE))
    assert again.posted == 0
    assert again.points == SAMPLE_SUMMARY.points
    assert (await count_rows(book), await wallets(book)) == before


async def test_the_whole_extract_of_leeds_2023(book: Book) -> None:
    if not WHOLE.exists():
        pytest.skip("the whole extract is not in the repository; it stands beside it for us")
    summary = await load(book, Extract.of(WHOLE))
    assert (summary.shifts, summary.events) == (505, 79)
    assert (summary.attendances, summary.minutes, summary.points) == (3_192, 508_165, 84_477)
    assert summary.posted == 2 * 3_192
    await check_sums(book, summary)
    assert (await load(book, Extract.of(WHOLE))).posted == 0


async def test_a_dry_run_tells_the_same_and_writes_nothing(book: Book) -> None:
    before = await count_rows(book)
    assert await load(book, Extract.of(SAMPLE), dry_run=True) == SAMPLE_SUMMARY
    assert await count_rows(book) == before


async def test_one_chain_for_each_attendance(book: Book, tmp_path: Path) -> None:
    await load(book, write(tmp_path, ["2023-06-29,1,0.2,2,7,Tour", "2023-06-28,2,0.05,3,7,Tour"]))
    activity = await book.pool.fetchval(
        "SELECT activity_id FROM activity WHERE bank_id = $1", book.bank_id
    )
    journal = await book.pool.fetch(
        "SELECT * FROM transfer WHERE bank_id = $1 ORDER BY transfer_id", book.bank_id
    )
    hours, points = (book.issuance[unit] for unit in (Unit.HOURS, Unit.POINTS))
    # Three minutes over three earn nobody a point; then seven minutes in all earn one.
    assert [(entry["debit_account_id"], entry["amount"]) for entry in journal] == [
        *[(hours, 1)] * 3,
        *[(hours, 6), (points, 1)] * 2,
    ]
    assert [entry["chain_id"] for entry in journal[3:]] == [
        journal[i]["transfer_id"] for i in (3, 3, 5, 5)
    ]
    assert {entry["subject_id"] for entry in journal} == {activity}
    assert {entry["actor_id"] for entry in journal} == {IMPORTER_ID}


@pytest.mark.parametrize(
    ("time_zone", "winter", "summer"),
    [
        ("Asia/Shanghai", "2023-01-10T16:00Z", "2023-06-28T16:00Z"),
        ("Europe/London", "2023-01-11T00:00Z", "2023-06-28T23:00Z"),
    ],
)
async def test_service_occurred_at_local_midnight(
    worker_pool: asyncpg.Pool, tmp_path: Path, time_zone: str, winter: str, summer: str
) -> None:
    book = await open_book(worker_pool, time_zone)
    await load(book, write(tmp_path, ["2023-06-29,1,1,1,7,Tour", "2023-01-11,2,1,1,7,Tour"]))
    instants = await book.pool.fetch(
        "SELECT DISTINCT occurred_at FROM posting WHERE bank_id = $1 ORDER BY 1", book.bank_id
    )
    expected = [datetime.fromisoformat(instant) for instant in (winter, summer)]
    assert [instant for (instant,) in instants] == expected


async def test_one_faulty_row_refuses_everything(book: Book, tmp_path: Path) -> None:
    rows = [f"2023-06-29,{n},2,1,7,Tour" for n in range(20)]
    before = await count_rows(book)
    tomorrow = (datetime.now(book.bank.zone) + timedelta(days=1)).date()
    for bad in (
        "2023-06-29,x,1,0,7,Tour",
        "2023-06-29,x,1,9,7,Tour",
        "2023-06-29,x,25,1,7,Tour",
        "2023-06-29,x,1,1,8,Tour 13800138000",
        f"{tomorrow},x,1,1,7,Tour",
    ):
        assert [line for line, _ in await faults(book, write(tmp_path, [*rows, bad]))] == [22]
        assert await count_rows(book) == before


async def test_a_refusal_by_the_ledger_refuses_everything(
    book: Book, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = await count_rows(book)
    monkeypatch.setattr(rota, "CHAINS_PER_CALL", 1)
    monkeypatch.setattr(
        rota,
        "start_of",
        lambda day, zone: datetime(2999 if day.day == 2 else 2023, 1, 1, tzinfo=UTC),
    )
    with pytest.raises(TransferRefusedError, match="occurred_in_future"):
        await load(book, write(tmp_path, ["2023-06-01,1,1,1,7,Tour", "2023-06-02,2,1,1,7,Tour"]))
    assert await count_rows(book) == before


async def test_what_was_imported_is_not_contradicted(book: Book, tmp_path: Path) -> None:
    good = "2023-06-29,41725,3,2,7,Tour"
    await load(book, write(tmp_path, [good]))
    before = await count_rows(book)
    message = "shift 41725 was imported before with other content"
    for other in (
        "2023-06-28,41725,3,2,7,Tour",
        "2023-06-29,41725,3.5,2,7,Tour",
        "2023-06-29,41725,3,1,7,Tour",
        "2023-06-29,41725,3,2,8,Tour",
        "2023-06-29,41725,3,2,7,Walk",
    ):
        assert await faults(book, write(tmp_path, [other])) == [(2, message)]
    renamed = write(tmp_path, [good.replace("41725", "2").replace("Tour", "Walk")])
    assert await faults(book, renamed) == [(2, "event 7 was imported before as 'Tour'")]
    assert await count_rows(book) == before


async def test_a_longer_file_awards_only_what_is_new(book: Book, tmp_path: Path) -> None:
    rows = ["2023-06-29,1,0.5,1,7,Tour", "2023-06-30,2,0.7,1,8,Walk"]
    assert (await load(book, write(tmp_path, rows[:1]))).posted == 2
    summary = await load(book, write(tmp_path, rows))
    assert (summary.shifts, summary.events, summary.posted) == (2, 2, 2)
    await check_sums(book, summary)


async def test_banks_do_not_know_each_others_shifts(worker_pool: asyncpg.Pool) -> None:
    for _ in range(2):
        assert await load(await Book.open(worker_pool), Extract.of(SAMPLE)) == SAMPLE_SUMMARY


async def test_two_imports_at_once_award_once(book: Book) -> None:
    summaries = await asyncio.gather(*(load(book, Extract.of(SAMPLE)) for _ in range(3)))
    assert sorted(summary.posted for summary in summaries) == [0, 0, SAMPLE_SUMMARY.posted]
    await check_sums(book, SAMPLE_SUMMARY)


async def test_an_import_waits_for_another_into_the_same_bank(book: Book) -> None:
    other = await open_book(book.pool)
    async with book.pool.acquire() as connection, connection.transaction():
        await connection.execute(
            "SELECT pg_advisory_xact_lock(hashtext('timebank import'), $1)", book.bank_id
        )
        waiting = asyncio.create_task(load(book, Extract.of(SAMPLE)))
        assert (await load(other, Extract.of(SAMPLE))).posted == SAMPLE_SUMMARY.posted
        await asyncio.sleep(0.2)
        assert not waiting.done()
    assert (await waiting).posted == SAMPLE_SUMMARY.posted


async def test_a_bank_without_points_counts_full_hours(worker_pool: asyncpg.Pool) -> None:
    book = await open_book(worker_pool, rate=0)
    summary = await load(book, Extract.of(SAMPLE))
    assert (summary.minutes, summary.points, summary.posted) == (29_528, 0, 189)


async def test_an_empty_file_is_no_error(book: Book, tmp_path: Path) -> None:
    summary = await load(book, write(tmp_path, []))
    assert (summary.shifts, summary.posted) == (0, 0)


async def test_an_unknown_bank_is_named(book: Book) -> None:
    sample = Extract.of(SAMPLE)
    with pytest.raises(BankNotFoundError, match="nowhere"):
        await import_rota(book.pool, "nowhere", sample.shifts, sample.residents)


async def test_progress_goes_from_nothing_to_all(
    book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rota, "CHAINS_PER_CALL", 100)
    told: list[tuple[int, int]] = []
    await load(book, Extract.of(SAMPLE), progress=lambda done, total: told.append((done, total)))
    assert told == [(0, 378), (200, 378), (378, 378)]


SHIFTS = st.lists(
    st.builds(
        Shift,
        shift_ref=st.integers(1, 99).map(str),
        served_on=st.dates(date(2023, 1, 1), date(2023, 1, 5)),
        minutes=st.integers(3, 200),
        attended=st.integers(1, 3),
        event_ref=st.just("7"),
        event_name=st.just("扫街"),
    ),
    min_size=1,
    max_size=8,
    unique_by=lambda shift: shift.shift_ref,
)


@given(shifts=SHIFTS, cut=st.integers(0, 8), rate=st.sampled_from([1, 7, 10, 60]))
async def test_any_cut_of_the_shifts_gives_everybody_the_same(
    worker_pool: asyncpg.Pool, shifts: list[Shift], cut: int, rate: int
) -> None:
    whole, parts = await open_book(worker_pool, rate=rate), await open_book(worker_pool, rate=rate)
    rows = [row(shift) for shift in shifts]
    with TemporaryDirectory() as name:
        folder = Path(name)
        summary = await load(whole, write(folder, rows))
        for part in (rows[cut:], rows[:cut], rows):
            await load(parts, write(folder, part))
    await check_sums(whole, summary)
    assert await wallets(parts) == await wallets(whole)


async def test_a_bank_with_records_of_its_own_takes_no_rota(book: Book, tmp_path: Path) -> None:
    """What one operator brings would else stand beside what two persons answer for."""
    lines = ["2023-06-29,1,0.2,2,7,Tour"]
    await load(book, write(tmp_path, lines))
    programme = await Programme.open(book)
    await programme.record(new_person(), datetime(2026, 1, 2, 1, tzinfo=UTC), 60)
    assert (await load(book, write(tmp_path, lines))).posted == 0  # a repeat writes nothing
    more = write(tmp_path, [*lines, "2023-06-30,2,0.2,2,7,Tour"])
    for dry_run in (True, False):
        with pytest.raises(ImportTooLateError):
            await load(book, more, dry_run=dry_run)
