"""A database in which everything has happened once, for tests that change nothing for good."""

import secrets
from collections.abc import AsyncIterator

import asyncpg
import pytest

from tests.audit.books import Busy, busy_book
from tests.book import Book
from timebank.db import install_schema, open_pool
from timebank.embedded import Server


@pytest.fixture(scope="package")
async def busy_database(server: Server) -> AsyncIterator[tuple[str, Busy]]:
    """The database's name and what stands in it."""
    name = f"busy_{secrets.token_hex(6)}"
    admin = await asyncpg.connect(server.dsn())
    await admin.execute(f"CREATE DATABASE {name}")
    fresh = await asyncpg.connect(server.dsn(name))
    await install_schema(fresh)
    await fresh.close()
    async with open_pool(server.dsn(name, "timebank_app")) as pool:
        busy = await busy_book(await Book.open(pool))
    yield name, busy
    await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await admin.close()
