"""What a superuser changes of holds, stock and caps is found, and the finding names the row."""

import secrets
from collections.abc import AsyncIterator
from typing import NamedTuple
from uuid import UUID

import asyncpg
import pytest

from tests.audit.test_tampering import GUARDS_OFF, GUARDS_ON, audit
from tests.book import Book
from tests.redemption.market import CLERK, INSTANT, Market, noon_zone
from tests.redemption.test_caps import approve, hardship
from timebank.db import install_schema, open_pool
from timebank.domain.redemption import CapScope, Channel
from timebank.embedded import Server
from timebank.redemption.holds import sweep


class Redeemed(NamedTuple):
    """The ids that tests name."""

    resident: UUID
    wallet: UUID
    held: UUID
    soap: UUID
    open: UUID
    captured: UUID
    released: UUID
    expired: UUID
    refunded: UUID
    merchant: UUID
    clerk: UUID


async def redeem_everything(book: Book) -> Redeemed:
    """Let every act happen once, under caps, with an override."""
    market = await Market.open(book)
    resident = await market.resident(200)
    soap = await market.offer(price=2, stock=20, per_person=15, per_person_day=15)
    await market.cap(CapScope.PERSON_DAY, 60)
    await market.cap(CapScope.CARD_DAY, 10)
    await market.cap(CapScope.MERCHANT_DAY, 100)
    await market.cap(CapScope.CLERK_DAY, None)
    await market.cap(CapScope.CLERK_DAY, 50, subject_id=CLERK)
    ids = {name: await market.held(resident, 3, offer_id=soap) for name in ("open", "captured")}
    ids["released"] = await market.held(resident, 3, channel=Channel.CARD)
    ids["expired"] = await market.held(resident, 3, offer_id=soap, lifetime=INSTANT)
    ids["refunded"] = await market.held(resident, 20)
    await market.capture(ids["captured"], 2)
    await market.capture(ids["refunded"])
    await market.release(ids["released"])
    await sweep(book.pool, book.bank_id)
    await market.refund(ids["refunded"], 5)
    await market.refund(ids["captured"], 1, 1)
    assert (await market.place(market.wish(resident, 100))).status == "cap_exceeded"
    override_id = await approve(market, hardship(resident[0]))
    await market.cap(CapScope.PERSON_DAY, 40)
    await market.held(resident, 20, override_id=override_id)
    held = await book.pool.fetchval(
        "SELECT account_id FROM account WHERE bank_id = $1 AND owner_id = $2 AND kind = 'held'",
        book.bank_id,
        resident[0],
    )
    return Redeemed(*resident, held, soap, **ids, merchant=market.merchant_id, clerk=CLERK)


@pytest.fixture(scope="module")
async def redeemed(server: Server) -> AsyncIterator[tuple[str, Redeemed]]:
    """A database in which everything was redeemed once, and its name."""
    name = f"redeemed_{secrets.token_hex(6)}"
    admin = await asyncpg.connect(server.dsn())
    await admin.execute(f"CREATE DATABASE {name}")
    fresh = await asyncpg.connect(server.dsn(name))
    await install_schema(fresh)
    await fresh.close()
    async with open_pool(server.dsn(name, "timebank_app")) as pool:
        found = await redeem_everything(await Book.open(pool, time_zone=noon_zone()))
    yield name, found
    await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await admin.close()


HOLD = "UPDATE hold SET {} WHERE hold_id = '{{b.{}}}'"
ACT = "UPDATE redemption_act SET {} WHERE hold_id = '{{b.{}}}' AND kind = '{}'"
CAP = "UPDATE cap_use SET {} WHERE scope = '{}' AND subject_id = '{{b.{}}}'"
MINUTE = "interval '1 minute'"
IN_FORCE_BEFORE = (
    "ALTER TABLE cap_rule DISABLE TRIGGER ALL;"
    "UPDATE cap_rule SET in_force_from = in_force_from - interval '2 days';"
)
"""On the day a cap is first set, what was used before it is lawful."""

