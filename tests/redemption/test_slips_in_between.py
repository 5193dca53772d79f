"""What happens between a slip and the day a till tells of it, and slips beyond the common rules."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.people.desk import Desk, person
from tests.redemption.checks import check_market
from tests.redemption.market import Market, open_merchant
from tests.redemption.slip_desk import SlipDesk
from tests.redemption.test_blocked import block, blocked, serve
from tests.redemption.test_caps import approve as approve_override
from tests.redemption.test_caps import hardship
from tests.redemption.test_settlements import approve as approve_settlement
from tests.redemption.test_settlements import close, draft, earn, settle
from timebank.domain.redemption import CapScope
from timebank.ledger.ids import new_id
from timebank.people.vault import Purpose, erase_person
from timebank.redemption import merchants


@pytest.fixture
async def desk(market: Market, tmp_path: Path) -> SlipDesk:
    return await SlipDesk.open(market, tmp_path)


async def test_points_blocked_after_it_was_issued(desk: SlipDesk) -> None:
    market, resident = desk.market, await desk.market.resident()
    award = await serve(market, resident[1], 10)
    slip = await desk.issued(resident, 4)
    await block(market, award)
    assert await blocked(market, resident[1]) == 6
    assert (await desk.ask(desk.order(resident, 1))).status == "points_blocked"
    assert (await desk.tell(await desk.text(slip))).result == "captured"
    assert (await market.refund(slip.slip_id, 4)).status == "done"
    assert await blocked(market, resident[1]) == 10
    await check_market(market)


@pytest.mark.parametrize("closed", [True, False])
async def test_a_settlement_meanwhile(desk: SlipDesk, closed: bool) -> None:
    """Drafted or closed before the till told: the slip is on the next one."""
    market = desk.market
    await earn(market, 5)
    slip = await desk.issued(await market.resident(10), 7)
    drafted = await draft(market)
    if closed:
        assert (await close(market, await approve_settlement(market, drafted))).paid == 5
    assert (await desk.tell(await desk.text(slip))).result == "captured"
    if not closed:
        assert (await close(market, await approve_settlement(market, drafted))).paid == 5
    assert (await settle(market)).paid == 7
    await check_market(market)


async def test_an_agreement_ended_meanwhile_is_paid(desk: SlipDesk) -> None:
    """What the till took by what the bank signed is owed."""
    resident = await desk.market.resident(10)
    merchant_id, _ = await open_merchant(desk.market.book)
    slip = await desk.issued(resident, 7, merchant_id=merchant_id)
    text = await desk.text(slip)
    await desk.market.run(merchants.end_agreement, merchant_id, "涧西-2026-001")
    gone = await desk.ask(desk.order(resident, 1, merchant_id=merchant_id))
    assert gone.status == "merchant_not_active"
    assert (await desk.tell(text, merchant_id=merchant_id)).result == "captured"


async def test_an_erased_residents_slip_is_paid(desk: SlipDesk, tmp_path: Path) -> None:
    people = await Desk.open(desk.market.book, tmp_path)
    resident_id = await people.member(person())
    wallet = await desk.market.book.open_account(balance=10, owner_id=resident_id)
    text = await desk.text(await desk.issued((resident_id, wallet), 7))
    async with people.at() as connection:
        await erase_person(connection, people.access(Purpose.SUBJECT_ACCESS), resident_id)
    told = await desk.tell(text)
    assert told.result == "captured"
    assert (await desk.market.refund(told.slip_id or new_id(), 2)).status == "done"
    assert await desk.market.points_of(resident_id) == 5


async def test_an_override_passes_the_cap_of_a_slip_once(desk: SlipDesk) -> None:
    resident, other = [await desk.market.resident(500) for _ in range(2)]
    override_id = await approve_override(
        desk.market, replace(hardship(resident[0], CapScope.SLIP), amount=120)
    )
    terms = {"override_id": override_id}
    assert (await desk.ask(desk.order(resident, 121, **terms))).status == "override_not_valid"
    assert (await desk.ask(desk.order(other, 101, **terms))).status == "override_not_valid"
    slip = await desk.issued(resident, 120, **terms)
    assert (await desk.ask(desk.order(resident, 101, **terms))).status == "override_not_valid"
    assert (await desk.ask(desk.order(resident, 101))).cap == CapScope.SLIP
    assert (await desk.tell(await desk.text(slip))).result == "captured"
    await check_market(desk.market)
