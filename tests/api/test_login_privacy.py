"""Secrets of login go where they must and nowhere else: not to logs, errors, nor the database."""

import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import httpx
import pytest

from tests.api.client import Api, check_problem
from tests.api.logins import ORIGIN, PASSWORD, PIN, WRONG_PIN, Door, set_cookie
from tests.api.service import Service, serving
from tests.api.test_api_keys import Merchant
from timebank.embedded import Server


@dataclass(frozen=True)
class OwnDoor:
    """Logins at a service of their own that logs all it can."""

    door: Door
    service: Service


@pytest.fixture
async def own(
    server: Server, worker_database: str, tmp_path: Path, door: Door
) -> AsyncIterator[OwnDoor]:
    """A service of this test alone."""
    environment = {
        "TIMEBANK_DATABASE_URL": server.dsn(worker_database, "timebank_app"),
        "TIMEBANK_LOG_LEVEL": "debug",
    }
    async with (
        serving(tmp_path, environment) as service,
        httpx.AsyncClient(base_url=service.url) as http,
    ):
        yield OwnDoor(Door(await Api.open(http, door.book), door.desk, door.admin), service)


async def use_all_secrets(door: Door, origin: dict[str, str]) -> dict[str, str]:
    """Do all there is to do at the door, rightly and wrongly; return every secret by its name."""
    holder = await door.card_holder(pin=None)
    code = await door.code_for(holder.resident_id)
    by_code = await holder.log_in_by_code(code)
    await holder.log_in_by_code(code)
    resident = door.caller(by_code)
    await resident.post("/credentials/pin", {"pin": PIN}, key=f"key-{PIN}")
    await resident.post("/credentials/pin", {"pin": "123456", "old": PIN})
    cookie = set_cookie(await holder.log_in(deliver="cookie", headers=origin))
    await holder.log_in(WRONG_PIN)
    await holder.log_in(WRONG_PIN, role=PIN)
    member = await door.member()
    token = door.caller(await member.log_in()).token
    await member.log_in(password=f"{PASSWORD}!", totp=WRONG_PIN)
    await member.log_in(password={PASSWORD: PASSWORD})
    _, invitation = await door.invited()
    secret = (await door.post("/enrolments", code=invitation)).json()["secret"]
    _, system = await (await Merchant.open(door)).new_key()
    return {
        "card": holder.card,
        "one-time code": code,
        "PIN": PIN,
        "wrong PIN": WRONG_PIN,
        "password": PASSWORD,
        "second factor": member.secret,
        "second factor that was only shown": secret,
        "invitation": invitation,
        "invitation without its signs": invitation.replace("-", ""),
        "token by code": str(resident.token),
        "token by cookie": cookie,
        "token of staff": str(token),
        "token of a system": str(system.token),
    }


def stands_in(secret: str, text: str) -> bool:
    """Tell whether a secret stands in a text, not as a part of a longer number or word.

    Nor of a second: among thousands of instants, some have the digits of a PIN.
    """
    return re.search(rf"(?<![0-9A-Za-z.]){re.escape(secret)}(?![0-9A-Za-z])", text) is not None


async def test_no_secret_is_in_the_log_or_the_database(own: OwnDoor) -> None:
    origin = {"Origin": own.service.url}
    shown = await use_all_secrets(own.door, origin)
    log = own.service.log.read_text("utf-8")
    tables = await own.door.admin.fetch(
        "SELECT relname FROM pg_class WHERE relnamespace = 'timebank'::regnamespace "
        "AND relkind = 'r'"
    )
    dump = [
        row[0]
        for (table,) in tables
        for row in await own.door.admin.fetch(f"SELECT t::text FROM {table} t")
    ]
    assert len(dump) > 50
    content = "\n".join(dump)
    for name, secret in shown.items():
        assert not stands_in(secret, log), name
        assert not stands_in(secret, content), name
        assert secret.encode().hex() not in content, name
    # Nor does a digest of something that could be tried out.
    for name in ("PIN", "one-time code", "password"):
        assert sha256(shown[name].encode()).hexdigest() not in content
    assert all(json.loads(line)["event"] for line in log.splitlines())


async def test_no_secret_is_in_an_error_or_an_address(door: Door) -> None:
    told: list[str] = []

    async def hear(response: httpx.Response) -> None:
        await response.aread()
        told.append(str(response.request.url))
        if response.is_error:
            told.extend([response.text, str(response.headers)])

    door.api.http.event_hooks["response"].append(hear)
    try:
        shown = await use_all_secrets(door, ORIGIN)
    finally:
        door.api.http.event_hooks["response"].remove(hear)
    assert len(told) > 25
    for name, secret in shown.items():
        assert not any(stands_in(secret, text) for text in told), name


async def test_without_its_key_login_says_so_and_only_the_log_says_why(
    server: Server, worker_database: str, tmp_path: Path, door: Door
) -> None:
    environment = {
        "TIMEBANK_DATABASE_URL": server.dsn(worker_database, "timebank_app"),
        "TIMEBANK_MASTER_KEY_FILE": str(tmp_path / "nowhere.key"),
    }
    holder = await door.card_holder()
    async with (
        serving(tmp_path, environment) as service,
        httpx.AsyncClient(base_url=service.url) as http,
    ):
        body = {"type": "card_pin", "bank": door.book.bank.code, "card": holder.card, "pin": PIN}
        answer = await http.post("/api/v1/sessions", json=body)
        check_problem(answer, "vault_key_missing", 503)
        assert "nowhere" not in answer.text
        assert (await http.get("/api/v1/health/ready")).status_code == 200
        assert "nowhere.key" in service.log.read_text("utf-8")
