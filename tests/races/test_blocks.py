"""Who places or lifts a block has its wallets: each posting came before or after, never between."""

from collections.abc import Awaitable, Callable
from uuid import UUID

import pytest

from tests.book import Book
from tests.guards.test_append_only import login
from tests.races import variants
from tests.races.checks import connections, expect, hold_up, post_on
from tests.races.variants import Edit, install_variant
from timebank.db import Connection, open_pool, transaction
from timebank.embedded import Server
from timebank.ledger import blocks
from timebank.ledger.ids import new_id
from timebank.ledger.transfers import lock_balances

Check = Callable[[Book, Connection], Awaitable[None]]

PLACE = "SELECT place_block($1, $2, array[$3::uuid], array[$4::uuid], array[NULL::uuid], '{0}', $5)"


async def award_of(book: Book, wallet: UUID) -> UUID:
    award = book.award(wallet, 10)
    await book.post_all(award)
    return award.transfer_id


async def check_the_database_places_under_the_lock(book: Book, superuser: Connection) -> None:
    """Whoever calls it: who posts from the wallet meanwhile is waited for."""
    wallet = await book.open_account()
    award = await award_of(book, wallet)
    async with connections(book, 2) as (gate, placing):
        async with gate.transaction():
            await lock_balances(gate, book.bank_id, [wallet])
            call = placing.execute(PLACE, book.bank_id, new_id(), wallet, award, [10])
            waiting = await hold_up(book, placing, call)
        await waiting


async def check_lifting_waits(book: Book, superuser: Connection) -> None:
    """Who has decided by what was blocked posts before it is free."""
    wallet, block = await book.open_account(), new_id()
    award = await award_of(book, wallet)
    async with transaction(book.pool) as connection:
        await blocks.place_block(connection, book.bank, block, {award: wallet})
    async with connections(book, 1) as (gate,):
        async with gate.transaction():
            await lock_balances(gate, book.bank_id, [wallet])
            lifting = superuser.execute("SELECT lift_block($1, $2)", book.bank_id, block)
            waiting = await hold_up(book, superuser, lifting)
        await waiting


async def check_what_is_left_is_blocked(book: Book, superuser: Connection) -> None:
    """What is spent while a block is being placed was spent before it."""
    wallet, shop = await book.open_account(), await book.open_account()
    award = await award_of(book, wallet)
    async with connections(book, 2) as (first, placing):
        async with first.transaction():
            await post_on(first, book, book.transfer(wallet, shop, 6))
            call = _place(placing, book, award, wallet)
            waiting = await hold_up(book, placing, call)
        expect(await waiting, 4)


async def _place(connection: Connection, book: Book, award: UUID, wallet: UUID) -> int:
    async with connection.transaction():
        return await blocks.place_block(connection, book.bank, new_id(), {award: wallet})


CASES: dict[str, tuple[Edit, Check]] = {
    "placed without a lock": (
        variants.PLACED_WITHOUT_A_LOCK,
        check_the_database_places_under_the_lock,
    ),
    "lifted without a lock": (variants.LIFTED_WITHOUT_A_LOCK, check_lifting_waits),
}


@pytest.mark.parametrize("case", CASES)
async def test_a_fault_is_caught(case: str, server: Server, own_database: str) -> None:
    edit, check = CASES[case]
    await install_variant(server.dsn(own_database), edit)
    async with (
        open_pool(server.dsn(own_database, "timebank_app"), size=6) as pool,
        login(server, own_database) as superuser,
    ):
        book = await Book.open(pool)
        with pytest.raises(AssertionError, match="not held up"):
            await check(book, superuser)


@pytest.mark.parametrize(
    "check",
    [check_the_database_places_under_the_lock, check_lifting_waits, check_what_is_left_is_blocked],
)
async def test_schema_sql_passes(check: Check, book: Book, worker_superuser: Connection) -> None:
    await check(book, worker_superuser)


async def test_a_look_without_the_lock_is_caught(
    book: Book, worker_superuser: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database waits all the same, and blocks what was there before."""

    async def look_only(*_: object) -> None:
        pass

    monkeypatch.setattr(blocks, "lock_balances", look_only)
    with pytest.raises(AssertionError, match="10 instead of 4"):
        await check_what_is_left_is_blocked(book, worker_superuser)
