"""What a superuser changes behind the guards is found, and the finding names the row."""

from collections.abc import Sequence

import asyncpg
import pytest

from tests.audit.books import Busy
from timebank.audit.reconcile import Report, reconcile
from timebank.audit.snapshot import plain_instants
from timebank.db import SERVER_SETTINGS
from timebank.embedded import Server

HISTORY = ("transfer", "posting", "request", "redemption_act", "account")
GUARDS_OFF = "".join(f"ALTER TABLE {table} DISABLE TRIGGER ALL;" for table in HISTORY)
GUARDS_ON = "".join(
    f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {table}_{trigger};"
    for table in HISTORY
    for trigger in ("is_append_only", "is_written_by_functions")
    if (table, trigger) != ("account", "is_written_by_functions")
)

LINE = "UPDATE posting SET {} WHERE account_id = '{{b.wallet}}' AND seq = {}"
DELETE_LINE = "DELETE FROM posting WHERE account_id = '{{b.wallet}}' AND seq = {}"
DELETE_AWARD = "DELETE FROM transfer WHERE transfer_id = '{{b.awards[{}]}}'"
TRANSFER = "UPDATE transfer SET {} WHERE transfer_id = '{{b.{}}}'"
REFUSED = "status = 'chain_broken', debit_seq = NULL, credit_seq = NULL"
BALANCE = "UPDATE balance SET {} WHERE account_id = '{{b.wallet}}'"
SWAP = """
    UPDATE posting p SET {0} = other.{0} FROM posting other
    WHERE other.account_id = p.account_id AND p.account_id = '{{b.wallet}}'
      AND p.seq IN (2, 3) AND other.seq = 5 - p.seq
"""
COPY_TRANSFER = """
    INSERT INTO transfer
    SELECT bank_id, '00000000-0000-7000-8000-00000000beef', kind, status, debit_account_id,
           credit_account_id, amount, occurred_at, recorded_at, debit_seq + {}, credit_seq + {},
           actor_id, chain_id, subject_id, reverses_id, reason
    FROM transfer WHERE transfer_id = '{{b.{}}}'
"""
COPY_LINE = """
    INSERT INTO posting
    SELECT bank_id, account_id, seq + {}, '00000000-0000-7000-8000-00000000beef', amount,
           {} + balance_after, occurred_at, occurred_latest, recorded_at
    FROM posting WHERE transfer_id = '{{b.asked}}' AND amount {} 0
"""
COPY_REQUEST = """
    INSERT INTO request (bank_id, caller_id, key, fingerprint, transfer_ids)
    SELECT bank_id, caller_id, 'another', fingerprint, transfer_ids FROM request
"""

