"""The service as a process of its own, for what only shows on the wire and in its log."""

import asyncio
import atexit
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import httpx

from timebank.people.vault_keys import ensure_key_file

PUBLIC_URL = "https://timebank.test"
FONTS = Path(__file__).parents[1] / "fonts"


@dataclass(frozen=True)
class Service:
    """A running `timebank serve`."""

    port: int
    log: Path

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    async def talk(self, *sent: bytes) -> bytes:
        """Send bytes on a connection of their own, the first at once, and return the answer."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            for part in sent:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(0.02)
            return await asyncio.wait_for(reader.read(), 10)
        except ConnectionError:
            return b""  # the server hung up while we were still sending: that is an answer too
        finally:
            writer.close()

    async def hang_up_after(self, sent: bytes) -> None:
        """Send bytes and leave without waiting for an answer."""
        _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(sent)
        await writer.drain()
        writer.transport.abort()


@cache
def key_file() -> Path:
    """The one file of master keys of this test process and of the services it starts."""
    folder = Path(tempfile.mkdtemp(prefix="timebank-keys-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    ensure_key_file(folder / "master.key")
    return folder / "master.key"


@asynccontextmanager
async def serving(folder: Path, environment: Mapping[str, str]) -> AsyncIterator[Service]:
    """Run `timebank serve` with these settings; it is up when the block begins, gone after."""
    service = Service(free_port(), folder / "service.log")
    secrets = {
        "TIMEBANK_MASTER_KEY_FILE": str(key_file()),
        "TIMEBANK_ARGON2_MEMORY_KIB": "64",
        "TIMEBANK_PUBLIC_URL": PUBLIC_URL,
        "TIMEBANK_JOB_SECONDS": "0",  # tests of other banks share the database
        "TIMEBANK_WEBHOOK_SECONDS": "0",
    }
    command = [sys.executable, "-m", "timebank", "serve", "--port", str(service.port)]
    with service.log.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *command,
            env={**os.environ, **secrets, **environment},
            stdout=asyncio.subprocess.DEVNULL,
            stderr=log,
        )
    try:
        await _wait_until_up(service, process)
        yield service
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _wait_until_up(service: Service, process: asyncio.subprocess.Process) -> None:
    async with httpx.AsyncClient(base_url=service.url) as http:
        for _ in range(300):
            assert process.returncode is None, service.log.read_text("utf-8")
            try:
                await http.get("/api/v1/health/live")
            except httpx.TransportError:
                await asyncio.sleep(0.1)
            else:
                return
    raise TimeoutError(service.log.read_text("utf-8"))


def free_port() -> int:
    """Return a port nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
