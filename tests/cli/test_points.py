"""`timebank points`: what it prints, when it refuses, and that a dry run takes nothing."""

import asyncio
import json
from datetime import date, timedelta

import asyncpg
import pytest
from click.testing import Result

from tests.book import Book
from tests.cli.test_cli import MISUSED, REFUSED, USED, check_one_line, run
from tests.ledger.ageing import add_rule, pass_days
from timebank.embedded import Server
from timebank.ledger.expiry import read_today


class Command:
    """`timebank points` on one bank."""

    def __init__(self, book: Book, url: str) -> None:
        self._book = book
        self._url = url

    async def __call__(self, *words: str) -> Result:
        words = ("points", *words, "--bank", self._book.bank.code)
        return await asyncio.to_thread(run, *words, DATABASE_URL=self._url)

    async def today(self) -> date:
        async with self._book.pool.acquire() as connection:
            return await read_today(connection, self._book.bank)


@pytest.fixture
def points(book: Book, server: Server, worker_database: str) -> Command:
    return Command(book, server.dsn(worker_database, "timebank_app"))


async def test_a_rule_is_told_and_shapes_a_dry_run(points: Command, book: Book) -> None:
    await book.open_account(balance=10)
    off = await points("expire")
    today = await points.today()
    nothing = f"On {today} no rule of expiry is in force: nothing expires.\n"
    assert (off.exit_code, off.stdout) == (USED, nothing)
    tomorrow = str(today + timedelta(days=1))
    told = await points("rule", "--from", tomorrow, "--months", "24")
    assert told.stdout == f"bank {book.bank.code}: from {tomorrow} points are good for 24 months\n"
    later = str(today + timedelta(days=900))
    ahead = await points("expire", "--dry-run", "--on", later, "--json")
    assert json.loads(ahead.stdout) == {
        "on": later, "in_force": True, "wallets": 1, "points": 10,
    }  # fmt: skip
    assert "nothing was taken" in ahead.stderr


@pytest.mark.parametrize("days", [0, -1])
async def test_a_rule_that_changes_the_past_is_refused(points: Command, days: int) -> None:
    day = str(await points.today() + timedelta(days=days))
    check_one_line(await points("rule", "--from", day, "--off"), "tomorrow or later")


async def test_a_second_rule_of_a_day_is_refused(points: Command) -> None:
    day = str(await points.today() + timedelta(days=3))
    assert "good for ever" in (await points("rule", "--from", day, "--off")).stdout
    check_one_line(await points("rule", "--from", day, "--months", "12"), "already")


@pytest.mark.parametrize(
    "words",
    [
        "rule --months 24",
        "rule --from 2099-01-01",
        "rule --from 2099-01-01 --months 11",
        "rule --from 2099-01-01 --months 12 --off",
        "rule --from 2099-01-01 --off --grace-days -1",
        "expire --on 2099-01-01",
        "expire now",
        "expiring --days x",
        "explain x",
    ],
)
def test_misuse(words: str) -> None:
    result = run("points", *words.split())
    assert (result.exit_code, result.stdout) == (MISUSED, "")


async def test_a_run_and_its_repeat(
    own_book: Book, superuser: asyncpg.Connection, server: Server, own_database: str
) -> None:
    points = Command(own_book, server.dsn(own_database, "timebank_app"))
    wallet = await own_book.open_account(balance=1234)
    await add_rule(own_book, 12)
    await pass_days(superuser, own_book, 360)
    listed = await points("expiring", "--days", "60", "--json")
    [row] = json.loads(listed.stdout)
    assert (row["account_id"], row["amount"]) == (str(wallet), 1234)
    plain = await points("expiring", "--days", "60")
    assert plain.stdout == f"{wallet}  {row['expires_on']}  1,234\n"
    await pass_days(superuser, own_book, 60)
    today = await points.today()
    for dry, said in (
        (["--dry-run"], "1,234 points of 1"),
        ([], "1,234 points of 1"),
        ([], "0 points of 0"),
    ):
        result = await points("expire", *dry)
        assert (result.exit_code, result.stdout) == (USED, f"{today}: {said} accounts expired.\n")


async def test_a_balance_explained(points: Command, book: Book) -> None:
    wallet = await book.open_account(balance=10)
    today = await points.today()
    told = await points("explain", str(wallet), "--language", "en")
    assert told.stdout.splitlines() == [
        "The balance is 10 points.",
        f"Left are 10 points: 10 points from service on {today}.",
    ]
    data = json.loads((await points("explain", str(wallet), "--json")).stdout)
    assert (data["balance"], data["uses"]) == (10, [])
    hours = await points("explain", str(book.issuance["points"]))
    assert hours.exit_code == REFUSED
