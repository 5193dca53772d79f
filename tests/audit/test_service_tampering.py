"""What a superuser changes of service behind the guards is found, and the finding names the row."""

import secrets
from collections.abc import AsyncIterator

import asyncpg
import pytest

from tests.audit.served import Served, served_programme
from tests.audit.test_tampering import audit
from tests.book import Book
from timebank.db import install_schema, open_pool
from timebank.embedded import Server

TABLES = (
    "service_record",
    "service_award",
    "award_reversal",
    "transfer",
    "certificate",
    "certificate_line",
)
OFF = "".join(f"ALTER TABLE {table} DISABLE TRIGGER ALL;" for table in TABLES)
ON = "".join(
    f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {trigger};"
    for table, triggers in {
        "service_record": [
            "record_step",
            "record_reversed_ends_certificates",
            "record_of_held_activity_waits",
        ],
        "service_award": ["service_award_is_append_only"],
        "award_reversal": ["award_reversal_is_append_only"],
        "certificate": ["certificate_step"],
        "certificate_line": ["certificate_line_is_append_only"],
        "transfer": ["transfer_is_append_only", "transfer_is_written_by_functions"],
    }.items()
    for trigger in triggers
)
ON += "ALTER TABLE service_record ENABLE TRIGGER record_sheet_is_lawful;"

RECORD = "UPDATE service_record SET {} WHERE record_id = '{{s.{}}}'"
AWARD = "UPDATE service_award SET {} WHERE record_id = '{{s.{}}}'"
TRANSFER = "UPDATE transfer SET {} WHERE transfer_id = '{{s.{}}}'"
CONFIRMED = "status = 'confirmed', decided_by = gen_random_uuid(), decided_at = now()"


def drop(table: str, constraint: str) -> str:
    return f"ALTER TABLE {table} DROP CONSTRAINT {constraint};"


