"""Webhooks, purely: what is told, where to, how it is signed, when it is tried again.

As Standard Webhooks 1.0 (standardwebhooks.com) says: an event keeps its id at every attempt, each
attempt has its own timestamp, and `id.timestamp.body` is signed with HMAC-SHA256.
"""

import base64
import hmac
import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

import msgspec
from msgspec import Raw, Struct

from timebank.domain.errors import InvalidInputError
from timebank.domain.webhook_errors import WebhookUrlRefusedError


class EventType(StrEnum):
    """What can happen at a merchant (schema.sql says the same)."""

    HELD = "redemption.held"
    CAPTURED = "redemption.captured"
    RELEASED = "redemption.released"
    EXPIRED = "redemption.expired"
    REFUNDED = "redemption.refunded"
    SETTLEMENT_CLOSED = "settlement.closed"
    PING = "webhook.ping"


class DeliveryState(StrEnum):
    """How far an event came at an endpoint."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    GIVEN_UP = "given_up"


class Outcome(StrEnum):
    """How an attempt ended (schema.sql says each in a line)."""

    DELIVERED = "delivered"
    REFUSED = "refused"
    REDIRECTED = "redirected"
    GONE = "gone"
    TIMED_OUT = "timed_out"
    NAME_UNKNOWN = "name_unknown"
    ADDRESS_REFUSED = "address_refused"
    NOT_CONNECTED = "not_connected"
    NOT_TRUSTED = "not_trusted"
    BROKEN_OFF = "broken_off"
    NOT_SIGNED = "not_signed"


class EndpointEnd(StrEnum):
    """Why an endpoint is disabled."""

    MERCHANT = "merchant"
    STAFF = "staff"
    GONE = "gone"
    FAILING = "failing"


# ---- Where to ----------------------------------------------------------------------------------

PORTS = frozenset({443, 8443})

LONGEST_URL = 500

_REST = r"(?:[a-z0-9-]{0,61}[a-z0-9])?"
_URL = re.compile(
    rf"https://((?:[a-z0-9]{_REST}\.)+[a-z]{_REST})(?::([0-9]{{1,5}}))?"
    r"((?:/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*)?(?:\?[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*)?)",
    re.IGNORECASE | re.ASCII,
)


class Place(NamedTuple):
    """The parts of an endpoint's URL; `target` is path and query."""

    host: str
    port: int
    target: str


def read_url(url: str) -> Place:
    """Return where a URL leads; WebhookUrlRefusedError unless it is one we would call.

    It is https, names a host (no address in any spelling), one of two ports, nobody's password, and
    is plain ASCII: no two programs read it differently. Whether the name leads to a public address
    is asked at each delivery.
    """
    found = _URL.fullmatch(url) if len(url) <= LONGEST_URL else None
    if found is None or len(found[1]) > 253 or int(found[2] or 443) not in PORTS:
        raise WebhookUrlRefusedError
    target = found[3] if found[3].startswith("/") else f"/{found[3]}"
    return Place(found[1].lower(), int(found[2] or 443), target)


def check_event_types(types: Sequence[EventType]) -> None:
    """Raise InvalidInputError unless these are different types that one may ask for."""
    if not types or len(set(types)) != len(types):
        raise InvalidInputError("Name each type once, and one at least.", pointer="/event_types")
    if EventType.PING in types:
        raise InvalidInputError("A ping is sent when asked for.", pointer="/event_types")


# ---- When --------------------------------------------------------------------------------------

RETRIES = (
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=14),
    timedelta(hours=20),
    timedelta(hours=24),
)
"""How long to wait after the 1st, 2nd, … failure: ten attempts in a little more than three days."""

LONGEST_WAIT = timedelta(hours=24)


def next_wait(
    tries: int, jitter: float, asked: timedelta | None = None, waits: Sequence[timedelta] = RETRIES
) -> timedelta | None:
    """Return how long to wait after the failure of so many tries; None: give up.

    `jitter` of 0 to 1 adds up to a tenth, so that what failed together does not come back together.
    `asked` is what the receiver asked for, and counts if it is longer, up to a day.
    """
    if tries > len(waits):
        return None
    wait = waits[tries - 1] * (1 + jitter / 10)
    return max(wait, min(asked or wait, LONGEST_WAIT))


# ---- What --------------------------------------------------------------------------------------

SECRET_PREFIX = "whsec_"  # noqa: S105 - what a secret begins with


class _Payload(Struct):
    type: EventType
    timestamp: datetime
    data: Raw


def make_body(event_type: EventType, occurred_at: datetime, data: str) -> bytes:
    """Return the body of an event, the same at every attempt; `data` is JSON."""
    return msgspec.json.encode(_Payload(event_type, occurred_at, Raw(data.encode())))


def show_secret(secret: bytes) -> str:
    """Return a secret as receivers' libraries take it."""
    return SECRET_PREFIX + base64.b64encode(secret).decode()


def sign(secrets: Sequence[bytes], event_id: str, timestamp: int, body: bytes) -> str:
    """Return the webhook-signature header: one signature for each secret."""
    content = f"{event_id}.{timestamp}.".encode() + body
    return " ".join(
        "v1," + base64.b64encode(hmac.digest(secret, content, "sha256")).decode()
        for secret in secrets
    )
