"""The JSON of slips."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from msgspec import UNSET, Meta, Struct, UnsetType

from timebank.api.people_wire import PaperBody
from timebank.api.wire import Amount
from timebank.domain.redemption import HoldState
from timebank.domain.slips import LONGEST_SLIP_LIFETIME, MOST_SYNCED, SLIP_LIFETIME, SlipResult


class SlipBody(Struct, forbid_unknown_fields=True, kw_only=True):
    """Points to take along for one merchant; at a service point by a signed sheet."""

    merchant_id: UUID
    account_id: UUID
    points: Amount
    days: Annotated[
        int, Meta(ge=1, le=LONGEST_SLIP_LIFETIME.days, description="How long tills take it")
    ] = SLIP_LIFETIME.days
    override_id: UUID | None = None
    paper: PaperBody | None = None


class SlipView(Struct, frozen=True, kw_only=True):
    """A slip and what became of it.

    Tills take it before `expires_at`; its points stand reserved until `held_until`, so that a till
    that took it in time can tell. `text` is the slip itself, as its QR code holds it: whoever has
    it can spend it.
    """

    slip_id: UUID
    number: int
    resident_id: UUID
    merchant_id: UUID
    merchant_name: str
    points: int
    issued_at: datetime
    expires_at: datetime
    held_until: datetime
    state: HoldState
    ended_at: datetime | None
    text: str | UnsetType = UNSET


class SlipPage(Struct, frozen=True):
    """Slips, newest first."""

    data: list[SlipView]
    next_cursor: str | None
    has_more: bool


class AcceptanceBody(Struct, forbid_unknown_fields=True, kw_only=True):
    """That a till took a slip: what was scanned, and the id that this one taking has for ever."""

    slip: Annotated[str, Meta(min_length=1, max_length=1000)]
    acceptance_id: UUID


class SyncBody(Struct, forbid_unknown_fields=True):
    """What tills took while they were offline, as the checker exports it."""

    slips: Annotated[list[AcceptanceBody], Meta(min_length=1, max_length=MOST_SYNCED)]


class SyncRow(Struct, frozen=True, kw_only=True):
    """What became of an acceptance, for good unless it is unknown; only what is captured is paid.

    `number` and `points` are null of what is forged or of another bank. `hold_id`
    is what refunds name, null where it is none of this merchant's. `words` are for the merchant.
    """

    acceptance_id: UUID
    result: SlipResult
    number: int | None
    points: int | None
    hold_id: UUID | None
    words: str


class SyncAnswer(Struct, frozen=True):
    """A row for each acceptance, in the order they were told."""

    data: list[SyncRow]
