"""When the database goes or too much comes: 503 problems that say to try again, and recovery."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import httpx
import pytest
import structlog
from litestar import Litestar
from structlog.testing import capture_logs

from tests.api.client import Api, check_problem, new_key
from tests.api.conftest import client_of
from tests.book import Book
from tests.conftest import SERVER_SETTINGS
from timebank.api import refusals
from timebank.app import create_app
from timebank.config import Settings
from timebank.db import install_schema, open_pool
from timebank.embedded import Server, running
from timebank.ledger.ids import new_id


@asynccontextmanager
async def own_server(data_dir: Path) -> AsyncIterator[Server]:
    """Run a PostgreSQL for one test, with our schema in its first database."""
    async with running(data_dir, settings=SERVER_SETTINGS) as server:
        owner = await asyncpg.connect(server.dsn())
        try:
            await install_schema(owner)
        finally:
            await owner.close()
        yield server


def kill_postmaster(data_dir: Path) -> None:
    """Kill -9 the server of this data directory; its keeper starts another."""
    pid = int((data_dir / "cluster" / "postmaster.pid").read_text("utf-8").split()[0])
    os.kill(pid, signal.SIGKILL)


async def wait_for(status: int, ask: Callable[[], Awaitable[httpx.Response]]) -> httpx.Response:
    """Ask until this status is answered; all other answers must be 503 problems."""
    for _ in range(300):
        answer = await ask()
        if answer.status_code == status:
            return answer
        assert answer.status_code in {200, 201, 503}, answer.text
        if answer.status_code == 503:
            check_problem(answer, answer.json()["code"], 503)
        await asyncio.sleep(0.1)
    raise TimeoutError


async def test_the_database_goes_and_comes_back(open_dir: Path) -> None:
    data_dir = open_dir / "postgres"
    async with own_server(data_dir) as server:
        app = create_app(Settings(database_url=server.dsn("postgres", "timebank_app")))
        async with (
            client_of(app) as http,
            open_pool(server.dsn("postgres", "timebank_app")) as pool,
        ):
            api = await Api.open(http, await Book.open(pool))
            wallet = await api.book.open_account()
            body, key = {"account_id": str(wallet), "points": 5}, new_key()
            assert (await api.system.post("/awards", body, key=key)).status_code == 201

            kill_postmaster(data_dir)
            ready = await api.anybody.get("/health/ready")
            if ready.status_code != 200:
                check_problem(ready, "database_unavailable", 503)
            assert (await api.anybody.get("/health/live")).json() == {"status": "ok"}

            other = new_key()
            await wait_for(201, lambda: api.system.post("/awards", body, key=other))
            again = await wait_for(201, lambda: api.system.post("/awards", body, key=key))
            assert again.headers["idempotent-replayed"] == "true"
            await wait_for(200, lambda: api.anybody.get("/health/ready"))
            balance = await wait_for(200, lambda: api.system.get(f"/accounts/{wallet}/balance"))
            assert balance.json()["points"] == 10


async def test_while_the_database_is_away_everything_is_a_503(open_dir: Path) -> None:
    data_dir = open_dir / "postgres"
    async with own_server(data_dir) as server:
        app = create_app(Settings(database_url=server.dsn("postgres", "timebank_app")))
        async with client_of(app) as http:
            async with open_pool(server.dsn("postgres", "timebank_app")) as pool:
                api = await Api.open(http, await Book.open(pool))
                wallet = await api.book.open_account()
            assert (await api.system.get(f"/accounts/{wallet}/balance")).status_code == 200
            socket = next(server.socket_dir.glob(".s.PGSQL.*[0-9]"))
            away = socket.with_name("away")
            socket.rename(away)
            try:
                await cut_connections(server, away.name)
                answers = [
                    await api.anybody.get("/health/ready"),
                    await api.system.get("/accounts"),
                    await api.system.get(f"/accounts/{wallet}/passbook.csv"),
                    await api.system.post("/awards", {"account_id": str(wallet), "points": 1}),
                    await api.system.post("/accounts", {"unit": "points", "kind": "pool"}),
                ]
            finally:
                away.rename(socket)
            for answer in answers:
                check_problem(answer, "database_unavailable", 503)
                assert answer.headers["retry-after"] == "2"
            assert (await api.system.get(f"/accounts/{wallet}/balance")).json()["points"] == 0


async def cut_connections(server: Server, socket_name: str) -> None:
    """End every session of timebank_app, through a socket that was moved aside."""
    moved = server.socket_dir / socket_name
    link = server.socket_dir / f".s.PGSQL.{server.port + 1}"
    link.symlink_to(moved)
    try:
        admin = await asyncpg.connect(
            user="postgres", database="postgres", host=str(server.socket_dir), port=server.port + 1
        )
        await admin.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE usename = 'timebank_app'"
        )
        await admin.close()
    finally:
        link.unlink()


async def test_ending_its_sessions_does_the_service_no_harm(
    server: Server, own_database: str
) -> None:
    url = server.dsn(own_database, "timebank_app")
    async with client_of(create_app(Settings(database_url=url))) as http, open_pool(url) as pool:
        api = await Api.open(http, await Book.open(pool))
        wallet = await api.book.open_account()
        body, key = {"account_id": str(wallet), "points": 1}, new_key()
        admin = await asyncpg.connect(server.dsn(own_database))
        for _ in range(5):
            await admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE usename = 'timebank_app' AND datname = current_database()"
            )
            await wait_for(201, lambda: api.system.post("/awards", body, key=key))
        await admin.close()
        balance = await wait_for(200, lambda: api.system.get(f"/accounts/{wallet}/balance"))
        assert balance.json()["points"] == 1


@pytest.mark.parametrize(
    ("condition", "told"),
    [
        ("disk_full", ("overloaded", "1")),
        ("out_of_memory", ("overloaded", "1")),
        ("read_only_sql_transaction", ("database_unavailable", "2")),
    ],
)
async def test_a_database_that_takes_no_writes_is_a_503_and_the_log_says_why(
    server: Server,
    own_database: str,
    monkeypatch: pytest.MonkeyPatch,
    condition: str,
    told: tuple[str, str],
) -> None:
    """Such as on a full disk: it is asked once for all who wait, and has done nothing."""
    url = server.dsn(own_database, "timebank_app")
    app = create_app(Settings(database_url=url))
    async with client_of(app) as http, open_pool(url) as pool:
        api = await Api.open(http, await Book.open(pool))
        wallet = await api.book.open_account()
        admin = await asyncpg.connect(server.dsn(own_database))
        await admin.execute(
            f"""
            CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN RAISE EXCEPTION '13800000000' USING ERRCODE = '{condition}'; END $$;
            CREATE TRIGGER refuse BEFORE INSERT ON timebank.transfer
                FOR EACH ROW EXECUTE FUNCTION refuse()
            """
        )
        body, key = {"account_id": str(wallet), "points": 1}, new_key()
        monkeypatch.setattr(refusals, "log", structlog.get_logger())  # none that is cached
        with capture_logs() as logged:
            refused = await api.system.post("/awards", body, key=key)
        check_problem(refused, told[0], 503)
        assert refused.headers["retry-after"] == told[1]
        (line,) = [one for one in logged if one["event"] == "database_refuses"]
        assert condition.replace("_", "") in line["error"].lower()
        assert "13800000000" not in str(logged)
        await admin.execute("DROP TRIGGER refuse ON timebank.transfer")
        await admin.close()
        again = await api.system.post("/awards", body, key=key)
        assert (again.status_code, await api.book.balance(wallet)) == (201, 1)


async def test_a_database_of_another_version_is_not_ready(
    server: Server, own_database: str
) -> None:
    url = server.dsn(own_database, "timebank_app")
    async with client_of(create_app(Settings(database_url=url))) as http:
        assert (await http.get("/api/v1/health/ready")).status_code == 200
        admin = await asyncpg.connect(server.dsn(own_database))
        await admin.execute("COMMENT ON SCHEMA timebank IS 'another'")
        await admin.close()
        check_problem(await http.get("/api/v1/health/ready"), "schema_mismatch", 503)
        assert (await http.get("/api/v1/health/live")).status_code == 200


@pytest.mark.parametrize("queue", ["_postings", "_balances", "_principals"])
async def test_too_much_at_once_is_a_503_and_does_nothing(
    api: Api, app: Litestar, monkeypatch: pytest.MonkeyPatch, queue: str
) -> None:
    wallet = await api.book.open_account()
    body, key = {"account_id": str(wallet), "points": 1}, new_key()
    with monkeypatch.context() as patch:
        patch.setattr(getattr(app.state.desk, queue), "_waiting_limit", 0)
        if queue == "_balances":
            answer = await api.system.get(f"/accounts/{wallet}/balance")
        else:
            answer = await api.system.post("/awards", body, key=key)
        check_problem(answer, "overloaded", 503)
        assert answer.headers["retry-after"] == "1"
    assert await api.book.balance(wallet) == 0
    again = await api.system.post("/awards", body, key=key)
    assert again.status_code == 201
    assert "idempotent-replayed" not in again.headers


async def test_a_crowd_is_served_or_told_to_come_back(
    api: Api, app: Litestar, monkeypatch: pytest.MonkeyPatch
) -> None:
    wallet = await api.book.open_account()
    body = {"account_id": str(wallet), "points": 1}
    monkeypatch.setattr(app.state.desk._postings, "_waiting_limit", 20)
    answers = await asyncio.gather(*(api.system.post("/awards", body) for _ in range(200)))
    done = [answer for answer in answers if answer.status_code == 201]
    for answer in answers:
        if answer not in done:
            check_problem(answer, "overloaded", 503)
    assert done
    assert await api.book.balance(wallet) == len(done)


async def test_a_client_that_gives_up_harms_no_neighbour(api: Api) -> None:
    wallet = await api.book.open_account()
    body = {"account_id": str(wallet), "points": 1}
    tasks = [asyncio.create_task(api.system.post("/awards", body)) for _ in range(40)]
    await asyncio.sleep(0.01)
    for task in tasks[::2]:
        task.cancel()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    done = [answer for answer in answers if isinstance(answer, httpx.Response)]
    assert len(done) >= 20
    assert {answer.status_code for answer in done} == {201}
    assert len(done) <= await api.book.balance(wallet) <= 40
    assert (await api.system.get(f"/accounts/{new_id()}")).status_code == 404
