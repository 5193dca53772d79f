"""The words of the ledger: units, kinds, transfers, balances and passbook lines.

Amounts are whole minutes (unit hours) or whole points and always positive in a transfer; in a
passbook line and a balance credit is + and debit is -. Instants are UTC.
"""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from msgspec import Struct

LARGEST_AMOUNT = 2**53 - 1
"""What every JSON reader can hold exactly; also the limit of a balance, up and down."""


class Unit(StrEnum):
    """What an account counts."""

    HOURS = "hours"
    POINTS = "points"


class AccountKind(StrEnum):
    """What an account is for; the kind sets its floor and ceiling (schema.sql, open_accounts)."""

    ISSUANCE = "issuance"
    WALLET = "wallet"
    POOL = "pool"
    DEBT = "debt"
    HELD = "held"
    MERCHANT = "merchant"
    RETIRED = "retired"


class TransferKind(StrEnum):
    """What a transfer does; which kinds of account it may touch is in schema.sql, may_move."""

    AWARD = "award"
    TRANSFER = "transfer"
    REVERSAL = "reversal"
    DEBT = "debt"
    REPAYMENT = "repayment"
    GIFT = "gift"
    HOLD = "hold"
    CAPTURE = "capture"
    RELEASE = "release"
    REFUND = "refund"
    REISSUE = "reissue"
    SETTLEMENT = "settlement"
    EXPIRY = "expiry"
    ROUNDING = "rounding"


class TransferStatus(StrEnum):
    """The ledger's answer to a transfer; everything but `posted` moved nothing."""

    POSTED = "posted"
    ID_CONFLICT = "id_conflict"
    AMOUNT_OUT_OF_RANGE = "amount_out_of_range"
    ACCOUNT_NOT_FOUND = "account_not_found"
    SAME_ACCOUNT = "same_account"
    UNIT_MISMATCH = "unit_mismatch"
    ACCOUNT_KIND_MISMATCH = "account_kind_mismatch"
    OCCURRED_IN_FUTURE = "occurred_in_future"
    ORIGINAL_NOT_FOUND = "original_not_found"
    ORIGINAL_IS_REVERSAL = "original_is_reversal"
    ORIGINAL_NOT_REVERSIBLE = "original_not_reversible"
    ORIGINAL_DIFFERS = "original_differs"
    ALREADY_REVERSED = "already_reversed"
    INSUFFICIENT_BALANCE = "insufficient_balance"
    POINTS_BLOCKED = "points_blocked"
    CEILING_EXCEEDED = "ceiling_exceeded"
    CHAIN_BROKEN = "chain_broken"


class ReversalReason(StrEnum):
    """Why a transfer is reversed: a code, so that nobody writes a name into the ledger."""

    RECORDED_IN_ERROR = "recorded_in_error"
    DUPLICATE = "duplicate"
    WRONG_PERSON = "wrong_person"
    WRONG_AMOUNT = "wrong_amount"
    SERVICE_NOT_GIVEN = "service_not_given"
    ABUSE = "abuse"


class SpentPolicy(StrEnum):
    """What a reversal does about points that were already spent."""

    REFUSE = "refuse"
    DEBT = "debt"


class Transfer(Struct, frozen=True, kw_only=True):
    """One amount from a debit to a credit account, as asked for.

    `occurred_at` None means: when it is recorded. The same id with the same content is one
    transfer, however often it is sent.
    """

    transfer_id: UUID
    kind: TransferKind
    debit_account_id: UUID
    credit_account_id: UUID
    amount: int
    actor_id: UUID
    occurred_at: datetime | None = None
    subject_id: UUID | None = None
    reverses_id: UUID | None = None
    reason: ReversalReason | None = None


Chain = Sequence[Transfer]
"""Transfers that are posted all or none; a chain of one is a single transfer."""


class Outcome(Struct, frozen=True):
    """What the ledger decided about a transfer, and when; the same at every repeat."""

    transfer_id: UUID
    status: TransferStatus
    recorded_at: datetime


class JournalEntry(Struct, frozen=True, kw_only=True):
    """A transfer as the journal keeps it, posted or refused."""

    transfer_id: UUID
    kind: TransferKind
    status: TransferStatus
    debit_account_id: UUID
    credit_account_id: UUID
    amount: int
    occurred_at: datetime
    recorded_at: datetime
    actor_id: UUID
    chain_id: UUID | None
    subject_id: UUID | None
    reverses_id: UUID | None
    reason: ReversalReason | None


class Account(Struct, frozen=True):
    """What never changes of an account; `owner_id` is None for the bank's own."""

    account_id: UUID
    unit: Unit
    kind: AccountKind
    owner_id: UUID | None
    opened_at: datetime


class Balance(Struct, frozen=True):
    """An account's balance after its last posting, number `seq` (0: none yet)."""

    account_id: UUID
    balance: int
    seq: int


class PassbookLine(Struct, frozen=True, kw_only=True):
    """One line of a passbook: what moved (+ in, - out) and what stood afterwards."""

    seq: int
    kind: TransferKind
    amount: int
    balance_after: int
    occurred_at: datetime
    recorded_at: datetime
    transfer_id: UUID
    subject_id: UUID | None
    reverses_id: UUID | None


class TrialBalanceRow(Struct, frozen=True):
    """All accounts of one unit and kind; within a unit, debits equal credits."""

    unit: Unit
    kind: AccountKind
    accounts: int
    debit: int
    credit: int
