"""The words of settlement: what a merchant is paid for, and how points become yuan."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from msgspec import Struct

from timebank.domain.ledger import TransferKind

RATE_UNIT = 10_000
"""A rate is fen for so many points; a remainder counts fen in as many parts."""


class SettlementState(StrEnum):
    """How far a settlement came; `closed` is final."""

    DRAFT = "draft"
    APPROVED = "approved"
    CLOSED = "closed"


class SettlementStatus(StrEnum):
    """The answer to a step; everything but `done` had no effect."""

    DONE = "done"
    ID_CONFLICT = "id_conflict"
    SETTLEMENT_NOT_FOUND = "settlement_not_found"
    SETTLEMENT_OPEN = "settlement_open"
    SETTLEMENT_CLOSED = "settlement_closed"
    SETTLEMENT_NOT_APPROVED = "settlement_not_approved"
    SETTLEMENT_DIFFERS = "settlement_differs"
    SETTLEMENT_EMPTY = "settlement_empty"
    CUT_OFF_IN_FUTURE = "cut_off_in_future"
    SECOND_PERSON_NEEDED = "second_person_needed"


class Settlement(Struct, frozen=True, kw_only=True):
    """Lines `first_seq`..`last_seq` of a merchant's passbook and what they come to, in points.

    `fen_rate` is fen for RATE_UNIT points, None where no yuan are paid. Remainders are parts of a
    fen, RATE_UNIT to the fen; what is not paid is carried to the next, below 0 too.
    """

    settlement_id: UUID
    merchant_id: UUID
    account_id: UUID
    number: int
    cut_off: datetime
    first_seq: int
    last_seq: int
    captured: int
    refunded: int
    reissued: int
    carried_in: int
    fen_rate: int | None
    remainder_in: int
    content_hash: bytes
    state: SettlementState
    drafted_by: UUID
    drafted_at: datetime
    first_approver: UUID | None
    second_approver: UUID | None
    approved_at: datetime | None
    paid: int | None
    carried_out: int | None
    fen: int | None
    remainder_out: int | None
    closed_by: UUID | None
    closed_at: datetime | None

    @property
    def total(self) -> int:
        """What its lines come to."""
        return self.captured - self.refunded - self.reissued

    @property
    def payable(self) -> int:
        """What is paid if the merchant still has it when it is closed."""
        return max(0, self.carried_in + self.total)


class SettlementLine(Struct, frozen=True, kw_only=True):
    """A line of the merchant's passbook; one of kind `settlement` says what was paid before."""

    seq: int
    recorded_at: datetime
    kind: TransferKind
    transfer_id: UUID
    hold_id: UUID | None
    points: int

    @property
    def counts(self) -> bool:
        """Whether it is part of the total."""
        return self.kind is not TransferKind.SETTLEMENT
