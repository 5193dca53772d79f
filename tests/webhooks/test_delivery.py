"""Events arrive, signed, at least once, whatever dies, fails or is slow on the way."""

import asyncio
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest
from structlog.testing import capture_logs

from tests.people.test_seals import seals_in
from tests.webhooks.listening import NONE, SHORT, Listening, open_at
from tests.webhooks.receiver import Got, answering, verify
from timebank.domain.webhooks import DeliveryState, EndpointEnd, EventType, Outcome
from timebank.ledger.ids import new_id
from timebank.people.seals import Seals
from timebank.webhooks.endpoints import (
    change_endpoint,
    disable_endpoint,
    enable_endpoint,
    get_endpoint,
    ping_endpoint,
    rotate_secret,
)
from timebank.webhooks.events import replay_event, replay_since


async def happen(listening: Listening, many: int = 1) -> list[UUID]:
    """Let holds be placed; return the ids of their events, the earliest first."""
    resident = await listening.market.resident(many)
    for _ in range(many):
        await listening.market.held(resident, 1)
    return [event.event_id for event in reversed((await listening.events())[:many])]


async def states(listening: Listening) -> Counter[DeliveryState | None]:
    return Counter(event.state for event in await listening.events())


async def test_an_event_arrives_as_the_specification_says(listening: Listening) -> None:
    market = listening.market
    hold_id = await market.held(await market.resident(10), 10)
    captured = await market.capture(hold_id, 7)
    assert await listening.deliver() == 2
    (event, _), got = await listening.events(), listening.receiver.got
    of_capture = next(one for one in got if one.payload["type"] == "redemption.captured")
    assert len(got) == 2
    for one in got:
        listening.check(one)
        assert one.target == "/hook?shop=1"
        assert one.headers["host"] == "till.example"
        assert one.headers["content-type"] == "application/json"
        assert one.payload.keys() == {"type", "timestamp", "data"}
        assert len(one.body) < 20_000
    assert UUID(of_capture.event_id) == event.event_id
    assert of_capture.payload["data"] == {
        "act_id": str(captured.act_id),
        "hold_id": str(hold_id),
        "merchant_id": str(market.merchant_id),
        "offer_id": None,
        "shop_id": None,
        "quantity": 7,
        "points": 7,
    }
    assert await states(listening) == {DeliveryState.DELIVERED: 2}
    (attempt,) = await listening.attempts(event.event_id)
    assert (attempt.number, attempt.outcome, attempt.status) == (1, Outcome.DELIVERED, 204)
    assert await listening.deliver() == 0


async def test_a_signature_is_of_this_body_id_time_and_secret(listening: Listening) -> None:
    await happen(listening)
    await listening.deliver()
    (got,) = listening.receiver.got
    for bent in (
        {**got.headers, "webhook-id": str(new_id())},
        {**got.headers, "webhook-timestamp": str(int(got.headers["webhook-timestamp"]) + 1)},
        {**got.headers, "webhook-signature": "v1," + "A" * 43 + "="},
    ):
        with pytest.raises(AssertionError):
            verify(listening.secret, bent, got.body, time.time())
    with pytest.raises(AssertionError):
        verify(listening.secret, got.headers, got.body + b" ", time.time())
    with pytest.raises(AssertionError):
        verify(listening.secret, got.headers, got.body, time.time() + 301)
    with pytest.raises(AssertionError):
        verify("whsec_" + "A" * 43 + "=", got.headers, got.body, time.time())


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_hundred_events_arrive_once_each(listening: Listening, workers: int) -> None:
    ids = await happen(listening, 100)
    made = await asyncio.gather(*(listening.deliver(at_one_endpoint=8) for _ in range(workers)))
    assert sum(made) == 100
    assert Counter(UUID(got.event_id) for got in listening.receiver.got) == Counter(ids)
    assert await states(listening) == {DeliveryState.DELIVERED: 100}
    assert 2 <= listening.receiver.most <= 8


async def end_claims(superuser: asyncpg.Connection) -> None:
    """Let time pass."""
    await superuser.execute("UPDATE webhook_delivery SET next_at = now() WHERE claim IS NOT NULL")


