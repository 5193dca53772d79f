"""What the same server does at its own trade: pgbench's TPC-B-like mix, and COPY of our rows."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from io import BytesIO
from pathlib import Path
from time import perf_counter
from typing import Any, TypeAlias

from msgspec import Struct

from timebank.bench.book import BenchBook
from timebank.bench.place import BenchFailedError
from timebank.cluster import find_binaries
from timebank.database import connect
from timebank.db import Connection, load_queries
from timebank.keeper import environment

Load: TypeAlias = Callable[[Connection], Awaitable[None]]
"""Fills some of the copied tables, inside a transaction."""

CLIENTS = 8
SCALE = 10
SLICE = 1000

_COPIED = ("transfer", "posting", "balance")

_QUERIES = load_queries(__package__)
_TPS = re.compile(r"^tps = ([\d.]+)", re.MULTILINE)


async def prepare_pgbench(url: str) -> None:
    """Make the tables of the TPC-B-like mix at scale 10: a million accounts, ten branches."""
    await _pgbench("--initialize", "--quiet", f"--scale={SCALE}", url)


async def measure_pgbench(url: str, seconds: int) -> float:
    """Return TPC-B-like transactions a second of 8 clients on 2 threads."""
    told = await _pgbench(
        f"--client={CLIENTS}", "--jobs=2", "--no-vacuum", f"--time={seconds}", url
    )
    found = _TPS.search(told)
    if not found:
        raise BenchFailedError(f"pgbench did not tell its speed: {told[-500:]}")
    return float(found[1])


async def _pgbench(*arguments: str) -> str:
    program: Path = find_binaries() / "pgbench"
    try:
        process = await asyncio.create_subprocess_exec(
            program,
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment(),
        )
    except OSError as error:
        raise BenchFailedError(f"{program} cannot be run: {error.strerror}") from error
    try:
        told, complaint = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise
    if process.returncode:
        raise BenchFailedError(f"{program}: {complaint.decode(errors='replace').strip()[-500:]}")
    return told.decode()


class Copies(Struct, frozen=True):
    """Rows as the ledger wrote them, and a connection to empty tables that they fit into."""

    connection: Connection
    transfers: Sequence[Any]
    postings: Sequence[Any]
    balances: Sequence[Any]

    def slices(self, size: int) -> list[Load]:
        """Cut the rows into loads of `size` transfers, their postings and a share of balances."""
        starts = range(0, len(self.transfers), size)
        return [partial(self._load, size, number, len(starts)) for number in range(len(starts))]

    async def _load(self, size: int, number: int, of: int, connection: Connection) -> None:
        start, share = number * size, -(-len(self.balances) // of)
        for table, rows in (
            ("transfer", self.transfers[start : start + size]),
            ("posting", self.postings[2 * start : 2 * (start + size)]),
            ("balance", self.balances[number * share : (number + 1) * share]),
        ):
            await connection.copy_records_to_table(table, schema_name="copied", records=rows)


@asynccontextmanager
async def open_copies(admin_url: str, book: BenchBook, transfers: int) -> AsyncIterator[Copies]:
    """Yield the rows of the newest posted transfers, in the order of the journal.

    One of `transfer` and two of `posting` each, and the balance of each account they touched.
    """
    connection = await connect(admin_url)
    try:
        journal = await connection.fetch(_QUERIES["list_journal_rows"], book.bank_id, transfers)
        journal.reverse()
        ids = [row["transfer_id"] for row in journal]
        postings = await connection.fetch(_QUERIES["list_posting_rows"], book.bank_id, ids)
        touched = list({row["account_id"] for row in postings})
        balances = await connection.fetch(_QUERIES["list_balance_rows"], book.bank_id, touched)
        for step in (
            "create_copy_schema",
            "create_copied_transfer",
            "create_copied_posting",
            "create_copied_balance",
        ):
            await connection.execute(_QUERIES[step])
        yield Copies(connection, journal, postings, balances)
    finally:
        await connection.close()


async def measure_copy(copies: Copies) -> dict[str, float]:
    """Return transfers a second when their rows are loaded with binary COPY on one connection.

    Into empty tables with the same columns, indexes and checks and no triggers.
    `copy_transfers_per_s`: from Python values, as our own calls are, in a single commit.
    `copy_by_1000_transfers_per_s`: in commits of 1,000, as our own calls are; it is slower.
    `copy_encoded_transfers_per_s`: the bytes made ready, in a single commit.
    """
    count = len(copies.transfers)
    sliced = await _time_loads(copies.connection, copies.slices(SLICE))
    at_once = await _time_loads(copies.connection, copies.slices(count))
    encoded = await _time_loads(copies.connection, [await _encode(copies.connection)])
    return {
        "copy_transfers_per_s": round(count / at_once, 1),
        "copy_by_1000_transfers_per_s": round(count / sliced, 1),
        "copy_encoded_transfers_per_s": round(count / encoded, 1),
    }


async def _encode(connection: Connection) -> Load:
    """Read the copies back as COPY writes them; return the load of just these bytes."""
    encoded = {}
    for table in _COPIED:
        encoded[table] = BytesIO()
        await connection.copy_from_table(
            table, schema_name="copied", output=encoded[table], format="binary"
        )
        encoded[table].seek(0)

    async def load(connection: Connection) -> None:
        for table, rows in encoded.items():
            await connection.copy_to_table(
                table, schema_name="copied", source=rows, format="binary"
            )

    return load


async def _time_loads(connection: Connection, loads: Sequence[Load]) -> float:
    """Return the seconds it takes to fill the empty tables, a commit for each load."""
    await connection.execute(_QUERIES["empty_copies"])
    await connection.execute(_QUERIES["settle_disk"])
    start = perf_counter()
    for load in loads:
        async with connection.transaction():
            await load(connection)
    return perf_counter() - start
