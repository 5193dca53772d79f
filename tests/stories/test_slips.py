"""A morning without a network: a slip is shown at two cloned tills, and both tell of it later."""

import asyncio
import json
import shutil
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.api.client import Api, Caller, token_for
from tests.api.conftest import client_of
from tests.api.service import key_file
from tests.book import STAFF, Book
from tests.stories.test_redemption import agreed, asked, clerk_by_grant, two_of
from timebank.app import create_app
from timebank.audit.reconcile import reconcile
from timebank.audit.snapshot import open_snapshot
from timebank.config import Settings
from timebank.db import open_pool
from timebank.embedded import Server
from timebank.people.access import Role
from timebank.people.seals import Seals
from timebank.people.signing_keys import SigningPurpose, make_key
from timebank.people.vault_keys import KeyRing
from timebank.redemption import slip_checker

NO_NETWORK = """
import runpy, socket, sys
def refuse(*_, **__):
    raise OSError("there is no network here")
socket.socket = socket.create_connection = refuse
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture
async def api(server: Server, own_database: str) -> AsyncIterator[Api]:
    """The service on a database of its own, with a key for slips."""
    dsn = server.dsn(own_database, "timebank_app")
    settings = Settings(database_url=dsn, master_key_file=key_file(), argon2_memory_kib=64)
    async with open_pool(dsn) as pool, client_of(create_app(settings)) as http:
        api = await Api.open(http, await Book.open(pool))
        async with pool.acquire() as connection, connection.transaction():
            seals = Seals(KeyRing(key_file()))
            await make_key(connection, seals, api.book.bank_id, SigningPurpose.SLIP, STAFF)
        yield api


@dataclass(frozen=True)
class Till:
    """A folder with the checker, the bank's keys and a journal, and a Python without sockets."""

    folder: Path
    merchant_id: str

    def clone(self, folder: Path) -> "Till":
        """The same till once more, as from an image of its disk."""
        return Till(Path(shutil.copytree(self.folder, folder)), self.merchant_id)

    async def run(self, name: str, *arguments: str) -> tuple[int, str]:
        """Run a command of the checker; its exit code and what it prints."""
        given = ["--keys", "keys.json", "--merchant", self.merchant_id] if name == "accept" else []
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-c", NO_NETWORK, "slip_checker.py", name, *given),
            *("--journal", "till.journal", *arguments),
            cwd=self.folder,
            stdout=asyncio.subprocess.PIPE,
        )
        printed, _ = await process.communicate()
        assert process.returncode is not None
        return process.returncode, printed.decode()

    async def sync(self, clerk: Caller) -> list[str]:
        """Tell the bank what was taken, and note its answer."""
        body = json.loads((await self.run("export"))[1])
        if not body["slips"]:
            return []
        answer = await asked(clerk, "/slips/syncs", body)
        (self.folder / "answer.json").write_text(json.dumps(answer))
        code, _ = await self.run("settle", "answer.json")
        assert code == 0
        return [row["result"] for row in answer["data"]]


def set_up(folder: Path, keys: str) -> None:
    """Lay what a till needs into a folder of its own."""
    folder.mkdir()
    shutil.copy(slip_checker.__file__, folder / "slip_checker.py")
    (folder / "keys.json").write_text(keys)


async def open_till(api: Api, folder: Path, merchant_id: str) -> Till:
    """Set a till up while there is a network."""
    keys = await api.anybody.get(f"/slip-keys/{api.book.bank.code}")
    set_up(folder, keys.text)
    till = Till(folder, merchant_id)
    assert await till.run("init") == (0, "")
    return till


async def test_two_cloned_tills_take_one_slip_and_the_bank_pays_once(
    api: Api, tmp_path: Path
) -> None:
    administrators = await two_of(api, Role.ADMINISTRATOR)
    coordinators = await two_of(api, Role.COORDINATOR)
    resident = await api.resident()
    agreement = {"reference": "涧西-2026-001", "valid_from": "2026-01-01T00:00:00+08:00"}
    enrol = {"name": "涧西粮油", "agreement": agreement}
    merchant_id = (await asked(coordinators[0], "/merchants", enrol))["merchant_id"]
    clerk = await clerk_by_grant(api, administrators, merchant_id)
    wallet = str(resident.wallet)
    await agreed(coordinators, {"deed": "award", "account_id": wallet, "points": 60})
    order = {"merchant_id": merchant_id, "account_id": wallet, "points": 30}
    refused = await resident.caller.post("/slips", order)
    assert refused.json()["code"] == "cap_exceeded"  # until the bank lets there be slips
    await agreed(administrators, {"deed": "cap_rule", "scope": "slip", "points": 50})
    slip = await asked(resident.caller, "/slips", order)
    page = await resident.caller.get(f"/slips/{slip['slip_id']}/paper")
    assert "涧西粮油" in page.text
    assert await api.book.balance(resident.wallet) == 30

    till = await open_till(api, tmp_path / "till", merchant_id)
    clone = till.clone(tmp_path / "clone")
    for one in (till, clone):  # the network is gone: each knows its own journal only
        code, said = await one.run("accept", slip["text"])
        assert (code, "✓ 可以兑换" in said, "30 积分" in said) == (0, True, True)
        code, said = await one.run("accept", slip["text"])
        assert (code, "已在本机用过" in said) == (1, True)
        code, said = await one.run("accept", slip["text"][:-1])
        assert (code, said[0]) == (1, "✗")

    assert await till.sync(clerk) == ["captured"]
    assert await clone.sync(clerk) == ["captured_by_another"]
    assert await till.sync(clerk) == await clone.sync(clerk) == []
    await check(api, resident.wallet, clerk, merchant_id)

    body = {"reason": "changed_mind"}
    answer = await resident.caller.post(f"/holds/{slip['slip_id']}/release", body)
    assert answer.json()["code"] == "hold_already_captured"
    stranger = Caller(api.http, await token_for(api.book, Role.CLERK, merchant_id=UUID(int=7)))
    told = {"slips": [{"slip": slip["text"], "acceptance_id": str(UUID(int=9))}]}
    [row] = (await asked(stranger, "/slips/syncs", told))["data"]
    assert row["result"] == "unknown"


async def check(api: Api, wallet: UUID, clerk: Caller, merchant_id: str) -> None:
    """Thirty points moved once, whatever two tills said, and the books agree."""
    assert await api.book.balance(wallet) == 30
    taken: dict[str, Any] = (await clerk.get(f"/merchants/{merchant_id}/takings")).json()
    assert (taken["captures"], taken["points_captured"]) == (1, 30)
    async with open_snapshot(api.book.pool) as connection:
        report = await reconcile(connection)
    assert (report.ok, report.findings) == (True, [])
