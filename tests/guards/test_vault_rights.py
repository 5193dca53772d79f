"""The vault belongs to a role of its own, and its functions are the only way in."""

import asyncpg
import pytest

from tests.guards.test_append_only import LOGINS, accepted, login
from tests.guards.test_functions import catalogue
from timebank.db import read_schema
from timebank.embedded import Server

OTHERS = [*LOGINS, "timebank_owner"]

TABLES = ["master_key", "person", "field", "blind_index", "access_log"]


@pytest.mark.parametrize("role", OTHERS)
async def test_nobody_else_has_any_right_on_a_table(
    role: str, server: Server, worker_database: str
) -> None:
    found = await catalogue(
        server,
        worker_database,
        f"""
        SELECT c.oid::regclass || ' ' || asked FROM pg_class c,
            unnest(array['SELECT', 'INSERT', 'UPDATE', 'REFERENCES']) AS asked
        WHERE relnamespace = 'vault'::regnamespace AND relkind IN ('r', 'v', 'm', 'p')
          AND has_any_column_privilege('{role}', c.oid, asked)
        UNION ALL
        SELECT c.oid::regclass || ' ' || asked FROM pg_class c,
            unnest(array['DELETE', 'TRUNCATE', 'TRIGGER']) AS asked
        WHERE relnamespace = 'vault'::regnamespace AND relkind IN ('r', 'v', 'm', 'p')
          AND has_table_privilege('{role}', c.oid, asked)
        """,
    )
    assert found == []
    async with login(server, worker_database) as connection:
        await connection.execute(f"SET ROLE {role}")
        reading = [f"SELECT FROM vault.{table}" for table in TABLES]
        assert await accepted(connection, reading) == []


async def test_the_tables_are_all_known_here(server: Server, worker_database: str) -> None:
    found = await catalogue(
        server,
        worker_database,
        "SELECT relname FROM pg_class WHERE relnamespace = 'vault'::regnamespace "
        "AND relkind NOT IN ('i', 'I')",
    )
    assert sorted(found) == sorted(TABLES)


async def test_the_vault_role_owns_the_vault_and_nothing_else(
    server: Server, worker_database: str
) -> None:
    found = await catalogue(
        server,
        worker_database,
        """
        SELECT oid::regclass::text FROM pg_class
        WHERE (relnamespace = 'vault'::regnamespace) <> (relowner = 'timebank_vault'::regrole)
          AND relnamespace IN ('vault'::regnamespace, 'timebank'::regnamespace)
        UNION ALL
        SELECT oid::regprocedure::text FROM pg_proc
        WHERE (pronamespace = 'vault'::regnamespace) <> (proowner = 'timebank_vault'::regrole)
          AND pronamespace IN ('vault'::regnamespace, 'timebank'::regnamespace)
        UNION ALL
        SELECT nspname FROM pg_namespace
        WHERE (nspname = 'vault') <> (nspowner = 'timebank_vault'::regrole)
        """,
    )
    assert found == []


async def test_its_functions_fix_their_path_and_public_has_no_part(
    server: Server, worker_database: str
) -> None:
    found = await catalogue(
        server,
        worker_database,
        """
        SELECT proname FROM pg_proc WHERE pronamespace = 'vault'::regnamespace
          AND (prosecdef AND NOT coalesce('search_path=vault, pg_temp' = ANY (proconfig), false)
               OR has_function_privilege('public', oid, 'EXECUTE'))
        UNION ALL
        SELECT 'schema' WHERE has_schema_privilege('public', 'vault', 'USAGE, CREATE')
        """,
    )
    assert found == []


async def test_the_auditor_reads_the_access_log_and_no_field(
    server: Server, worker_database: str
) -> None:
    found = await catalogue(
        server,
        worker_database,
        "SELECT proname FROM pg_proc WHERE pronamespace = 'vault'::regnamespace "
        "AND has_function_privilege('timebank_auditor', oid, 'EXECUTE')",
    )
    assert sorted(found) == ["count_persons", "list_accesses", "list_master_keys"]


async def test_erasing_outside_the_vault_is_for_the_vault_alone(
    server: Server, worker_database: str
) -> None:
    found = await catalogue(
        server,
        worker_database,
        "SELECT rolname FROM pg_roles WHERE NOT rolsuper AND rolname LIKE 'timebank_%' "
        "AND has_function_privilege(oid, 'timebank.erase_party(integer,uuid,uuid)', 'EXECUTE')",
    )
    assert sorted(found) == ["timebank_owner", "timebank_vault"]


async def test_whatever_hands_out_something_sealed_writes_the_log(
    server: Server, worker_database: str
) -> None:
    """Of the functions that the service may call, those that return bytes or look some up."""
    async with login(server, worker_database) as connection:
        records = await connection.fetch(
            """
            SELECT proname, prosrc, pg_get_function_result(oid) AS result FROM pg_proc
            WHERE pronamespace = 'vault'::regnamespace
              AND has_function_privilege('timebank_app', oid, 'EXECUTE')
            """
        )
    giving = {
        name: source
        for name, source, result in records
        if "bytea" in result or ("blind_index" in source and "person_id" in result)
    }
    assert giving.keys() == {
        "read_fields",
        "find_persons",
        "open_for_correction",
        "list_to_rewrap",
    }
    for name, source in giving.items():
        assert "INSERT INTO access_log" in source, name


@pytest.mark.parametrize("role", ["timebank_vault", "postgres"])
async def test_the_access_log_is_not_edited_by_anybody(
    role: str, server: Server, worker_database: str
) -> None:
    async with login(server, worker_database) as connection:
        await connection.execute("SET session_replication_role = replica")
        await connection.execute(f"SET ROLE {role}")
        for statement in (
            "UPDATE vault.access_log SET purpose = 'contact'",
            "DELETE FROM vault.access_log",
            "TRUNCATE vault.access_log",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
                await connection.execute(statement)


def test_the_vault_section_comments_on_every_table() -> None:
    section = read_schema().split("CREATE SCHEMA vault")[1].split("Roles: default deny")[0]
    for table in TABLES:
        assert f"COMMENT ON TABLE {table} IS" in section
