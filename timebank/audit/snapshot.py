"""Reading a whole database as of one instant, in bounded memory.

Instants come as microseconds since 2000-01-01 UTC, as PostgreSQL stores them: quick to compare,
and no forged year is too large to be read.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg

from timebank.db import Connection, Pool, load_queries, translate
from timebank.domain.errors import TimebankError

NEVER = -(2**63)
"""The instant -infinity."""

_ALWAYS = 2**63 - 1
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_BATCH = 1000  # rows a round trip
_PATIENCE = 24 * 3600.0  # seconds; a first batch may wait for a large sort
_QUERIES = load_queries(__package__)


@asynccontextmanager
async def open_snapshot(pool: Pool) -> AsyncIterator[Connection]:
    """Open a READ ONLY, REPEATABLE READ transaction: every statement sees the same one snapshot.

    DatabaseUnavailableError or TimebankError when the database cannot be read to the end.
    """
    try:
        async with (
            pool.acquire() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
            plain_instants(connection),
        ):
            await connection.execute(_QUERIES["prepare_for_whole_tables"])
            yield connection
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        raise translate(error) or TimebankError(f"The books cannot be read: {error}") from error


@asynccontextmanager
async def plain_instants(connection: Connection) -> AsyncIterator[None]:
    """Let instants come as this module says; `open_snapshot` does."""
    await connection.set_type_codec(
        "timestamptz",
        schema="pg_catalog",
        format="tuple",
        encoder=lambda microseconds: (microseconds,),
        decoder=lambda fields: fields[0],
    )
    try:
        yield
    finally:
        if not connection.is_closed():
            await connection.reset_type_codec("timestamptz", schema="pg_catalog")


async def stream(connection: Connection, query: str, *args: Any) -> AsyncIterator[list[Any]]:
    """Yield the rows of a query in batches, by a server-side cursor."""
    cursor = await connection.cursor(query, *args, timeout=_PATIENCE)
    while batch := await cursor.fetch(_BATCH, timeout=_PATIENCE):
        yield batch


async def stream_rows(connection: Connection, query: str, *args: Any) -> AsyncIterator[Any]:
    """Yield the rows of a query one by one, by a server-side cursor."""
    async for batch in stream(connection, query, *args):
        for row in batch:
            yield row


def say_instant(microseconds: int) -> str:
    """Return an instant in words a reader knows."""
    if microseconds in (NEVER, _ALWAYS):
        return "never" if microseconds == NEVER else "for ever"
    try:
        return (_EPOCH + timedelta(microseconds=microseconds)).isoformat()
    except OverflowError:
        return f"{microseconds} µs from 2000"
