"""Finding the database: an external one if its URL is set, else the embedded one, made if new."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import StrEnum

import asyncpg

from timebank.config import Settings
from timebank.db import Connection, Pool, check_schema, install_schema, load_queries, open_pool
from timebank.domain.errors import DatabaseUnavailableError
from timebank.embedded import Server, running

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
    been installed by its administrator. Embedded: started if need be, and made on first use.
    """
    if settings.database_url:
        url = settings.database_url
        if login is Login.AUDITOR and settings.auditor_url:
            url = settings.auditor_url
        connection = await connect(url)
        try:
            await check_schema(connection)
        finally:
            await connection.close()
        yield url
    else:
        async with running(settings.data_dir) as server:
            await _make_database(server)
            yield server.dsn(DATABASE, login)


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
