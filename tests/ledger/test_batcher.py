"""The micro-batcher alone: what goes together, in which order, and who is harmed by whom."""

import asyncio
from collections.abc import Sequence

import asyncpg
import pytest

from timebank.domain.errors import (
    DatabaseUnavailableError,
    OverloadedError,
    TimebankError,
)
from timebank.ledger.batcher import Batcher


class Oracle:
    """Answers questions with their negatives, batch by batch, when it is let."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.let = asyncio.Event()
        self.let.set()

    async def answer(self, questions: Sequence[int]) -> list[int]:
        """Answer all, or fail if a question is 13 or 99."""
        self.batches.append(list(questions))
        await self.let.wait()
        if 13 in questions:
            raise ValueError(13)
        if 99 in questions:
            raise TimebankError
        return [-question for question in questions]


async def asked(batcher: Batcher[int, int], *questions: int) -> list[asyncio.Task[int]]:
    """Ask in order, and return when all have been put into the queue."""
    tasks = [asyncio.create_task(batcher.ask(question)) for question in questions]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return tasks


async def test_a_caller_alone_waits_for_nobody() -> None:
    oracle = Oracle()
    batcher = Batcher(oracle.answer)
    assert [await batcher.ask(question) for question in (1, 2, 3)] == [-1, -2, -3]
    assert oracle.batches == [[1], [2], [3]]


async def test_what_arrives_in_flight_forms_the_next_batch_in_order() -> None:
    oracle = Oracle()
    batcher = Batcher(oracle.answer)
    oracle.let.clear()
    first = await asked(batcher, 1)
    rest = await asked(batcher, 5, 4, 3, 2)
    assert oracle.batches == [[1]]
    oracle.let.set()
    assert await asyncio.gather(*first, *rest) == [-1, -5, -4, -3, -2]
    assert oracle.batches == [[1], [5, 4, 3, 2]]


async def test_a_batch_has_its_limit() -> None:
    oracle = Oracle()
    batcher = Batcher(oracle.answer, most=3)
    tasks = await asked(batcher, *range(8))
    assert await asyncio.gather(*tasks) == [-n for n in range(8)]
    assert [question for batch in oracle.batches for question in batch] == list(range(8))
    assert max(len(batch) for batch in oracle.batches) == 3


async def test_equal_questions_are_each_answered() -> None:
    oracle = Oracle()
    tasks = await asked(Batcher(oracle.answer), 7, 7, 7)
    assert await asyncio.gather(*tasks) == [-7, -7, -7]


async def test_one_faulty_question_does_not_spoil_its_neighbours() -> None:
    oracle = Oracle()
    batcher = Batcher(oracle.answer)
    tasks = await asked(batcher, 1, 13, 2, 13, 3)
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(answer) for answer in answers] == [int, ValueError, int, ValueError, int]
    assert [answer for answer in answers if isinstance(answer, int)] == [-1, -2, -3]
    assert await batcher.ask(4) == -4


async def test_a_refusal_is_that_of_the_whole_batch() -> None:
    oracle = Oracle()
    batcher = Batcher(oracle.answer)
    answers = await asyncio.gather(*await asked(batcher, 1, 99, 2), return_exceptions=True)
    assert [type(answer) for answer in answers] == [TimebankError] * 3
    assert oracle.batches == [[1, 99, 2]]
    assert await batcher.ask(4) == -4


@pytest.mark.parametrize(
    ("error", "meaning"),
    [
        (asyncpg.DiskFullError, OverloadedError),
        (asyncpg.ReadOnlySQLTransactionError, DatabaseUnavailableError),
    ],
)
async def test_where_the_database_refuses_everybody_nobody_is_asked_again(
    error: type[Exception], meaning: type[TimebankError]
) -> None:
    batches: list[list[int]] = []

    async def answer(questions: Sequence[int]) -> list[int]:
        batches.append(list(questions))
        raise error("no room")

    tasks = await asked(Batcher(answer), 1, 2, 3)
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(one) for one in answers] == [meaning] * 3
    assert batches == [[1, 2, 3]]


@pytest.mark.parametrize("when", ["waiting", "in flight"])
async def test_a_caller_who_gives_up_breaks_no_batch(when: str) -> None:
    oracle = Oracle()
    batcher = Batcher(oracle.answer)
    oracle.let.clear()
    ahead = await asked(batcher, 0) if when == "waiting" else []
    tasks = await asked(batcher, 1, 2, 3)
    tasks[1].cancel()
    await asyncio.sleep(0)
    oracle.let.set()
    answers = await asyncio.gather(*ahead, *tasks, return_exceptions=True)
    assert [answer for answer in answers if isinstance(answer, int)][-2:] == [-1, -3]
    assert isinstance(answers[-2], asyncio.CancelledError)
    assert await batcher.ask(4) == -4


async def test_givers_up_of_a_faulty_batch_leave_nothing_behind() -> None:
    oracle = Oracle()
    batcher = Batcher(oracle.answer)
    oracle.let.clear()
    tasks = await asked(batcher, 13, 1)
    tasks[0].cancel()
    await asyncio.sleep(0)
    oracle.let.set()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert answers[1] == -1


async def test_too_many_are_sent_away_and_the_rest_is_served() -> None:
    oracle = Oracle()
    batcher = Batcher(oracle.answer, waiting_limit=2)
    oracle.let.clear()
    in_flight = await asked(batcher, 1)
    waiting = await asked(batcher, 2, 3)
    for _ in range(3):
        with pytest.raises(OverloadedError):
            await batcher.ask(4)
    oracle.let.set()
    assert await asyncio.gather(*in_flight, *waiting) == [-1, -2, -3]
    assert await batcher.ask(4) == -4


async def test_a_batch_weighs_no_more_than_it_may_but_for_a_single_heavy_question() -> None:
    batches: list[list[int]] = []

    async def answer(questions: Sequence[int]) -> list[int]:
        batches.append(list(questions))
        await asyncio.sleep(0)
        return list(questions)

    batcher = Batcher(answer, most=10, weigh=lambda question: question)
    await asyncio.gather(*(batcher.ask(weight) for weight in (4, 6, 1, 50, 9, 2)))
    assert batches == [[4, 6], [1], [50], [9], [2]]


@pytest.mark.parametrize("in_flight", [1, 2, 3])
async def test_no_more_batches_than_allowed_are_in_flight(in_flight: int) -> None:
    now, most = 0, 0

    async def answer(questions: Sequence[int]) -> list[int]:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.001)
        now -= 1
        return list(questions)

    batcher = Batcher(answer, most=2, in_flight=in_flight)
    asked = list(range(30))
    assert await asyncio.gather(*(batcher.ask(question) for question in asked)) == asked
    assert most == in_flight
