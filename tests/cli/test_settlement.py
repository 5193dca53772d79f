"""`timebank settlement` and `timebank exchange`: from the draft to the file that is signed."""

import asyncio
import csv
import io
import json
import zipfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from click.testing import Result

from tests.book import Book
from tests.cli.test_cli import MISUSED, REFUSED, USED, check_one_line, run
from tests.redemption.market import Market, noon_zone
from tests.redemption.test_settlements import clock, earn
from timebank.embedded import Server


class Command:
    """`timebank` on one bank."""

    def __init__(self, market: Market, url: str) -> None:
        self.market = market
        self._url = url

    async def __call__(self, *words: str) -> Result:
        words = (*words, "--bank", self.market.book.bank.code)
        return await asyncio.to_thread(run, *words, DATABASE_URL=self._url)

    async def json(self, *words: str) -> Any:
        result = await self(*words, "--json")
        assert result.exit_code == USED, result.stderr
        return json.loads(result.stdout)

    async def draft(self) -> Any:
        """Draft up to now, to the second; so wait until what was captured is past."""
        await asyncio.sleep(1.1)
        now = (await clock(self.market)).astimezone(self.market.book.bank.zone)
        until = now.strftime("%Y-%m-%dT%H:%M:%S")
        merchant = str(self.market.merchant_id)
        words = ("draft", merchant, "--until", until, "--fen-rate", "3333")
        return await self.json("settlement", *words)


@pytest.fixture
async def timebank(worker_pool: asyncpg.Pool, server: Server, worker_database: str) -> Command:
    market = await Market.open(await Book.open(worker_pool, time_zone=noon_zone()))
    return Command(market, server.dsn(worker_database, "timebank_app"))


async def test_from_draft_to_export(timebank: Command, tmp_path: Path) -> None:
    market = timebank.market
    hold_id = await earn(market, 30)
    await market.refund(hold_id, 7)
    drafted = await timebank.draft()
    settlement_id = drafted["settlement_id"]
    shown = await timebank("settlement", "show", settlement_id)
    assert "应付 payable: 23" in shown.stdout
    seen = shown.stdout.strip().rpartition("hash: ")[2]
    refused = await timebank("settlement", "close", settlement_id)
    check_one_line(refused, "Two persons")
    for _ in range(2):
        person, _wallet = await market.resident()
        words = ("settlement", "approve", settlement_id, "--by", str(person), "--hash", seen)
        assert (await timebank(*words)).exit_code == USED
    closed = await timebank.json("settlement", "close", settlement_id)
    assert (closed["state"], closed["paid"], closed["fen"]) == ("closed", 23, 7)
    check_one_line(await timebank("settlement", "discard", settlement_id), "never changes")
    [listed] = await timebank.json("settlement", "list")
    assert listed == closed
    for suffix in ("csv", "html", "xlsx"):
        file = tmp_path / f"statement.{suffix}"
        exported = await timebank("settlement", "export", settlement_id, str(file))
        assert exported.stderr == "2 lines, 23 points.\n"
    rows = list(csv.reader(io.StringIO((tmp_path / "statement.csv").read_text("utf-8-sig"))))
    assert [row[5] for row in rows[1:]] == ["30", "-7", "23"]
    page = (tmp_path / "statement.html").read_text("utf-8")
    assert "爱心小店 · 结算单 Settlement 1" in page
    assert "<td>0.07</td>" in page
    with zipfile.ZipFile(tmp_path / "statement.xlsx") as book:
        assert "爱心小店" in book.read("xl/sharedStrings.xml").decode()
        assert "<v>-7</v>" in book.read("xl/worksheets/sheet2.xml").decode()


async def test_a_draft_can_be_taken_back(timebank: Command) -> None:
    await earn(timebank.market, 5)
    drafted = await timebank.draft()
    gone = await timebank("settlement", "discard", drafted["settlement_id"])
    assert gone.stdout == f"{drafted['settlement_id']}  discarded\n"
    assert await timebank.json("settlement", "list") == []
    check_one_line(await timebank("settlement", "show", drafted["settlement_id"]), "no such")


async def test_what_is_misused_or_refused(timebank: Command, tmp_path: Path) -> None:
    merchant = str(timebank.market.merchant_id)
    tomorrow = (await clock(timebank.market) + timedelta(days=2)).strftime("%Y-%m-%d")
    ahead = await timebank("settlement", "draft", merchant, "--until", tomorrow)
    check_one_line(ahead, "has passed")
    words = ("settlement", "approve", merchant, "--by", merchant, "--hash")
    assert (await timebank(*words, "xyz")).exit_code == MISUSED
    assert (await timebank(*words, "00")).exit_code == REFUSED
    export = ("settlement", "export", merchant, str(tmp_path / "statement.pdf"))
    assert (await timebank(*export)).exit_code == MISUSED
    assert (await timebank("exchange", "cap", "gifts")).exit_code == MISUSED


async def test_caps_of_exchange_and_full_shops(timebank: Command) -> None:
    await earn(timebank.market, 20)
    told = await timebank("exchange", "cap", "gifts", "--points", "50")
    assert told.stdout == f"bank {timebank.market.book.bank.code}: gifts have a cap of 50\n"
    assert (await timebank("exchange", "cap", "reissues", "--no-cap")).exit_code == USED
    [full] = await timebank.json("exchange", "saturated", "--balance", "20")
    assert (full["reason"], full["balance"]) == ("only_fills", 20)
    plain = await timebank("exchange", "saturated", "--balance", "20")
    merchant = timebank.market.merchant_id
    assert plain.stdout == f"only_fills  {merchant}  20  20  0\n"
    assert await timebank.json("exchange", "saturated", "--balance", "21") == []
