"""The processes of `timebank bench http`: services on ports of their own, and the load."""

import asyncio
import socket
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress

import msgspec

from timebank.bench.load import LoadPlan, LoadResult
from timebank.bench.place import BenchFailedError
from timebank.keeper import environment

_START_SECONDS = 20.0
_STOP_SECONDS = 10.0


@asynccontextmanager
async def serving(
    arguments: Sequence[str], settings: Mapping[str, str] | None = None
) -> AsyncIterator[int]:
    """Run `timebank ARGUMENTS --port …` with these settings and no others; yield the port.

    Raises BenchFailedError if it does not come up.
    """
    port = _free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "timebank", *arguments, "--port", str(port)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        env=environment() | dict(settings or {}),
    )
    try:
        await _until_it_listens(process, port)
        yield port
    finally:
        await _stop(process)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


async def _until_it_listens(process: asyncio.subprocess.Process, port: int) -> None:
    """Wait until it takes connections, which it does once it is ready to answer."""
    deadline = asyncio.get_running_loop().time() + _START_SECONDS
    while process.returncode is None and asyncio.get_running_loop().time() < deadline:
        with suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return
        await asyncio.sleep(0.05)
    raise BenchFailedError("A service for the measurement did not start; see above.")


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        await asyncio.wait_for(process.wait(), _STOP_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()


async def run_load_process(plan: LoadPlan) -> LoadResult:
    """Run the load in a process of its own; BenchFailedError if anything was answered but done."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "timebank.bench.load"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=environment(),
    )
    try:
        told, _ = await process.communicate(msgspec.json.encode(plan))
    finally:
        await _stop(process)
    if process.returncode:
        raise BenchFailedError("The load broke off; see above.")
    result = msgspec.json.decode(told, type=LoadResult)
    done = 201 if plan.kind == "award" else 200
    if set(result.statuses) != {done}:
        raise BenchFailedError(f"Not every answer had status {done}: {result.statuses}.")
    if plan.kind == "award" and result.replayed != plan.connections:
        raise BenchFailedError("A repeated award was not answered as a repeat.")
    return result


async def fetch_body(port: int, path: str, token: str = "") -> bytes:
    """Return the body of one GET."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {token}\r\n"
        "connection: close\r\n\r\n".encode()
    )
    answer = await reader.read()
    writer.close()
    return answer.partition(b"\r\n\r\n")[2]
