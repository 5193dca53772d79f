"""A real PostgreSQL for every test: one server a run, one database a worker, one bank a test."""

import os
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest
from hypothesis import HealthCheck, settings

from tests.book import Book
from timebank.db import SERVER_SETTINGS, install_schema, open_pool
from timebank.embedded import Server, running

settings.register_profile("dev", max_examples=15, stateful_step_count=15, deadline=None)
settings.register_profile("ci", max_examples=60, stateful_step_count=40, deadline=None)
settings.register_profile("deep", max_examples=2000, stateful_step_count=80, deadline=None)
settings.register_profile(
    "base", suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))

POSTGRES_SETTINGS = {
    # Tests kill processes, not power supplies: what the kernel holds is not lost.
    "fsync": "off",
    "max_connections": "300",
}


def _find_open_tmp() -> str | None:
    """Return another place for temporary files where root's own is closed to all others."""
    usual = Path(tempfile.gettempdir())
    is_closed = not all(folder.stat().st_mode & 0o001 for folder in (usual, *usual.parents))
    return "/tmp" if os.geteuid() == 0 and is_closed else None  # noqa: S108 - the usual place


tempfile.tempdir = _find_open_tmp()  # the account that runs the server for root passes through


def _data_dir() -> Path:
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", f"pid{os.getpid()}")
    return Path(tempfile.gettempdir()) / f"timebank-tests-{run}"


@pytest.fixture(scope="session")
async def server() -> AsyncIterator[Server]:
    """The run's server, shared by the workers; stops when the last of them leaves."""
    _data_dir().mkdir(mode=0o711, exist_ok=True)
    _data_dir().chmod(0o711)  # whatever the umask
    async with running(_data_dir() / "postgres", settings=POSTGRES_SETTINGS) as server:
        yield server


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """The controller removes the run's folder when all workers have left."""
    if not hasattr(session.config, "workerinput"):
        shutil.rmtree(_data_dir(), ignore_errors=True)


@pytest.fixture(scope="session")
async def template(server: Server) -> str:
    """The name of a database with the schema and nothing else, made by the first worker."""
    name = "timebank_template"
    admin = await asyncpg.connect(server.dsn())
    try:
        await admin.execute("SELECT pg_advisory_lock(1)")
        if not await admin.fetchval("SELECT true FROM pg_database WHERE datname = $1", name):
            await admin.execute(f"CREATE DATABASE {name}_new")
            fresh = await asyncpg.connect(server.dsn(f"{name}_new"))
            await install_schema(fresh)
            await fresh.close()
            await admin.execute(f"ALTER DATABASE {name}_new RENAME TO {name}")
    finally:
        await admin.close()
    return name


async def _clone(server: Server, template: str) -> AsyncIterator[str]:
    name = f"test_{secrets.token_hex(6)}"
    admin = await asyncpg.connect(server.dsn())
    await admin.execute("SELECT pg_advisory_lock(1)")
    await admin.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    await admin.execute("SELECT pg_advisory_unlock(1)")
    yield name
    await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await admin.close()


@pytest.fixture(scope="session")
async def worker_database(server: Server, template: str) -> AsyncIterator[str]:
    """The worker's database, where each test has a bank of its own."""
    async for name in _clone(server, template):
        yield name


@pytest.fixture
async def own_database(server: Server, template: str) -> AsyncIterator[str]:
    """A database for one test alone, to tamper with or to break."""
    async for name in _clone(server, template):
        yield name


@pytest.fixture(scope="session")
async def worker_pool(server: Server, worker_database: str) -> AsyncIterator[asyncpg.Pool]:
    """Connections of timebank_app to the worker's database."""
    async with open_pool(server.dsn(worker_database, "timebank_app"), size=20) as pool:
        yield pool


@pytest.fixture
async def book(worker_pool: asyncpg.Pool) -> Book:
    """A new bank with empty books."""
    return await Book.open(worker_pool)


@pytest.fixture
async def own_book(server: Server, own_database: str) -> AsyncIterator[Book]:
    """A new bank in a database of its own."""
    async with open_pool(server.dsn(own_database, "timebank_app"), size=20) as pool:
        yield await Book.open(pool)


@pytest.fixture
async def superuser(server: Server, own_database: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to the database of `own_book` that may do anything."""
    connection = await asyncpg.connect(server.dsn(own_database), server_settings=SERVER_SETTINGS)
    yield connection
    await connection.close()


@pytest.fixture
async def worker_superuser(
    server: Server, worker_database: str
) -> AsyncIterator[asyncpg.Connection]:
    """A connection to the database of `book` that may do anything; it sets the clocks of rows."""
    dsn = server.dsn(worker_database)
    connection = await asyncpg.connect(dsn, server_settings=SERVER_SETTINGS)
    yield connection
    await connection.close()


@pytest.fixture
def open_dir() -> Iterator[Path]:
    """A temporary folder that the account running PostgreSQL may pass through."""
    path = Path(tempfile.mkdtemp(prefix="timebank-"))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path, ignore_errors=True)
