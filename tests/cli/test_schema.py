"""The README's production section: an empty database, the schema, our two logins."""

import os
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator

import asyncpg
import pytest

from timebank.embedded import Server


@pytest.fixture
async def empty_database(server: Server) -> AsyncIterator[str]:
    """A database with nothing in it."""
    name = f"empty_{secrets.token_hex(6)}"
    admin = await asyncpg.connect(server.dsn())
    await admin.execute(f"CREATE DATABASE {name}")
    yield name
    await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await admin.close()


def timebank(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run the command with these settings and no others of ours."""
    plain = {key: value for key, value in os.environ.items() if not key.startswith("TIMEBANK_")}
    return subprocess.run(
        [sys.executable, "-m", "timebank", *arguments],
        env=plain | settings,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


async def test_an_external_database_is_set_up_as_the_readme_says(
    server: Server, empty_database: str
) -> None:
    admin_url = server.dsn(empty_database)
    app = {"TIMEBANK_DATABASE_URL": server.dsn(empty_database, "timebank_app")}
    auditor = app | {"TIMEBANK_AUDITOR_URL": server.dsn(empty_database, "timebank_auditor")}

    too_early = timebank("bank", "open", "jianxi", "--name", "涧贤银行", **app)
    assert too_early.returncode == 1
    assert timebank("schema", "install", "--url", admin_url).stdout == "Schema installed.\n"
    assert "already" in timebank("schema", "install", "--url", admin_url).stdout

    opened = timebank(
        "bank", "open", "jianxi", "--name", "涧贤银行",
        "--time-zone", "Asia/Urumqi", "--points-per-hour", "6", **app,
    )  # fmt: skip
    assert opened.stdout == "bank jianxi: 涧贤银行, Asia/Urumqi, 6 points an hour\n"
    assert timebank("reconcile", **auditor).returncode == 0


async def test_a_login_without_the_right_is_told_so(server: Server, empty_database: str) -> None:
    ran = timebank("schema", "install", "--url", server.dsn(empty_database, "timebank_app"))
    assert (ran.returncode, ran.stderr.count("\n")) == (1, 1)
    assert "may not install the schema" in ran.stderr


def test_a_bank_needs_a_time_zone_that_exists() -> None:
    ran = timebank("bank", "open", "jianxi", "--name", "x", "--time-zone", "Mars/Olympus")
    assert (ran.returncode, "Mars/Olympus" in ran.stderr) == (1, True)
