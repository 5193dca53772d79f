"""What must hold however calls interleave; test_broken_variants shows what each check is worth.

A check lays out accounts of its own in the book and raises AssertionError saying what broke.
Two or three connections are interleaved by hand: a call is held up by a lock that another
transaction holds, and goes on when that one ends. No check waits for luck.
"""

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from datetime import timedelta
from hashlib import sha256
from typing import Any, TypeVar
from uuid import UUID

import asyncpg

from tests.book import STAFF, Book
from timebank.db import Connection
from timebank.domain.ledger import Outcome, Transfer, Unit
from timebank.ledger.ids import new_id
from timebank.ledger.passbook import get_balance_as_of, read_clock
from timebank.ledger.requests import PostingRequest, RequestKey, post_requests
from timebank.ledger.transfers import lock_balances, post
from timebank.people.totals import list_totals

T = TypeVar("T")

THOROUGH = os.environ.get("HYPOTHESIS_PROFILE", "dev") != "dev"

FINGERPRINT = sha256(b"a request").digest()

LARGE = 500
"""Transfers in a call that takes its turn."""

WAITING_LIMIT = 10.0
"""Seconds until a call that should be held up, or let go, counts as a fault."""


# ---- Holding calls up --------------------------------------------------------------------------


@asynccontextmanager
async def connections(book: Book, count: int) -> AsyncIterator[list[Connection]]:
    """Yield so many connections of the book's pool at once."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(book.pool.acquire()) for _ in range(count)]


async def hold_up(
    book: Book, connection: Connection, work: Coroutine[Any, Any, T]
) -> asyncio.Task[T]:
    """Start `work` on the connection; return it when a lock of another transaction holds it up."""
    task = asyncio.create_task(work)
    pid = connection.get_server_pid()
    try:
        async with book.pool.acquire() as observer, asyncio.timeout(WAITING_LIMIT):
            while not await observer.fetchval("SELECT cardinality(pg_blocking_pids($1))", pid):
                assert not task.done(), "it was not held up"
                await asyncio.sleep(0.002)
    except BaseException:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        raise
    return task


@contextmanager
def errors_are_faults() -> Iterator[None]:
    """Fail where a database error reaches the caller: the ledger answers by a status."""
    try:
        yield
    except asyncpg.PostgresError as error:
        raise AssertionError(_describe(error)) from error


async def answers_of(*tasks: asyncio.Task[Any]) -> list[Any]:
    """Wait for all and return their answers; a database error is described in its place."""
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    return [_describe(a) if isinstance(a, BaseException) else a for a in answers]


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {getattr(error, 'constraint_name', None) or error}"


async def post_on(connection: Connection, book: Book, *transfers: Transfer) -> list[str]:
    """Post on this connection, without repeating anything; return the statuses."""
    outcomes = await post(connection, book.bank_id, [[transfer] for transfer in transfers])
    return [str(outcome.status) for outcome in outcomes]


async def award_in_one_call(
    connection: Connection, book: Book, wallet: UUID, unit: Unit = Unit.POINTS
) -> Counter[str]:
    """Make so many awards of 1 that the call counts as large; return how many had which status."""
    return Counter(
        await post_on(connection, book, *(book.award(wallet, 1, unit) for _ in range(LARGE)))
    )


def expect(found: object, wanted: object) -> None:
    """Fail unless these are equal."""
    assert found == wanted, f"{found} instead of {wanted}"


# ---- The books ---------------------------------------------------------------------------------

_BOOK_FAULTS = """
WITH line AS (
    SELECT p.*, t.status, t.amount AS moved,
           lag(p.seq, 1, 0) OVER passbook AS seq_before,
           lag(p.balance_after, 1, 0) OVER passbook AS balance_before,
           lag(p.recorded_at) OVER passbook AS recorded_before
    FROM posting p LEFT JOIN transfer t USING (bank_id, transfer_id)
    WHERE p.bank_id = $1
    WINDOW passbook AS (PARTITION BY p.account_id ORDER BY p.seq)
), passbook AS (
    SELECT account_id, count(*) AS lines, sum(amount) AS total,
           (array_agg(balance_after ORDER BY seq DESC))[1] AS last_balance
    FROM line GROUP BY account_id
)
SELECT 'unit does not sum to zero: ' || unit FROM balance
WHERE bank_id = $1 GROUP BY unit HAVING sum(balance) <> 0
UNION ALL
SELECT 'balance is not the sum of its postings: ' || b.account_id
FROM balance b LEFT JOIN passbook p USING (account_id) WHERE b.bank_id = $1 AND
    (b.balance, b.balance, b.seq)
    <> (coalesce(p.total, 0), coalesce(p.last_balance, 0), coalesce(p.lines, 0))
