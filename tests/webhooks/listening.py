"""A merchant whose system listens: an endpoint, its secret, the receiver and a worker for it."""

import time
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

from tests.book import STAFF
from tests.redemption.market import Market
from tests.webhooks.receiver import Authority, Got, Receiver, verify
from timebank.domain.webhooks import EventType
from timebank.people.seals import Seals
from timebank.webhooks.delivery import Worker, deliver_due
from timebank.webhooks.endpoints import Endpoint, open_endpoint
from timebank.webhooks.events import Attempt, Event, list_attempts, list_events

EVERYTHING = [one for one in EventType if one is not EventType.PING]
SHORT = (timedelta(milliseconds=200),) * 3
"""Waits between four attempts: longer than a worker stays without work."""

NONE = (timedelta(0),) * 3
"""All four in one go."""


@dataclass
class Listening:
    """Who listens to what happens at a market's merchant."""

    market: Market
    seals: Seals
    tls: Authority
    receiver: Receiver
    endpoint_id: UUID
    secret: str
    places: dict[str, int] = field(default_factory=dict)

    @classmethod
    async def open(
        cls, market: Market, seals: Seals, tls: Authority, receiver: Receiver
    ) -> "Listening":
        """Open an endpoint for all types."""
        endpoint, secret = await open_at(market, seals, "https://till.example/hook?shop=1")
        places = {"till.example": receiver.port}
        return cls(market, seals, tls, receiver, endpoint.endpoint_id, secret, places)

    def worker(self, **rest: Any) -> Worker:
        """A worker that retries at once and finds the receivers."""
        given = {
            "pool": self.market.book.pool,
            "seals": self.seals,
            "sender": self.tls.sender(self.places),
            "retries": SHORT,
            **rest,
        }
        return Worker(**given)

    async def deliver(self, **rest: Any) -> int:
        """Deliver what is due; return how many attempts there were."""
        return await deliver_due(self.worker(**rest), [self.market.bank_id])

    async def events(self, endpoint_id: UUID | None = None) -> list[Event]:
        """What the endpoint was told or is to be told, the latest first."""
        found: list[Event] = await self.market.run(
            list_events, endpoint_id or self.endpoint_id, limit=1000
        )
        return found

    async def attempts(self, event_id: UUID) -> list[Attempt]:
        """How the attempts at an event ended, the latest first."""
        found: list[Attempt] = await self.market.run(list_attempts, self.endpoint_id, event_id)
        return found

    def check(self, got: Got) -> None:
        """What came is signed by the secret we were shown."""
        verify(self.secret, got.headers, got.body, time.time())


async def open_at(
    market: Market,
    seals: Seals,
    url: str,
    event_types: list[EventType] | None = None,
    merchant_id: UUID | None = None,
) -> tuple[Endpoint, str]:
    """Open another endpoint, and return its secret too."""
    made: tuple[Endpoint, str] = await market.run(
        lambda connection, bank_id: open_endpoint(
            connection,
            seals,
            bank_id,
            merchant_id or market.merchant_id,
            url=url,
            event_types=event_types or EVERYTHING,
            actor_id=STAFF,
        )
    )
    return made
