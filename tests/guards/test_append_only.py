"""History stays as it was written: what each role is refused, and what stops even the owner.

All attempts run in a transaction that is rolled back, should one succeed.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from timebank.db import SERVER_SETTINGS, Connection
from timebank.embedded import Server

HISTORY = ["transfer", "posting", "request", "redemption_act"]

COLUMNS = {
    "transfer": "amount",
    "posting": "balance_after",
    "request": "answer",
    "balance": "balance",
    "account": "kind",
    "redemption_act": "status",
    "hold": "state",
    "stock": "available",
    "cap_use": "used",
    "settlement": "paid",
    "webhook_attempt": "status",
    "webhook_delivery": "state",
    "webhook_event": "data",
    "slip": "number",
    "block": "lifted_at",
    "blocked_points": "points",
}
"""The tables that only functions write, and what of each one would like to change."""

TAMPERING = {
    "update": "UPDATE {table} SET {column} = {column}",
    "delete": "DELETE FROM {table}",
    "truncate": "TRUNCATE {table}",
    "insert": "INSERT INTO {table} SELECT * FROM {table} WHERE false",
    "insert in a block": "DO $$BEGIN INSERT INTO {table} SELECT * FROM {table} WHERE false "
    "/* post_transfers( PL/pgSQL function post_transfers( */; END$$",
    "copy": "COPY {table} FROM STDIN",
    "merge": "MERGE INTO {table} t USING bank b ON t.bank_id = b.bank_id WHEN MATCHED THEN DELETE",
    "lock the table": "LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE",
    "lock rows": "SELECT FROM {table} FOR UPDATE",
    "alter": "ALTER TABLE {table} ADD COLUMN note text",
    "take": "ALTER TABLE {table} OWNER TO CURRENT_USER",
    "drop": "DROP TABLE {table} CASCADE",
    "disable triggers": "ALTER TABLE {table} DISABLE TRIGGER ALL",
    "add a rule": "CREATE RULE lost AS ON INSERT TO {table} DO INSTEAD NOTHING",
    "add a trigger": "CREATE TRIGGER own BEFORE INSERT ON {table} EXECUTE FUNCTION refuse_edit()",
    "index": "CREATE INDEX ON {table} ({column})",
}

OVERREACH = {
    "silence triggers": "SET session_replication_role = replica",
    "become the owner": "SET ROLE timebank_owner",
    "become the superuser": "SET ROLE postgres",
    "join the owner": "GRANT timebank_owner TO CURRENT_USER",
    "create in the schema": "CREATE TABLE timebank.own (x int)",
    "create in public": "CREATE TABLE public.own (x int)",
    "create a schema": "CREATE SCHEMA own",
    "drop the schema": "DROP SCHEMA timebank CASCADE",
    "rewrite a function": "CREATE OR REPLACE FUNCTION timebank.refuse_edit() RETURNS trigger "
    "LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
    "alter a function": "ALTER FUNCTION timebank.refuse_edit() SECURITY DEFINER",
    "read files": "SELECT pg_read_file('PG_VERSION')",
    "run programs": "COPY bank TO PROGRAM 'cat'",
}

INTERNAL = {"decide_transfers", "examine_transfers", "find_reversal_fault", "recall_transfers"}
"""Functions that only other functions call."""

WRITING = {
    "open a bank": "INSERT INTO bank (code, name) VALUES ('own', 'own')",
    "revive a token": "UPDATE session SET revoked_at = NULL",
    "forget a resident": "DELETE FROM resident",
    "place a party": "INSERT INTO placement (bank_id) VALUES (1)",
    "open a branch": "INSERT INTO branch (bank_id) VALUES (1)",
}
"""What the auditor may not do outside the ledger."""

BY_HAND = ["update", "delete", "truncate", "insert", "insert in a block", "merge"]

LOGINS = ["timebank_app", "timebank_auditor"]


@asynccontextmanager
async def login(server: Server, database: str, user: str = "postgres") -> AsyncIterator[Connection]:
    """Yield a connection of this role."""
    connection = await asyncpg.connect(server.dsn(database, user), server_settings=SERVER_SETTINGS)
    try:
        yield connection
    finally:
        await connection.close()


async def refusal(connection: Connection, statement: str) -> str:
    """Return why a statement is refused for want of a right; empty if it is not."""
    attempt = connection.transaction()
    await attempt.start()
    try:
        await connection.execute(statement)
    except asyncpg.InsufficientPrivilegeError as error:
        return str(error)
    finally:
        await attempt.rollback()
    return ""


async def accepted(connection: Connection, statements: list[str]) -> list[str]:
    """Return those statements that nobody refused."""
    return [statement for statement in statements if not await refusal(connection, statement)]


def on_tables(tables: list[str], *, what: list[str] | None = None) -> list[str]:
    """Return the statements that tamper with each of these tables."""
    return [
        TAMPERING[name].format(table=table, column=COLUMNS[table])
        for name in what or TAMPERING
        for table in tables
    ]


@pytest.mark.parametrize("user", LOGINS)
async def test_logins_cannot_tamper_with_the_ledger(
    user: str, server: Server, worker_database: str
) -> None:
    async with login(server, worker_database, user) as connection:
        assert await accepted(connection, on_tables(list(COLUMNS))) == []


@pytest.mark.parametrize("user", LOGINS)
async def test_logins_cannot_reach_further(user: str, server: Server, worker_database: str) -> None:
    async with login(server, worker_database, user) as connection:
        assert await accepted(connection, list(OVERREACH.values())) == []


async def calls(connection: Connection) -> dict[str, str]:
    """Return a call of each function that may write, with nulls for arguments."""
    records = await connection.fetch(
        """
        SELECT proname, format('SELECT %I(%s)', proname, (
            SELECT string_agg('NULL::' || format_type(type, NULL), ', ' ORDER BY n)
            FROM unnest(proargtypes) WITH ORDINALITY AS argument(type, n)))
        FROM pg_proc WHERE pronamespace = 'timebank'::regnamespace
          AND prorettype <> 'trigger'::regtype AND (provolatile = 'v' OR proname = ANY ($1))
        """,
        INTERNAL,
    )
    return dict(list(records))


async def test_internal_functions_cannot_be_called(server: Server, worker_database: str) -> None:
    async with login(server, worker_database, "timebank_app") as connection:
        internal = [call for name, call in (await calls(connection)).items() if name in INTERNAL]
        assert len(internal) == len(INTERNAL)
        assert await accepted(connection, internal) == []


async def test_the_auditor_cannot_write(server: Server, worker_database: str) -> None:
    async with login(server, worker_database, "timebank_auditor") as connection:
        writing = await calls(connection)
        assert writing.keys() >= {"post_transfers", "post_requests", *INTERNAL}
        assert await accepted(connection, [*writing.values(), *WRITING.values()]) == []


async def test_the_auditor_reads_all_but_the_tokens(server: Server, worker_database: str) -> None:
    async with login(server, worker_database, "timebank_auditor") as connection:
        names = await connection.fetch(
            "SELECT relname FROM pg_class WHERE relnamespace = 'timebank'::regnamespace "
            "AND relkind IN ('r', 'v', 'm', 'p')"
        )
        reading = {f"SELECT FROM {row[0]}" for row in names}
        reading |= {"SELECT token_hash FROM session", "SELECT token_hash FROM card"}
        readable = set(await accepted(connection, sorted(reading)))
    assert reading - readable == {
        "SELECT FROM live_session",
        "SELECT FROM card",
        "SELECT FROM code_secret",
        "SELECT FROM session",
        "SELECT FROM signing_secret",
        "SELECT FROM webhook_endpoint",
        "SELECT FROM webhook_secret",
        "SELECT token_hash FROM card",
        "SELECT FROM enrolment",
        "SELECT FROM family_invitation",
        "SELECT FROM login_failure",
        "SELECT FROM login_secret",
        "SELECT FROM one_time_code",
        "SELECT FROM staff_login",
        "SELECT token_hash FROM session",
        "SELECT FROM code_key",
        "SELECT FROM payment_code",
        "SELECT FROM pickup_code",
    }


@pytest.mark.parametrize("replication_role", ["origin", "replica"])
@pytest.mark.parametrize("role", ["timebank_owner", "postgres"])
async def test_triggers_stop_the_owner_and_the_superuser(
    role: str, replication_role: str, server: Server, worker_database: str
) -> None:
    """They are ENABLE ALWAYS: a session that plays a replica meets them too."""
    by_hand = on_tables(HISTORY, what=BY_HAND)
    async with login(server, worker_database) as connection:
        await connection.execute(f"SET session_replication_role = {replication_role}")
        await connection.execute(f"SET ROLE {role}")
        reasons = {statement: await refusal(connection, statement) for statement in by_hand}
        for table in HISTORY:
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="written by"):
                await connection.copy_records_to_table(table, records=[], schema_name="timebank")
    wrong = {
        statement: reason
        for statement, reason in reasons.items()
        if "history is append-only" not in reason and "written by post_transfers" not in reason
    }
    assert wrong == {}


async def test_the_guards_are_in_force(server: Server, worker_database: str) -> None:
    async with login(server, worker_database) as connection:
        triggers = await connection.fetch(
            "SELECT tgrelid::regclass::text, tgname, tgenabled FROM pg_trigger "
            "WHERE NOT tgisinternal AND tgname ~ '_is_(append_only|written_by_functions)$'"
        )
        called_so = await connection.fetch(
            "SELECT relname FROM pg_class WHERE relnamespace = 'timebank'::regnamespace "
            "AND relkind = 'r' AND obj_description(oid) LIKE '%Append-only.%'"
        )
    append_only = {*HISTORY, *(row[0] for row in called_so)}
    assert {(table, name, enabled) for table, name, enabled in triggers} == {
        *((table, f"{table}_is_append_only", b"A") for table in append_only),
        *((table, f"{table}_is_written_by_functions", b"A") for table in HISTORY),
        ("vault.access_log", "access_log_is_append_only", b"A"),
    }
    assert {"audit_log", "branch_move", "placement"} < append_only
