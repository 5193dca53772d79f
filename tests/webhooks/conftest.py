"""A listening merchant for each test: a market, an endpoint, a receiver with TLS on loopback."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest
import structlog

from tests.book import Book
from tests.people.desk import Desk
from tests.redemption.market import Market, noon_zone
from tests.webhooks.listening import Listening
from tests.webhooks.receiver import Authority, authority
from timebank.people.seals import Seals
from timebank.people.vault_keys import KeyRing, ensure_key_file
from timebank.webhooks import delivery


@pytest.fixture(autouse=True)
def fresh_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log that tells everything, whatever an app before us set up for good."""
    every_level = structlog.make_filtering_bound_logger(0)
    log = structlog.wrap_logger(structlog.PrintLogger(), wrapper_class=every_level)
    monkeypatch.setattr(delivery, "log", log)


@pytest.fixture(scope="session")
def tls() -> Iterator[Authority]:
    """Certificates for the names of the tests."""
    with authority() as made:
        yield made


@pytest.fixture(scope="session")
def seals(tmp_path_factory: pytest.TempPathFactory) -> Seals:
    """Seals under a key of this run."""
    path: Path = tmp_path_factory.mktemp("webhooks") / "master.key"
    ensure_key_file(path)
    return Seals(KeyRing(path))


@pytest.fixture
async def market(worker_pool: asyncpg.Pool) -> Market:
    """A new bank with a merchant who has no endpoint."""
    return await Market.open(await Book.open(worker_pool, time_zone=noon_zone()))


@pytest.fixture
async def own_desk(own_book: Book, tmp_path: Path) -> Desk:
    """A desk with a vault, in a database of its own."""
    return await Desk.open(own_book, tmp_path)


@pytest.fixture
async def listening(market: Market, seals: Seals, tls: Authority) -> AsyncIterator[Listening]:
    """A merchant with an endpoint for everything, and its receiver."""
    async with tls.receiver() as receiver:
        yield await Listening.open(market, seals, tls, receiver)


@pytest.fixture
async def alone(own_book: Book, seals: Seals, tls: Authority) -> AsyncIterator[Listening]:
    """The same in a database of its own, where time can be made to pass."""
    async with tls.receiver() as receiver:
        yield await Listening.open(await Market.open(own_book), seals, tls, receiver)
