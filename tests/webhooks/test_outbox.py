"""An act and its event are one: none without the other, and one whatever is repeated."""

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.book import STAFF
from tests.redemption.market import INSTANT, Market, open_merchant
from tests.redemption.test_settlements import settle
from tests.webhooks.listening import Listening, open_at
from timebank.db import transaction
from timebank.domain.webhooks import DeliveryState, EventType
from timebank.ledger.ids import new_id
from timebank.people.seals import Seals
from timebank.redemption.holds import capture_hold, expire_holds


async def told(listening: Listening) -> list[tuple[EventType, Any]]:
    """Types and points, the earliest first."""
    return [
        (one.type, json.loads(one.data).get("points")) for one in reversed(await listening.events())
    ]


async def test_every_act_on_a_hold_is_told_once_whatever_is_repeated(listening: Listening) -> None:
    market = listening.market
    resident = await market.resident(100)
    wish, hold_id, capture_id, refund_id = market.wish(resident, 10), new_id(), new_id(), new_id()
    for _ in range(3):
        await market.place(wish, hold_id)
    for _ in range(3):
        await market.capture(hold_id, 4, capture_id=capture_id)
    for _ in range(3):
        await market.refund(hold_id, 3, refund_id=refund_id)
    released, release_id = await market.held(resident, 5), new_id()
    for _ in range(3):
        await market.release(released, release_id)
    await market.held(resident, 6, lifetime=INSTANT)
    for _ in range(3):
        await market.run(expire_holds)
    assert await told(listening) == [
        (EventType.HELD, 10),
        (EventType.CAPTURED, 4),
        (EventType.REFUNDED, 3),
        (EventType.HELD, 5),
        (EventType.RELEASED, 5),
        (EventType.HELD, 6),
        (EventType.EXPIRED, 6),
    ]


async def test_a_settlement_is_told_when_it_closes(listening: Listening) -> None:
    market = listening.market
    hold_id = await market.held(await market.resident(10), 10)
    await market.capture(hold_id)
    settlement = await settle(market)
    latest = (await listening.events())[0]
    assert latest.type is EventType.SETTLEMENT_CLOSED
    assert f'"{settlement.settlement_id}"' in latest.data
    assert f'"paid": {settlement.paid}' in latest.data


async def test_what_is_rolled_back_or_refused_is_not_told(listening: Listening) -> None:
    market = listening.market
    hold_id = await market.held(await market.resident(10), 10)
    before = await listening.events()
    with pytest.raises(ZeroDivisionError):
        async with transaction(market.book.pool) as connection:
            answer = await capture_hold(
                connection,
                market.bank_id,
                new_id(),
                hold_id,
                merchant_id=market.merchant_id,
                actor_id=STAFF,
                code=market.pickups[hold_id],
            )
            assert answer.status == "done"
            1 / 0  # noqa: B018 - the service dies
    refused = await market.capture(hold_id, code="00000000")
    assert refused.status == "code_not_valid"
    assert await listening.events() == before
    assert (await market.capture(hold_id)).status == "done"
    assert len(await listening.events()) == len(before) + 1


async def test_nothing_of_the_resident_is_told(listening: Listening) -> None:
    market = listening.market
    resident = await market.resident(100)
    hold_id = await market.held(resident, 10)
    await market.capture(hold_id)
    await market.refund(hold_id, 10)
    for event in await listening.events():
        for secret in (*resident, market.pickups[hold_id], STAFF):
            assert str(secret) not in event.data


async def test_nobody_listens_and_nothing_is_written(market: Market, seals: Seals) -> None:
    (listener, _), silent = await open_merchant(market.book), market.merchant_id
    market.merchant_id = listener
    endpoint, _ = await open_at(market, seals, "https://till.example/", [EventType.CAPTURED])
    resident = await market.resident(100)
    await market.held(resident, 1)  # a type that nobody asked for
    await market.held(resident, 1, merchant_id=silent)
    counted = "SELECT count(*) FROM webhook_event WHERE bank_id = $1"
    assert await market.book.pool.fetchval(counted, market.bank_id) == 0
    assert endpoint.event_types == [EventType.CAPTURED]


async def test_twenty_at_once_are_told_once_each(listening: Listening) -> None:
    market = listening.market
    resident = await market.resident(100)
    hold_id, capture_id = await market.held(resident, 10), new_id()
    answers = await asyncio.gather(
        *(market.capture(hold_id, capture_id=capture_id) for _ in range(10)),
        *(market.capture(hold_id) for _ in range(10)),
    )
    assert "done" in {answer.status for answer in answers}
    assert [kind for kind, _ in await told(listening)] == [EventType.HELD, EventType.CAPTURED]


async def test_what_is_written_waits(listening: Listening) -> None:
    await listening.market.held(await listening.market.resident(10), 1)
    (event,) = await listening.events()
    assert (event.state, event.attempts, event.delivered_at) == (DeliveryState.WAITING, 0, None)
    assert event.occurred_at <= datetime.now(UTC)
