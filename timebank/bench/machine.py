"""What a figure depends on besides our code: cores, versions, and how fast the disk syncs."""

import asyncio
import os
import platform
import tempfile
from pathlib import Path
from time import perf_counter

from msgspec import Struct

from timebank.database import connect
from timebank.db import load_queries

_QUERIES = load_queries(__package__)
_PROBE_SECONDS = 0.4
_PAGE = bytes(8192)


class Machine(Struct, frozen=True):
    """Where a benchmark ran; `page_syncs_per_s` is None when the server's disk is not ours."""

    cores: int
    python: str
    postgresql: str
    fsync: str
    synchronous_commit: str
    wal_sync_method: str
    page_syncs_per_s: float | None


async def describe_machine(url: str, folder: Path | None) -> Machine:
    """Ask the server behind `url` and, beside its files in `folder`, the disk."""
    connection = await connect(url)
    try:
        facts = await connection.fetchrow(_QUERIES["read_server_facts"])
    finally:
        await connection.close()
    syncs = await asyncio.to_thread(_page_syncs_per_s, folder) if folder else None
    return Machine(
        cores=os.cpu_count() or 1,
        python=platform.python_version(),
        postgresql=facts["version"],
        fsync=facts["fsync"],
        synchronous_commit=facts["synchronous_commit"],
        wal_sync_method=facts["wal_sync_method"],
        page_syncs_per_s=syncs,
    )


def _page_syncs_per_s(folder: Path) -> float:
    """Write one page of 8 kB over and over, each time down to the disk."""
    sync = getattr(os, "fdatasync", os.fsync)
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        start = perf_counter()
        done = 0
        while (elapsed := perf_counter() - start) < _PROBE_SECONDS:
            file.seek(0)
            file.write(_PAGE)
            sync(file.fileno())
            done += 1
    return round(done / elapsed, 1)
