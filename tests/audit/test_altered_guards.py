"""Whatever in the catalogue is not as schema.sql makes it is found: rights, triggers, functions."""

import pytest

from tests.audit.books import Busy
from tests.audit.test_tampering import audit
from timebank.db import read_schema
from timebank.embedded import Server

STRANGER = "CREATE ROLE stranger_to_the_book;"
FUNCTION = "public.nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'"
PASSBOOK = read_schema().split("CREATE VIEW passbook AS")[1].split(";")[0]

ALTERED = {
    "right of a stranger": (
        STRANGER + "GRANT UPDATE ON transfer TO stranger_to_the_book",
        "role stranger_to_the_book",
    ),
    "right of a stranger on a column": (
        STRANGER + "GRANT INSERT (amount) ON posting TO stranger_to_the_book",
        "role stranger_to_the_book",
    ),
    "right of a stranger to read": (
        STRANGER + "GRANT SELECT ON session TO stranger_to_the_book",
        "role stranger_to_the_book",
    ),
    "right of a stranger in the vault": (
        STRANGER + "GRANT SELECT ON vault.field TO stranger_to_the_book",
        "role stranger_to_the_book",
    ),
    "right of all to read": ("GRANT SELECT ON trial_balance TO PUBLIC", "role public"),
    "right to read what was withheld": (
        "GRANT SELECT ON code_key TO timebank_auditor",
        "role timebank_auditor",
    ),
    "right to delete": ("GRANT DELETE ON session TO timebank_app", "role timebank_app"),
    "right on another column": (
        "GRANT UPDATE (role) ON role_grant TO timebank_app",
        "role timebank_app",
    ),
    "right to grant on": (
        "GRANT INSERT ON party TO timebank_app WITH GRANT OPTION",
        "role timebank_app",
    ),
    "right to a function": (
        "GRANT EXECUTE ON FUNCTION lift_block TO timebank_app",
        "role timebank_app",
    ),
    "right of all to a function": (
        "GRANT EXECUTE ON FUNCTION post_transfers TO PUBLIC",
        "role public",
    ),
    "right to make functions": (
        "GRANT CREATE ON SCHEMA timebank TO timebank_app",
        "role timebank_app",
    ),
    "table of a stranger": (
        STRANGER + "ALTER TABLE honour OWNER TO stranger_to_the_book",
        "role stranger_to_the_book",
    ),
    "function of a stranger": (
        STRANGER + "ALTER FUNCTION place_block OWNER TO stranger_to_the_book",
        "role stranger_to_the_book",
    ),
    "member of the owner": (
        STRANGER + "GRANT timebank_owner TO stranger_to_the_book",
        "role stranger_to_the_book",
    ),
    "another trigger": (
        f"CREATE FUNCTION {FUNCTION}; CREATE TRIGGER lost BEFORE INSERT ON posting"
        " FOR EACH ROW EXECUTE FUNCTION public.nothing()",
        "trigger lost",
    ),
    "another trigger of a known name": (
        f"CREATE FUNCTION {FUNCTION}; CREATE TRIGGER slip_is_append_only BEFORE INSERT ON balance"
        " FOR EACH ROW EXECUTE FUNCTION public.nothing()",
        "trigger slip_is_append_only",
    ),
    "step not watched": ("ALTER TABLE wish DISABLE TRIGGER wish_step", "trigger wish_step"),
    "key that may be revived": (
        "DROP TRIGGER api_key_stays_ended ON api_key",
        "trigger api_key_stays_ended",
    ),
    "seal not watched": (
        "ALTER TABLE webhook_secret DISABLE TRIGGER sealed_secret_is_sealed",
        "trigger sealed_secret_is_sealed",
    ),
    "rule": (
        "CREATE RULE lost AS ON INSERT TO posting DO INSTEAD NOTHING",
        "table posting",
    ),
    "row security": ("ALTER TABLE transfer ENABLE ROW LEVEL SECURITY", "table transfer"),
    "table that inherits": ("CREATE TABLE public.more () INHERITS (posting)", "table posting"),
    "view": (
        "CREATE OR REPLACE VIEW passbook AS"
        + PASSBOOK.replace(
            "p.amount, p.balance_after", "p.balance_after AS amount, p.amount AS b"
        ).replace("p.amount AS b", "p.amount AS balance_after"),
        "view passbook",
    ),
    "view with fewer rows": (
        f"CREATE OR REPLACE VIEW passbook AS{PASSBOOK} WHERE p.seq > 1",
        "view passbook",
    ),
    "view gone": ("DROP VIEW roster", "view roster"),
    "function with the owner's rights": (
        "ALTER FUNCTION refuse_insert_by_hand SECURITY DEFINER",
        "function refuse_insert_by_hand",
    ),
    "function without them": ("ALTER FUNCTION lift_block SECURITY INVOKER", "function lift_block"),
    "function with another path": (
        "ALTER FUNCTION post_transfers SET search_path = timebank",
        "function post_transfers",
    ),
    "function with another setting": (
        "ALTER FUNCTION refuse_edit SET session_replication_role = replica",
        "function refuse_edit",
    ),
    "function without its settings": (
        "ALTER FUNCTION lock_balances RESET ALL",
        "function lock_balances",
    ),
    "function that is said not to change": (
        "ALTER FUNCTION find_rate IMMUTABLE",
        "function find_rate",
    ),
    "function gone": ("DROP FUNCTION count_blocked", "function count_blocked"),
    "function more": (
        f"CREATE FUNCTION {FUNCTION}".replace("public.", "timebank."),
        "function nothing",
    ),
}

APPEND_ONLY = (
    "account",
    "audit_log",
    "award_reversal",
    "blocked_points",
    "branch_move",
    "cap_rule",
    "certificate_line",
    "consent",
    "expiry_rule",
    "membership",
    "minor_cap",
    "placement",
    "posting",
    "record_grade",
    "redemption_act",
    "request",
    "saturation_rule",
    "scan",
    "service_award",
    "sheet",
    "sheet_run",
    "signing_key",
    "slip",
    "star_rule",
    "transfer",
)


@pytest.mark.parametrize(("sql", "row"), ALTERED.values(), ids=ALTERED.keys())
async def test_what_is_altered_is_found_and_named(
    server: Server, busy_database: tuple[str, Busy], sql: str, row: str
) -> None:
    report = await audit(server, busy_database[0], [sql])
    assert row in [finding.row for finding in report.findings if finding.invariant == 17]


@pytest.mark.parametrize("table", APPEND_ONLY)
async def test_a_table_that_may_be_edited_is_found(
    server: Server, busy_database: tuple[str, Busy], table: str
) -> None:
    trigger = f"{table}_is_append_only"
    report = await audit(
        server, busy_database[0], [f"ALTER TABLE {table} DISABLE TRIGGER {trigger}"]
    )
    assert {(finding.invariant, finding.row) for finding in report.findings} == {
        (17, f"trigger {trigger}")
    }


async def test_the_table_that_the_vault_may_edit_is_found(
    server: Server, busy_database: tuple[str, Busy]
) -> None:
    sql = "ALTER TABLE vault.access_log DISABLE TRIGGER access_log_is_append_only"
    report = await audit(server, busy_database[0], [sql])
    assert {finding.row for finding in report.findings} == {"trigger access_log_is_append_only"}
