"""What a superuser changes of slips and their holds is found, and the finding names the slip."""

from pathlib import Path

import pytest

from tests.audit.test_tampering import GUARDS_OFF, GUARDS_ON, audit
from tests.book import Book
from tests.redemption.market import Market, noon_zone
from tests.redemption.slip_desk import SlipDesk
from timebank.audit.invariants import GUARDS_STAND, SLIPS_BIND
from timebank.domain.slips import Slip
from timebank.embedded import Server

HOLD = "UPDATE hold SET {} WHERE hold_id = '{{b.slip_id}}'"
SLIP = "UPDATE slip SET {} WHERE hold_id = '{{b.slip_id}}'"

CHANGES = {
    "slip gone": "DELETE FROM slip WHERE hold_id = '{b.slip_id}'",
    "hold gone": "DELETE FROM hold WHERE hold_id = '{b.slip_id}'",
    "another channel": HOLD.format("channel = 'code'"),
    "released": HOLD.format("state = 'released', ended_at = placed_at"),
    "prolonged": SLIP.format("expires_at = expires_at + interval '30 days'"),
    "cut short": HOLD.format("expires_at = placed_at + interval '1 day'"),
    "issued before": SLIP.format("issued_at = issued_at - interval '1 day'"),
    "another key": SLIP.format("key_id = '0000000000000000'"),
    "a key for certificates": "UPDATE signing_key SET purpose = 'certificate'",
    "good for a month": SLIP.format("expires_at = issued_at + interval '14 days 1 second'")
    + "; "
    + HOLD.format("expires_at = expires_at + interval '30 days'"),
    "another number": SLIP.format("number = number + 1"),
    "of an offer": HOLD.format("offer_id = gen_random_uuid()"),
}


OWN_GUARDS_OFF = GUARDS_OFF + "".join(
    f"ALTER TABLE {table} DISABLE TRIGGER {trigger};"
    for table, trigger in (
        ("slip", "slip_is_append_only"),
        ("signing_key", "signing_key_is_append_only"),
    )
)
OWN_GUARDS_ON = GUARDS_ON + "".join(
    f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {table}_is_append_only;"
    for table in ("slip", "signing_key")
)


@pytest.fixture
async def slip(own_book: Book, tmp_path: Path) -> Slip:
    """An open slip; another is captured."""
    market = await Market.open(await Book.open(own_book.pool, time_zone=noon_zone()))
    desk = await SlipDesk.open(market, tmp_path)
    resident = await market.resident(30)
    await desk.tell(await desk.text(await desk.issued(resident)))
    return await desk.issued(resident)


async def test_whoever_tampers_is_found(own_database: str, server: Server, slip: Slip) -> None:
    """Each change alone, in a transaction that is rolled back."""
    untouched = await audit(server, own_database, [OWN_GUARDS_OFF, OWN_GUARDS_ON])
    assert untouched.findings == []
    for name, change in CHANGES.items():
        sql = [OWN_GUARDS_OFF, change.format(b=slip), OWN_GUARDS_ON]
        report = await audit(server, own_database, sql)
        found = [one.row for one in report.findings if one.invariant == SLIPS_BIND.number]
        assert [row for row in found if str(slip.slip_id) in row], (name, report.findings)


async def test_who_swaps_numbers_after_a_capture_is_found(
    own_database: str, server: Server, slip: Slip
) -> None:
    """Both stay numbers of slips; what was captured was another."""
    swapped = """
        ALTER TABLE slip DROP CONSTRAINT slip_number_unique;
        UPDATE slip s SET number = other.number FROM slip other WHERE other.hold_id <> s.hold_id;
        ALTER TABLE slip ADD CONSTRAINT slip_number_unique PRIMARY KEY (bank_id, number);
    """
    report = await audit(server, own_database, [OWN_GUARDS_OFF, swapped, OWN_GUARDS_ON])
    [found] = [one for one in report.findings if one.invariant == SLIPS_BIND.number]
    assert str(slip.number) in found.row
    assert "by another number" in found.found


@pytest.mark.parametrize(
    "weakened",
    [
        "ALTER TABLE slip DISABLE TRIGGER slip_is_append_only",
        "ALTER TABLE slip DROP CONSTRAINT slip_number_unique",
        "ALTER TABLE slip DROP CONSTRAINT slip_of_one_hold",
        "GRANT INSERT ON slip TO timebank_app",
        "ALTER TABLE hold DISABLE TRIGGER hold_has_slip",
        "DROP TRIGGER hold_has_slip ON hold",
    ],
)
async def test_a_weakened_guard_is_found(own_database: str, server: Server, weakened: str) -> None:
    report = await audit(server, own_database, [weakened])
    assert GUARDS_STAND.number in {one.invariant for one in report.findings}
