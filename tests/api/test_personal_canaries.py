"""Personal data goes where it must and nowhere else, whichever way and wherever it is sent."""

import json
import secrets
from collections.abc import AsyncIterator, Collection, Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import UUID

import httpx
import pytest

from tests.api.client import V1, Api, Caller, new_key, token_for
from tests.api.matrix import ROWS
from tests.api.rows import Row
from tests.api.service import Service, serving
from tests.api.things import Things, Whose, World
from tests.book import Book
from tests.guards.test_append_only import login
from tests.people.desk import resident_id_number
from tests.people.test_erasure import everything, found_in, read_log, spellings
from timebank.embedded import Server
from timebank.ledger.ids import new_id
from timebank.people.access import Role

LABELS = {
    "POST /activities": {"title"},
    "POST /branches": {"name", "code", "community_type"},
    "POST /branches/{branch_id:uuid}/service-points": {"name"},
    "POST /categories": {"code", "name"},
    "POST /honour-titles": {"code", "name"},
    "POST /merchants": {"name", "agreement"},
    "POST /merchants/{merchant_id:uuid}/agreements": {"reference"},
    "POST /merchants/{merchant_id:uuid}/agreements/end": {"reference"},
    "POST /merchants/{merchant_id:uuid}/shops": {"name"},
    "POST /offers": {"title"},
    "POST /wishes": {"title"},
}
"""Fields that name a thing in public: what is sent there is meant to be read by everybody."""

MAY_SHOW = {"GET /persons/{person_id:uuid}/personal", "GET /me", "POST /me/export"}
"""The only answers that hold personal data, for whoever may see it."""

PRINTS = {("body", "POST /residents/{resident_id:uuid}/certificates")}
"""What is to be printed comes back on the print, to whoever ordered it, and is kept nowhere."""


@dataclass(frozen=True)
class Canary:
    """Somebody who stands nowhere else; `phone` and `number` are plain ASCII, the rest is not."""

    name: str = field(default_factory=lambda: f"龘{chr(0x4E00 + secrets.randbelow(20000))}犇")
    phone: str = field(default_factory=lambda: f"139{secrets.randbelow(10**8):08}")
    number: str = field(default_factory=lambda: resident_id_number(date(1953, 6, 29)))
    address: str = field(default_factory=lambda: f"犇街{secrets.token_hex(6)}号")

    @property
    def texts(self) -> list[str]:
        """All that would betray them."""
        return [self.name, self.phone, self.number, self.address]

    @property
    def forms(self) -> list[bytes]:
        """The same, in each way it may be written."""
        raw = [text.encode() for text in self.texts]
        found = [form for text in raw for form in spellings(text)]
        return [*found, *(quote(text).encode() for text in self.texts)]

    @property
    def body(self) -> dict[str, Any]:
        """What a counter sends to register them."""
        return {
            "name": self.name,
            "phone": self.phone,
            "id_document": {"type": "resident_id", "number": self.number},
            "born_on": "1953-06-29",
            "address": self.address,
        }


@dataclass
class Stage:
    """A service that logs all it can, on a database that logs all it is told."""

    api: Api
    service: Service
    canary: Canary = field(default_factory=Canary)
    answers: list[tuple[str, str, httpx.Response]] = field(default_factory=list)

    async def send(
        self,
        way: str,
        row: str,
        caller: Caller,
        path: str,
        content: bytes | None,
        **headers: str | bytes,
    ) -> None:
        """Send a request and keep the answer under what it was and how it was sent."""
        method = row.partition(" ")[0]
        sent: dict[str, str | bytes] = {**caller.headers, "Idempotency-Key": new_key()}
        if content is not None:
            sent["Content-Type"] = "application/json"
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        answer = await self.api.http.request(
            method, V1 + path, content=content, headers=list(sent.items())
        )
        assert answer.status_code < 500, (way, row, answer.text)
        self.answers.append((way, row, answer))


