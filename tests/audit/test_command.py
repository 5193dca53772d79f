"""`timebank reconcile` as an auditor runs it: exit codes, the JSON object and the table."""

import asyncio
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import asyncpg
import msgspec
import pytest

from tests.audit.books import Busy
from tests.audit.test_tampering import GUARDS_OFF, GUARDS_ON
from tests.book import Book
from timebank.audit.invariants import INVARIANTS
from timebank.audit.reconcile import Report
from timebank.config import Settings
from timebank.database import Login, name_database
from timebank.embedded import Server, running


async def run(url: str, *arguments: str, encoding: str = "utf-8") -> tuple[int | None, str, str]:
    """Run the command against a database; its exit code, stdout and stderr."""
    return await run_with({"TIMEBANK_DATABASE_URL": url}, *arguments, encoding=encoding)


async def run_with(
    settings: Mapping[str, str], *arguments: str, encoding: str = "utf-8"
) -> tuple[int | None, str, str]:
    """Run the command with these settings; its exit code, stdout and stderr."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "timebank", "reconcile", *arguments),
        env=environment(settings, encoding),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    printed, said = await process.communicate()
    return process.returncode, printed.decode(encoding), said.decode(encoding)


def environment(settings: Mapping[str, str], encoding: str = "utf-8") -> dict[str, str]:
    """Return the environment of the command."""
    return os.environ | settings | {"COLUMNS": "200", "PYTHONIOENCODING": encoding}


async def run_unread(url: str, *arguments: str, stderr: bool = False) -> tuple[int | None, str]:
    """Run the command with nobody at the other end of stdout, nor of stderr; also what it said."""
    unread, pipe = os.pipe()
    os.close(unread)
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "timebank", "reconcile", *arguments),
            env=environment({"TIMEBANK_DATABASE_URL": url}),
            stdout=pipe,
            stderr=pipe if stderr else asyncio.subprocess.PIPE,
        )
    finally:
        os.close(pipe)
    _, said = await process.communicate()
    return process.returncode, (said or b"").decode()


def test_the_database_is_named_without_its_password() -> None:
    books = "postgresql://timebank_app:hunter2@db.example:5433/books?sslmode=require"
    proof = "postgresql:///proof?host=/run/postgresql&password=hunter2"
    both = Settings(database_url=books, auditor_url=proof, data_dir=Path("/srv/timebank"))
    assert name_database(both) == "books on db.example:5433"
    assert name_database(both, Login.AUDITOR) == "proof on a socket"
    neither = Settings(data_dir=Path("/srv/timebank"))
    assert name_database(neither, Login.AUDITOR) == "the embedded database in /srv/timebank"


async def test_books_that_agree(server: Server, busy_database: tuple[str, Busy]) -> None:
    url = server.dsn(busy_database[0], "timebank_auditor")
    code, printed, said = await run(url, "--json")
    assert (code, said) == (0, "")
    assert printed.count("\n") == 1
    report = msgspec.json.decode(printed, type=Report)
    assert (report.ok, report.findings, report.found) == (True, [], 0)
    assert report.transfers > 0
    code, printed, _ = await run(url)
    assert code == 0
    assert "✓ The books agree" in printed
    assert f"Read from {busy_database[0]} on " in printed
    assert all(one.sentence in printed for one in INVARIANTS)


@pytest.mark.parametrize("encoding", ["gbk", "latin-1", "ascii"])
async def test_a_verdict_needs_no_unicode(
    server: Server, busy_database: tuple[str, Busy], encoding: str
) -> None:
    url = server.dsn(busy_database[0], "timebank_auditor")
    code, printed, said = await run(url, encoding=encoding)
    assert (code, said) == (0, "")
    assert "The books agree" in printed
    assert all(one.sentence in printed for one in INVARIANTS)


@pytest.mark.parametrize("arguments", [[], ["--json"], ["--bank", "nobody"]])
async def test_what_nobody_read_is_no_verdict(
    server: Server, busy_database: tuple[str, Busy], arguments: list[str]
) -> None:
    url = server.dsn(busy_database[0], "timebank_auditor")
    code, said = await run_unread(url, *arguments)
    assert (code, bool(said)) == (2, "--bank" in arguments)
    assert "Traceback" not in said
    assert await run_unread(url, *arguments, stderr=True) == (2, "")


@pytest.mark.parametrize("redirection", [">&-", ">&- 2>&-", ">/dev/full", ">/dev/full 2>&1"])
async def test_a_stdout_that_takes_nothing_is_no_finding(
    server: Server, busy_database: tuple[str, Busy], redirection: str
) -> None:
    process = await asyncio.create_subprocess_exec(
        *("sh", "-c", f'"$0" -m timebank reconcile {redirection}', sys.executable),
        env=environment(
            {"TIMEBANK_DATABASE_URL": server.dsn(busy_database[0], "timebank_auditor")}
        ),
        stderr=asyncio.subprocess.PIPE,
    )
    await process.communicate()
    assert process.returncode == (2 if "full" in redirection else 0)


async def change(server: Server, database: str) -> None:
    """Tamper with the lines of ten points."""
    superuser = await asyncpg.connect(
        server.dsn(database), server_settings={"search_path": "timebank"}
    )
    await superuser.execute(
        f"{GUARDS_OFF} UPDATE posting SET amount = 11 WHERE amount = 10; {GUARDS_ON}"
    )
    await superuser.close()


async def test_books_that_were_changed(server: Server, own_book: Book, own_database: str) -> None:
    wallets = [await own_book.open_account(balance=10) for _ in range(3)]
    await change(server, own_database)
    url = server.dsn(own_database, "timebank_auditor")
    code, printed, _ = await run(url, "--json", "--limit", "2", "--bank", own_book.bank.code)
    report = msgspec.json.decode(printed)
    assert code == 1
    assert (report["ok"], report["transfers"], len(report["findings"])) == (False, 3, 2)
    assert report["found"] > 2
    finding = report["findings"][0]
    assert finding.keys() == {"invariant", "name", "bank", "row", "expected", "found"}
    assert (finding["invariant"], finding["bank"]) == (2, own_book.bank.code)
    assert finding["row"].startswith(f"posting {min(wallets)}/1 ")
    assert (finding["expected"], finding["found"]) == ("amount +10", "amount +11")
    code, printed, _ = await run(url, "--limit", "1")
    assert code == 1
    assert f"posting {min(wallets)}/1" in printed
    assert f"{report['found'] - 1} more findings" in printed


@pytest.mark.parametrize(
    "arguments", [["--bank", "nobody"], ["--limit", "-1"], ["--verbose"], ["a-book"]]
)
async def test_misuse_is_no_verdict(
    server: Server, busy_database: tuple[str, Busy], arguments: list[str]
) -> None:
    url = server.dsn(busy_database[0], "timebank_auditor")
    code, printed, said = await run(url, *arguments)
    assert (code, printed) == (2, "")
    assert said


@pytest.mark.parametrize("database", ["postgres", "no_such_database"])
async def test_no_books_is_no_verdict(server: Server, database: str) -> None:
    code, printed, said = await run(server.dsn(database, "timebank_auditor"), "--json")
    assert (code, printed) == (2, "")
    assert said.startswith("✗")


async def test_the_auditors_own_url_is_enough(
    server: Server, own_book: Book, own_database: str, open_dir: Path
) -> None:
    await own_book.open_account(balance=10)
    await change(server, own_database)
    url = server.dsn(own_database, "timebank_auditor")
    settings = {"TIMEBANK_AUDITOR_URL": url, "TIMEBANK_DATA_DIR": str(open_dir / "data")}
    code, printed, _ = await run_with(settings, "--json")
    assert (code, msgspec.json.decode(printed)["ok"]) == (1, False)
    assert not (open_dir / "data").exists()


@pytest.mark.parametrize("name", ["", "no/such"])
async def test_the_auditor_makes_no_books(open_dir: Path, name: str) -> None:
    settings = {"TIMEBANK_DATA_DIR": str(open_dir / name)}
    code, printed, said = await run_with(settings, "--json")
    assert (code, printed) == (2, "")
    assert said.startswith("✗ There is no database to read in")
    assert said.count("\n") == 1
    assert not any(await asyncio.to_thread(lambda: list(open_dir.iterdir())))


async def test_the_auditor_makes_no_books_where_a_server_has_none(open_dir: Path) -> None:
    async with running(open_dir / "data"):
        code, printed, said = await run_with({"TIMEBANK_DATA_DIR": str(open_dir / "data")})
        assert (code, printed) == (2, "")
        assert said.startswith("✗ The database cannot be reached")


async def test_a_mistyped_setting_is_no_verdict(open_dir: Path) -> None:
    settings = {"TIMEBANK_AUDITER_URL": "postgresql://a", "TIMEBANK_DATA_DIR": str(open_dir)}
    code, printed, said = await run_with(settings, "--json")
    assert (code, printed, said.count("\n")) == (2, "", 1)
    assert "TIMEBANK_AUDITER_URL" in said


async def test_books_that_cannot_be_read_are_no_verdict(server: Server, own_database: str) -> None:
    superuser = await asyncpg.connect(server.dsn(own_database))
    await superuser.execute("REVOKE SELECT ON timebank.posting FROM timebank_auditor")
    await superuser.close()
    code, printed, said = await run(server.dsn(own_database, "timebank_auditor"), "--json")
    assert (code, printed) == (2, "")
    assert "posting" in said


async def test_help_says_what_the_exit_codes_mean() -> None:
    code, printed, _ = await run("", "--help")
    assert code == 0
    assert "timebank reconcile --bank" in printed
    assert "0 the books agree, 1 there are findings" in printed
