"""What happened at a merchant, as an endpoint was told it, and telling it once more."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from msgspec import Struct

from timebank.db import Connection, as_struct, load_queries
from timebank.domain.errors import NotFoundError
from timebank.domain.webhooks import DeliveryState, EventType, Outcome

_QUERIES = load_queries(__package__)

AFTER_ALL = 2**63 - 1

KEPT = timedelta(days=90)
"""How long an event, its deliveries and attempts are kept."""

_MOST_ATTEMPTS = 100
_FORGOTTEN_AT_ONCE = 1000


class Event(Struct, frozen=True, kw_only=True):
    """An event at an endpoint; `state` None: it was disabled then, and was never told."""

    event_id: UUID
    number: int
    type: EventType
    occurred_at: datetime
    data: str
    state: DeliveryState | None
    attempts: int | None
    delivered_at: datetime | None
    next_at: datetime | None


class Attempt(Struct, frozen=True, kw_only=True):
    """How an attempt ended; a number that is missing was cut off."""

    number: int
    attempted_at: datetime
    duration_ms: int
    outcome: Outcome
    status: int | None


async def list_events(
    connection: Connection,
    bank_id: int,
    endpoint_id: UUID,
    *,
    before: int = AFTER_ALL,
    limit: int = 50,
) -> list[Event]:
    """Return events of an endpoint, those written last first, with `number` below `before`."""
    records = await connection.fetch(_QUERIES["list_events"], bank_id, endpoint_id, before, limit)
    return [as_struct(record, Event) for record in records]


async def get_event(
    connection: Connection, bank_id: int, endpoint_id: UUID, event_id: UUID
) -> Event:
    """Return the event; NotFoundError if the endpoint has none of this id."""
    record = await connection.fetchrow(_QUERIES["find_event"], bank_id, endpoint_id, event_id)
    if record is None:
        raise NotFoundError
    return as_struct(record, Event)


async def list_attempts(
    connection: Connection, bank_id: int, endpoint_id: UUID, event_id: UUID
) -> list[Attempt]:
    """Return the last attempts to tell an event, the latest first."""
    records = await connection.fetch(
        _QUERIES["list_attempts"], bank_id, endpoint_id, event_id, _MOST_ATTEMPTS
    )
    return [as_struct(record, Attempt) for record in records]


async def replay_event(
    connection: Connection, bank_id: int, endpoint_id: UUID, event_id: UUID
) -> int:
    """Tell an event once more, under its own id; 0 if it waits already.

    NotFoundError, WebhookDisabledError.
    """
    await get_event(connection, bank_id, endpoint_id, event_id)
    return await _replay(connection, bank_id, endpoint_id, event_id, None)


async def replay_since(
    connection: Connection, bank_id: int, endpoint_id: UUID, since: datetime
) -> int:
    """Tell all that occurred since an instant once more; return how many that do not wait already.

    What was never told since the endpoint was disabled is among it. WebhookDisabledError.
    """
    return await _replay(connection, bank_id, endpoint_id, None, since)


async def _replay(
    connection: Connection,
    bank_id: int,
    endpoint_id: UUID,
    event_id: UUID | None,
    since: datetime | None,
) -> int:
    many: int = await connection.fetchval(
        _QUERIES["replay_deliveries"], bank_id, endpoint_id, event_id, since
    )
    return many


async def forget_events(connection: Connection, bank_id: int) -> int:
    """Forget some of what is older than KEPT and waits nowhere; return how many."""
    many: int = await connection.fetchval(
        _QUERIES["forget_events"], bank_id, datetime.now(UTC) - KEPT, _FORGOTTEN_AT_ONCE
    )
    return many
