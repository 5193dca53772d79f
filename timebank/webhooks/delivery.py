"""Delivery: what is due is claimed, sent, and its end noted. Several workers do no harm.

A worker that dies has lost nothing: its claims run out, and others send again under the same id.
"""

import asyncio
import random
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import structlog
from msgspec import Struct

from timebank.db import Pool, as_struct, load_queries, transaction
from timebank.domain.errors import SealBrokenError, UnsafeKeyFileError, VaultKeyMissingError
from timebank.domain.webhooks import RETRIES, EventType, Outcome, make_body, next_wait, sign
from timebank.ledger.banks import list_banks
from timebank.people.seals import Seals
from timebank.webhooks.endpoints import place_of_secret
from timebank.webhooks.sending import PATIENCE, Sender, Sent

_QUERIES = load_queries(__package__)

log = structlog.get_logger()

AT_ONCE = 32
"""Under way from one worker; each has its own connection."""

AT_ONE_ENDPOINT = 4

LEASE = PATIENCE * 3
"""How long a claim counts: longer than anything that is sent takes."""

KEY_WAIT = timedelta(minutes=5)
"""How long an event is left to workers that have the key for it."""

_LOOK_AGAIN = 1.0


class Worker(Struct, frozen=True, kw_only=True):
    """With what a worker works, and how; tests are in more of a hurry."""

    pool: Pool
    seals: Seals
    sender: Sender
    at_once: int = AT_ONCE
    at_one_endpoint: int = AT_ONE_ENDPOINT
    lease: timedelta = LEASE
    retries: Sequence[timedelta] = RETRIES


class Claimed(Struct, frozen=True, kw_only=True):
    """A delivery that is ours to make until the claim runs out."""

    endpoint_id: UUID
    event_id: UUID
    type: EventType
    occurred_at: datetime
    data: str
    url: str
    sealed_secrets: list[bytes]
    attempt: int
    tries: int
    claim: UUID


async def deliver_due(worker: Worker, bank_ids: Iterable[int] | None = None) -> int:
    """Make all deliveries that are due, of all banks unless some are named, until none is.

    Return how many attempts were made.
    """
    named = None if bank_ids is None else list(bank_ids)
    made, under_way = 0, set[asyncio.Task[None]]()
    try:
        while True:
            banks = await _all_banks(worker.pool) if named is None else named
            for bank_id in random.sample(banks, len(banks)):
                for one in await _claim(worker, bank_id, worker.at_once - len(under_way)):
                    under_way.add(asyncio.create_task(_deliver(worker, bank_id, one)))
            if not under_way:
                return made
            # What becomes due meanwhile does not wait for the slow ones.
            done, under_way = await asyncio.wait(
                under_way, timeout=_LOOK_AGAIN, return_when=asyncio.FIRST_COMPLETED
            )
            made += len(done)
    finally:
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)


async def _all_banks(pool: Pool) -> list[int]:
    async with pool.acquire() as connection:
        return [bank.bank_id for bank in await list_banks(connection)]


async def _claim(worker: Worker, bank_id: int, free: int) -> list[Claimed]:
    if free <= 0:
        return []
    async with transaction(worker.pool) as connection:
        records = await connection.fetch(
            _QUERIES["claim_deliveries"], bank_id, free, worker.at_one_endpoint, worker.lease
        )
    return [as_struct(record, Claimed) for record in records]


async def _deliver(worker: Worker, bank_id: int, one: Claimed) -> None:
    """Send one event and note how it ended; if that fails, it is sent again when the claim ends."""
    attempted_at, began = datetime.now(UTC), time.monotonic()
    try:
        try:
            secrets = _open_secrets(worker, bank_id, one)
        except (VaultKeyMissingError, UnsafeKeyFileError) as error:
            await _put_off(worker, bank_id, one, error)
            return
        sent = await _send(worker, one, secrets) if secrets else Sent(Outcome.NOT_SIGNED)
        wait = None
        if sent.outcome is not Outcome.DELIVERED:
            jitter = random.random()  # noqa: S311 - spreads retries, keeps no secret
            wait = next_wait(one.tries, jitter, sent.retry_after, worker.retries)
        async with transaction(worker.pool) as connection:
            await connection.execute(
                _QUERIES["finish_attempt"],
                bank_id,
                one.endpoint_id,
                one.event_id,
                one.claim,
                one.attempt,
                attempted_at,
                int((time.monotonic() - began) * 1000),
                sent.outcome,
                sent.status,
                wait,
            )
    except Exception as error:
        log.error(
            "webhook_not_noted", bank_id=bank_id, endpoint_id=str(one.endpoint_id), exc_info=error
        )
    else:
        log.debug(
            "webhook_attempted",
            bank_id=bank_id,
            endpoint_id=str(one.endpoint_id),
            event_id=str(one.event_id),
            attempt=one.attempt,
            outcome=sent.outcome,
            status=sent.status,
        )


async def _put_off(worker: Worker, bank_id: int, one: Claimed, error: Exception) -> None:
    """Leave the event to a worker whose key file holds the key; ours is to be looked at."""
    log.error("webhook_not_signed", bank_id=bank_id, exc_info=error)
    async with transaction(worker.pool) as connection:
        await connection.execute(
            _QUERIES["put_off_delivery"],
            bank_id,
            one.endpoint_id,
            one.event_id,
            one.claim,
            KEY_WAIT,
        )


def _open_secrets(worker: Worker, bank_id: int, one: Claimed) -> list[bytes]:
    """Return the secrets that sign; none if one was altered. VaultKeyMissingError."""
    place = place_of_secret(bank_id, one.endpoint_id)
    try:
        return [worker.seals.open(sealed, place) for sealed in one.sealed_secrets]
    except SealBrokenError as error:
        log.error("webhook_not_signed", bank_id=bank_id, exc_info=error)
        return []


async def _send(worker: Worker, one: Claimed, secrets: Sequence[bytes]) -> Sent:
    body, timestamp = make_body(one.type, one.occurred_at, one.data), int(time.time())
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "timebank-webhooks/1",
        "Accept": "*/*",
        "Accept-Encoding": "identity",
        "webhook-id": str(one.event_id),
        "webhook-timestamp": str(timestamp),
        "webhook-signature": sign(secrets, str(one.event_id), timestamp, body),
    }
    return await worker.sender.send(one.url, headers, body)
