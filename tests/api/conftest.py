"""The real app, in process and as a server of its own, each test with callers of a new bank."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import httpx
import pytest
from litestar import Litestar

from tests.api.client import Api
from tests.api.counter import Counter
from tests.api.logins import Door
from tests.api.service import FONTS, PUBLIC_URL, Service, key_file, serving
from tests.book import Book
from tests.people.desk import Desk
from tests.redemption.market import noon_zone
from timebank.app import create_app
from timebank.config import Settings
from timebank.db import SERVER_SETTINGS
from timebank.embedded import Server


@asynccontextmanager
async def client_of(app: Litestar) -> AsyncIterator[httpx.AsyncClient]:
    """Start the app in the event loop of the tests and yield a client of it.

    An exception that leaves the app fails the test. The app lives in a task of its own, since
    what anyio opens in a task must be closed there, and fixtures are closed in another.
    """
    started, finished = asyncio.Event(), asyncio.Event()

    async def live() -> None:
        async with app.lifespan():
            started.set()
            await finished.wait()

    life = asyncio.create_task(live())
    life.add_done_callback(lambda _: started.set())
    await started.wait()
    try:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://timebank.test") as http:
            yield http
    finally:
        finished.set()
        await life


@pytest.fixture(scope="session")
async def app(server: Server, worker_database: str) -> Litestar:
    """The service on the worker's database, as timebank_app."""
    return create_app(
        Settings(
            database_url=server.dsn(worker_database, "timebank_app"),
            master_key_file=key_file(),
            argon2_memory_kib=64,
            public_url=PUBLIC_URL,
            font_dir=FONTS,
            job_seconds=0,  # tests of other banks share the database
            webhook_seconds=0,
        ),
        resolve=resolve_in_tests,
    )


async def resolve_in_tests(host: str, port: int) -> list[tuple[str, int]]:
    """Know two names, one of a public address and one of an address inside; ask no network."""
    known = {"till.example": "93.184.215.14", "inside.example": "10.0.0.7"}
    return [(known[host], port)] if host in known else []


@pytest.fixture(scope="session")
async def http(app: Litestar) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the app."""
    async with client_of(app) as http:
        yield http


@pytest.fixture
async def api(http: httpx.AsyncClient, book: Book) -> Api:
    """Callers of a new bank."""
    return await Api.open(http, book)


@pytest.fixture
async def counter(http: httpx.AsyncClient, worker_pool: asyncpg.Pool) -> Counter:
    """A merchant's counter in a new bank, where it is about noon."""
    book = await Book.open(worker_pool, time_zone=noon_zone())
    return await Counter.open(await Api.open(http, book))


@pytest.fixture(scope="session")
async def service(
    server: Server, worker_database: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Service]:
    """A server process on the worker's database."""
    environment = {"TIMEBANK_DATABASE_URL": server.dsn(worker_database, "timebank_app")}
    async with serving(tmp_path_factory.mktemp("service"), environment) as service:
        yield service


@pytest.fixture
async def door(api: Api, server: Server, worker_database: str) -> AsyncIterator[Door]:
    """The logins of a new bank."""
    admin = await asyncpg.connect(server.dsn(worker_database), server_settings=SERVER_SETTINGS)
    yield Door(api, await Desk.open(api.book, key_file().parent), admin)
    await admin.close()