async def test_what_was_sent_and_not_noted_is_sent_again_under_the_same_id(
    alone: Listening, superuser: asyncpg.Connection
) -> None:
    """The worker ends between the answer and the note of it."""
    (event_id,) = await happen(alone)
    has_it, never = asyncio.Event(), asyncio.Event()

    async def hang(got: Got) -> bytes:
        has_it.set()
        await never.wait()
        return b""

    alone.receiver.answer = hang
    ending = asyncio.create_task(alone.deliver())
    await has_it.wait()
    ending.cancel()
    assert await asyncio.gather(ending, return_exceptions=True)
    assert await alone.deliver() == 0  # it is still claimed
    assert (await states(alone)) == {DeliveryState.WAITING: 1}
    await end_claims(superuser)
    alone.receiver.answer = answering("200 OK")
    assert await alone.deliver() == 1
    first, second = alone.receiver.got
    assert first.event_id == second.event_id == str(event_id)
    assert first.body == second.body
    assert [one.number for one in await alone.attempts(event_id)] == [2]


async def test_retries_keep_the_id_and_end_in_giving_up(listening: Listening) -> None:
    (event_id,) = await happen(listening)
    listening.receiver.answer = answering("500 Internal Server Error")
    assert await listening.deliver(retries=NONE) == 4
    assert await listening.deliver() == 0
    assert {got.event_id for got in listening.receiver.got} == {str(event_id)}
    assert len({got.body for got in listening.receiver.got}) == 1
    for got in listening.receiver.got:
        listening.check(got)
    attempts = await listening.attempts(event_id)
    assert [one.number for one in attempts] == [4, 3, 2, 1]
    assert {(one.outcome, one.status) for one in attempts} == {(Outcome.REFUSED, 500)}
    assert await states(listening) == {DeliveryState.GIVEN_UP: 1}
    endpoint = await listening.market.run(get_endpoint, listening.endpoint_id)
    assert endpoint.failing_since
    assert endpoint.disabled_at is None  # it has not been for days


async def test_a_receiver_that_asks_to_wait_is_left_alone(listening: Listening) -> None:
    await happen(listening)
    listening.receiver.answer = answering("429 Too Many Requests", "Retry-After: 3600")
    assert await listening.deliver() == 1
    (event,) = await listening.events()
    assert event.next_at
    waits = event.next_at - listening.receiver.got[0].at
    assert timedelta(minutes=59) < waits < timedelta(minutes=61)


async def test_a_slow_receiver_does_not_hold_up_others(listening: Listening, seals: Seals) -> None:
    await open_at(listening.market, seals, "https://slow.example/")
    async with listening.tls.receiver() as slow:
        slept = asyncio.Event()

        async def sleep(got: Got) -> bytes:
            await slept.wait()
            return b"HTTP/1.1 200 OK\r\n\r\n"

        slow.answer = sleep
        listening.places["slow.example"] = slow.port
        await happen(listening, 40)
        working = asyncio.create_task(listening.deliver(at_once=8))
        async with asyncio.timeout(20):
            while len(listening.receiver.got) < 40:  # noqa: ASYNC110 - of another task
                await asyncio.sleep(0.05)
        assert len(slow.got) == slow.connections == 4  # of 8 under way
        slept.set()
        assert await working == 80
        assert slow.most == 4


async def test_gone_disables_at_once_and_what_came_since_can_be_replayed(
    listening: Listening,
) -> None:
    first = (await happen(listening))[0]
    listening.receiver.answer = answering("410 Gone")
    assert await listening.deliver() == 1
    market = listening.market
    endpoint = await market.run(get_endpoint, listening.endpoint_id)
    assert (endpoint.disabled_because, endpoint.disabled_at is None) == (EndpointEnd.GONE, False)
    since = (await listening.events())[0].occurred_at
    missed = await happen(listening, 2)
    assert await listening.deliver() == 0
    assert await states(listening) == {DeliveryState.WAITING: 1, None: 2}
    await market.run(enable_endpoint, listening.endpoint_id)
    assert await market.run(replay_since, listening.endpoint_id, since) == 2  # one waits already
    assert await market.run(replay_since, listening.endpoint_id, since) == 0
    listening.receiver.answer = answering("200 OK")
    await asyncio.sleep(0.25)
    assert await listening.deliver() == 3
    arrived = {UUID(got.event_id) for got in listening.receiver.got[1:]}
    assert arrived == {first, *missed}