@pytest.fixture
async def stage(
    server: Server, own_database: str, own_book: Book, tmp_path: Path
) -> AsyncIterator[Stage]:
    async with login(server, own_database) as superuser:
        for setting in (
            "log_statement = 'all'",
            "log_min_duration_statement = 0",
            "log_parameter_max_length = -1",
            "log_parameter_max_length_on_error = -1",
            "log_error_verbosity = 'verbose'",
        ):
            await superuser.execute(f'ALTER DATABASE "{own_database}" SET {setting}')
    environment = {
        "TIMEBANK_DATABASE_URL": server.dsn(own_database, "timebank_app"),
        "TIMEBANK_LOG_LEVEL": "debug",
    }
    async with (
        serving(tmp_path, environment) as service,
        httpx.AsyncClient(base_url=service.url) as http,
    ):
        yield Stage(await Api.open(http, own_book), service)


def mutants(body: Any, canary: Canary, labels: Collection[str] = ()) -> Iterator[Any]:
    """The body with the canary in the place of each value, and as a field nobody declared."""
    if isinstance(body, dict):
        for key, value in body.items():
            if key in labels:
                continue
            yield from ({**body, key: other} for other in (canary.phone, [canary.body]))
            yield from ({**body, key: other} for other in mutants(value, canary))
        yield {**body, canary.name: canary.phone}
        yield {**body, **canary.body}
    elif isinstance(body, list):
        yield [canary.number, *body]
        for number, value in enumerate(body):
            yield from ([*body[:number], one] for one in mutants(value, canary))


async def path_of(row: Row, things: Things, other: str | None = None) -> str:
    """The row's path about these things, or with something else in each of its places."""
    parts = []
    for part in row.operation.partition(" ")[2].split("/"):
        name = part.strip("{}").partition(":")[0]
        if part.startswith("{"):
            made = (row.made or {}).get(name, name)
            parts.append(quote(other) if other else str(await things.get(made)))
        else:
            parts.append(part)
    return "/".join(parts)


async def send_everywhere(stage: Stage, row: Row) -> None:
    """Put the canary wherever a request of this operation has room for it."""
    canary, role = stage.canary, next(iter(row.reach))
    world = await World.of(stage.api.http, stage.api.book, role, Whose.OWN)
    path = await path_of(row, world.things)
    writes = not row.operation.startswith(("GET", "DELETE"))
    said = (row.for_role or {}).get(role, row.body if writes else row.query)
    body = await world.things.fill(said) if writes else None
    content = json.dumps(body).encode() if writes else None
    query = "" if writes else str(said or "")

    async def send(way: str, caller: Caller, path: str, content: Any, **headers: Any) -> None:
        await stage.send(way, row.operation, caller, path, content, **headers)

    marked = {
        "X_Request_Id": canary.phone,
        "User_Agent": canary.name.encode(),
        "Referer": f"http://x/{quote(canary.name)}",
        "X_Forwarded_For": canary.phone,
        "Accept_Language": canary.number,
        "Cookie": f"phone={canary.phone}",
        "Traceparent": canary.number,
    }
    asked = f"?phone={canary.phone}&name={quote(canary.name)}&cursor={canary.number}&limit=x"
    for caller in (world.caller, stage.api.anybody, Caller(stage.api.http, canary.phone)):
        await send("headers", caller, path + query, content, **marked)
        await send("query", caller, path + asked, content)
    key = f"register-{canary.phone}-{secrets.token_hex(3)}"
    await send("key", world.caller, path + query, content, Idempotency_Key=key)
    await send("key", world.caller, path + query, content, Idempotency_Key=canary.name.encode())
    if "{" in row.operation:
        for text in canary.texts:
            await send("path", world.caller, await path_of(row, world.things, text), content)
    await send("path", world.caller, f"{path}/{canary.phone}", content)
    if writes:
        for mutant in mutants(body, canary, LABELS.get(row.operation, ())):
            await send("body", world.caller, path, json.dumps(mutant).encode())
        broken = json.dumps(canary.body, ensure_ascii=False).encode()
        for odd in (broken[:-3], broken + b"}", broken * 2, b"\xff" + broken, b'"' + broken):
            await send("malformed", world.caller, path, odd)
        await send("type", world.caller, path, broken, Content_Type=f"text/{canary.phone}")