ROWS = {
    "amount of a line": (LINE.format("amount = amount + 1", 3), 2, "posting {b.wallet}/3"),
    "amount of a line, in the sum": (LINE.format("amount = amount + 1", 3), 1, "unit points"),
    "amount of a transfer": (TRANSFER.format("amount = 31", "awards[2]"), 2, "{b.awards[2]}"),
    "amount below 1": (
        "ALTER TABLE transfer DROP CONSTRAINT transfer_amount_positive;"
        + TRANSFER.format("amount = -30", "awards[2]"),
        2,
        "transfer {b.awards[2]}",
    ),
    "first line gone": (DELETE_LINE.format(1), 2, "posting {b.wallet}/1"),
    "middle line gone": (DELETE_LINE.format(3), 4, "posting {b.wallet}/4"),
    "last line gone": (DELETE_LINE.format(7), 4, "balance {b.wallet}"),
    "last line gone, named": (DELETE_LINE.format(7), 2, "posting {b.wallet}/7"),
    "first transfer gone": (DELETE_AWARD.format(0), 2, "of transfer {b.awards[0]}"),
    "middle transfer gone": (DELETE_AWARD.format(2), 2, "of transfer {b.awards[2]}"),
    "last transfer gone": (DELETE_AWARD.format(4), 2, "of transfer {b.awards[4]}"),
    "balance row gone": (
        "DELETE FROM balance WHERE account_id = '{b.wallet}'",
        3,
        "balance {b.wallet}",
    ),
    "owner gone from the registry": (
        "DELETE FROM party WHERE party_id = "
        "(SELECT owner_id FROM account WHERE account_id = '{b.wallet}')",
        31,
        "account {b.wallet}",
    ),
    "account gone": (
        "DELETE FROM account WHERE account_id = '{b.wallet}'",
        3,
        "account {b.wallet}",
    ),
    "account and balance gone": (
        "DELETE FROM account WHERE account_id = '{b.wallet}';"
        "DELETE FROM balance WHERE account_id = '{b.wallet}'",
        36,
        "account {b.wallet}",
    ),
    "account of a transfer gone": (
        "DELETE FROM account WHERE account_id = '{b.hours}'",
        16,
        "transfer {b.chain[2]}",
    ),
    "bank gone": ("DELETE FROM bank", 36, "account {b.wallet}"),
    "balances after swapped": (SWAP.format("balance_after"), 5, "posting {b.wallet}/2"),
    "transfers of lines swapped": (SWAP.format("transfer_id"), 2, "posting {b.wallet}/3"),
    "instants swapped": (SWAP.format("recorded_at"), 7, "posting {b.wallet}/3"),
    "instants swapped, unlike the transfer": (
        SWAP.format("recorded_at"),
        2,
        "transfer {b.awards[1]}",
    ),
    "lines renumbered": (LINE.format("seq = 8", 7), 4, "posting {b.wallet}/8"),
    "history below the floor": (LINE.format("balance_after = -1", 2), 6, "posting {b.wallet}/2"),
    "occurred_at of a line": (
        LINE.format("occurred_at = occurred_at - interval '1 s'", 3),
        2,
        "posting {b.wallet}/3",
    ),
    "latest so far": (
        LINE.format("occurred_latest = occurred_at", 5),
        35,
        "posting {b.wallet}/5",
    ),
    "occurred later than recorded": (
        TRANSFER.format("occurred_at = recorded_at + interval '1 s'", "awards[2]"),
        35,
        "transfer {b.awards[2]}",
    ),
    "a year no calendar has": (
        LINE.format("recorded_at = 'infinity', occurred_at = '294276-01-01'", 3),
        2,
        "posting {b.wallet}/3",
    ),
    "balance": (BALANCE.format("balance = balance + 1"), 3, "balance {b.wallet}"),
    "balance, in the total": (BALANCE.format("balance = balance + 1"), 1, "points/wallet"),
    "seq of a balance": (BALANCE.format("seq = seq + 1"), 4, "balance {b.wallet}"),
    "recorded_at of a balance": (BALANCE.format("recorded_at = now()"), 3, "balance {b.wallet}"),
    "latest of a balance": (BALANCE.format("occurred_latest = now()"), 3, "balance {b.wallet}"),
    "unit of a balance": (BALANCE.format("unit = 'hours'"), 3, "balance {b.wallet}"),
    "kind of a balance": (BALANCE.format("kind = 'pool'"), 3, "balance {b.wallet}"),
    "floor": (BALANCE.format("floor = -100"), 6, "balance {b.wallet}"),
    "ceiling": (BALANCE.format("ceiling = ceiling + 1"), 6, "balance {b.wallet}"),
    "extra transfer": (COPY_TRANSFER.format(90, 90, "asked"), 2, "00000000beef"),
    "extra line": (COPY_LINE.format(1, "amount", ">"), 2, "00000000beef"),
    "extra transfer with both its lines": (
        COPY_TRANSFER.format(1, 1, "asked")
        + ";"
        + COPY_LINE.format(1, "amount", ">")
        + ";"
        + COPY_LINE.format(1, "amount", "<"),
        3,
        "balance {b.wallet}",
    ),
    "refusal made posted": (
        TRANSFER.format("status = 'posted', debit_seq = 1, credit_seq = 1", "refused"),
        2,
        "or {b.refused}",
    ),
    "posted made refused": (
        TRANSFER.format(REFUSED, "awards[2]"),
        9,
        "transfer {b.awards[2]}",
    ),
    "chain member made refused": (
        TRANSFER.format(REFUSED, "chain[1]"),
        10,
        "transfer {b.chain[1]}",
    ),
    "first of a chain made refused": (
        TRANSFER.format(REFUSED, "chain[0]"),
        10,
        "transfer {b.chain[1]}",
    ),
    "chain member in no chain's name": (
        TRANSFER.format("chain_id = gen_random_uuid()", "chain[1]"),
        10,
        "transfer {b.chain[1]}",
    ),
    "reversed twice": (
        "DROP INDEX transfer_reversed_once;" + COPY_TRANSFER.format(9, 9, "reversal"),
        14,
        "transfer {b.reversed}",
    ),
    "reversal of another amount": (
        TRANSFER.format("amount = amount + 1", "reversal"),
        14,
        "transfer {b.reversal}",
    ),
    "reversal of nothing": (
        TRANSFER.format("reverses_id = gen_random_uuid()", "reversal"),
        14,
        "transfer {b.reversal}",
    ),
    "reversal of a reversal": (
        TRANSFER.format(
            "kind = 'reversal', reason = 'abuse', reverses_id = gen_random_uuid()", "reversed"
        ),
        14,
        "transfer {b.reversal}",
    ),
    "unit of an account": (
        "UPDATE account SET unit = 'hours' WHERE account_id = '{b.wallet}'",
        16,
        "transfer {b.awards[0]}",
    ),
    "kind of an account": (
        "UPDATE account SET kind = 'issuance' WHERE account_id = '{b.wallet}'",
        34,
        "transfer {b.awards[0]}",
    ),
    "kind of a transfer": (TRANSFER.format("kind = 'transfer'", "asked"), 34, "{b.asked}"),
    "transfer made a gift": (
        "UPDATE transfer SET kind = 'gift' WHERE kind = 'transfer' AND status = 'posted'"
        " AND debit_account_id = '{b.other}'",
        23,
        "transfer",
    ),
    "chain of one": (
        TRANSFER.format("chain_id = transfer_id", "awards[2]"),
        10,
        "transfer {b.awards[2]}",
    ),
    "opened after its first line": (
        "UPDATE account SET opened_at = opened_at + interval '1 day'"
        " WHERE account_id = '{b.wallet}'",
        35,
        "account {b.wallet}",
    ),
    "owner gone": (
        "UPDATE account SET owner_id = NULL WHERE account_id = '{b.wallet}'",
        31,
        "account {b.wallet}",
    ),
    "answer of two calls": (
        "UPDATE request SET transfer_ids = transfer_ids || '{b.awards[0]}'::uuid",
        11,
        "/award-1",
    ),
    "actor of an answer": (
        TRANSFER.format("actor_id = gen_random_uuid()", "asked"),
        11,
        "/award-1",
    ),
    "answer that is not": (
        "UPDATE request SET transfer_ids = array[gen_random_uuid()]",
        11,
        "/award-1",
    ),
    "two answers of one transfer": (COPY_REQUEST, 11, "transfer {b.asked}"),
    "fingerprint": ("UPDATE request SET fingerprint = '\\x00'", 11, "/award-1"),
}

