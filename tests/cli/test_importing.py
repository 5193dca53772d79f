"""`timebank import rota` as a person or a script runs it: output, exit codes, messages."""

import asyncio
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.book import Book
from tests.service.extract import SAMPLE, Extract, write
from timebank.embedded import Server

SUMMARY = {
    "shifts": 49,
    "events": 10,
    "attendances": 189,
    "minutes": 29_528,
    "points": 4_917,
    "posted": 378,
}


@dataclass(frozen=True)
class Ran:
    """How a command ended and what it said."""

    code: int | None
    out: str
    err: str


@dataclass(frozen=True)
class Command:
    """The command on one bank."""

    book: Book
    environment: dict[str, str]

    async def __call__(self, extract: Extract, *options: str) -> Ran:
        return await self.run(
            str(extract.shifts), "--residents", str(extract.residents), *options,
            "--bank", self.book.bank.code,
        )  # fmt: skip

    async def run(self, *arguments: str) -> Ran:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "timebank", "import", "rota", *arguments),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self.environment,
        )
        out, err = await process.communicate()
        return Ran(process.returncode, out.decode(), err.decode())

    async def count(self) -> int:
        """How many rows the command has written."""
        count: int = await self.book.pool.fetchval(
            "SELECT (SELECT count(*) FROM transfer WHERE bank_id = $1)"
            " + (SELECT count(*) FROM resident WHERE bank_id = $1)",
            self.book.bank_id,
        )
        return count


@pytest.fixture
def rota(book: Book, server: Server, worker_database: str) -> Command:
    url = server.dsn(worker_database, "timebank_app")
    return Command(book, {**os.environ, "TIMEBANK_DATABASE_URL": url, "NO_COLOR": "1"})


async def test_json_is_one_object_and_a_repeat_posts_nothing(rota: Command) -> None:
    first = await rota(Extract.of(SAMPLE), "--json")
    assert (first.code, json.loads(first.out), first.err) == (0, SUMMARY, "")
    again = await rota(Extract.of(SAMPLE), "--json")
    assert (again.code, json.loads(again.out)) == (0, SUMMARY | {"posted": 0})


async def test_a_summary_for_people(rota: Command) -> None:
    ran = await rota(Extract.of(SAMPLE))
    assert (ran.code, ran.out) == (
        0,
        "49 shifts of 10 events, 189 attendances, 29,528 minutes, 4,917 points; "
        "378 transfers posted.\n",
    )


async def test_a_dry_run_says_so(rota: Command) -> None:
    ran = await rota(Extract.of(SAMPLE), "--dry-run", "--json")
    assert (ran.code, json.loads(ran.out)) == (0, SUMMARY)
    assert "dry run, nothing was written" in ran.err
    assert await rota.count() == 0


async def test_faulty_rows_are_named_by_file_and_line(rota: Command, tmp_path: Path) -> None:
    extract = write(tmp_path, ["2023-06-29,1,NaN,1,7,Tour", "2023-06-29,2,2,1,7,[red]Tour"])
    ran = await rota(extract, "--json")
    assert (ran.code, ran.out) == (1, "")
    assert f"{extract.shifts}:2: volunteer_hours must be a number such as 2.5, not 'NaN'" in ran.err
    assert "Nothing was imported" in ran.err
    assert await rota.count() == 0


async def test_at_most_fifty_faults_are_shown(rota: Command, tmp_path: Path) -> None:
    ran = await rota(write(tmp_path, [f"2023-06-29,{n},x,1,7,Tour" for n in range(1200)]))
    assert ran.code == 1
    assert ran.err.count("volunteer_hours must be a number") == 50
    assert "and 1,150 more" in ran.err
    assert "Faulty rows to mend: 1,200." in ran.err


async def test_an_unknown_bank_is_a_refusal(rota: Command) -> None:
    sample = Extract.of(SAMPLE)
    ran = await rota.run(
        str(sample.shifts), "--residents", str(sample.residents), "--bank", "nowhere"
    )
    assert (ran.code, ran.out) == (1, "")
    assert "There is no bank nowhere" in ran.err


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        [str(SAMPLE / "shifts.csv")],
        ["absent.csv", "--residents", "absent.csv"],
        [str(SAMPLE), "--residents", str(SAMPLE)],
        ["--surprise"],
    ],
)
async def test_misuse_ends_with_two(rota: Command, arguments: list[str]) -> None:
    ran = await rota.run(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert "Usage: " in ran.err


async def test_help_has_an_example(rota: Command) -> None:
    ran = await rota.run("--help")
    assert ran.code == 0
    assert "timebank import rota shifts.csv --residents volunteers.csv" in ran.out
