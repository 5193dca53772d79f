"""Caps stop what exceeds them by one, and count what was captured on the day it was held."""

from datetime import UTC, datetime
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from tests.book import STAFF
from tests.guards.test_append_only import login
from tests.redemption.market import CLERK, INSTANT, Market, open_merchant
from timebank.domain.errors import InvalidInputError, NotFoundError
from timebank.domain.redemption import CapScope, Channel, OverrideReason
from timebank.embedded import Server
from timebank.ledger.ids import new_id
from timebank.people.access import Role
from timebank.people.approvals import ApprovalState, decide, propose
from timebank.people.grants import OPERATOR_ID, grant_role
from timebank.redemption import caps, holds
from timebank.redemption.caps import OverrideTerms


async def test_a_person_holds_up_to_the_cap_of_a_day(market: Market) -> None:
    resident, other = await market.resident(100), await market.resident(100)
    await market.cap(CapScope.PERSON_DAY, 10)
    await market.held(resident, 7)
    refused = await market.place(market.wish(resident, 4))
    assert (refused.status, refused.cap) == ("cap_exceeded", "person_day")
    quote = await market.run(holds.quote, market.wish(resident, 4))
    assert (quote.status, quote.cap) == ("cap_exceeded", "person_day")
    await market.held(resident, 3)
    await market.held(other, 10)


async def test_what_was_not_captured_may_be_held_again(market: Market) -> None:
    resident = await market.resident(100)
    await market.cap(CapScope.PERSON_DAY, 10)
    soap = await market.offer(per_person_day=3, per_person=4)
    await market.capture(await market.held(resident, 10), 4)
    await market.release(await market.held(resident, 6))
    await market.held(resident, 6, lifetime=INSTANT)
    assert (await market.place(market.wish(resident))).cap == "person_day"
    await holds.sweep(market.book.pool, market.bank_id)
    await market.capture(await market.held(resident, 3, offer_id=soap))
    assert (await market.place(market.wish(resident, offer_id=soap))).cap == "offer_person_day"
    await market.held(resident, 3)


async def test_a_refund_gives_no_room_back(market: Market) -> None:
    resident = await market.resident(100)
    await market.cap(CapScope.PERSON_DAY, 10)
    hold_id = await market.held(resident, 10)
    await market.capture(hold_id)
    await market.refund(hold_id, 10)
    assert (await market.place(market.wish(resident))).cap == "person_day"


async def test_units_of_an_offer_are_capped_for_a_person(market: Market) -> None:
    resident, other = await market.resident(100), await market.resident(100)
    soap = await market.offer(per_person=2)
    assert (await market.place(market.wish(resident, 3, offer_id=soap))).cap == "offer_person"
    await market.held(resident, 2, offer_id=soap)
    assert (await market.place(market.wish(resident, offer_id=soap))).cap == "offer_person"
    await market.held(other, 2, offer_id=soap)


async def test_a_merchant_is_capped(market: Market) -> None:
    resident = await market.resident(100)
    other, _ = await open_merchant(market.book)
    await market.cap(CapScope.MERCHANT_DAY, 5)
    await market.cap(CapScope.MERCHANT_DAY, 7, subject_id=market.merchant_id)
    await market.held(resident, 7)
    assert (await market.place(market.wish(resident))).cap == "merchant_day"
    refused = await market.place(market.wish(resident, 6, merchant_id=other))
    assert refused.cap == "merchant_day"
    await market.held(resident, 5, merchant_id=other)


async def test_a_clerk_is_capped_at_the_capture(market: Market) -> None:
    resident = await market.resident(100)
    await market.cap(CapScope.CLERK_DAY, 5)
    first, second = await market.held(resident, 5), await market.held(resident, 1)
    await market.capture(first)
    refused = await market.capture(second)
    assert (refused.status, refused.cap) == ("cap_exceeded", "clerk_day")
    assert (await market.capture(second, actor_id=new_id())).status == "done"


async def test_a_card_buys_nothing_until_its_cap_is_set(market: Market) -> None:
    resident = await market.resident(100)
    wish = market.wish(resident, 5, channel=Channel.CARD)
    assert (await market.place(wish)).cap == "card_day"
    await market.cap(CapScope.CARD_DAY, 5)
    hold_id = (await market.place(wish)).act_id
    assert (await market.place(market.wish(resident, channel=Channel.CARD))).cap == "card_day"
    assert (await market.capture(hold_id, code=None)).status == "done"
    await market.held(resident, 50)


async def test_the_latest_version_of_a_cap_counts(market: Market) -> None:
    resident = await market.resident(100)
    await market.cap(CapScope.PERSON_DAY, 1)
    await market.cap(CapScope.PERSON_DAY, 5)
    await market.held(resident, 5)
    await market.cap(CapScope.PERSON_DAY, None, subject_id=resident[0])
    await market.held(resident, 50)
    versions = await market.run(caps.list_caps)
    assert [cap.points for cap in versions] == [1, 5, None]


async def test_a_day_is_the_banks(market: Market) -> None:
    resident = await market.resident(10)
    hold_id = await market.held(resident)
    day = datetime.now(UTC).astimezone(ZoneInfo(market.book.bank.time_zone)).date()
    found = await market.book.pool.fetchval(
        "SELECT placed_on FROM hold WHERE bank_id = $1 AND hold_id = $2", market.bank_id, hold_id
    )
    assert found == day


