"""What people send stays out of the log and out of error bodies, wherever they put it."""

import json
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from litestar import Litestar, get

from tests.api.client import Api, Caller, new_key
from tests.api.conftest import client_of
from tests.api.service import Service, serving
from tests.book import Book
from timebank.api.refusals import answer_error
from timebank.embedded import Server
from timebank.logs import tell_exception

CANARY = "Wang Xiaoming 13800138000"
CHINESE = '王小明 it\'s "13800138000" `x` - at `$.points`'

REVERSAL = "/transfers/01890000-0000-7000-8000-000000000000/reversal"

SPOKEN = [CANARY, "Xiaoming", "王小明", "13800138000"]


def told(text: str) -> list[str]:
    """Return which of the canaries stand in a text, escaped or not."""
    forms = {word: {word, json.dumps(word)[1:-1], word.replace(" ", "%20")} for word in SPOKEN}
    return [word for word, written in forms.items() if any(form in text for form in written)]


BODIES: list[tuple[str, Any]] = [
    *((path, value) for path in ("/accounts", "/awards") for value in (CANARY, [CHINESE])),
    *(
        (path, {field: value})
        for path, fields in {
            "/accounts": ["unit", "kind", "owner_id", CANARY, CHINESE],
            "/awards": ["account_id", "points", "occurred_at", CANARY, CHINESE],
            "/transfers": ["from_account_id", "to_account_id", "minutes", CHINESE],
            REVERSAL: ["reason", "when_spent", CHINESE],
        }.items()
        for field in fields
        for value in (CANARY, CHINESE, {CHINESE: CHINESE})
    ),
    *(
        ("/batches", {"rows": [row]})
        for row in (
            {"type": CHINESE},
            {"type": "award", "chain": CHINESE * 9, "points": CANARY},
            {"type": "award", CHINESE: 1},
            {"type": "award", "account_id": CANARY},
        )
    ),
]


@pytest.mark.parametrize(("path", "body"), BODIES)
async def test_error_bodies_do_not_repeat_what_was_sent(api: Api, path: str, body: Any) -> None:
    answer = await api.system.post(path, body)
    assert 400 <= answer.status_code < 500
    assert told(answer.text) == []


async def test_error_bodies_do_not_repeat_parameters_or_headers(api: Api) -> None:
    wallet = await api.book.open_account()
    key = {"Idempotency-Key": CANARY}
    answers = [
        await api.system.get("/accounts", limit=CANARY, cursor=CHINESE, owner_id=CHINESE),
        await api.system.get(f"/accounts/{wallet}/balance", as_of=CHINESE),
        await api.anybody.get("/accounts", {"Authorization": f"Bearer {CANARY}"}),
        await api.system.post("/awards", {}, headers=key),
        await api.system.post_raw("/awards", b"{}", {"Content-Type": CANARY}),
        await api.system.post_raw("/awards", f'{{"{CANARY}": '.encode()),
    ]
    for answer in answers:
        assert 400 <= answer.status_code < 500
        assert told(answer.text + str(answer.headers)) == []


async def test_a_failure_of_ours_tells_nothing() -> None:
    @get("/broken")
    async def broken() -> None:
        try:
            raise KeyError(CANARY)
        except KeyError as error:
            raise ValueError(f"invalid input for query argument $1: {CHINESE}") from error

    app = Litestar([broken], exception_handlers={Exception: answer_error}, logging_config=None)
    async with client_of(app) as http:
        answer = await http.get("/broken", params={"name": CANARY})
    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert told(answer.text) == []


def test_the_log_has_where_an_exception_came_from_but_no_message() -> None:
    try:
        raise ValueError(CANARY)
    except ValueError as error:
        for exc_info in (error, (ValueError, error, None)):
            event = tell_exception(None, "error", {"event": "failed", "exc_info": exc_info})
            assert event["exception"][0]["type"] == "ValueError"
            assert "test_privacy.py" in event["exception"][0]["at"][-1]
            assert told(json.dumps(event)) == []
    assert tell_exception(None, "info", {"event": "x"}) == {"event": "x"}


@pytest.fixture
async def own_service(
    server: Server, worker_database: str, tmp_path: Path
) -> AsyncIterator[Service]:
    """A service of this test alone that logs all it can."""
    environment = {
        "TIMEBANK_DATABASE_URL": server.dsn(worker_database, "timebank_app"),
        "TIMEBANK_LOG_LEVEL": "debug",
    }
    async with serving(tmp_path, environment) as service:
        yield service


async def test_the_log_holds_nothing_that_was_sent(own_service: Service, book: Book) -> None:
    secret = secrets.token_hex(8)
    async with httpx.AsyncClient(base_url=own_service.url) as http:
        api = await Api.open(http, book)
        wallet = await book.open_account()
        for caller in (api.system, Caller(http, f"tb_{secret}")):
            for path, body in BODIES:
                await caller.post(path, body, headers={"X-Name": CANARY})
            award = {"account_id": str(wallet), "points": 1}
            await caller.post("/awards", award, key=f"{secret}-{new_key()}")
            await caller.get("/accounts", limit=CANARY, cursor=secret, owner_id=CHINESE)
            await caller.get(f"/accounts/{secret}")
            await caller.get(f"/accounts/{wallet}/passbook.csv", {"User-Agent": CANARY})
            await caller.post_raw("/awards", f'{{"{CANARY}": "{secret}'.encode())
        await own_service.talk(f"GET /{secret} {CANARY}\r\nX: {CANARY}\r\n\r\n".encode())
        await own_service.talk(f"GET /{secret} HTTP/1.1\r\nCookie: {CANARY}\x00\r\n\r\n".encode())
    log = own_service.log.read_text("utf-8")
    assert told(log) == []
    for hidden in (secret, str(api.system.token), str(api.auditor.token), str(wallet)):
        assert hidden not in log
    assert all(json.loads(line)["event"] for line in log.splitlines())