GUARDS = {
    "trigger left disabled": (
        "ALTER TABLE posting DISABLE TRIGGER posting_is_append_only",
        "trigger posting_is_append_only",
    ),
    "trigger not always": (
        "ALTER TABLE transfer ENABLE TRIGGER transfer_is_written_by_functions",
        "trigger transfer_is_written_by_functions",
    ),
    "trigger gone": (
        "DROP TRIGGER request_is_append_only ON request",
        "trigger request_is_append_only",
    ),
    "trigger for less": (
        "DROP TRIGGER request_is_append_only ON request;"
        "CREATE TRIGGER request_is_append_only BEFORE DELETE ON request"
        " FOR EACH STATEMENT EXECUTE FUNCTION refuse_edit();"
        "ALTER TABLE request ENABLE ALWAYS TRIGGER request_is_append_only",
        "trigger request_is_append_only",
    ),
    "constraint gone": (
        "ALTER TABLE balance DROP CONSTRAINT balance_not_below_floor",
        "constraint balance_not_below_floor",
    ),
    "constraint not valid": (
        "ALTER TABLE balance DROP CONSTRAINT balance_not_above_ceiling;"
        "ALTER TABLE balance ADD CONSTRAINT balance_not_above_ceiling"
        " CHECK (balance <= ceiling) NOT VALID",
        "constraint balance_not_above_ceiling",
    ),
    "another constraint of the name": (
        "ALTER TABLE posting DROP CONSTRAINT posting_seq_gapless;"
        "ALTER TABLE posting ADD CONSTRAINT posting_seq_gapless"
        " PRIMARY KEY (bank_id, account_id, seq, transfer_id)",
        "constraint posting_seq_gapless",
    ),
    "key gone": ("ALTER TABLE transfer DROP CONSTRAINT transfer_pkey", "constraint transfer_pkey"),
    "index gone": ("DROP INDEX transfer_reversed_once", "index transfer_reversed_once"),
    "right to insert": ("GRANT INSERT ON posting TO timebank_app", "role timebank_app"),
    "right to update a column": (
        "GRANT UPDATE (amount) ON transfer TO PUBLIC",
        "role timebank_auditor",
    ),
    "owner": ("ALTER VIEW passbook OWNER TO timebank_app", "role timebank_app"),
    "function": (
        "CREATE OR REPLACE FUNCTION refuse_edit() RETURNS trigger LANGUAGE plpgsql"
        " AS 'BEGIN RETURN NULL; END'",
        "function refuse_edit",
    ),
    "another schema": ("COMMENT ON SCHEMA timebank IS 'mine'", "schema timebank"),
}