async def test_yesterdays_use_is_not_todays(
    market: Market, server: Server, worker_database: str
) -> None:
    resident = await market.resident(100)
    await market.cap(CapScope.PERSON_DAY, 10)
    soap = await market.offer(per_person_day=10, per_person=15)
    await market.held(resident, 10, offer_id=soap)
    async with login(server, worker_database) as superuser:
        await superuser.execute(
            "UPDATE cap_use SET used_on = used_on - 1 WHERE bank_id = $1", market.bank_id
        )
    assert (await market.place(market.wish(resident, 10, offer_id=soap))).cap == "offer_person"
    await market.held(resident, 5, offer_id=soap)
    await market.held(resident, 5)
    assert (await market.place(market.wish(resident))).cap == "person_day"


@pytest.mark.parametrize("bad", [(CapScope.OFFER_PERSON, 1), (CapScope.PERSON_DAY, -1)])
async def test_a_cap_that_makes_no_sense(market: Market, bad: tuple[CapScope, int]) -> None:
    with pytest.raises(InvalidInputError):
        await market.cap(*bad)


# ---- Overrides ---------------------------------------------------------------------------------


async def approve(market: Market, terms: OverrideTerms, deed: str = "pass_cap") -> UUID:
    """Have two persons agree and return the override's id."""
    checker_id = new_id()
    async with market.book.pool.acquire() as connection, connection.transaction():
        for person_id in (STAFF, checker_id):
            await grant_role(
                connection,
                market.bank_id,
                person_id,
                Role.COORDINATOR,
                None,
                granted_by=OPERATOR_ID,
                approved_by=OPERATOR_ID,
            )
        proposal = await propose(
            connection,
            market.bank_id,
            deed=deed,
            content=b"{}",
            branch_id=market.book.bank.root_id,
            maker_id=STAFF,
            beneficiaries=[terms.subject_id],
        )
        await decide(
            connection,
            market.bank_id,
            proposal.approval_id,
            checker_id=checker_id,
            content_hash=proposal.content_hash,
            state=ApprovalState.APPROVED,
            roles=[Role.COORDINATOR],
        )
        await caps.grant_override(connection, market.bank_id, proposal.approval_id, terms)
    return proposal.approval_id


def hardship(subject_id: UUID, scope: CapScope = CapScope.PERSON_DAY) -> OverrideTerms:
    return OverrideTerms(
        scope=scope, subject_id=subject_id, amount=20, reason=OverrideReason.HARDSHIP
    )


async def test_an_override_passes_one_cap_once(market: Market) -> None:
    resident = await market.resident(100)
    await market.cap(CapScope.PERSON_DAY, 10)
    override_id = await approve(market, hardship(resident[0]))
    await market.cap(CapScope.MERCHANT_DAY, 20)
    beyond = await market.place(market.wish(resident, 21, override_id=override_id))
    assert beyond.status == "override_not_valid"
    await market.held(resident, 20, override_id=override_id)
    again = await market.place(market.wish(resident, 11, override_id=override_id))
    assert again.status == "override_not_valid"
    [used] = await market.run(caps.list_overrides)
    assert used.used_by is not None
    assert (await market.place(market.wish(resident))).cap == "person_day"


async def test_an_override_passes_no_other_cap_and_nobody_else(market: Market) -> None:
    resident, other = await market.resident(100), await market.resident(100)
    await market.cap(CapScope.PERSON_DAY, 1)
    await market.cap(CapScope.MERCHANT_DAY, 5)
    override_id = await approve(market, hardship(resident[0]))
    wish = market.wish(other, 2, override_id=override_id)
    assert (await market.place(wish)).status == "override_not_valid"
    wish = market.wish(resident, 6, override_id=override_id)
    assert (await market.place(wish)).cap == "merchant_day"
    wish = market.wish(resident, 2, override_id=new_id())
    assert (await market.place(wish)).status == "override_not_valid"
    await market.held(resident, 5, override_id=override_id)


async def test_an_override_for_a_clerk_passes_at_the_capture(market: Market) -> None:
    resident = await market.resident(100)
    await market.cap(CapScope.CLERK_DAY, 5)
    hold_id = await market.held(resident, 6)
    assert (await market.capture(hold_id)).cap == "clerk_day"
    override_id = await approve(market, hardship(CLERK, CapScope.CLERK_DAY))
    assert (await market.capture(hold_id, override_id=override_id)).status == "done"


async def test_an_override_is_what_two_persons_approved(market: Market) -> None:
    resident, _ = await market.resident()
    with pytest.raises(NotFoundError):
        await approve(market, hardship(resident), deed="award")
    with pytest.raises(NotFoundError):
        await market.run(caps.grant_override, new_id(), hardship(resident))
    nonsense = OverrideTerms(
        scope=CapScope.OFFER_PERSON, subject_id=resident, amount=1, reason=OverrideReason.EVENT
    )
    with pytest.raises(InvalidInputError):
        await market.run(caps.grant_override, new_id(), nonsense)
