"""The load of `timebank bench http`, a process of its own: 64 connections that never pause.

Reads a LoadPlan as JSON on stdin and prints a LoadResult as JSON. It does as little as it can for
each answer, because it shares the cores with the service: requests are bytes made ready, of an
answer only the status and the length are read, HTTP/1.1 with keep-alive and no pipelining.
"""

import asyncio
import gc
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import count
from random import Random
from time import perf_counter
from typing import Literal, cast

import msgspec
import uvloop
from msgspec import Struct

_END_OF_HEAD = b"\r\n\r\n"
_LENGTH = b"content-length: "
_REPLAYED = b"idempotent-replayed: true"
_LATE = 10.0
"""Seconds an answer may take before the whole load is given up."""


class LoadPlan(Struct, frozen=True, kw_only=True):
    """What to ask: balances of `accounts`, or awards to them with an Idempotency-Key each."""

    kind: Literal["balance", "award"]
    port: int
    accounts: list[str]
    token: str | None = None
    key_prefix: str = ""
    connections: int = 64
    warm_up: float = 0.5
    seconds: float = 3.0


class LoadResult(Struct, frozen=True, kw_only=True):
    """`per_s` and the latencies are of the answers after the warm-up; the rest of all answers.

    `points` is the sum of what was answered 201; `replayed` counts repeats of an award's request,
    one for each connection at the end, that were answered as such.
    """

    per_s: float
    p50_ms: float
    p99_ms: float
    statuses: dict[int, int]
    points: int
    replayed: int


class _Tally:
    """What the connections have in common: the supply of requests, the clock and the counts."""

    def __init__(self, plan: LoadPlan) -> None:
        self.plan = plan
        self.requests = _requests(plan)
        self.counted_from = perf_counter() + plan.warm_up
        self.stop_at = self.counted_from + plan.seconds
        self.statuses: Counter[int] = Counter()
        self.latencies: list[float] = []
        self.points = 0
        self.replayed = 0
        self.open = plan.connections
        self.finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def close_one(self) -> None:
        self.open -= 1
        if not self.open and not self.finished.done():
            self.finished.set_result(None)

    def result(self) -> LoadResult:
        self.latencies.sort()
        answered = len(self.latencies)
        return LoadResult(
            per_s=round(answered / self.plan.seconds, 1),
            p50_ms=round(self.latencies[answered // 2] * 1000, 2) if answered else 0,
            p99_ms=round(self.latencies[answered * 99 // 100] * 1000, 2) if answered else 0,
            statuses=dict(self.statuses),
            points=self.points,
            replayed=self.replayed,
        )


class _Connection(asyncio.Protocol):
    """Asks, waits for the whole answer, asks again; repeats its last award when the time is up."""

    def __init__(self, tally: _Tally) -> None:
        self._tally = tally
        self._got = b""
        self._repeating = False
        self._done = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own class of it
        self._ask()

    def _ask(self) -> None:
        self._request, self._points = next(self._tally.requests)
        self._asked_at = perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        got = self._got + data if self._got else data
        end_of_head = got.find(_END_OF_HEAD)
        length_at = got.find(_LENGTH) + len(_LENGTH)
        if end_of_head < 0 or len(got) < end_of_head + len(_END_OF_HEAD) + int(
            got[length_at : got.find(b"\r", length_at)]
        ):
            self._got = got
            return
        self._got = b""
        if self._repeating:
            self._tally.replayed += _REPLAYED in got
            self._finish()
        else:
            self._note(int(got[9:12]))

    def _note(self, status: int) -> None:
        tally = self._tally
        now = perf_counter()
        tally.statuses[status] += 1
        if status == 201:
            tally.points += self._points
        if tally.counted_from <= now < tally.stop_at:
            tally.latencies.append(now - self._asked_at)
        if now < tally.stop_at:
            self._ask()
        elif self._points:
            self._repeating = True
            self._transport.write(self._request)
        else:
            self._finish()

    def _finish(self) -> None:
        self._done = True
        self._transport.close()
        self._tally.close_one()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._done and not self._tally.finished.done():
            self._tally.finished.set_exception(exc or ConnectionError("closed by the service"))


def _requests(plan: LoadPlan) -> Iterator[tuple[bytes, int]]:
    """Yield requests without end, each with the points that it awards."""
    chance = Random(plan.key_prefix)  # noqa: S311 - work to time, no secret
    authorization = f"authorization: Bearer {plan.token}\r\n" if plan.token else ""
    head = f"host: 127.0.0.1\r\n{authorization}"
    if plan.kind == "balance":
        ready = [
            f"GET /api/v1/accounts/{account}/balance HTTP/1.1\r\n{head}\r\n".encode()
            for account in plan.accounts
        ]
        while True:
            yield chance.choice(ready), 0
    for number in count():
        points = chance.randint(1, 9)
        body = f'{{"account_id":"{chance.choice(plan.accounts)}","points":{points}}}'
        request = (
            f"POST /api/v1/awards HTTP/1.1\r\n{head}content-type: application/json\r\n"
            f"idempotency-key: {plan.key_prefix}{number}\r\n"
            f"content-length: {len(body)}\r\n\r\n{body}"
        )
        yield request.encode(), points


async def run_load(plan: LoadPlan) -> LoadResult:
    """Keep all connections busy for the warm-up and the seconds, then read the last answers."""
    tally = _Tally(plan)
    loop = asyncio.get_running_loop()
    for _ in range(plan.connections):
        await loop.create_connection(lambda: _Connection(tally), "127.0.0.1", plan.port)
    await asyncio.wait_for(tally.finished, plan.warm_up + plan.seconds + _LATE)
    return tally.result()


def main() -> None:
    """Read the plan from stdin, print the result on stdout."""
    plan = msgspec.json.decode(sys.stdin.buffer.read(), type=LoadPlan)
    gc.disable()
    sys.stdout.buffer.write(msgspec.json.encode(uvloop.run(run_load(plan))))


if __name__ == "__main__":
    main()
