"""Secrets are sealed, outlive a change of the master key, and go where docs say they verify."""

import re
import time
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.people.desk import Desk
from tests.redemption.market import Market
from tests.webhooks.listening import Listening
from tests.webhooks.receiver import Authority
from timebank.domain.webhooks import DeliveryState, Outcome
from timebank.people.seals import Seals
from timebank.people.vault_rotation import rotate_keys
from timebank.webhooks.endpoints import get_endpoint, ping_endpoint, rotate_secret

DOCS = Path(__file__).parents[2] / "docs" / "webhooks.md"


async def test_secrets_outlive_a_change_of_the_master_key(own_desk: Desk, tls: Authority) -> None:
    desk, market = own_desk, await Market.open(own_desk.book)
    async with tls.receiver() as receiver:
        listening = await Listening.open(market, Seals(desk.ring), tls, receiver)
        before = listening.secret
        listening.secret = await market.run(
            lambda c, bank_id: rotate_secret(c, listening.seals, bank_id, listening.endpoint_id)
        )
        for _ in range(2):
            done = await rotate_keys(
                desk.book.pool, desk.ring, reader_id=desk.clerk, request_id="rotation", forget=True
            )
            assert (done.sealed, done.forgotten) == (2, 1)
            await market.run(ping_endpoint, listening.endpoint_id)
            assert await listening.deliver() == 1
        for got in receiver.got:
            listening.check(got)
        assert before != listening.secret


async def test_a_secret_that_was_altered_signs_nothing(
    alone: Listening, superuser: asyncpg.Connection
) -> None:
    event_id = await alone.market.run(ping_endpoint, alone.endpoint_id)
    await superuser.execute(
        "UPDATE webhook_secret SET sealed_secret = set_byte(sealed_secret, 20, "
        "255 - get_byte(sealed_secret, 20))"
    )
    assert await alone.deliver() == 1
    assert alone.receiver.got == []
    (attempt,) = await alone.attempts(event_id)
    assert (attempt.outcome, attempt.status) == (Outcome.NOT_SIGNED, None)
    assert (await alone.events())[0].state is DeliveryState.WAITING
    endpoint = await alone.market.run(get_endpoint, alone.endpoint_id)
    assert endpoint.failing_since is None  # it is our damage


async def test_nothing_in_the_database_tells_a_secret(listening: Listening) -> None:
    pool = listening.market.book.pool
    for table in ("webhook_secret", "webhook_endpoint", "webhook_event", "webhook_delivery"):
        told = await pool.fetchval(f"SELECT string_agg(t::text, ' ') FROM {table} t")
        assert listening.secret.removeprefix("whsec_") not in (told or "")


async def test_what_the_docs_show_verifies(listening: Listening) -> None:
    example = re.search(r"```python\n(.*?)```", DOCS.read_text("utf-8"), re.DOTALL)
    assert example
    shown: dict[str, Any] = {}
    exec(example[1], shown)  # noqa: S102 - the example is ours
    verify = shown["verify"]
    await listening.market.run(ping_endpoint, listening.endpoint_id)
    await listening.deliver()
    (got,) = listening.receiver.got
    verify(listening.secret, got.headers, got.body)
    rotated = {
        **got.headers,
        "webhook-signature": f"v1a,x v1,AAAA {got.headers['webhook-signature']}",
    }
    verify(listening.secret, rotated, got.body)
    for headers, body, now in (
        (got.headers, got.body + b" ", None),
        (got.headers, got.body, time.time() + 310),
        (got.headers, got.body, time.time() - 310),
        ({**got.headers, "webhook-id": "other"}, got.body, None),
        ({**got.headers, "webhook-signature": "v1,"}, got.body, None),
        ({**got.headers, "webhook-signature": ""}, got.body, None),
    ):
        with pytest.raises(ValueError, match=r"too old|not signed"):
            verify(listening.secret, headers, body, now)
