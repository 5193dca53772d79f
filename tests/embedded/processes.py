"""Users of an embedded PostgreSQL, and looks at its processes.

Every test kills only what it started, found by its fresh data directory in the command line.
"""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from timebank import embedded
from timebank.cluster import EmbeddedPostgresError
from timebank.embedded import Server, running

LIMIT = 30.0  # seconds; far above what any wait here takes
USER = """
import asyncio, pathlib, sys
from timebank.embedded import running
async def main():
    async with running(pathlib.Path(sys.argv[1])):
        print("up", flush=True)
        await asyncio.to_thread(sys.stdin.read)
asyncio.run(main())
"""


def find_pid(mark: str) -> int | None:
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (folder / "cmdline").read_bytes().split(b"\0")
            if mark in os.fsdecode(b" ".join(words)):
                return int(folder.name)
    return None


def postmaster_of(data_dir: Path) -> int | None:
    return find_pid(f"/postgres -D {data_dir}/cluster ")


def keeper_of(data_dir: Path) -> int | None:
    return find_pid(f"keeper.py {data_dir} ")


async def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + LIMIT
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.05)


async def nothing_is_left(data_dir: Path) -> None:
    await until(lambda: find_pid(f"{data_dir}") is None)
    assert not (data_dir / "cluster" / "postmaster.pid").exists(), "not a clean shutdown"


def log_of(data_dir: Path) -> str:
    return "".join(path.read_text() for path in (data_dir / "log").iterdir())


@contextmanager
def user(
    data_dir: Path, *, wait: bool = True, python: str = sys.executable, **options: Any
) -> Iterator[subprocess.Popen[str]]:
    """Another process that uses the server until its standard input is closed."""
    options = {"cwd": Path(embedded.__file__).parents[1], "text": True} | options
    options |= {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([python, "-c", USER, str(data_dir)], **options) as process:
        if wait:
            wait_until_up(process)
        yield process
        if process.poll() is None:
            leave(process)


def wait_until_up(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"


def leave(process: subprocess.Popen[str]) -> None:
    process.communicate(timeout=LIMIT)
    assert process.returncode == 0


def kill(pid: int | None, number: int = signal.SIGKILL) -> None:
    assert pid is not None
    os.kill(pid, number)


async def ask(server: Server, statement: str) -> object:
    connection = await asyncpg.connect(server.dsn(), timeout=LIMIT)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


async def answers(data_dir: Path) -> None:
    async with running(data_dir) as server:
        assert await ask(server, "SELECT 1") == 1


async def refuses(data_dir: Path, message: str, **settings: str) -> None:
    with pytest.raises(EmbeddedPostgresError, match=message):
        async with running(data_dir, settings=settings):
            pass


async def row_is_there(server: Server) -> None:
    async with running(server.data_dir):
        assert await ask(server, "SELECT count(*) FROM kept") == 1
