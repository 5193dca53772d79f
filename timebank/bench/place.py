"""Where a benchmark runs: databases of its own, on a server of its own unless asked otherwise.

Real data is never touched: nothing here writes to a database that it did not make.
"""

import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from msgspec import Struct

from timebank.database import Login, connect
from timebank.db import install_schema, load_queries
from timebank.domain.errors import TimebankError
from timebank.embedded import running

DURABLE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
"""What production has, said aloud: a commit is on disk before it is answered."""

_QUERIES = load_queries(__package__)


class BenchFailedError(TimebankError):
    """The measurement could not be made, or its result cannot be trusted: see `detail`."""

    code = "bench_failed"


class Place(Struct, frozen=True):
    """Two fresh databases on one server; `folder` lies beside its files when it is ours."""

    ledger_url: str
    """Carries our schema; with the login that the service has."""
    admin_url: str
    """The same database, for its administrator."""
    pgbench_url: str
    folder: Path | None


@asynccontextmanager
async def open_place(external_url: str | None = None) -> AsyncIterator[Place]:
    """Yield a place to measure in; its databases, and a server of our own, go afterwards.

    `external_url` names a server to use instead, by a login that may create databases and roles;
    the ledger is then used by that login as well.
    """
    if external_url:
        async with _databases(external_url) as (ledger, pgbench):
            yield Place(ledger, ledger, pgbench, None)
        return
    with _open_folder() as folder:
        async with (
            running(folder / "postgres", settings=DURABLE) as server,
            _databases(server.dsn()) as (ledger, pgbench),
        ):
            app = ledger.replace("//postgres@", f"//{Login.APP}@", 1)
            yield Place(app, ledger, pgbench, folder)


@contextmanager
def _open_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="timebank-bench-"))
    folder.chmod(0o711)  # the account that runs the server for root passes through
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@asynccontextmanager
async def _databases(url: str) -> AsyncIterator[tuple[str, str]]:
    """Make a database with our schema and an empty one; yield their URLs; drop both."""
    name = f"timebank_bench_{secrets.token_hex(4)}"
    names = (name, f"{name}_pgbench")
    try:
        for each in names:
            await _execute(url, _QUERIES["create_database"].replace("timebank_bench", each))
        ledger, pgbench = (urlsplit(url)._replace(path=f"/{each}").geturl() for each in names)
        connection = await connect(ledger)
        await install_schema(connection)
        await connection.close()
        yield ledger, pgbench
    finally:
        for each in names:
            await _execute(url, _QUERIES["drop_database"].replace("timebank_bench", each))


async def _execute(url: str, statement: str) -> None:
    connection = await connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
