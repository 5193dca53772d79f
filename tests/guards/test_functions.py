"""The functions that run with the owner's rights do what they say, whoever calls them and how."""

from collections.abc import Mapping
from typing import Any

import asyncpg
import pytest

from tests.book import STAFF, Book
from tests.guards.test_append_only import login
from tests.races.checks import check_books
from timebank.db import Connection
from timebank.domain.ledger import Unit
from timebank.embedded import Server
from timebank.ledger.ids import new_id
from timebank.ledger.transfers import post

COLUMNS = {
    "ids": "uuid",
    "kinds": "transfer_kind",
    "debits": "uuid",
    "credits": "uuid",
    "amounts": "bigint",
    "occurred": "timestamptz",
    "actors": "uuid",
    "chains": "uuid",
    "subjects": "uuid",
    "reverses": "uuid",
    "reasons": "reversal_reason",
}
"""The arrays of post_transfers in their order, with the type of an element."""

MAY_BE_NULL = {"occurred", "chains", "subjects", "reverses", "reasons"}

MAY_END_EARLY = MAY_BE_NULL - {"occurred"}
"""What is missing at the end is null; an instant that is null says `now`, a missing one nothing."""

POST = "SELECT statuses FROM timebank.post_transfers($1, {})".format(
    ", ".join(
        f"${place}::timebank.{of}[]" if "_" in of else f"${place}::{of}[]"
        for place, of in enumerate(COLUMNS.values(), start=2)
    )
)


async def two_awards(book: Book) -> dict[str, list[Any] | None]:
    """The arrays of two awards of 1 to a new wallet."""
    wallet = await book.open_account()
    return {
        "ids": [new_id(), new_id()],
        "kinds": ["award", "award"],
        "debits": [book.issuance[Unit.POINTS]] * 2,
        "credits": [wallet, wallet],
        "amounts": [1, 1],
        "actors": [STAFF, STAFF],
        **{name: [None, None] for name in MAY_BE_NULL},
    }


async def call(connection: Connection, book: Book, arrays: Mapping[str, Any]) -> Any:
    """Call post_transfers with these arrays; return the statuses."""
    return await connection.fetchval(POST, book.bank_id, *(arrays[name] for name in COLUMNS))


async def catalogue(server: Server, database: str, query: str) -> list[Any]:
    """Return the first column of what a superuser finds."""
    async with login(server, database) as connection:
        return [row[0] for row in await connection.fetch(query)]


# ---- Arrays that are not what they should be ---------------------------------------------------


@pytest.mark.parametrize("column", sorted(COLUMNS.keys() - MAY_BE_NULL))
async def test_a_null_element_undoes_the_whole_call(column: str, book: Book) -> None:
    """The columns of transfer are NOT NULL: a transfer with a gap takes its neighbours with it."""
    arrays = await two_awards(book)
    wallet = (arrays["credits"] or [])[0]
    for place in range(2):
        gap = list(arrays[column] or [])
        gap[place] = None
        async with book.pool.acquire() as connection:
            with pytest.raises(asyncpg.NotNullViolationError):
                await call(connection, book, arrays | {column: gap})
    assert await book.balance(wallet) == 0
    await check_books(book)


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("shape", ["missing", "empty", "short", "long"])
async def test_an_array_of_another_length_undoes_the_whole_call(
    column: str, shape: str, book: Book
) -> None:
    arrays = await two_awards(book)
    wallet = (arrays["credits"] or [])[0]
    whole = list(arrays[column] or [])
    more = new_id() if column == "ids" else whole[0]
    bent = {"missing": None, "empty": [], "short": whole[:1], "long": [*whole, more]}[shape]
    async with book.pool.acquire() as connection:
        if column in MAY_END_EARLY and shape != "long":
            assert await call(connection, book, arrays | {column: bent}) == ["posted"] * 2
        else:
            with pytest.raises(asyncpg.PostgresError):
                await call(connection, book, arrays | {column: bent})
            assert await book.balance(wallet) == 0
    await check_books(book)


async def test_amounts_are_never_rounded(book: Book) -> None:
    """An array of floats or decimals is no argument of post_transfers at all.

    A Python float never comes so far: asyncpg cuts it to an integer, so the edges refuse it.
    """
    arrays = await two_awards(book)
    async with book.pool.acquire() as connection:
        for other in ("float8", "numeric"):
            with pytest.raises(asyncpg.UndefinedFunctionError):
                await connection.fetchval(
                    POST.replace("bigint", other),
                    book.bank_id,
                    *((arrays | {"amounts": [1, 1]})[name] for name in COLUMNS),
                )
    await check_books(book)


# ---- Who calls, and from where -----------------------------------------------------------------


