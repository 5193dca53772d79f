"""The same request key many times at once: one effect, and the same answer to all."""

import asyncio
from collections import Counter

import asyncpg
import pytest

from tests.book import STAFF, Book
from tests.races.checks import FINGERPRINT, check_books, new_request
from timebank.db import Connection, repeat_on_conflict, transaction
from timebank.domain.errors import IdempotencyKeyInUseError
from timebank.ledger.ids import new_id
from timebank.ledger.requests import (
    KeyUse,
    PostingAnswer,
    PostingRequest,
    RequestKey,
    answer_once,
    post_requests,
)
from timebank.ledger.transfers import post

CALLS = 50


async def ask(book: Book, request: PostingRequest) -> PostingAnswer:
    async def work(connection: Connection) -> list[PostingAnswer]:
        return await post_requests(connection, book.bank_id, [request])

    (answer,) = await repeat_on_conflict(book.pool, work)
    return answer


async def test_one_request_at_once_posts_once(book: Book) -> None:
    request = await new_request(book)
    answers = await asyncio.gather(*(ask(book, request) for _ in range(CALLS)))
    assert answers == [answers[0]] * CALLS
    assert [outcome.status for outcome in answers[0].outcomes] == ["posted"]
    assert await book.balance(request.chains[0][0].credit_account_id) == 1
    await check_books(book)


async def test_one_key_with_new_transfer_ids_at_once_posts_once(book: Book) -> None:
    """As the HTTP edge does: each arrival of a request gets ids of its own."""
    wallet, shop = await book.open_account(balance=100), await book.open_account()
    key = RequestKey(STAFF, "pay", FINGERPRINT)
    asking = [
        ask(book, PostingRequest(key, [[book.transfer(wallet, shop, 2)]])) for _ in range(CALLS)
    ]
    answers = await asyncio.gather(*asking)
    assert Counter(answer.use for answer in answers) == {KeyUse.NEW: 1, KeyUse.REPLAYED: CALLS - 1}
    assert [answer.outcomes for answer in answers] == [answers[0].outcomes] * CALLS
    assert await book.balance(shop) == 2
    await check_books(book)


async def test_one_key_for_two_requests_at_once_serves_one(book: Book) -> None:
    wallet, shop = await book.open_account(balance=100), await book.open_account()
    asking = [
        ask(
            book,
            PostingRequest(
                RequestKey(STAFF, "pay", FINGERPRINT if n % 2 else bytes(32)),
                [[book.transfer(wallet, shop, 1 + n % 2)]],
            ),
        )
        for n in range(CALLS)
    ]
    answers = await asyncio.gather(*asking)
    uses = Counter(answer.use for answer in answers)
    assert uses == {KeyUse.NEW: 1, KeyUse.REPLAYED: CALLS // 2 - 1, KeyUse.REUSED: CALLS // 2}
    new = next(n for n, answer in enumerate(answers) if answer.use is KeyUse.NEW)
    assert await book.balance(shop) == 1 + new % 2


async def test_a_refusal_is_remembered_under_its_key(book: Book) -> None:
    wallet, shop = await book.open_account(), await book.open_account()
    request = PostingRequest(
        RequestKey(STAFF, "pay", FINGERPRINT), [[book.transfer(wallet, shop, 1)]]
    )
    first = await ask(book, request)
    assert [outcome.status for outcome in first.outcomes] == ["insufficient_balance"]
    await book.post_all(book.award(wallet, 1))
    assert await ask(book, request) == first
    assert await book.balance(shop) == 0


async def test_a_request_with_the_id_of_another_transfer_is_never_answered_as_that(
    book: Book,
) -> None:
    request = await new_request(book)
    await ask(book, request)
    other = book.award(
        request.chains[0][0].credit_account_id, 5, transfer_id=request.chains[0][0].transfer_id
    )
    with pytest.raises(asyncpg.InvalidParameterValueError):
        await ask(book, PostingRequest(RequestKey(STAFF, "other", FINGERPRINT), [[other]]))
    assert await book.balance(other.credit_account_id) == 1
    await check_books(book)


async def test_one_answer_is_worked_out_once(book: Book) -> None:
    """Any other write under a key: at once it is done, replayed or told to wait."""
    wallet = await book.open_account()
    key = RequestKey(STAFF, str(new_id()), FINGERPRINT)

    async def answer() -> tuple[bytes, bool]:
        async with transaction(book.pool) as connection:

            async def work() -> bytes:
                await post(connection, book.bank_id, [[book.award(wallet, 3)]])
                return b'{"awarded":3}'

            return await answer_once(connection, book.bank_id, key, work)

    answers = await asyncio.gather(*(answer() for _ in range(20)), return_exceptions=True)
    uses = Counter(type(a) if isinstance(a, BaseException) else a for a in answers)
    assert uses.pop((b'{"awarded":3}', False)) == 1
    assert uses.keys() <= {(b'{"awarded":3}', True), IdempotencyKeyInUseError}
    assert await answer() == (b'{"awarded":3}', True)
    assert await book.balance(wallet) == 3
