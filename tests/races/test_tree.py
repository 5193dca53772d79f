"""Two hands on the tree at once: one waits, and what is then against the rules is refused."""

import asyncio
from itertools import pairwise
from uuid import UUID

import pytest

from tests.book import Book
from tests.people.test_branches import person_on
from tests.places import open_branch
from tests.races.checks import answers_of, connections, hold_up
from timebank.db import Connection, transaction
from timebank.domain.errors import OverloadedError
from timebank.domain.ledger import AccountKind
from timebank.ledger.passbook import read_clock
from timebank.ledger.transfers import lock_balances, post
from timebank.people.branches import close_branch, list_branches, move_branch
from timebank.people.branches import open_branch as open_below
from timebank.people.parties import place_party
from timebank.people.totals import list_totals


async def attempt(connection: Connection, book: Book, deed: str, branch: UUID, other: UUID) -> None:
    """Hang something on the branch, by one of the ways there are."""
    match deed:
        case "open":
            await open_below(connection, book.bank_id, branch, code="new", name="新")
        case "move":
            await move_branch(connection, book.bank_id, other, branch)
        case "place":
            await place_party(connection, book.bank_id, other, branch)


async def thing_for(book: Book, deed: str) -> UUID:
    if deed == "move":
        return await open_branch(book, await open_branch(book))
    return await person_on(book)


@pytest.mark.parametrize("deed", ["open", "move", "place"])
async def test_what_is_being_hung_on_a_branch_keeps_it_open(book: Book, deed: str) -> None:
    branch, other = await open_branch(book), await thing_for(book, deed)
    async with connections(book, 2) as (first, second):
        hanging = first.transaction()
        await hanging.start()
        await attempt(first, book, deed, branch, other)
        closing = await hold_up(book, second, close_branch(second, book.bank_id, branch))
        await hanging.commit()
        assert await answers_of(closing) == ["CheckViolationError: branch_is_empty"]


@pytest.mark.parametrize("deed", ["open", "move", "place"])
async def test_nothing_is_hung_on_a_branch_that_is_being_closed(book: Book, deed: str) -> None:
    branch, other = await open_branch(book), await thing_for(book, deed)
    async with connections(book, 2) as (first, second):
        closing = first.transaction()
        await closing.start()
        await close_branch(first, book.bank_id, branch)
        hanging = await hold_up(book, second, attempt(second, book, deed, branch, other))
        await closing.commit()
        assert await answers_of(hanging) == ["CheckViolationError: branch_is_open"]


async def test_a_posting_to_a_pool_is_seen_by_who_closes_its_branch(book: Book) -> None:
    branch = await open_branch(book)
    pool = await book.open_account(AccountKind.POOL, owner_id=branch)
    async with connections(book, 2) as (first, second):
        posting = first.transaction()
        await posting.start()
        await post(first, book.bank_id, [[book.award(pool, 3)]])
        closing = await hold_up(book, second, close_branch(second, book.bank_id, branch))
        await posting.commit()
        assert await answers_of(closing) == ["CheckViolationError: branch_is_empty"]


async def test_moves_under_each_other_make_no_cycle(book: Book) -> None:
    """Levels alone forbid it: of any moves at once, what remains is a tree."""
    tops = [await open_branch(book) for _ in range(2)]
    below = [await open_branch(book, top) for top in tops]
    branches = [*tops, *below]
    pairs = [(branch, other) for branch in branches for other in branches]
    async with connections(book, 8) as clients:
        for start in range(0, len(pairs), len(clients)):
            await asyncio.gather(
                *(
                    move_branch(client, book.bank_id, *pair)
                    for client, pair in zip(clients, pairs[start:], strict=False)
                ),
                return_exceptions=True,
            )
        listed = await list_branches(clients[0], book.bank_id, within=book.bank.root_id)
    assert {one.branch_id for one in listed} == {book.bank.root_id, *branches}
    assert {one.parent_id for one in listed if one.branch_id in tops} == {book.bank.root_id}


async def test_a_branch_is_moved_once_however_often_at_once(book: Book) -> None:
    branch, other = await open_branch(book, await open_branch(book)), await open_branch(book)
    async with connections(book, 2) as (first, second):
        moving = first.transaction()
        await moving.start()
        await move_branch(first, book.bank_id, branch, other)
        again = await hold_up(book, second, move_branch(second, book.bank_id, branch, other))
        await moving.commit()
        assert await answers_of(again) == ["CheckViolationError: branch_moves_elsewhere"]


async def test_who_is_moved_twice_at_once_hangs_on_one(book: Book) -> None:
    branches = [await open_branch(book) for _ in range(4)]
    person = await person_on(book)
    async with connections(book, 8) as clients:
        answers = await asyncio.gather(
            *(
                place_party(client, book.bank_id, person, branches[n % 4])
                for n, client in enumerate(clients)
            ),
            return_exceptions=True,
        )
    rows = await book.pool.fetch(
        "SELECT branch_id FROM placement WHERE bank_id = $1 ORDER BY placed_at", book.bank_id
    )
    places = [row["branch_id"] for row in rows]
    assert len(places) == sum(isinstance(answer, UUID) for answer in answers)
    assert all(one != two for one, two in pairwise(places))


@pytest.mark.parametrize("what", ["posting", "placing", "moving"])
async def test_totals_of_the_past_wait_for_who_is_writing(book: Book, what: str) -> None:
    """Else a past instant would tell one thing now and another when that is committed."""
    old = await open_branch(book)
    new, community = await open_branch(book), await open_branch(book, old)
    person = await person_on(book, community)
    wallet = await book.open_account(owner_id=person, balance=10)
    async with connections(book, 3) as (writer, asker, clock):
        writing = writer.transaction()
        await writing.start()
        match what:
            case "posting":
                await post(writer, book.bank_id, [[book.award(wallet, 7)]])
            case "placing":
                await place_party(writer, book.bank_id, person, new)
            case _:
                await move_branch(writer, book.bank_id, community, new)
        at = await read_clock(clock)
        asking = asyncio.create_task(list_totals(asker, book.bank_id, old, at))
        await asyncio.sleep(0.1)
        assert not asking.done()
        await writing.commit()
        answer = await asking
    expected = {"posting": 17, "placing": 0, "moving": 0}[what]
    assert sum(total.balance for total in answer) == expected
    async with transaction(book.pool) as connection:
        assert await list_totals(connection, book.bank_id, old, at) == answer


async def test_totals_do_not_wait_for_a_long_import(book: Book) -> None:
    wallet = await book.open_account()
    async with book.pool.acquire() as importer, importer.transaction():
        await lock_balances(importer, book.bank_id, [wallet])
        with pytest.raises(OverloadedError):
            async with transaction(book.pool) as asker:
                now = await read_clock(asker)
                await list_totals(asker, book.bank_id, book.bank.root_id, now)
        async with transaction(book.pool) as asker:
            assert await list_totals(asker, book.bank_id, book.bank.root_id) != []