@pytest.mark.parametrize("isolation", ["repeatable_read", "serializable"])
async def test_posting_needs_read_committed(isolation: str, book: Book) -> None:
    """Under another isolation the statements after the locks would not see what was committed."""
    wallet = await book.open_account()
    async with book.pool.acquire() as connection:
        with pytest.raises(asyncpg.ActiveSQLTransactionError, match="READ COMMITTED"):
            async with connection.transaction(isolation=isolation):
                await post(connection, book.bank_id, [[book.award(wallet, 1)]])
    assert await book.balance(wallet) == 0


async def test_what_a_caller_plants_is_not_used(server: Server, own_book: Book) -> None:
    """Tables and functions of the same names, in the schemas that the caller's path names first."""
    book = own_book
    arrays = await two_awards(book)
    async with book.pool.acquire() as connection:
        database = await connection.fetchval("SELECT current_database()")
    planted = """
        CREATE TABLE {0}.transfer (LIKE timebank.transfer);
        CREATE TABLE {0}.posting (LIKE timebank.posting);
        CREATE TABLE {0}.balance AS SELECT * FROM timebank.balance;
        CREATE TABLE {0}.account AS SELECT * FROM timebank.account;
        CREATE FUNCTION {0}.lock_balances(integer, uuid[]) RETURNS timebank.locked_balances
            LANGUAGE sql AS 'SELECT NULL::timebank.locked_balances';
        CREATE FUNCTION {0}.clock_timestamp() RETURNS timestamptz
            LANGUAGE sql AS 'SELECT timestamptz ''2000-01-01''';
        CREATE FUNCTION {0}.never(bigint, bigint) RETURNS boolean
            LANGUAGE sql IMMUTABLE AS 'SELECT false';
        CREATE OPERATOR {0}.< (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = {0}.never);
    """
    async with login(server, database) as superuser:
        await superuser.execute("CREATE SCHEMA planted" + planted.format("planted"))
        await superuser.execute("GRANT USAGE ON SCHEMA planted TO timebank_app")
    async with login(server, database, "timebank_app") as connection:
        await connection.execute(planted.format("pg_temp"))
        await connection.execute("SET search_path = planted, pg_temp, pg_catalog, timebank")
        assert await call(connection, book, arrays) == ["posted", "posted"]
        dates = "SELECT min(recorded_at) > '2020-01-01' FROM timebank.transfer"
        assert await connection.fetchval(dates)
    assert await book.balance((arrays["credits"] or [])[0]) == 2
    await check_books(book)


async def test_functions_with_the_owners_rights_fix_their_path(
    server: Server, worker_database: str
) -> None:
    found = await catalogue(
        server,
        worker_database,
        "SELECT proname FROM pg_proc WHERE prosecdef AND pronamespace = 'timebank'::regnamespace "
        "AND NOT coalesce('search_path=timebank, pg_temp' = ANY (proconfig), false)",
    )
    assert found == []


async def test_public_has_no_part_in_the_schema(server: Server, worker_database: str) -> None:
    found = await catalogue(
        server,
        worker_database,
        """
        SELECT 'schema ' || nspname FROM pg_namespace
        WHERE nspname = 'timebank' AND has_schema_privilege('public', oid, 'USAGE, CREATE')
        UNION ALL
        SELECT 'function ' || proname FROM pg_proc
        WHERE pronamespace = 'timebank'::regnamespace
          AND has_function_privilege('public', oid, 'EXECUTE')
        UNION ALL
        SELECT 'table ' || relname FROM pg_class
        WHERE relnamespace = 'timebank'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f')
          AND (has_table_privilege('public', oid,
                   'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')
               OR has_any_column_privilege('public', oid, 'SELECT, INSERT, UPDATE, REFERENCES'))
        UNION ALL
        SELECT 'sequence ' || relname FROM pg_class
        WHERE relnamespace = 'timebank'::regnamespace AND CASE WHEN relkind = 'S'
              THEN has_sequence_privilege('public', oid, 'USAGE, SELECT, UPDATE') END
        """,
    )
    assert found == []


async def test_the_owner_owns_everything_and_nobody_logs_in_as_it(
    server: Server, worker_database: str
) -> None:
    strangers = await catalogue(
        server,
        worker_database,
        """
        SELECT oid::regclass::text FROM pg_class
        WHERE relnamespace = 'timebank'::regnamespace AND relowner <> 'timebank_owner'::regrole
        UNION ALL
        SELECT oid::regprocedure::text FROM pg_proc
        WHERE pronamespace = 'timebank'::regnamespace AND proowner <> 'timebank_owner'::regrole
        UNION ALL
        SELECT rolname FROM pg_roles WHERE rolname LIKE 'timebank_%' AND (rolsuper
            OR rolcreaterole OR rolcreatedb OR rolbypassrls OR rolreplication
            OR rolcanlogin = (rolname IN ('timebank_owner', 'timebank_vault')))
        UNION ALL
        SELECT member::regrole::text FROM pg_auth_members
        WHERE roleid IN ('timebank_owner'::regrole, 'timebank_vault'::regrole)
        """,
    )
    assert strangers == []
