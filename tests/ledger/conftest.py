"""A superuser beside a book in a database of its own."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from timebank.db import SERVER_SETTINGS
from timebank.embedded import Server


@pytest.fixture
async def superuser(server: Server, own_database: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection that no guard stops, to the database of `own_book`."""
    connection = await asyncpg.connect(server.dsn(own_database), server_settings=SERVER_SETTINGS)
    yield connection
    await connection.close()
