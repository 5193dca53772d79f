"""The words of slips: points taken along on paper for one merchant's till without a network.

What stands on one and how it is checked is in redemption/slip_checker.py, which tills get alone.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from msgspec import Struct

from timebank.domain.errors import InvalidInputError
from timebank.domain.ledger import LARGEST_AMOUNT
from timebank.domain.redemption import HoldState

SLIP_LIFETIME = timedelta(days=7)
"""How long a till takes a slip, unless less is asked for."""

LONGEST_SLIP_LIFETIME = timedelta(days=14)

SYNC_GRACE = timedelta(days=7)
"""How long after that the till may tell of it; only then are the points of one unused back."""

MOST_SYNCED = 100
"""Acceptances in one request."""

SLIP_BODIES = range(1_000_000_000, 10_000_000_000)
"""With its two check digits a number has twelve, as no other number here."""


class SlipResult(StrEnum):
    """What an acceptance that a till tells of is answered, the same at every repeat but the first.

    All but `unknown`, which may come of telling the wrong bank or as another merchant, are final;
    only the first two are worth the points.
    """

    CAPTURED = "captured"
    CAPTURED_BEFORE = "captured_before"
    CAPTURED_BY_ANOTHER = "captured_by_another"
    EXPIRED = "expired"
    UNKNOWN = "unknown"
    FORGED = "forged"


RESULT_WORDS: Mapping[SlipResult, str] = {
    SlipResult.CAPTURED: "已入账 captured",
    SlipResult.CAPTURED_BEFORE: "此前已入账 captured before",
    SlipResult.CAPTURED_BY_ANOTHER: "已由另一台收款机入账，不再付 taken by another till: not paid",
    SlipResult.EXPIRED: "上报太迟，积分已退还，不付 told too late: not paid",
    SlipResult.UNKNOWN: "本行本店查无此单，未付 not known here of you: not paid",
    SlipResult.FORGED: "凭单不是银行签发的，不付 not signed by the bank: not paid",
}
"""What the merchant reads."""


class SlipOrder(Struct, frozen=True, kw_only=True):
    """A slip as asked for; the points come from a wallet or pool."""

    resident_id: UUID
    source_account_id: UUID
    merchant_id: UUID
    points: int
    lifetime: timedelta = SLIP_LIFETIME
    override_id: UUID | None = None


class Slip(Struct, frozen=True, kw_only=True):
    """A slip and what became of its hold; `slip_id` is the hold's id.

    Tills take it before `expires_at`; the hold stands until `held_until`.
    """

    slip_id: UUID
    number: int
    key_id: str
    resident_id: UUID
    merchant_id: UUID
    merchant_name: str
    issued_by: UUID
    points: int
    issued_at: datetime
    expires_at: datetime
    held_until: datetime
    state: HoldState
    ended_at: datetime | None


def check_order(order: SlipOrder) -> None:
    """Raise InvalidInputError for what no bank could sign."""
    if not timedelta(seconds=1) <= order.lifetime <= LONGEST_SLIP_LIFETIME:
        raise InvalidInputError("A slip lives up to 14 days.", pointer="/lifetime")
    if not 1 <= order.points <= LARGEST_AMOUNT:
        raise InvalidInputError("A slip has 1 point or more.", pointer="/points")
