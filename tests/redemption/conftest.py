"""A market for each test."""

import pytest

from tests.book import Book
from tests.redemption.market import Market


@pytest.fixture
async def market(book: Book) -> Market:
    """A new bank with a merchant."""
    return await Market.open(book)