async def audit(server: Server, database: str, changes: Sequence[str]) -> Report:
    """Tell what an auditor finds after these changes by a superuser, which are then taken back."""
    superuser = await asyncpg.connect(server.dsn(database), server_settings=SERVER_SETTINGS)
    transaction = superuser.transaction()
    await transaction.start()
    try:
        for change in changes:
            await superuser.execute(change)
        await superuser.execute("SET LOCAL ROLE timebank_auditor")
        async with plain_instants(superuser):
            return await reconcile(superuser, limit=1000)
    finally:
        await transaction.rollback()
        await superuser.close()


@pytest.mark.parametrize(("sql", "invariant", "row"), ROWS.values(), ids=ROWS.keys())
async def test_a_changed_row_is_found_and_named(
    server: Server, busy_database: tuple[str, Busy], sql: str, invariant: int, row: str
) -> None:
    database, busy = busy_database
    report = await audit(server, database, [GUARDS_OFF, sql.format(b=busy), GUARDS_ON])
    assert not report.ok
    assert [
        finding
        for finding in report.findings
        if finding.invariant == invariant and row.format(b=busy) in finding.row
    ], report.findings


@pytest.mark.parametrize(("sql", "row"), GUARDS.values(), ids=GUARDS.keys())
async def test_a_guard_out_of_force_is_found_and_named(
    server: Server, busy_database: tuple[str, Busy], sql: str, row: str
) -> None:
    report = await audit(server, busy_database[0], [sql])
    assert {(finding.invariant, finding.bank) for finding in report.findings} == {(17, None)}
    assert row in [finding.row for finding in report.findings]


async def test_guards_off_and_on_again_leave_nothing_to_find(
    server: Server, busy_database: tuple[str, Busy]
) -> None:
    report = await audit(server, busy_database[0], [GUARDS_OFF, GUARDS_ON])
    assert report.findings == []
