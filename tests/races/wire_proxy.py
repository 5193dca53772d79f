"""A proxy before the server's socket that loses a connection at the worst moment.

It knows as much of the PostgreSQL protocol (version 3) as that takes. A message is a type of one
byte, a length of four that counts itself, and a body; only the client's first has no type. The
server ends each answer with ReadyForQuery, whose byte says whether a transaction is open: `I` for
idle. An answer that completes a command and ends idle is one whose effect is durable.
"""

import asyncio
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from enum import Enum, auto
from pathlib import Path

from timebank.embedded import Server

COMPLETED = {b"C", b"s"}
"""CommandComplete, or PortalSuspended where asyncpg asked for one row only."""

READY_FOR_QUERY = b"Z"
QUERY = b"Q"
EXECUTE = b"E"
IDLE = b"I"


class Cut(Enum):
    """When to lose the connection, once."""

    BEFORE_COMMIT = auto()
    """The client has sent COMMIT; the server never hears of it."""

    BEFORE_EXECUTION = auto()
    """The client has bound and executed a statement; the server hears of the binding alone."""

    AFTER_COMMIT = auto()
    """The server has committed and says so; the client never hears of it."""


@dataclass
class WireProxy:
    """Passes bytes both ways until `cut_next` is set and its moment comes; `cuts` counts those."""

    server: Server
    cut_next: Cut | None = None
    cuts: int = 0

    async def serve(self, client: StreamReader, to_client: StreamWriter) -> None:
        """Serve one connection until one side leaves or it is cut."""
        path = self.server.socket_dir / f".s.PGSQL.{self.server.port}"
        server, to_server = await asyncio.open_unix_connection(str(path))
        ways = [
            asyncio.create_task(self._pass_questions(client, to_server)),
            asyncio.create_task(self._pass_answers(server, to_client)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            for writer in (to_client, to_server):
                writer.transport.abort()

    async def _pass_questions(self, client: StreamReader, to_server: StreamWriter) -> None:
        to_server.write(await _read_body(client))
        while True:
            kind, message = await _read_message(client)
            is_commit = kind == QUERY and message[5:].startswith(b"COMMIT")
            if (is_commit and self.cut_next is Cut.BEFORE_COMMIT) or (
                kind == EXECUTE and self.cut_next is Cut.BEFORE_EXECUTION
            ):
                self._count_cut()
                return
            to_server.write(message)
            await to_server.drain()

    async def _pass_answers(self, server: StreamReader, to_client: StreamWriter) -> None:
        answer: list[bytes] = []
        completed = False
        while True:
            kind, message = await _read_message(server)
            answer.append(message)
            completed = completed or kind in COMPLETED
            durable = completed and kind == READY_FOR_QUERY and message[5:] == IDLE
            if durable and self.cut_next is Cut.AFTER_COMMIT:
                self._count_cut()
                return
            if kind == READY_FOR_QUERY or not completed:
                to_client.write(b"".join(answer))
                await to_client.drain()
                answer, completed = [], False

    def _count_cut(self) -> None:
        self.cut_next = None
        self.cuts += 1


async def _read_message(reader: StreamReader) -> tuple[bytes, bytes]:
    kind = await reader.readexactly(1)
    return kind, kind + await _read_body(reader)


async def _read_body(reader: StreamReader) -> bytes:
    length = await reader.readexactly(4)
    return length + await reader.readexactly(int.from_bytes(length) - 4)


@asynccontextmanager
async def wire_proxy(server: Server, folder: Path) -> AsyncIterator[tuple[WireProxy, Server]]:
    """Yield a proxy and the server as it is seen through it; its socket lies in `folder`."""
    proxy = WireProxy(server)
    seen = replace(server, socket_dir=folder)
    listener = await asyncio.start_unix_server(proxy.serve, str(folder / f".s.PGSQL.{seen.port}"))
    async with listener:
        yield proxy, seen
