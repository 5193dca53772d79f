"""The JSON of settlements. No resident is named in one."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from msgspec import Meta, Struct

from timebank.api.wire import END, Instant
from timebank.domain.ledger import TransferKind
from timebank.domain.settlement import RATE_UNIT, SettlementState

FenRate = Annotated[int, Meta(ge=0, le=10**8, description=f"Fen for {RATE_UNIT} points")]


class DraftBody(Struct, forbid_unknown_fields=True, kw_only=True):
    """Up to when a merchant is settled with; with a rate, yuan are reckoned too."""

    cut_off: Instant
    fen_rate: FenRate | None = None


class SeenBody(Struct, forbid_unknown_fields=True):
    """The hash of the statement that the approver saw."""

    content_hash: Annotated[str, Meta(pattern="^[0-9a-f]{64}" + END)]


class SettlementView(Struct, frozen=True, kw_only=True):
    """A settlement: what lines `first_line`..`last_line` of the merchant's passbook come to.

    In points, but `fen`; `remainder` counts ten-thousandths of a fen. `total` is captured less
    refunded and reissued; `payable` adds what was carried in. What is paid stands there once it is
    closed; what was not is carried out.
    """

    settlement_id: UUID
    merchant_id: UUID
    number: int
    state: SettlementState
    cut_off: datetime
    first_line: int
    last_line: int
    captured: int
    refunded: int
    reissued: int
    total: int
    carried_in: int
    payable: int
    fen_rate: int | None
    content_hash: str
    drafted_by: UUID
    drafted_at: datetime
    approved_by: list[UUID]
    approved_at: datetime | None
    paid: int | None
    carried_out: int | None
    fen: int | None
    remainder: int | None
    closed_by: UUID | None
    closed_at: datetime | None


class SettlementPage(Struct, frozen=True):
    """Settlements, the last drafted first."""

    data: list[SettlementView]
    next_cursor: str | None
    has_more: bool


class StatementLineView(Struct, frozen=True, kw_only=True):
    """A line of the merchant's passbook; those that count add up to the settlement's total."""

    line: int
    recorded_at: datetime
    kind: TransferKind
    transfer_id: UUID
    hold_id: UUID | None
    points: int
    counts: bool


class StatementPage(Struct, frozen=True):
    """Lines in the order of the passbook."""

    data: list[StatementLineView]
    next_cursor: str | None
    has_more: bool
