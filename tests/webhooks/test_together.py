"""Everything at once: acts, two workers, replays, rotations, pings; and forgetting what is over."""

import asyncio
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
from structlog.testing import capture_logs

from tests.redemption.market import LONG_AGO
from tests.webhooks.listening import Listening
from timebank.domain.webhook_errors import WebhookDisabledError
from timebank.domain.webhooks import DeliveryState, EndpointEnd
from timebank.ledger.ids import new_id
from timebank.webhooks.endpoints import (
    change_endpoint,
    disable_endpoint,
    enable_endpoint,
    ping_endpoint,
    rotate_secret,
)
from timebank.webhooks.events import KEPT, forget_events, replay_since

ACTS = 60


async def test_no_lock_is_waited_for_in_a_ring_and_nothing_is_lost(listening: Listening) -> None:
    market, endpoint_id = listening.market, listening.endpoint_id
    market.tries = 1  # what comes between reaches the test
    resident, working = await market.resident(ACTS), True

    async def act() -> None:
        for _ in range(ACTS // 2):
            await market.release(await market.held(resident, 1))

    async def work() -> None:
        while working:
            await listening.deliver()
            await asyncio.sleep(0.01)

    async def meddle() -> None:
        for _ in range(8):
            with suppress(WebhookDisabledError):  # by the other one
                await market.run(replay_since, endpoint_id, LONG_AGO)
                await market.run(ping_endpoint, endpoint_id)
            await market.run(
                lambda c, bank_id: rotate_secret(c, listening.seals, bank_id, endpoint_id)
            )
            await market.run(change_endpoint, endpoint_id, url="https://till.example/other")
            await market.run(disable_endpoint, endpoint_id, EndpointEnd.FAILING)
            await market.run(enable_endpoint, endpoint_id)
            await market.run(forget_events)

    with capture_logs() as logged:
        workers = [asyncio.create_task(work()) for _ in range(2)]
        await asyncio.gather(act(), meddle(), meddle())
        working = False
        await asyncio.gather(*workers)
        await market.run(replay_since, endpoint_id, LONG_AGO)
        while await listening.deliver():
            pass
    assert [line for line in logged if line["event"] != "webhook_attempted"] == []
    arrived = Counter(UUID(got.event_id) for got in listening.receiver.got)
    events = await listening.events()
    assert {event.state for event in events} == {DeliveryState.DELIVERED}
    assert len([one for one in events if one.type != "webhook.ping"]) == ACTS
    assert arrived.keys() == {event.event_id for event in events}
    attempts = sum(event.attempts or 0 for event in events)
    assert attempts == sum(arrived.values())  # none was sent by two


async def test_what_is_over_is_forgotten_and_what_waits_is_not(
    alone: Listening, superuser: asyncpg.Connection
) -> None:
    market = alone.market
    old, waiting, recent = new_id(), new_id(), new_id()
    now = datetime.now(UTC)
    for event_id, at in (
        (old, now - KEPT - timedelta(days=1)),
        (waiting, now - KEPT - timedelta(days=1)),
        (recent, now - KEPT + timedelta(days=1)),
    ):
        await superuser.execute(
            "INSERT INTO webhook_event (bank_id, event_id, merchant_id, type, occurred_at, "
            "data) VALUES ($1, $2, $3, 'redemption.held', $4, '{}')",
            *(market.bank_id, event_id, market.merchant_id, at),
        )
    await market.run(replay_since, alone.endpoint_id, LONG_AGO)
    await superuser.execute(
        "UPDATE webhook_delivery SET next_at = now() + interval '1 hour' WHERE event_id = $1",
        waiting,
    )
    assert await alone.deliver() == 2
    assert await market.run(forget_events) == 1
    assert {event.event_id for event in await alone.events()} == {waiting, recent}
    for table in ("webhook_delivery", "webhook_attempt"):
        left = await superuser.fetch(f"SELECT event_id FROM {table} WHERE event_id = $1", old)
        assert left == []
    await market.run(disable_endpoint, alone.endpoint_id, EndpointEnd.MERCHANT)
    assert await market.run(forget_events) == 1
    assert {event.event_id for event in await alone.events()} == {recent}
