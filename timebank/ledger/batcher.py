"""Micro-batching: what arrives while one batch is in flight forms the next; no timer.

A caller alone waits for nobody; under load hundreds share one round trip and one commit.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from timebank.db import refusal_of_all
from timebank.domain.errors import OverloadedError, TimebankError

Question = TypeVar("Question")
Answer = TypeVar("Answer")


class Batcher(Generic[Question, Answer]):
    """Gathers questions and asks them together."""

    def __init__(
        self,
        answer_all: Callable[[Sequence[Question]], Awaitable[Sequence[Answer]]],
        *,
        most: int = 256,
        waiting_limit: int = 4096,
        in_flight: int = 1,
        weigh: Callable[[Question], int] = lambda question: 1,
    ) -> None:
        """`answer_all` answers each question in order.

        A batch weighs at most `most`, by `weigh`, or is a single question that weighs more; at
        most `in_flight` batches are being answered at a time.
        """
        self._in_flight = in_flight
        self._weigh = weigh
        self._answer_all = answer_all
        self._most = most
        self._waiting_limit = waiting_limit
        self._waiting: deque[tuple[Question, asyncio.Future[Answer]]] = deque()
        self._running = 0
        self._tasks: set[asyncio.Task[None]] = set()  # the loop keeps only weak references

    async def ask(self, question: Question) -> Answer:
        """Return the answer from the next batch; OverloadedError when too many wait already."""
        if len(self._waiting) >= self._waiting_limit:
            raise OverloadedError
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((question, future))
        if self._running < self._in_flight:
            self._running += 1
            task = asyncio.create_task(self._run())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return await future

    async def _run(self) -> None:
        try:
            while self._waiting:
                await self._settle(self._take_batch())
        finally:
            self._running -= 1

    def _take_batch(self) -> list[tuple[Question, asyncio.Future[Answer]]]:
        batch = [self._waiting.popleft()]
        weight = self._weigh(batch[0][0])
        while self._waiting:
            weight += self._weigh(self._waiting[0][0])
            if weight > self._most:
                break
            batch.append(self._waiting.popleft())
        return batch

    async def _settle(self, batch: Sequence[tuple[Question, asyncio.Future[Answer]]]) -> None:
        try:
            answers = await self._answer_all([question for question, _ in batch])
            pairs = list(zip(batch, answers, strict=True))
        except TimebankError as error:
            _fail(batch, error)
            return
        except Exception as error:
            if refusal := refusal_of_all(error):
                refusal.__cause__ = error
                _fail(batch, refusal)
                return
            if len(batch) == 1:
                _fail(batch, error)
            for question in batch if len(batch) > 1 else ():
                await self._settle([question])  # one question's fault is not its neighbours'
            return
        for (_, future), answer in pairs:
            if not future.done():
                future.set_result(answer)


def _fail(batch: Sequence[tuple[Question, asyncio.Future[Answer]]], error: Exception) -> None:
    for _, future in batch:
        if not future.done():
            future.set_exception(error)