UNION ALL
SELECT 'balance is out of its limits: ' || account_id
FROM balance WHERE bank_id = $1 AND balance NOT BETWEEN floor AND ceiling
UNION ALL
SELECT 'passbook is not continuous: ' || account_id || ' ' || seq FROM line
WHERE seq <> seq_before + 1 OR balance_after <> balance_before + amount
   OR recorded_at < recorded_before
UNION ALL
SELECT 'posting is not of a posted transfer: ' || transfer_id FROM line
WHERE status IS DISTINCT FROM 'posted' OR abs(amount) <> moved
UNION ALL
SELECT 'transfer has not two opposite postings: ' || t.transfer_id
FROM transfer t LEFT JOIN posting p USING (bank_id, transfer_id)
WHERE t.bank_id = $1 GROUP BY t.bank_id, t.transfer_id, t.status
HAVING count(p.seq) <> CASE t.status WHEN 'posted' THEN 2 ELSE 0 END
    OR coalesce(sum(p.amount), 0) <> 0
"""


async def check_books(book: Book) -> None:
    """Sums are zero, three witnesses agree on each balance, and passbooks are continuous."""
    async with book.pool.acquire() as connection:
        faults = [row[0] for row in await connection.fetch(_BOOK_FAULTS, book.bank_id)]
    assert not faults, faults


# ---- Checks ------------------------------------------------------------------------------------


async def check_floor_is_exact(book: Book) -> None:
    """All that a wallet has can be spent, and not one point more."""
    wallet, shop = await book.open_account(balance=10), await book.open_account()
    asked = {11: "insufficient_balance", 10: "posted", 1: "insufficient_balance"}
    with errors_are_faults():
        for amount, status in asked.items():
            statuses = await book.post(book.transfer(wallet, shop, amount))
            expect([str(status) for status in statuses], [status])
    await check_books(book)


async def check_arrays_may_begin_anywhere(book: Book) -> None:
    """An SQL array may begin at 0; its amounts still belong to their own transfers."""
    wallet = await book.open_account()
    issuance = book.issuance[Unit.POINTS]
    async with connections(book, 1) as (connection,):
        with errors_are_faults():
            statuses = await connection.fetchval(
                """
                SELECT statuses FROM post_transfers(
                    $1, $2, '{award, award}', $3, $4, '[0:1]={100, 1}', '{null, null}', $5,
                    '{null, null}', '{null, null}', '{null, null}', '{null, null}')
                """,
                book.bank_id,
                [new_id(), new_id()],
                [issuance, issuance],
                [wallet, new_id()],
                [STAFF, STAFF],
            )
    expect(statuses, ["posted", "account_not_found"])
    await check_books(book)


async def check_second_spender_waits_and_is_refused(book: Book) -> None:
    """Two spend the same points at once: one is posted, the other refused by status."""
    wallet, shop = await book.open_account(balance=10), await book.open_account()
    other_shop = await book.open_account()
    async with connections(book, 2) as (first, second):
        async with first.transaction():
            expect(await post_on(first, book, book.transfer(wallet, shop, 10)), ["posted"])
            late = post_on(second, book, book.transfer(wallet, other_shop, 10))
            waiting = await hold_up(book, second, late)
        expect(await answers_of(waiting), [["insufficient_balance"]])
    await check_books(book)


async def check_repeat_is_answered_as_the_first(book: Book) -> None:
    """The same transfer at once and later: one effect, one answer."""
    a, b = await book.open_account(balance=10), await book.open_account()
    paid = book.transfer(a, b, 1)
    async with connections(book, 2) as (first, second):
        async with first.transaction():
            answer = await post(first, book.bank_id, [[paid]])
            waiting = await hold_up(book, second, post(second, book.bank_id, [[paid]]))
        expect(await answers_of(waiting), [answer])
        with errors_are_faults():
            expect(await post(second, book.bank_id, [[paid]]), answer)
    expect(await book.balance(b), 1)
    await check_books(book)


async def check_repeat_within_a_call_has_no_effect(book: Book) -> None:
    """The same transfer twice in one call: one effect; the same id for another one: none."""
    a, b = await book.open_account(balance=10), await book.open_account()
    paid = book.transfer(a, b, 1)
    other = book.transfer(a, b, 2, transfer_id=paid.transfer_id)
    async with connections(book, 1) as (connection,):
        with errors_are_faults():
            expect(
                await post_on(connection, book, paid, paid, other),
                ["posted", "posted", "id_conflict"],
            )
    expect(await book.balance(b), 1)
    await check_books(book)


async def check_id_is_taken_once_on_disjoint_accounts(book: Book) -> None:
    """Where no balance is locked by both, the unique index lets one in and sends one back."""
    a, b = await book.open_account(balance=10), await book.open_account()
    c, d = await book.open_account(balance=10), await book.open_account()
    one = book.transfer(a, b, 1)
    other = book.transfer(c, d, 1, transfer_id=one.transfer_id)
    async with connections(book, 2) as (first, second):
        async with first.transaction():
            expect(await post_on(first, book, one), ["posted"])
            waiting = await hold_up(book, second, post_on(second, book, other))
        expect(await answers_of(waiting), ["UniqueViolationError: transfer_pkey"])
        expect(await post_on(second, book, other), ["id_conflict"])
    expect((await book.balance(b), await book.balance(d)), (1, 0))
    await check_books(book)


async def check_accounts_in_opposite_orders_do_not_deadlock(book: Book) -> None:
    """Two batches name the same accounts in opposite orders; a third holds the middle one."""
    a, middle, b = [await book.open_account(balance=10) for _ in range(3)]
    there = [book.transfer(a, middle, 1), book.transfer(middle, b, 1)]
    back = [book.transfer(b, middle, 1), book.transfer(middle, a, 1)]
    async with connections(book, 3) as (gate, first, second):
        async with gate.transaction():
            await lock_balances(gate, book.bank_id, [middle])
            going = await hold_up(book, first, post_on(first, book, *there))
            coming = await hold_up(book, second, post_on(second, book, *back))
        expect(await answers_of(going, coming), [["posted", "posted"]] * 2)
    await check_books(book)


async def check_a_stamp_is_later_than_every_answer(book: Book) -> None:
    """While a post waits for one of its wallets, the other is asked what it has by now."""
    wallets = [await book.open_account(balance=10) for _ in range(2)]
    awaited, other = sorted(wallets)
    async with connections(book, 3) as (gate, poster, reader):
        async with gate.transaction():
            await lock_balances(gate, book.bank_id, [awaited])
            paying = post(poster, book.bank_id, [[book.transfer(awaited, other, 1)]])
            waiting = await hold_up(book, poster, paying)
            clock = await read_clock(reader)
            told = await get_balance_as_of(reader, book.bank_id, other, clock)
        [[outcome]] = await answers_of(waiting)
        expect(await get_balance_as_of(reader, book.bank_id, other, clock), told)
    assert outcome.recorded_at > clock, f"{outcome.recorded_at} is not after {clock}"
    await check_books(book)


async def check_the_clock_is_asked_before_who_writes(book: Book) -> None:
    """Totals of half a second from now are refused, however long it takes to see who writes."""
    async with connections(book, 1) as (asker,):
        at = await read_clock(asker) + timedelta(seconds=0.5)
        [answer] = await answers_of(
            asyncio.create_task(list_totals(asker, book.bank_id, book.bank.root_id, at))
        )
    expect(answer, "DatetimeFieldOverflowError: as_of_not_in_future")


async def check_large_calls_take_turns(book: Book) -> None:
    """A large call waits for another one, though they have no account in common."""
    points, hours = await book.open_account(), await book.open_account(unit=Unit.HOURS)
    async with connections(book, 2) as (first, second):
        async with first.transaction():
            await award_in_one_call(first, book, points)
            late = award_in_one_call(second, book, hours, Unit.HOURS)
            waiting = await hold_up(book, second, late)
        expect(await answers_of(waiting), [{"posted": LARGE}])
    await check_books(book)


async def check_large_requests_take_turns(book: Book) -> None:
    """So does a large call under a key: it waits before it claims the key, and has written nothing.

    Who comes with the same key meanwhile does not wait for the other's turn.
    """
    points, hours = await book.open_account(), await book.open_account(unit=Unit.HOURS)
    key = RequestKey(STAFF, str(new_id()), FINGERPRINT)
    awards = [[book.award(hours, 1, Unit.HOURS)] for _ in range(LARGE)]
    async with connections(book, 3) as (first, second, third):
        async with first.transaction():
            await award_in_one_call(first, book, points)
            late = post_requests(second, book.bank_id, [PostingRequest(key, awards)])
            waiting = await hold_up(book, second, late)
            with errors_are_faults():
                await third.execute("SET lock_timeout = '1s'")
                small = PostingRequest(key, [[book.award(hours, 1, Unit.HOURS)]])
                [answer] = await post_requests(third, book.bank_id, [small])
                expect([outcome.status for outcome in answer.outcomes], ["posted"])
        [[replayed]] = await answers_of(waiting)
        expect(len(replayed.outcomes), 1)
    await check_books(book)


async def check_a_large_call_after_a_lock_does_not_deadlock(book: Book) -> None:
    """Who has locked a wallet does not wait for the turn of one who waits for that wallet."""
    wallet = await book.open_account()
    async with connections(book, 2) as (first, second):
        async with first.transaction():
            await lock_balances(first, book.bank_id, [wallet, book.issuance[Unit.POINTS]])
            late = award_in_one_call(second, book, wallet)
            waiting = await hold_up(book, second, late)
            with errors_are_faults():
                await award_in_one_call(first, book, wallet)
        expect(await answers_of(waiting), [{"posted": LARGE}])
    expect(await book.balance(wallet), 2 * LARGE)
    await check_books(book)


async def check_ids_in_opposite_orders_do_not_deadlock(book: Book) -> None:
    """Two batches on disjoint accounts use the same ids in opposite orders."""
    ids = [new_id() for _ in range(3)]
    (a, b), (c, d), (e, f) = [
        (await book.open_account(balance=10), await book.open_account()) for _ in range(3)
    ]
    there = [book.transfer(a, b, 1, transfer_id=i) for i in ids]
    back = [book.transfer(c, d, 1, transfer_id=i) for i in reversed(ids)]
    async with connections(book, 3) as (gate, first, second):
        held = gate.transaction()
        await held.start()
        await post_on(gate, book, book.transfer(e, f, 1, transfer_id=ids[1]))
        going = await hold_up(book, first, post_on(first, book, *there))
        coming = await hold_up(book, second, post_on(second, book, *back))
        await held.rollback()
        answers = await answers_of(going, coming)
    expect(answers, [["posted"] * 3, "UniqueViolationError: transfer_pkey"])
    await check_books(book)


async def check_keys_in_opposite_orders_do_not_deadlock(book: Book) -> None:
    """Two batches of requests use the same keys in opposite orders."""
    requests = [await new_request(book) for _ in range(3)]
    async with connections(book, 3) as (gate, first, second):
        held = gate.transaction()
        await held.start()
        await post_requests(gate, book.bank_id, [requests[1]])
        going = await hold_up(book, first, answers_by_key(first, book, requests))
        coming = await hold_up(book, second, answers_by_key(second, book, requests[::-1]))
        await held.rollback()
        there, back = await answers_of(going, coming)
    expect(there, back)
    await check_books(book)


async def answers_by_key(
    connection: Connection, book: Book, requests: Sequence[PostingRequest]
) -> dict[str, list[Outcome]]:
    """Post the requests in one call; return what each key was answered."""
    answers = await post_requests(connection, book.bank_id, requests)
    return {request.key.key: a.outcomes for request, a in zip(requests, answers, strict=True)}


async def new_request(book: Book) -> PostingRequest:
    """A request under a new key that pays one point from a wallet that has one."""
    wallet, shop = await book.open_account(balance=1), await book.open_account()
    key = RequestKey(STAFF, str(new_id()), FINGERPRINT)
    return PostingRequest(key, [[book.transfer(wallet, shop, 1)]])
