"""What tests of people start from."""

from pathlib import Path

import pytest

from tests.book import Book
from tests.people.desk import Desk


@pytest.fixture
async def desk(book: Book, tmp_path: Path) -> Desk:
    """A desk of a new bank, with keys of its own."""
    return await Desk.open(book, tmp_path)


@pytest.fixture
async def own_desk(own_book: Book, tmp_path: Path) -> Desk:
    """A desk in a database of its own."""
    return await Desk.open(own_book, tmp_path)
