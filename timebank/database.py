"""Finding the database: an external one if its URL is set, else the embedded one, made if new."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import StrEnum
from urllib.parse import urlsplit

import asyncpg

from timebank.cluster import has_cluster
from timebank.config import Settings
from timebank.db import Connection, Pool, check_schema, install_schema, load_queries, open_pool
from timebank.domain.errors import DatabaseUnavailableError
from timebank.embedded import Server, default_data_dir, running

DATABASE = "timebank"

_QUERIES = load_queries(__package__)


class Login(StrEnum):
    """The two roles of schema.sql that log in."""

    APP = "timebank_app"
    AUDITOR = "timebank_auditor"


@asynccontextmanager
async def find_database(settings: Settings, login: Login = Login.APP) -> AsyncIterator[str]:
    """Yield the URL of a database that carries our schema, for this login.

    External: `database_url`, or `auditor_url` for the auditor if it is set; the schema must have
    been installed by its administrator. Embedded: started if need be, and made on first use, but
    never for the auditor: books that were made for the question would always agree.
    """
    url = _external_url(settings, login)
    if url:
        await _check(url)
        yield url
        return
    data_dir = settings.data_dir or default_data_dir()
    if login is Login.AUDITOR and not has_cluster(data_dir):
        raise DatabaseUnavailableError(
            f"There is no database to read in {data_dir}. Name the one that is meant in "
            "TIMEBANK_AUDITOR_URL, or the folder of the embedded one in TIMEBANK_DATA_DIR."
        )
    async with running(data_dir) as server:
        url = server.dsn(DATABASE, login)
        if login is Login.AUDITOR:
            await _check(url)
        else:
            await _make_database(server)
        yield url


def name_database(settings: Settings, login: Login = Login.APP) -> str:
    """Say which database `find_database` finds, without anything secret."""
    url = _external_url(settings, login)
    if not url:
        return f"the embedded database in {settings.data_dir or default_data_dir()}"
    parts = urlsplit(url)
    return (
        f"{parts.path.lstrip('/') or DATABASE} on {parts.netloc.rpartition('@')[2] or 'a socket'}"
    )


def _external_url(settings: Settings, login: Login) -> str | None:
    if login is Login.AUDITOR and settings.auditor_url:
        return settings.auditor_url
    return settings.database_url


@asynccontextmanager
async def open_database(settings: Settings, login: Login = Login.APP) -> AsyncIterator[Pool]:
    """Yield a pool on the database that `find_database` finds."""
    async with (
        find_database(settings, login) as url,
        open_pool(url, size=settings.pool_size) as pool,
    ):
        yield pool


async def connect(url: str) -> Connection:
    """Open one connection; DatabaseUnavailableError if that cannot be done."""
    try:
        return await asyncpg.connect(url)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
        raise DatabaseUnavailableError(f"The database cannot be reached: {error}") from error


async def _check(url: str) -> None:
    connection = await connect(url)
    try:
        await check_schema(connection)
    finally:
        await connection.close()


async def _make_database(server: Server) -> None:
    admin = await connect(server.dsn())
    try:
        await admin.execute(_QUERIES["create_database"])
    except (asyncpg.DuplicateDatabaseError, asyncpg.UniqueViolationError):
        pass
    finally:
        await admin.close()
    owner = await connect(server.dsn(DATABASE))
    try:
        await install_schema(owner)
    finally:
        await owner.close()