CASES = {
    "total of a certificate": (
        "UPDATE certificate SET minutes = minutes + 1",
        37,
        "certificate {s.certificate}",
    ),
    "what a certificate said": (
        """UPDATE certificate SET statement = '{{"minutes":106}}'""",
        37,
        "certificate {s.certificate}",
    ),
    "line of a certificate": (
        "UPDATE certificate_line SET minutes = minutes + 1 WHERE record_id = '{s.plain}'",
        37,
        "certificate {s.certificate}",
    ),
    "line of a certificate gone": (
        "DELETE FROM certificate_line WHERE record_id = '{s.plain}'",
        37,
        "certificate {s.certificate}",
    ),
    "valid of a reversed record": (
        RECORD.format("status = 'reversed'", "plain"),
        37,
        "certificate {s.certificate}",
    ),
    "confirmed without an award": (RECORD.format(CONFIRMED, "waiting"), 25, "record {s.waiting}"),
    "rejected made confirmed": (
        drop("service_record", "record_no_overlap")
        + RECORD.format("status = 'confirmed'", "rejected"),
        25,
        "record {s.rejected}",
    ),
    "confirmed made rejected": (
        RECORD.format("status = 'rejected'", "plain"),
        25,
        "record {s.plain}",
    ),
    "record gone": (
        "DELETE FROM service_record WHERE record_id = '{s.plain}'",
        25,
        "record {s.plain}",
    ),
    "award gone": (
        "DELETE FROM service_award WHERE record_id = '{s.plain}'",
        25,
        "record {s.plain}",
    ),
    "reversal gone": (
        "DELETE FROM award_reversal WHERE record_id = '{s.reversed}'",
        25,
        "record {s.reversed}",
    ),
    "reversed made confirmed": (
        RECORD.format("status = 'confirmed'", "reversed"),
        25,
        "award of record {s.reversed}",
    ),
    "confirmed made reversed": (
        RECORD.format("status = 'reversed'", "plain"),
        25,
        "award of record {s.plain}",
    ),
    "minutes of an award": (
        drop("service_award", "award_points_exact") + AWARD.format("minutes = 61", "plain"),
        25,
        "record {s.plain}",
    ),
    "hours of another": (
        "DROP INDEX award_of_hours_transfer;"
        + AWARD.format("hours_transfer_id = '{s.night_hours}'", "plain"),
        25,
        "transfer {s.night_hours}",
    ),
    "hours of nobody": (
        AWARD.format("hours_transfer_id = gen_random_uuid()", "plain"),
        25,
        "award of record {s.plain}",
    ),
    "points of an award": (
        drop("service_award", "award_points_exact") + AWARD.format("points = 13", "plain"),
        25,
        "award of record {s.plain}",
    ),
    "beneficiary": (
        RECORD.format("person_id = gen_random_uuid()", "plain"),
        25,
        "award of record {s.plain}",
    ),
    "approver": (
        RECORD.format("decided_by = gen_random_uuid()", "plain"),
        25,
        "award of record {s.plain}",
    ),
    "what it was about": (
        RECORD.format("wish_id = gen_random_uuid()", "plain"),
        25,
        "award of record {s.plain}",
    ),
    "chain of the points": (
        TRANSFER.format("chain_id = NULL", "plain_points"),
        25,
        "award of record {s.plain}",
    ),
    "kind of the hours": (
        TRANSFER.format("kind = 'rounding'", "plain_hours"),
        25,
        "award of record {s.plain}",
    ),
    "moved over another": (
        drop("service_record", "record_no_overlap")
        + drop("service_record", "record_minutes_from_instants")
        + RECORD.format(
            "during = tstzrange(lower(during) + '1 h', upper(during) + '1 h')", "plain"
        ),
        26,
        "record {s.plain}",
    ),
    "longer than it was": (
        drop("service_record", "record_minutes_from_instants")
        + RECORD.format(
            "during = tstzrange(lower(during) - interval '1 min', upper(during))", "plain"
        ),
        26,
        "record {s.plain}",
    ),
    "another day": (RECORD.format("served_on = served_on + 1", "night"), 26, "record {s.night}"),
    "another cut at midnight": (
        RECORD.format("next_day_minutes = 0", "night"),
        26,
        "record {s.night}",
    ),
    "rate of an award": (
        drop("service_award", "award_points_exact") + AWARD.format("points_per_hour = 13", "plain"),
        27,
        "award of record {s.plain}",
    ),
    "rate version of an award": (
        AWARD.format("rate_id = gen_random_uuid()", "plain"),
        27,
        "award of record {s.plain}",
    ),
    "rate": (
        "UPDATE rate SET points_per_hour = 13 WHERE rate_id = '{s.rate}'",
        27,
        "award of record {s.plain}",
    ),
    "day of a rate": (
        "UPDATE rate SET effective_on = '2026-01-01' WHERE rate_id = '{s.rate}'",
        27,
        "award of record {s.night}",
    ),
    "rate gone": (
        "DELETE FROM rate WHERE rate_id = '{s.rate}'",
        27,
        "award of record {s.plain}",
    ),
    "remainder of an award": (
        drop("service_award", "award_points_exact")
        + AWARD.format("remainder_after = remainder_after + 1", "plain"),
        27,
        "award of record {s.plain}",
    ),
    "carried remainder": (
        "UPDATE carry SET remainder = (remainder + 1) % 60 WHERE person_id = '{s.person}'",
        27,
        "person {s.person}",
    ),
    "carried remainder gone": (
        "DELETE FROM carry WHERE person_id = '{s.person}'",
        27,
        "person {s.person}",
    ),
    "category of a record": (
        RECORD.format("category_id = gen_random_uuid()", "later"),
        27,
        "person {s.person}",
    ),
    "extra point of a reversal": (
        drop("award_reversal", "reversal_has_extra_transfer_iff_extra_points")
        + "UPDATE award_reversal SET extra_points = 0 WHERE record_id = '{s.rounded}'",
        27,
        "reversal of record {s.rounded}",
    ),
    "rounding of nothing": (
        "UPDATE award_reversal SET extra_transfer_id = gen_random_uuid()"
        " WHERE record_id = '{s.rounded}'",
        27,
        "transfer {s.rounding}",
    ),
    "made by the beneficiary": (
        drop("service_record", "record_maker_is_another")
        + RECORD.format("made_by = person_id", "plain"),
        28,
        "record {s.plain}",
    ),
    "decided by the beneficiary": (
        drop("service_record", "record_checker_is_another")
        + RECORD.format("decided_by = person_id", "plain"),
        28,
        "record {s.plain}",
    ),
    "decided by the maker": (
        drop("service_record", "record_checker_is_another")
        + RECORD.format("decided_by = made_by", "plain"),
        28,
        "record {s.plain}",
    ),
    "decided by nobody": (
        drop("service_record", "record_decided_by_somebody")
        + RECORD.format("decided_by = NULL", "plain"),
        28,
        "record {s.plain}",
    ),
    "rate approved by its proposer": (
        drop("rate", "rate_approver_is_another") + "UPDATE rate SET approved_by = proposed_by",
        28,
        "rate {s.rate}",
    ),
    "bank gone": ("DELETE FROM bank", 36, "record {s.plain}"),
}

