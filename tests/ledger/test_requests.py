"""Idempotent requests: a key is used once, and every repeat is answered as the first was."""

from collections.abc import Awaitable, Callable, Sequence
from hashlib import sha256
from uuid import UUID

import asyncpg
import pytest
from msgspec.structs import replace

from tests.book import STAFF, Book
from timebank.db import repeat_on_conflict
from timebank.domain.errors import IdempotencyKeyInUseError, IdempotencyKeyReusedError
from timebank.domain.ledger import Transfer, TransferStatus
from timebank.ledger.ids import new_id
from timebank.ledger.requests import (
    KeyUse,
    PostingAnswer,
    PostingRequest,
    RequestKey,
    answer_once,
    post_requests,
)

Work = Callable[[], Awaitable[bytes]]


def key_of(name: str, body: str = "body", caller_id: UUID = STAFF) -> RequestKey:
    """The key `name` of a caller, used for a request with this body."""
    return RequestKey(caller_id, name, sha256(body.encode()).digest())


def request(key: RequestKey, *transfers: Transfer) -> PostingRequest:
    """A request to post transfers, each on its own, under ids of this attempt as the API does."""
    return PostingRequest(key, [[replace(one, transfer_id=new_id())] for one in transfers])


async def ask(book: Book, *requests: PostingRequest) -> list[PostingAnswer]:
    """Post requests in one call and one commit."""
    return await repeat_on_conflict(
        book.pool, lambda connection: post_requests(connection, book.bank_id, requests)
    )


async def answer(book: Book, key: RequestKey, work: Work) -> tuple[bytes, bool]:
    """Do work once under a key, in a transaction of its own."""
    return await repeat_on_conflict(
        book.pool, lambda connection: answer_once(connection, book.bank_id, key, work)
    )


async def never() -> bytes:
    """Work that must not be done."""
    raise AssertionError("done again")


async def say_ok() -> bytes:
    """Work whose answer tells apart the bytes: order, spaces and escapes are kept."""
    return '{"b" : 1,"a":"\\u4f60好"}'.encode()


def uses(answers: Sequence[PostingAnswer]) -> list[KeyUse]:
    return [one.use for one in answers]


def statuses(answers: Sequence[PostingAnswer]) -> list[list[TransferStatus]]:
    return [[outcome.status for outcome in one.outcomes] for one in answers]


async def test_a_new_key_posts_and_a_repeat_is_replayed(book: Book) -> None:
    wallet = await book.open_account()
    award = book.award(wallet, 10)
    [first] = await ask(book, request(key_of("k"), award))
    assert (first.use, statuses([first])) == (KeyUse.NEW, [["posted"]])
    [again] = await ask(book, request(key_of("k"), award))
    assert (again.use, again.outcomes) == (KeyUse.REPLAYED, first.outcomes)
    assert await book.balance(wallet) == 10


async def test_the_same_attempt_sent_again_counts_once(book: Book) -> None:
    wallet = await book.open_account()
    attempt = request(key_of("k"), book.award(wallet, 10))
    [first] = await ask(book, attempt)
    [again] = await ask(book, attempt)
    assert again.outcomes == first.outcomes
    assert await book.balance(wallet) == 10


async def test_a_key_used_for_another_request_posts_nothing(book: Book) -> None:
    wallet = await book.open_account()
    [first] = await ask(book, request(key_of("k"), book.award(wallet, 10)))
    [other] = await ask(book, request(key_of("k", "other body"), book.award(wallet, 11)))
    assert (other.use, other.outcomes) == (KeyUse.REUSED, first.outcomes)
    assert await book.balance(wallet) == 10


async def test_many_requests_in_one_call_are_answered_each_in_order(book: Book) -> None:
    a, b = await book.open_account(), await book.open_account()
    await ask(book, request(key_of("z"), book.award(a, 10)))
    answers = await ask(
        book,
        request(key_of("y"), book.transfer(a, b, 11), book.transfer(a, b, 4)),
        request(key_of("z"), book.award(a, 10)),
        request(key_of("z", "other body"), book.award(a, 10)),
        request(key_of("x"), book.award(b, 1)),
    )
    assert uses(answers) == ["new", "replayed", "reused", "new"]
    assert statuses(answers) == [["insufficient_balance", "posted"], ["posted"]] + [["posted"]] * 2
    assert (await book.balance(a), await book.balance(b)) == (6, 5)


