"""What a human should look at is listed, with how often and who."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from tests.redemption.market import CLERK, Market
from tests.redemption.test_exchange import give, household
from timebank.domain.redemption import CapScope
from timebank.ledger.ids import new_id
from timebank.redemption.anomalies import AnomalyReason, Bounds, list_anomalies

SINCE = (datetime.now(UTC) - timedelta(days=7)).date()
BOUNDS = Bounds(near_cap_days=1, same_pair=3, refunds_of_anothers=1, refunds_to_one=2)


async def found(market: Market, reason: AnomalyReason) -> list[tuple[UUID, UUID | None, int]]:
    """Whom it is about, with whom, how often."""
    listed = await market.run(list_anomalies, SINCE, bounds=BOUNDS)
    return [(one.subject_id, one.other_id, one.times) for one in listed if one.reason is reason]


async def test_a_quiet_market_has_none(market: Market) -> None:
    await market.capture(await market.held(await market.resident(10)))
    assert await market.run(list_anomalies, SINCE) == []


async def test_just_under_the_cap(market: Market) -> None:
    resident, other = await market.resident(100), await market.resident(100)
    await market.cap(CapScope.PERSON_DAY, 10)
    await market.held(resident, 9)
    await market.held(other, 8)
    assert await found(market, AnomalyReason.NEAR_CAP) == [(resident[0], None, 1)]


async def test_just_under_the_cap_of_gifts(market: Market) -> None:
    giver, child = await household(market, 50, 0, cap=10)
    await give(market, giver, child[1], 9)
    assert await found(market, AnomalyReason.NEAR_CAP) == [(giver[0], None, 1)]


async def test_the_same_two_again_and_again(market: Market) -> None:
    resident, other = await market.resident(100), await market.resident(100)
    for whose in (resident, resident, resident, other):
        await market.capture(await market.held(whose))
    assert await found(market, AnomalyReason.SAME_PAIR) == [(CLERK, resident[0], 3)]


async def test_for_oneself(market: Market) -> None:
    resident = await market.resident(100)
    await market.capture(await market.held(resident), actor_id=resident[0])
    assert await found(market, AnomalyReason.FOR_ONESELF) == [(resident[0], None, 1)]


async def test_refunds(market: Market) -> None:
    resident, other_clerk = await market.resident(100), new_id()
    hold_id = await market.held(resident, 5)
    await market.capture(hold_id)
    await market.refund(hold_id, 1)
    assert await found(market, AnomalyReason.REFUNDS_TO_ONE) == []
    await market.refund(hold_id, 1)
    await market.refund(hold_id, 1, actor_id=other_clerk)
    assert await found(market, AnomalyReason.REFUNDS_TO_ONE) == [(CLERK, resident[0], 2)]
    assert await found(market, AnomalyReason.REFUND_OF_ANOTHERS) == [(other_clerk, CLERK, 1)]


@pytest.mark.parametrize(("wrong", "listed"), [(4, []), (5, [(CLERK, None, 5)])])
async def test_guessing(
    market: Market, wrong: int, listed: list[tuple[UUID, UUID | None, int]]
) -> None:
    hold_id = await market.held(await market.resident(10))
    for _ in range(wrong):
        await market.capture(hold_id, code="not a code")
    assert await found(market, AnomalyReason.GUESSED_CODES) == listed
