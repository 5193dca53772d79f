"""Endpoints of merchants' systems: where they want to be told, of what, and the secret that signs.

A secret is shown once, when it is made; here it is sealed under the master key.
"""

import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from msgspec import Struct

from timebank.db import Connection, as_struct, load_queries
from timebank.domain.errors import NotFoundError
from timebank.domain.webhook_errors import WebhookDisabledError, WebhookStoppedError
from timebank.domain.webhooks import (
    EndpointEnd,
    EventType,
    check_event_types,
    read_url,
    show_secret,
)
from timebank.ledger.ids import new_id
from timebank.people.seals import Seals

_QUERIES = load_queries(__package__)

OVERLAP = timedelta(hours=24)
"""How long the secrets before sign too."""

_SECRET_BYTES = 32


class Endpoint(Struct, frozen=True, kw_only=True):
    """An endpoint; secrets before the latest sign until `previous_until`, if there are any.

    While staff have it stopped, that is why it is disabled, whatever else disabled it.
    """

    endpoint_id: UUID
    merchant_id: UUID
    url: str
    event_types: list[EventType]
    created_at: datetime
    failing_since: datetime | None
    disabled_at: datetime | None
    disabled_because: EndpointEnd | None
    previous_until: datetime | None


async def open_endpoint(
    connection: Connection,
    seals: Seals,
    bank_id: int,
    merchant_id: UUID,
    *,
    url: str,
    event_types: Sequence[EventType],
    actor_id: UUID,
) -> tuple[Endpoint, str]:
    """Return a new endpoint and its secret, `whsec_…`, which cannot be read again.

    WebhookUrlRefusedError, InvalidInputError, TooManyWebhooksError, WebhookStoppedError. Locks the
    merchant's row.
    """
    read_url(url)
    check_event_types(event_types)
    endpoint_id, secret = new_id(), secrets.token_bytes(_SECRET_BYTES)
    await connection.execute(
        _QUERIES["open_endpoint"],
        bank_id,
        endpoint_id,
        merchant_id,
        url,
        event_types,
        new_id(),
        seals.close(secret, place_of_secret(bank_id, endpoint_id)),
        actor_id,
    )
    return await get_endpoint(connection, bank_id, endpoint_id), show_secret(secret)


async def get_endpoint(connection: Connection, bank_id: int, endpoint_id: UUID) -> Endpoint:
    """Return the endpoint; NotFoundError if there is none."""
    record = await connection.fetchrow(_QUERIES["list_endpoints"], bank_id, None, endpoint_id)
    if record is None:
        raise NotFoundError
    return as_struct(record, Endpoint)


async def list_endpoints(connection: Connection, bank_id: int, merchant_id: UUID) -> list[Endpoint]:
    """Return all endpoints of a merchant, the oldest first; there are ten at most."""
    records = await connection.fetch(_QUERIES["list_endpoints"], bank_id, merchant_id, None)
    return [as_struct(record, Endpoint) for record in records]


async def change_endpoint(
    connection: Connection,
    bank_id: int,
    endpoint_id: UUID,
    *,
    url: str | None = None,
    event_types: Sequence[EventType] | None = None,
) -> None:
    """Send elsewhere from now on, also what waits already, or tell of other types.

    WebhookUrlRefusedError, InvalidInputError; WebhookStoppedError for a URL while staff disabled
    one of the merchant's endpoints.
    """
    if url is not None:
        read_url(url)
    if event_types is not None:
        check_event_types(event_types)
    changed = await connection.fetchval(
        _QUERIES["change_endpoint"], bank_id, endpoint_id, url, event_types
    )
    if not changed:
        raise WebhookStoppedError


async def rotate_secret(
    connection: Connection, seals: Seals, bank_id: int, endpoint_id: UUID
) -> str:
    """Return a new secret; those before sign beside it for OVERLAP more.

    So one whose answer was lost is simply rotated again. Locks the endpoint's row.
    """
    secret = secrets.token_bytes(_SECRET_BYTES)
    sealed = seals.close(secret, place_of_secret(bank_id, endpoint_id))
    await connection.execute(
        _QUERIES["rotate_secret"], bank_id, endpoint_id, new_id(), sealed, OVERLAP
    )
    return show_secret(secret)


async def disable_endpoint(
    connection: Connection, bank_id: int, endpoint_id: UUID, because: EndpointEnd
) -> None:
    """Send nothing more there; what waits stays until it is enabled.

    A stop by staff stands beside all else that disables: what lifts the one leaves the other.
    """
    if because is EndpointEnd.STAFF:
        await connection.execute(_QUERIES["stop_endpoint"], bank_id, endpoint_id)
    else:
        await connection.execute(_QUERIES["disable_endpoint"], bank_id, endpoint_id, because)


async def enable_endpoint(
    connection: Connection, bank_id: int, endpoint_id: UUID, *, by_staff: bool = False
) -> None:
    """Send again, also what waits; one that staff lift stays disabled if it is otherwise.

    WebhookDisabledError: staff enable what staff disabled, the merchant all else, and that not
    while staff have it stopped.
    """
    query = _QUERIES["lift_stop" if by_staff else "enable_endpoint"]
    enabled = await connection.fetchval(query, bank_id, endpoint_id)
    if not enabled:
        raise WebhookDisabledError


async def ping_endpoint(connection: Connection, bank_id: int, endpoint_id: UUID) -> UUID:
    """Return the id of an event that is sent to try the endpoint, the same while one waits.

    WebhookDisabledError. Locks the endpoint's row.
    """
    event_id: UUID = await connection.fetchval(
        _QUERIES["ping_endpoint"], bank_id, endpoint_id, new_id()
    )
    return event_id


def place_of_secret(bank_id: int, endpoint_id: UUID) -> str:
    """Return what secrets of an endpoint are bound to when sealed."""
    return f"timebank webhook secret|{bank_id}|{endpoint_id}"