async def test_a_key_twice_in_one_call_is_used_by_the_first(book: Book) -> None:
    wallet = await book.open_account()
    answers = await ask(
        book,
        request(key_of("k"), book.award(wallet, 10)),
        request(key_of("k"), book.award(wallet, 10)),
        request(key_of("k", "other body"), book.award(wallet, 11)),
    )
    assert uses(answers) == ["new", "replayed", "reused"]
    assert answers[1].outcomes == answers[0].outcomes
    assert await book.balance(wallet) == 10


async def test_a_batch_with_a_refused_row_is_replayed_as_it_was(book: Book) -> None:
    a, b = await book.open_account(balance=5), await book.open_account()
    rows = [book.transfer(a, b, 5), book.transfer(a, b, 1), book.transfer(b, a, 2)]
    [first] = await ask(book, request(key_of("k"), *rows))
    assert statuses([first]) == [["posted", "insufficient_balance", "posted"]]
    await book.post_all(book.award(a, 100))
    [again] = await ask(book, request(key_of("k"), *rows))
    assert (again.use, again.outcomes) == (KeyUse.REPLAYED, first.outcomes)
    assert (await book.balance(a), await book.balance(b)) == (102, 3)


async def test_chains_of_a_request_stay_chains(book: Book) -> None:
    a, b = await book.open_account(balance=5), await book.open_account()
    chains = [[book.transfer(a, b, 3), book.transfer(a, b, 3)], [book.transfer(a, b, 5)]]
    [first] = await ask(book, PostingRequest(key_of("k"), chains))
    assert statuses([first]) == [["chain_broken", "insufficient_balance", "posted"]]


async def test_a_key_belongs_to_its_caller_and_bank(book: Book) -> None:
    wallet = await book.open_account()
    award = book.award(wallet, 10)
    other = await Book.open(book.pool)
    theirs = other.award(await other.open_account(), 10)
    answers = await ask(
        book,
        request(key_of("k"), award),
        request(key_of("k", caller_id=new_id()), award),
    )
    answers += await ask(other, request(key_of("k"), theirs))
    assert uses(answers) == ["new"] * 3
    assert await book.balance(wallet) == 20


async def test_an_answer_is_given_once_and_replayed_byte_for_byte(book: Book) -> None:
    first, replayed = await answer(book, key_of("k"), say_ok)
    assert (first, replayed) == (await say_ok(), False)
    assert await answer(book, key_of("k"), never) == (first, True)


async def test_an_answer_is_not_given_to_another_request(book: Book) -> None:
    await answer(book, key_of("k"), say_ok)
    with pytest.raises(IdempotencyKeyReusedError):
        await answer(book, key_of("k", "other body"), never)
    assert await answer(book, key_of("k", caller_id=new_id()), say_ok) == (await say_ok(), False)


@pytest.mark.parametrize("body", ["body", "other body"])
async def test_a_key_of_an_answer_is_reused_for_posting(book: Book, body: str) -> None:
    wallet = await book.open_account()
    await answer(book, key_of("k"), say_ok)
    [reused] = await ask(book, request(key_of("k", body), book.award(wallet, 10)))
    assert (reused.use, reused.outcomes) == (KeyUse.REUSED, [])
    assert await book.balance(wallet) == 0


@pytest.mark.parametrize("body", ["body", "other body"])
async def test_a_key_of_posting_is_reused_for_an_answer(book: Book, body: str) -> None:
    wallet = await book.open_account()
    await ask(book, request(key_of("k"), book.award(wallet, 10)))
    with pytest.raises(IdempotencyKeyReusedError):
        await answer(book, key_of("k", body), never)


async def test_work_that_fails_leaves_the_key_free(book: Book) -> None:
    wallet = await book.open_account()

    async def fail() -> bytes:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await answer(book, key_of("k"), fail)
    [first] = await ask(book, request(key_of("k"), book.award(wallet, 10)))
    assert first.use is KeyUse.NEW


async def test_a_key_worked_under_is_in_use(book: Book) -> None:
    async def ask_meanwhile() -> bytes:
        with pytest.raises(IdempotencyKeyInUseError):
            await answer(book, key_of("k"), never)
        return await say_ok()

    assert await answer(book, key_of("k"), ask_meanwhile) == (await say_ok(), False)
    assert await answer(book, key_of("k"), never) == (await say_ok(), True)


async def test_an_id_of_other_content_is_never_answered_as_posted(book: Book) -> None:
    wallet = await book.open_account()
    award = book.award(wallet, 10)
    await book.post_all(award)
    other = replace(award, amount=11)
    with pytest.raises(asyncpg.InvalidParameterValueError):
        await ask(book, PostingRequest(key_of("k"), [[other]]))
    [first] = await ask(book, request(key_of("k"), other))
    assert (first.use, statuses([first])) == (KeyUse.NEW, [["posted"]])
