"""Opening the same thing twice at once: accounts, banks, and the schema itself."""

import asyncio
import re
import secrets
from collections import Counter

import asyncpg

from tests.book import Book
from tests.races.checks import connections, hold_up
from timebank.db import install_schema, read_schema, repeat_on_conflict
from timebank.domain.errors import AccountExistsError
from timebank.domain.ledger import Account, AccountKind, Unit
from timebank.embedded import Server
from timebank.ledger.accounts import ensure_account, ensure_accounts, open_account
from timebank.ledger.banks import ensure_bank
from timebank.ledger.ids import new_id

POINTS, WALLET = Unit.POINTS, AccountKind.WALLET


async def test_an_owner_opens_one_account_however_often_at_once(book: Book) -> None:
    owner = new_id()
    opening = [
        repeat_on_conflict(
            book.pool, lambda c: open_account(c, book.bank_id, POINTS, WALLET, owner)
        )
        for _ in range(10)
    ]
    answers = await asyncio.gather(*opening, return_exceptions=True)
    assert Counter(map(type, answers)) == {Account: 1, AccountExistsError: 9}


async def test_ensuring_an_account_at_once_gives_all_the_same(book: Book) -> None:
    owner = new_id()
    ensuring = [
        repeat_on_conflict(
            book.pool, lambda c: ensure_account(c, book.bank_id, POINTS, WALLET, owner)
        )
        for _ in range(10)
    ]
    answers = await asyncio.gather(*ensuring)
    assert answers == [answers[0]] * 10


async def test_ensuring_waits_for_who_is_just_opening(book: Book) -> None:
    owner = new_id()
    async with connections(book, 3) as (first, second, third):
        async with first.transaction():
            opened = await open_account(first, book.bank_id, POINTS, WALLET, owner)
            one = ensure_account(second, book.bank_id, POINTS, WALLET, owner)
            many = ensure_accounts(third, book.bank_id, POINTS, WALLET, [new_id(), owner])
            one, many = await hold_up(book, second, one), await hold_up(book, third, many)
        assert await one == opened
        assert (await many)[owner] == opened.account_id
        orphans = "SELECT count(*) FROM balance LEFT JOIN account USING (bank_id, account_id)"
        assert await first.fetchval(f"{orphans} WHERE account IS NULL") == 0


async def test_opening_a_bank_at_once_gives_all_the_same(book: Book) -> None:
    code = f"t{secrets.token_hex(8)}"
    async with connections(book, 8) as clients:
        banks = await asyncio.gather(*(ensure_bank(client, code, "测试") for client in clients))
    assert banks == [banks[0]] * 8


async def test_installers_at_once_apply_the_schema_once(server: Server, own_database: str) -> None:
    installers = [await asyncpg.connect(server.dsn(own_database)) for _ in range(4)]
    try:
        await installers[0].execute("DROP SCHEMA timebank, vault CASCADE")
        applied = await asyncio.gather(*map(install_schema, installers))
    finally:
        await asyncio.gather(*(connection.close() for connection in installers))
    assert Counter(applied) == {True: 1, False: 3}


async def test_two_databases_of_a_new_server_are_made_at_once(
    server: Server, own_database: str, worker_database: str, book: Book
) -> None:
    """Roles belong to the server: the second installer meets those that the first is making."""
    name = f"race{secrets.token_hex(4)}"
    schema = read_schema().replace("timebank", name).replace("vault", f"{name}_vault")
    roles = [row.split()[0] for row in re.findall(rf"'({name}\w* (?:NO)?LOGIN)'", schema)]
    first = await asyncpg.connect(server.dsn(own_database))
    second = await asyncpg.connect(server.dsn(worker_database))
    try:
        following = second.transaction()
        await following.start()
        async with first.transaction():
            await first.execute(schema)
            waiting = await hold_up(book, second, second.execute(schema))
        await waiting
        await following.rollback()
        await first.execute(
            f"DROP SCHEMA {name}, {name}_vault CASCADE; DROP ROLE {', '.join(roles)}"
        )
    finally:
        await first.close()
        await second.close()
