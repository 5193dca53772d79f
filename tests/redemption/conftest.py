"""A market for each test."""

import asyncpg
import pytest

from tests.book import Book
from tests.redemption.market import Market, noon_zone


@pytest.fixture
async def market(worker_pool: asyncpg.Pool) -> Market:
    """A new bank with a merchant."""
    return await Market.open(await Book.open(worker_pool, time_zone=noon_zone()))