ROWS = {
    "held balance": (
        "UPDATE balance SET balance = balance + 1 WHERE account_id = '{b.held}'",
        18,
        "account {b.held}",
    ),
    "open hold gone": ("DELETE FROM hold WHERE hold_id = '{b.open}'", 18, "account {b.held}"),
    "ended hold gone": (
        "DELETE FROM hold WHERE hold_id = '{b.released}'",
        18,
        "missing, subject {b.released}",
    ),
    "quantity": (HOLD.format("quantity = quantity + 1", "released"), 18, "hold {b.released}"),
    "captured": (HOLD.format("captured = 3", "captured"), 18, "hold {b.captured}"),
    "refunded": (HOLD.format("refunded = 6", "refunded"), 18, "hold {b.refunded}"),
    "opened again": (
        HOLD.format("state = 'open', ended_at = NULL", "released"),
        18,
        "hold {b.released}",
    ),
    "to another account": (
        HOLD.format("source_account_id = gen_random_uuid()", "captured"),
        18,
        "hold {b.captured}",
    ),
    "subject of a transfer": (
        "UPDATE transfer SET subject_id = NULL WHERE transfer_id = '{b.refunded}'",
        18,
        "hold {b.refunded}",
    ),
    "ended twice": (
        "INSERT INTO redemption_act SELECT bank_id, gen_random_uuid(), kind, status, cap, hold_id,"
        " merchant_id, offer_id, quantity, points, actor_id, reason, override_id, expires_at,"
        " fingerprint, recorded_at FROM redemption_act"
        " WHERE hold_id = '{b.released}' AND kind = 'release'",
        19,
        "hold {b.released}",
    ),
    "another end": (HOLD.format("state = 'expired'", "released"), 19, "hold {b.released}"),
    "captured after its time": (
        HOLD.format(f"expires_at = ended_at - {MINUTE}, placed_at = '-infinity'", "captured"),
        19,
        "hold {b.captured}",
    ),
    "expired before its time": (
        ACT.format(f"recorded_at = recorded_at - {MINUTE}", "expired", "expire"),
        19,
        "hold {b.expired}",
    ),
    "placed at another time": (
        HOLD.format(f"placed_at = placed_at - {MINUTE}", "open"),
        19,
        "hold {b.open}",
    ),
    "act gone": (
        "DELETE FROM redemption_act WHERE hold_id = '{b.captured}' AND kind = 'capture'",
        19,
        "hold {b.captured}",
    ),
    "act made refused": (
        ACT.format("status = 'hold_expired'", "released", "release"),
        19,
        "hold {b.released}",
    ),
    "stock": ("UPDATE stock SET available = available + 1", 20, "stock {b.soap}"),
    "stock gone": ("DELETE FROM stock", 20, "stock {b.soap}"),
    "restock": (
        "UPDATE redemption_act SET quantity = quantity - 1 WHERE kind = 'restock'",
        20,
        "stock {b.soap}",
    ),
    "returned": (HOLD.format("returned = 0", "captured"), 20, "stock {b.soap}"),
    "returned, in the acts": (HOLD.format("returned = 0", "captured"), 21, "hold {b.captured}"),
    "refund of other points": (
        ACT.format("points = points + 1", "refunded", "refund"),
        21,
        "hold {b.refunded}",
    ),
    "refund before the capture": (
        ACT.format(f"recorded_at = recorded_at - {MINUTE}", "refunded", "refund"),
        21,
        "hold {b.refunded}",
    ),
    "more refunded than captured": (
        "ALTER TABLE hold DROP CONSTRAINT hold_refunded_within_what_was_captured;"
        + HOLD.format("refunded = 1000", "refunded"),
        21,
        "hold {b.refunded}",
    ),
    "use of a cap": (CAP.format("used = used - 1", "person_day", "resident"), 23, "{b.resident}"),
    "use on another day": (
        CAP.format("used_on = used_on - 1", "merchant_day", "merchant"),
        23,
        "cap merchant_day of {b.merchant}",
    ),
    "use by a clerk": (CAP.format("used = used + 1", "clerk_day", "clerk"), 23, "of {b.clerk}"),
    "use of an offer": (
        CAP.format("used = 0", "offer_person", "resident"),
        23,
        "cap offer_person of {b.resident}, offer {b.soap}",
    ),
    "cap lowered behind the back": (
        IN_FORCE_BEFORE + "UPDATE cap_rule SET points = 1 WHERE scope = 'merchant_day'",
        23,
        "cap merchant_day of {b.merchant}",
    ),
    "cap of an offer lowered": (
        "UPDATE offer SET per_person = 1",
        23,
        "cap offer_person of {b.resident}",
    ),
    "override gone": (
        IN_FORCE_BEFORE + "DELETE FROM cap_override; DELETE FROM cap_rule WHERE points = 60",
        23,
        "cap person_day of {b.resident}",
    ),
    "hours": (
        "ALTER TABLE account DROP CONSTRAINT account_of_redemption_counts_points;"
        "UPDATE account SET unit = 'hours' WHERE account_id IN ('{b.wallet}', '{b.held}')",
        24,
        "transfer {b.released}",
    ),
}


@pytest.mark.parametrize(("sql", "invariant", "row"), ROWS.values(), ids=ROWS.keys())
async def test_a_changed_row_is_found_and_named(
    server: Server, redeemed: tuple[str, Redeemed], sql: str, invariant: int, row: str
) -> None:
    database, ids = redeemed
    report = await audit(server, database, [GUARDS_OFF, sql.format(b=ids), GUARDS_ON])
    assert [
        finding
        for finding in report.findings
        if finding.invariant == invariant and row.format(b=ids) in finding.row
    ], report.findings


async def test_an_override_lets_its_cap_be_passed(
    server: Server, redeemed: tuple[str, Redeemed]
) -> None:
    caps = (
        IN_FORCE_BEFORE
        + "DELETE FROM cap_rule WHERE points = 60;"
        + "ALTER TABLE cap_rule ENABLE ALWAYS TRIGGER cap_rule_is_append_only"
    )
    report = await audit(server, redeemed[0], [GUARDS_OFF, caps, GUARDS_ON])
    assert report.findings == []


async def test_untouched_redemption_agrees(server: Server, redeemed: tuple[str, Redeemed]) -> None:
    report = await audit(server, redeemed[0], [GUARDS_OFF, GUARDS_ON])
    assert report.findings == []
