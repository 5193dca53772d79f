"""What a superuser changes of a block, or takes away of it, is found, and the finding names it."""

import asyncpg
import pytest

from tests.audit.test_tampering import GUARDS_OFF, GUARDS_ON, audit
from tests.book import Book
from tests.service.programme import CHECKER, OTHER_CHECKER, THIRD_CHECKER, Programme, at, new_person
from timebank.domain.suspicions import Reason
from timebank.embedded import Server
from timebank.service.anomalies import hold_activity, release_activity

TABLES = ("block", "blocked_points", "activity_hold")
OFF = GUARDS_OFF + "".join(f"ALTER TABLE {table} DISABLE TRIGGER ALL;" for table in TABLES)
ON = GUARDS_ON + "".join(
    f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {trigger};"
    for table, trigger in (
        ("block", "block_is_lawful"),
        ("block", "block_is_never_emptied"),
        ("blocked_points", "blocked_points_is_append_only"),
    )
)

HELD = "block_id = '{held}'"
RELEASED = "block_id = '{released}'"
CHANGES = {
    "lifted": (f"UPDATE block SET lifted_at = now() WHERE {HELD}", "block {held}"),
    "in force again": (f"UPDATE block SET lifted_at = NULL WHERE {RELEASED}", "block {released}"),
    "lifted before it was released": (
        f"UPDATE block SET lifted_at = lifted_at - interval '1 minute' WHERE {RELEASED}",
        "block {released}",
    ),
    "block gone": (f"DELETE FROM block WHERE {HELD}", "block {held}"),
    "points gone": (f"DELETE FROM blocked_points WHERE {HELD}", "block {held}"),
    "points of one gone": (
        f"DELETE FROM blocked_points WHERE {HELD} AND points = 5",
        "block {held}",
    ),
    "fewer points": (f"UPDATE blocked_points SET points = points - 1 WHERE {HELD}", "block {held}"),
    "fewer points said": (f"UPDATE block SET points = 1 WHERE {HELD}", "block {held}"),
    "hold gone": ("DELETE FROM activity_hold WHERE hold_id = '{held}'", "block {held}"),
    "hold released": (
        "UPDATE activity_hold SET proposed_by = gen_random_uuid(), proposed_at = now(),"
        " released_by = gen_random_uuid(), released_at = now() WHERE hold_id = '{held}'",
        "block {held}",
    ),
    "points of another wallet": (
        f"UPDATE blocked_points SET account_id = gen_random_uuid() WHERE {HELD} AND points = 5",
        "in block {held}",
    ),
    "of another award": (
        "UPDATE blocked_points SET origin_id = (SELECT min(origin_id::text)::uuid"
        f" FROM blocked_points WHERE {RELEASED}) WHERE {HELD} AND points = 5",
        "in block {held}",
    ),
    "of a hold that is none": (
        f"UPDATE blocked_points SET hold_id = gen_random_uuid() WHERE {HELD} AND points = 5",
        "in block {held}",
    ),
    "since later": (
        f"UPDATE blocked_points SET since_seq = since_seq + 1 WHERE {HELD} AND points = 5",
        "in block {held}",
    ),
}


async def test_what_is_changed_of_a_block_is_found(
    server: Server, own_database: str, own_book: Book
) -> None:
    programme, person = await Programme.open(own_book), new_person()
    holds = {}
    for name, days in (("released", 1), ("held", 2)):
        shift = await programme.make_shift()
        about = {"activity_id": shift.activity_id, "shift_id": shift.shift_id, "wish_id": None}
        for hour, minutes in ((9, 60), (11, 30)):
            start = at(f"2026-01-{days:02} {hour:02}:00")
            record_id = await programme.record(person, start, minutes, **about)
            await programme.confirm(record_id)
        held = await programme.run(hold_activity, CHECKER, shift.activity_id, Reason.NO_SPREAD)
        holds[name] = held.hold_id
        if name == "released":
            for checker in (OTHER_CHECKER, THIRD_CHECKER):
                await programme.run(release_activity, checker, shift.activity_id)
    assert (await audit(server, own_database, [OFF, ON])).findings == []
    missed = []
    for name, (change, row) in CHANGES.items():
        report = await audit(server, own_database, [OFF, change.format(**holds), ON])
        found = {
            finding.invariant for finding in report.findings if row.format(**holds) in finding.row
        }
        if found != {38}:
            missed.append((name, report.findings))
    assert missed == []


@pytest.mark.parametrize("points", [0, -1])
async def test_a_block_of_nothing_is_refused(superuser: asyncpg.Connection, points: int) -> None:
    with pytest.raises(asyncpg.CheckViolationError, match="block_of_points"):
        await superuser.execute(
            "INSERT INTO block (bank_id, block_id, points) VALUES (1, gen_random_uuid(), $1)",
            points,
        )
