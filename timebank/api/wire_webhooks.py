"""The JSON of webhooks. A secret is shown once, to the merchant; staff see a host and no URL."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from msgspec import UNSET, Meta, Struct, UnsetType

from timebank.api.wire import Instant
from timebank.domain.ledger import TransferKind
from timebank.domain.webhooks import (
    LONGEST_URL,
    DeliveryState,
    EndpointEnd,
    EventType,
    Outcome,
)

Url = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=LONGEST_URL,
        description="https, a public host name, port 443 or 8443, no user and no fragment",
    ),
]
Types = Annotated[list[EventType], Meta(min_length=1, max_length=len(EventType))]


class OpenEndpointBody(Struct, forbid_unknown_fields=True, kw_only=True):
    """Where to tell what; each type once, and no `webhook.ping`, which is sent when asked for."""

    url: Url
    event_types: Types


class ChangeEndpointBody(Struct, forbid_unknown_fields=True, kw_only=True):
    """What changes from now on, also for what waits."""

    url: Url | None = None
    event_types: Types | None = None


class ReplayBody(Struct, forbid_unknown_fields=True, kw_only=True):
    """One event, or all that occurred since an instant."""

    event_id: UUID | None = None
    since: Instant | None = None


class EndpointView(Struct, frozen=True, kw_only=True):
    """An endpoint; `url` is for the merchant who looks, `secret` only when it is made."""

    endpoint_id: UUID
    merchant_id: UUID
    host: str
    event_types: list[EventType]
    created_at: datetime
    failing_since: datetime | None
    disabled_at: datetime | None
    disabled_because: EndpointEnd | None
    previous_secret_until: datetime | None
    url: str | UnsetType = UNSET
    secret: str | UnsetType = UNSET


class EndpointList(Struct, frozen=True):
    """Endpoints of a merchant, the oldest first; ten at most."""

    data: list[EndpointView]


class EventView(Struct, frozen=True, kw_only=True):
    """An event, whose id is the `webhook-id`; `state` null: the endpoint was disabled then."""

    event_id: UUID
    type: EventType
    occurred_at: datetime
    data: dict[str, Any]
    state: DeliveryState | None
    attempts: int
    delivered_at: datetime | None
    next_at: datetime | None


class EventPage(Struct, frozen=True):
    """Events of an endpoint, the latest first."""

    data: list[EventView]
    next_cursor: str | None
    has_more: bool


class AttemptView(Struct, frozen=True, kw_only=True):
    """How an attempt ended; a number that is missing was cut off on our side.

    `address_refused`: the name has no public address, or others beside it.
    """

    number: int
    attempted_at: datetime
    duration_ms: int
    outcome: Outcome
    status: int | None


class AttemptList(Struct, frozen=True):
    """Attempts to tell an event, the latest first."""

    data: list[AttemptView]


class PingView(Struct, frozen=True):
    """The event that is sent; the same while one waits."""

    event_id: UUID


class ReplayView(Struct, frozen=True):
    """How many events are told once more; those that wait already are not counted."""

    replayed: int


class MerchantLineView(Struct, frozen=True, kw_only=True):
    """A line of a merchant's passbook: points in, or (below 0) out."""

    seq: int
    recorded_at: datetime
    kind: TransferKind
    transfer_id: UUID
    hold_id: UUID | None
    points: int


class MerchantLinePage(Struct, frozen=True):
    """Lines, the earliest first; ask again after `last_seq` for what comes later."""

    data: list[MerchantLineView]
    last_seq: int
    has_more: bool