GUARDS = {
    "reversals end no certificate": (
        "ALTER TABLE service_record DISABLE TRIGGER record_reversed_ends_certificates",
        "trigger record_reversed_ends_certificates",
    ),
    "held activities earn": (
        "DROP TRIGGER record_of_held_activity_waits ON service_record",
        "trigger record_of_held_activity_waits",
    ),
    "right to certify": ("GRANT INSERT ON certificate TO timebank_app", "role timebank_app"),
    "overlaps are let in": (
        drop("service_record", "record_no_overlap"),
        "constraint record_no_overlap",
    ),
    "overlaps of some are let in": (
        drop("service_record", "record_no_overlap")
        + "ALTER TABLE service_record ADD CONSTRAINT record_no_overlap EXCLUDE USING gist"
        " (bank_id WITH =, person_id WITH =, during WITH &&) WHERE (status = 'submitted')",
        "constraint record_no_overlap",
    ),
    "one's own may be confirmed": (
        drop("service_record", "record_checker_is_another"),
        "constraint record_checker_is_another",
    ),
    "one's own rate may be approved": (
        drop("rate", "rate_approver_is_another"),
        "constraint rate_approver_is_another",
    ),
    "awards may be repeated": (drop("service_award", "award_once"), "constraint award_once"),
    "steps are not watched": ("DROP TRIGGER record_step ON service_record", "trigger record_step"),
    "another step is let in": (
        "DROP TRIGGER record_step ON service_record; CREATE TRIGGER record_step"
        " BEFORE INSERT OR UPDATE OF status ON service_record FOR EACH ROW"
        " EXECUTE FUNCTION check_step('>draft', '>confirmed');"
        " ALTER TABLE service_record ENABLE ALWAYS TRIGGER record_step",
        "trigger record_step",
    ),
    "awards may be edited": (
        "ALTER TABLE service_award DISABLE TRIGGER service_award_is_append_only",
        "trigger service_award_is_append_only",
    ),
    "blocks may be edited": (
        "ALTER TABLE blocked_points DISABLE TRIGGER blocked_points_is_append_only",
        "trigger blocked_points_is_append_only",
    ),
    "right to lift a block": ("GRANT UPDATE ON block TO timebank_app", "role timebank_app"),
    "right to write awards": ("GRANT INSERT ON service_award TO timebank_app", "role timebank_app"),
    "right to carry": ("GRANT UPDATE ON carry TO timebank_app", "role timebank_app"),
}


@pytest.fixture(scope="module")
async def served_database(server: Server) -> AsyncIterator[tuple[str, Served]]:
    """The name of a database of its own, and what was served there."""
    name = f"served_{secrets.token_hex(6)}"
    admin = await asyncpg.connect(server.dsn())
    await admin.execute(f"CREATE DATABASE {name}")
    fresh = await asyncpg.connect(server.dsn(name))
    await install_schema(fresh)
    await fresh.close()
    async with open_pool(server.dsn(name, "timebank_app")) as pool:
        served = await served_programme(await Book.open(pool))
    yield name, served
    await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await admin.close()


async def test_what_nobody_touched_agrees(
    server: Server, served_database: tuple[str, Served]
) -> None:
    assert (await audit(server, served_database[0], [OFF, ON])).findings == []


@pytest.mark.parametrize(("sql", "invariant", "row"), CASES.values(), ids=CASES.keys())
async def test_a_changed_row_is_found_and_named(
    server: Server, served_database: tuple[str, Served], sql: str, invariant: int, row: str
) -> None:
    database, served = served_database
    report = await audit(server, database, [OFF, sql.format(s=served), ON])
    assert [
        finding
        for finding in report.findings
        if finding.invariant == invariant and row.format(s=served) in finding.row
    ], report.findings


@pytest.mark.parametrize(("sql", "row"), GUARDS.values(), ids=GUARDS.keys())
async def test_a_guard_out_of_force_is_found_and_named(
    server: Server, served_database: tuple[str, Served], sql: str, row: str
) -> None:
    report = await audit(server, served_database[0], [sql])
    assert {finding.invariant for finding in report.findings} == {17}
    assert row in [finding.row for finding in report.findings]
