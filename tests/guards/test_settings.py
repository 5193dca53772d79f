"""What must hold whatever the server's defaults, language or load are."""

import re

import asyncpg
import pytest

from tests.book import Book
from timebank.db import open_pool, read_schema, transaction
from timebank.domain.errors import OverloadedError
from timebank.embedded import Server
from timebank.ledger.passbook import get_balance_as_of, read_clock
from timebank.ledger.transfers import lock_balances


async def test_a_success_is_on_disk_whatever_the_servers_default(
    server: Server, own_database: str
) -> None:
    admin = await asyncpg.connect(server.dsn(own_database))
    await admin.execute(f"ALTER DATABASE {own_database} SET synchronous_commit = off")
    await admin.close()
    async with open_pool(server.dsn(own_database, "timebank_app")) as pool:
        assert await pool.fetchval("SHOW synchronous_commit") == "on"


async def test_a_balance_of_the_past_does_not_wait_for_a_long_import(book: Book) -> None:
    wallet = await book.open_account()
    async with book.pool.acquire() as importer, importer.transaction():
        await lock_balances(importer, book.bank_id, [wallet])
        with pytest.raises(OverloadedError):
            async with transaction(book.pool) as asker:
                now = await read_clock(asker)
                await get_balance_as_of(asker, book.bank_id, wallet, now)


@pytest.mark.parametrize(
    ("line", "is_ours"),
    [
        ("PL/pgSQL function post_transfers(integer,uuid[]) line 21 at SQL statement", True),
        ("PL/pgSQL-Funktion post_requests(integer) Zeile 6 bei SQL-Anweisung", True),
        ("在SQL语句的第21行的PL/pgSQL函数post_transfers(integer,uuid[])", True),
        ("PL/pgSQL function answer_request(integer) line 3 at SQL statement", True),
        ("PL/pgSQL函数record_act(redemption_act)的第3行的SQL语句", True),
        ("fonction PL/pgSQL post_transfers(integer), ligne 21, à instruction SQL", True),
        ("PL/pgSQL function my_post_transfers(integer) line 3 at SQL statement", False),
        ("PL/pgSQL function own.post_transfers(integer) line 3 at SQL statement", False),
        ('SQL statement "INSERT INTO transfer SELECT /* post_transfers( */"', False),
        ('SQL statement "/* PL/pgSQL function post_transfers( */ INSERT INTO transfer"', False),
        ("SQL-Anweisung »INSERT INTO posting /* PL/pgSQL post_transfers( */«", False),
        ("instruction SQL « INSERT INTO posting /* PL/pgSQL post_transfers( */ »", False),
        ('PL/pgSQL assignment "status := post_transfers(1)"', False),
        ('SQL function "post_transfers" statement 1', False),
        ("PL/pgSQL function inline_code_block line 1 at SQL statement", False),
    ],
)
def test_the_insert_guard_knows_our_functions_in_any_language(line: str, is_ours: bool) -> None:
    guard = re.search(r"callers !~ ('.*?') THEN", read_schema(), re.DOTALL)
    assert guard
    pattern = "".join(re.findall("'([^']*)'", guard[1]))
    stack = f"PL/pgSQL function refuse_insert_by_hand() line 5 at GET DIAGNOSTICS\n{line}"
    assert bool(re.search(pattern, stack)) is is_ours