async def live(stage: Stage) -> list[Caller]:
    """Lead the canary through a member's life; return callers of every role."""
    api, canary = stage.api, stage.canary
    callers = {}
    for role in Role:
        merchant_id = new_id() if role in {Role.CLERK, Role.MERCHANT} else None
        token = await token_for(api.book, role, merchant_id=merchant_id)
        callers[role] = Caller(api.http, token)
    desk = callers[Role.COORDINATOR]
    other = Caller(api.http, await token_for(api.book, Role.COORDINATOR))

    async def say(row: str, caller: Caller, path: str, body: Any = None) -> Any:
        content = None if body is None else json.dumps(body).encode()
        await stage.send("life", row, caller, path, content)
        return stage.answers[-1][2].json()

    made = await say("POST /residents", desk, "/residents", canary.body)
    person = f"/persons/{made['resident_id']}"
    await say("POST /residents", desk, "/residents", canary.body)
    await say("POST /residents", desk, "/residents", {**canary.body, "is_another": True})
    wrong = {**canary.body["id_document"], "number": canary.number[:-1] + "A"}
    await say("POST /residents", desk, "/residents", {**canary.body, "id_document": wrong})
    await say("POST /persons", desk, "/persons", canary.body)
    for asked in ({"phone": canary.phone}, {"id_document": canary.body["id_document"]}):
        found = await say(
            "POST /residents/lookups", desk, "/residents/lookups", {"purpose": "contact", **asked}
        )
        assert [one["resident_id"] for one in found["data"]] == [made["resident_id"]]
    row = "GET /persons/{person_id:uuid}/personal"
    assert (await say(row, desk, f"{person}/personal?purpose=contact"))["name"] == canary.name
    correction = {"phone": canary.phone, "address": canary.address}
    await say("POST /…/corrections", other, f"{person}/corrections", correction)
    me = Caller(api.http, await token_for(api.book, Role.RESIDENT, UUID(made["resident_id"])))
    assert (await say("GET /me", me, "/me"))["phone"] == canary.phone
    assert (await say("POST /me/export", me, "/me/export", {}))["personal"]
    return [*callers.values(), api.anybody, await _stranger(stage)]


async def _stranger(stage: Stage) -> Caller:
    """A coordinator of another bank."""
    elsewhere = await Book.open(stage.api.book.pool)
    return Caller(stage.api.http, await token_for(elsewhere, Role.COORDINATOR))


async def read_everything(stage: Stage, callers: list[Caller]) -> None:
    """Ask for all that can be listed, as everybody."""
    for caller in callers:
        for path in (
            "/accounts",
            "/approvals",
            "/audit-log?limit=200",
            "/residents?state=applied",
            "/role-grants",
            "/sheet-runs",
            "/sessions/me",
            "/trial-balance",
            "/me",
            "/me/accesses",
        ):
            await stage.send("list", f"GET {path}", caller, path, None)


def betrayals(stage: Stage) -> list[tuple[str, str]]:
    """The answers that hold the canary and should not; a path that was asked for comes back."""
    found = []
    for way, row, answer in stage.answers:
        text = answer.text
        if way == "path" and answer.is_error:
            text = text.replace(json.dumps(answer.json()["instance"])[1:-1], "")
        shown = (text + str(answer.headers)).encode()
        may_show = (way, row) in PRINTS or (way == "life" and row in MAY_SHOW)
        if not may_show and found_in(shown, stage.canary.forms):
            found.append((way, row))
    return found


async def test_the_canary_is_found_nowhere(server: Server, own_database: str, stage: Stage) -> None:
    callers = await live(stage)
    for row in ROWS:
        await send_everywhere(stage, row)
    await read_everything(stage, callers)
    assert len(stage.answers) > 900
    assert {answer.status_code for _, _, answer in stage.answers} >= {200, 201, 400, 404, 415, 422}
    assert betrayals(stage) == []
    shown = [answer for way, row, answer in stage.answers if way == "life" and row in MAY_SHOW]
    assert all(stage.canary.phone in answer.text for answer in shown)  # it was there to be seen

    log = stage.service.log.read_bytes()
    assert found_in(log, stage.canary.forms) == []
    assert all(json.loads(line)["event"] for line in log.splitlines())
    async with login(server, own_database) as superuser:
        left = await everything(superuser)
        holding = [line for line in left.splitlines() if found_in(line, stage.canary.forms)]
        assert holding == []
    told = read_log(server)
    assert b"vault.add_persons" in told
    assert b"look_up_residents" not in told  # nothing of HTTP stands there
    holding = [line for line in told.splitlines() if found_in(line, stage.canary.forms)]
    assert holding == []