async def test_a_replay_is_the_same_event_once_more(listening: Listening) -> None:
    (event_id,) = await happen(listening)
    await listening.deliver()
    market = listening.market
    assert await market.run(replay_event, listening.endpoint_id, event_id) == 1
    assert await market.run(replay_event, listening.endpoint_id, event_id) == 0
    assert await listening.deliver() == 1
    first, second = listening.receiver.got
    assert (first.event_id, first.body) == (second.event_id, second.body)
    assert [one.number for one in await listening.attempts(event_id)] == [2, 1]


async def test_a_failing_endpoint_is_disabled_after_days(
    alone: Listening, superuser: asyncpg.Connection
) -> None:
    alone.receiver.answer = answering("503 Service Unavailable")
    for days, disabled in ((2, None), (4, EndpointEnd.FAILING)):
        await happen(alone)
        await alone.deliver()
        await superuser.execute(
            "UPDATE webhook_endpoint SET failing_since = now() - make_interval(days => $1)", days
        )
        for _ in SHORT:
            await asyncio.sleep(0.25)
            await alone.deliver()
        endpoint = await alone.market.run(get_endpoint, alone.endpoint_id)
        assert endpoint.disabled_because is disabled


async def test_what_failed_before_a_stop_by_staff_is_forgotten(
    alone: Listening, superuser: asyncpg.Connection
) -> None:
    """Or the first event given up afterwards would disable the endpoint."""
    market, endpoint_id = alone.market, alone.endpoint_id
    alone.receiver.answer = answering("503 Service Unavailable")
    await happen(alone)
    await alone.deliver()
    await superuser.execute("UPDATE webhook_endpoint SET failing_since = now() - interval '4 days'")
    await market.run(enable_endpoint, endpoint_id, by_staff=True)  # nothing stops it: no change
    assert (await market.run(get_endpoint, endpoint_id)).failing_since
    await market.run(disable_endpoint, endpoint_id, EndpointEnd.STAFF)
    await market.run(enable_endpoint, endpoint_id, by_staff=True)
    for _ in SHORT:
        await asyncio.sleep(0.25)
        await alone.deliver()
    assert await states(alone) == {DeliveryState.GIVEN_UP: 1}
    assert (await market.run(get_endpoint, endpoint_id)).disabled_because is None


async def test_a_delivery_ends_a_failing_stretch(listening: Listening) -> None:
    await happen(listening)
    listening.receiver.answer = answering("500 Oh")
    await listening.deliver()
    listening.receiver.answer = answering("201 Created")
    await asyncio.sleep(0.25)
    assert await listening.deliver() == 1
    endpoint = await listening.market.run(get_endpoint, listening.endpoint_id)
    assert endpoint.failing_since is None


async def test_both_secrets_sign_while_one_is_rotated(listening: Listening) -> None:
    market, old = listening.market, listening.secret
    new = await market.run(
        lambda c, bank_id: rotate_secret(c, listening.seals, bank_id, listening.endpoint_id)
    )
    assert new != old
    await happen(listening)
    await listening.deliver()
    (got,) = listening.receiver.got
    assert len(got.headers["webhook-signature"].split(" ")) == 2
    for secret in (old, new):
        verify(secret, got.headers, got.body, time.time())
    endpoint = await market.run(get_endpoint, listening.endpoint_id)
    assert endpoint.previous_until


async def test_a_rotation_whose_answer_was_lost_is_asked_for_again(listening: Listening) -> None:
    """What the receiver has goes on signing, and a bounded number of secrets does."""
    market, known = listening.market, listening.secret
    for _ in range(2):
        await market.run(
            lambda c, bank_id: rotate_secret(c, listening.seals, bank_id, listening.endpoint_id)
        )
    await happen(listening)
    await listening.deliver()
    listening.check(listening.receiver.got[0])
    for _ in range(5):
        listening.secret = await market.run(
            lambda c, bank_id: rotate_secret(c, listening.seals, bank_id, listening.endpoint_id)
        )
    await market.run(ping_endpoint, listening.endpoint_id)
    await listening.deliver()
    got = listening.receiver.got[1]
    listening.check(got)
    assert len(got.headers["webhook-signature"].split(" ")) == 4
    with pytest.raises(AssertionError):
        verify(known, got.headers, got.body, time.time())


