"""A programme in a bank of its own."""

import pytest

from tests.book import Book
from tests.service.programme import Programme


@pytest.fixture
async def programme(book: Book) -> Programme:
    """A new bank with a category of service."""
    return await Programme.open(book)
