"""What a superuser changes of settlements is found, and the finding names the row."""

import secrets
from collections.abc import AsyncIterator
from typing import NamedTuple
from uuid import UUID

import asyncpg
import pytest

from tests.audit.test_tampering import GUARDS_OFF, GUARDS_ON, audit
from tests.book import Book
from tests.redemption.market import Market, noon_zone
from tests.redemption.test_exchange import give, household
from tests.redemption.test_settlements import approve, close, draft, earn, settle
from timebank.db import install_schema, open_pool
from timebank.embedded import Server


class Settled(NamedTuple):
    """The ids that tests name."""

    first: UUID
    second: UUID
    third: UUID
    giver: UUID
    gift: UUID


async def settle_everything(book: Book) -> Settled:
    """Two settlements that were closed, one short of what was due, and one approved."""
    market = await Market.open(book)
    hold_id = await earn(market, 30)
    first = await settle(market, fen_rate=3333)
    await earn(market, 20)
    drafted = await draft(market, fen_rate=3333)
    await market.refund(hold_id, 8)
    second = await close(market, await approve(market, drafted))
    await earn(market, 5)
    third = await approve(market, await draft(market))
    giver, child = await household(market, 20, 0, cap=30)
    gift = await give(market, giver, child[1], 9)
    return Settled(
        first.settlement_id, second.settlement_id, third.settlement_id, giver[0], gift.act_id
    )


@pytest.fixture(scope="module")
async def settled(server: Server) -> AsyncIterator[tuple[str, Settled]]:
    """A database with settlements, and its name."""
    name = f"settled_{secrets.token_hex(6)}"
    admin = await asyncpg.connect(server.dsn())
    await admin.execute(f"CREATE DATABASE {name}")
    fresh = await asyncpg.connect(server.dsn(name))
    await install_schema(fresh)
    await fresh.close()
    async with open_pool(server.dsn(name, "timebank_app")) as pool:
        found = await settle_everything(await Book.open(pool, time_zone=noon_zone()))
    yield name, found
    await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await admin.close()


CHANGE = "UPDATE settlement SET {} WHERE settlement_id = '{{b.{}}}'"
LAX = (
    "ALTER TABLE settlement DROP CONSTRAINT settlement_carries_the_rest,"
    " DROP CONSTRAINT settlement_rounds_exactly, DROP CONSTRAINT settlement_approved_by_two,"
    " DROP CONSTRAINT settlement_covers_lines;"
)

GUARD_ON = "".join(
    f"ALTER TABLE settlement ENABLE ALWAYS TRIGGER {trigger};"
    for trigger in ("settlement_is_lawful", "settlement_is_never_emptied")
)

ROWS = {
    "gone": ("DELETE FROM settlement WHERE settlement_id = '{b.first}'", "settlement {b.second}"),
    "payment left behind": (
        "DELETE FROM settlement WHERE settlement_id = '{b.first}'",
        "transfer {b.first}",
    ),
    "overlap": (CHANGE.format("last_seq = last_seq + 1", "first"), "settlement {b.second}"),
    "gap": (CHANGE.format("last_seq = last_seq - 1", "second"), "settlement {b.third}"),
    "another line": (CHANGE.format("last_seq = last_seq + 1", "third"), "settlement {b.third}"),
    "number": (CHANGE.format("number = 9", "third"), "settlement {b.third}"),
    "captured": (
        CHANGE.format("captured = captured + 1, refunded = refunded + 1", "first"),
        "settlement {b.first}",
    ),
    "cut-off before its lines": (
        CHANGE.format("cut_off = cut_off - interval '1 hour'", "first"),
        "settlement {b.first}",
    ),
    "cut-off after other lines": (
        CHANGE.format("cut_off = cut_off + interval '1 hour'", "first"),
        "settlement {b.first}",
    ),
    "paid": (
        CHANGE.format("paid = paid + 1, carried_out = carried_out - 1, fen = NULL,"
                      " fen_rate = NULL, remainder_out = remainder_in", "first"),
        "settlement {b.first}",
    ),
    "carried": (
        LAX + CHANGE.format("carried_out = carried_out + 1", "second"),
        "settlement {b.second}",
    ),
    "carried in": (CHANGE.format("carried_in = 0", "third"), "settlement {b.third}"),
    "fen": (LAX + CHANGE.format("fen = fen + 1", "second"), "settlement {b.second}"),
    "parts of a fen": (
        LAX + CHANGE.format("remainder_out = remainder_out + 1", "first"),
        "settlement {b.second}",
    ),
    "approved by one": (
        LAX + CHANGE.format("second_approver = first_approver", "third"),
        "settlement {b.third}",
    ),
    "opened again": (
        CHANGE.format("state = 'approved', paid = NULL, carried_out = NULL, fen = NULL,"
                      " remainder_out = NULL, closed_by = NULL, closed_at = NULL", "second"),
        "settlement {b.second}",
    ),
    "paid by another transfer": (
        "UPDATE transfer SET kind = 'reissue' WHERE transfer_id = '{b.first}'",
        "settlement {b.first}",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("sql", "row"), ROWS.values(), ids=ROWS.keys())
async def test_a_changed_row_is_found_and_named(
    server: Server, settled: tuple[str, Settled], sql: str, row: str
) -> None:
    database, ids = settled
    off = GUARDS_OFF + "ALTER TABLE settlement DISABLE TRIGGER ALL"
    on = GUARDS_ON + GUARD_ON
    report = await audit(server, database, [off, sql.format(b=ids), on])
    assert [
        finding
        for finding in report.findings
        if finding.invariant == 22 and row.format(b=ids) in finding.row
    ], report.findings


GIVEN = {
    "use of a gift's cap": ("UPDATE cap_use SET used = 8 WHERE scope = 'gift_day'", "{b.giver}"),
    "cap lowered behind the back": (
        "ALTER TABLE cap_rule DISABLE TRIGGER ALL; UPDATE cap_rule SET points = 1,"
        " in_force_from = in_force_from - interval '2 days' WHERE scope = 'gift_day'",
        "cap gift_day of {b.giver}",
    ),
    "gift of other points": (
        "UPDATE redemption_act SET points = 8 WHERE act_id = '{b.gift}'",
        "act {b.gift}",
    ),
    "gift of another kind": (
        "UPDATE transfer SET kind = 'transfer' WHERE transfer_id = '{b.gift}'",
        "act {b.gift}",
    ),
}


@pytest.mark.parametrize(("sql", "row"), GIVEN.values(), ids=GIVEN.keys())
async def test_a_changed_gift_is_found_and_named(
    server: Server, settled: tuple[str, Settled], sql: str, row: str
) -> None:
    database, ids = settled
    report = await audit(server, database, [GUARDS_OFF, sql.format(b=ids), GUARDS_ON])
    assert [
        finding
        for finding in report.findings
        if finding.invariant == 23 and row.format(b=ids) in finding.row
    ], report.findings


async def test_untouched_settlements_agree(server: Server, settled: tuple[str, Settled]) -> None:
    report = await audit(server, settled[0], [GUARDS_OFF, GUARDS_ON])
    assert report.findings == []


@pytest.mark.parametrize("trigger", ["settlement_is_lawful", "settlement_is_never_emptied"])
async def test_a_guard_that_was_put_off_is_found(
    server: Server, settled: tuple[str, Settled], trigger: str
) -> None:
    report = await audit(server, settled[0], [f"ALTER TABLE settlement DISABLE TRIGGER {trigger}"])
    assert [f.row for f in report.findings] == [f"trigger {trigger}"]