async def test_the_old_secret_ends_with_the_overlap(
    alone: Listening, superuser: asyncpg.Connection
) -> None:
    old = alone.secret
    alone.secret = await alone.market.run(
        lambda c, bank_id: rotate_secret(c, alone.seals, bank_id, alone.endpoint_id)
    )
    await superuser.execute("UPDATE webhook_secret SET ends_at = now() WHERE ends_at < 'infinity'")
    await happen(alone)
    await alone.deliver()
    (got,) = alone.receiver.got
    alone.check(got)
    with pytest.raises(AssertionError):
        verify(old, got.headers, got.body, time.time())


async def test_a_change_counts_for_what_waits_too(listening: Listening) -> None:
    await happen(listening)
    market, async_url = listening.market, "https://other.example/elsewhere"
    await market.run(change_endpoint, listening.endpoint_id, url=async_url)
    listening.places = {"other.example": listening.receiver.port}
    await listening.deliver()
    assert [got.target for got in listening.receiver.got] == ["/elsewhere"]
    await market.run(
        change_endpoint, listening.endpoint_id, event_types=[EventType.SETTLEMENT_CLOSED]
    )
    await market.held(await market.resident(1), 1)
    assert await listening.deliver() == 0


async def test_nothing_is_sent_while_an_endpoint_is_disabled(listening: Listening) -> None:
    await happen(listening)
    market, endpoint_id = listening.market, listening.endpoint_id
    await market.run(disable_endpoint, endpoint_id, EndpointEnd.MERCHANT)
    assert await listening.deliver() == 0
    await market.run(enable_endpoint, endpoint_id)
    assert await listening.deliver() == 1


async def test_a_ping_goes_to_its_endpoint_alone_and_one_at_a_time(
    listening: Listening, seals: Seals
) -> None:
    market = listening.market
    other, _ = await open_at(market, seals, "https://other.example/")
    pings = {await market.run(ping_endpoint, listening.endpoint_id) for _ in range(3)}
    assert len(pings) == 1
    assert await listening.deliver() == 1
    (got,) = listening.receiver.got
    listening.check(got)
    assert got.payload["type"] == "webhook.ping"
    assert got.payload["data"] == {"endpoint_id": str(listening.endpoint_id)}
    assert await listening.events(other.endpoint_id) == []
    assert await market.run(ping_endpoint, listening.endpoint_id) not in pings


async def test_a_secret_of_another_key_is_no_try_and_no_failure_of_the_receiver(
    alone: Listening, superuser: asyncpg.Connection, tmp_path: Path
) -> None:
    """A worker without that key leaves the event to another, and tells the operator."""
    (event_id,) = await happen(alone)
    due = "UPDATE webhook_delivery SET next_at = now()"
    for _ in range(len(NONE) + 1):
        with capture_logs() as logged:
            assert await alone.deliver(seals=seals_in(tmp_path)) == 1
        assert [line["event"] for line in logged] == ["webhook_not_signed"]
        (event,) = await alone.events()
        assert event.next_at
        waits = event.next_at - datetime.now(UTC)
        assert timedelta(minutes=4) < waits < timedelta(minutes=6)
        await superuser.execute(due)
    assert await alone.attempts(event_id) == []
    endpoint = await alone.market.run(get_endpoint, alone.endpoint_id)
    assert endpoint.failing_since is None
    alone.receiver.answer = answering("500 Oh")
    assert await alone.deliver() == 1
    assert await states(alone) == {DeliveryState.WAITING: 1}
    await superuser.execute(due)
    alone.receiver.answer = answering("200 OK")
    assert await alone.deliver() == 1


async def test_no_log_has_the_url_or_the_secret(listening: Listening) -> None:
    await happen(listening)
    listening.receiver.answer = answering("302 Found", "Location: https://other.example/x")
    with capture_logs() as logged:
        await listening.deliver()
    assert [line["event"] for line in logged] == ["webhook_attempted"]
    for hidden in ("example", "/hook", "shop", listening.secret, "whsec"):
        assert hidden not in str(logged)
