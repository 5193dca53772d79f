"""The JSON of requests and answers. Amounts are whole; the field's name says the unit.

Exactly one of `minutes` and `points` stands in a request; an answer has the one of its account.
"""

import re
from datetime import UTC, datetime
from typing import Annotated, Literal, overload
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from timebank.domain.errors import InvalidInputError
from timebank.domain.ledger import (
    LARGEST_AMOUNT,
    AccountKind,
    ReversalReason,
    SpentPolicy,
    TransferKind,
    TransferStatus,
    Unit,
)

END = r"$(?!\n)"
"""Where a pattern ends, also in JavaScript: Python's `$` lets one more line feed through."""

LINE = (
    r"^[^\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    r"\ue000-\uf8ff\ufeff\ufff9-\ufffb]*" + END
)
"""One line of what shows: no control, no sign that hides or turns the text, none for private use.

A joiner (U+200C, U+200D) stays: some scripts are wrong without it.
"""

Amount = Annotated[int, Meta(ge=1, le=LARGEST_AMOUNT)]
Instant = Annotated[datetime, Meta(tz=True, description="RFC 3339 with an offset")]
Label = Annotated[str, Meta(min_length=1, max_length=64)]

EARLIEST_INSTANT = datetime(1900, 1, 1, tzinfo=UTC)
"""Nothing is asked or recorded of earlier times; so every time zone can express every instant."""


@overload
def as_utc(given: datetime, pointer: str) -> datetime: ...
@overload
def as_utc(given: datetime | None, pointer: str) -> datetime | None: ...
def as_utc(given: datetime | None, pointer: str) -> datetime | None:
    """Return the instant in UTC; InvalidInputError if it is too early or beyond the calendar."""
    try:
        instant = given and given.astimezone(UTC)
    except OverflowError as error:
        raise InvalidInputError("The instant is beyond the calendar.", pointer=pointer) from error
    if instant and instant < EARLIEST_INSTANT:
        raise InvalidInputError("Instants begin with the year 1900.", pointer=pointer)
    return instant


def parse_instant(text: str | None, name: str) -> datetime | None:
    """Return the instant a query parameter gives; InvalidInputError unless it is RFC 3339.

    An unescaped `+` of an offset arrives as a space, and is understood.
    """
    if text is None:
        return None
    try:
        given = msgspec.convert(_SPACE_BEFORE_OFFSET.sub("+", text), Instant)
    except msgspec.ValidationError as error:
        raise InvalidInputError(
            "Give the instant with its offset, as 2026-05-01T00:00:00Z.", pointer=name
        ) from error
    return as_utc(given, name)


_SPACE_BEFORE_OFFSET = re.compile(r" (?=\d\d:\d\d$)")


class Quantity(Struct, forbid_unknown_fields=True, kw_only=True):
    """One amount, named by its unit."""

    minutes: Amount | UnsetType = UNSET
    points: Amount | UnsetType = UNSET

    def unit_and_amount(self, pointer: str = "") -> tuple[Unit, int]:
        """Return what was given; InvalidInputError unless exactly one was."""
        match self.minutes, self.points:
            case int(minutes), UnsetType():
                return Unit.HOURS, minutes
            case UnsetType(), int(points):
                return Unit.POINTS, points
        raise InvalidInputError(
            "Give exactly one of minutes and points.", pointer=f"{pointer}/points"
        )


class AwardBody(Quantity, forbid_unknown_fields=True, kw_only=True):
    """Recognise service: from the bank's issuance account to this account."""

    account_id: UUID
    occurred_at: Instant | None = None


class TransferBody(Quantity, forbid_unknown_fields=True, kw_only=True):
    """Give from a pool."""

    from_account_id: UUID
    to_account_id: UUID
    occurred_at: Instant | None = None


class AwardRow(AwardBody, tag_field="type", tag="award", forbid_unknown_fields=True, kw_only=True):
    """An award in a batch; neighbours with one `chain` are all posted or none."""

    chain: Label | None = None


class TransferRow(
    TransferBody, tag_field="type", tag="transfer", forbid_unknown_fields=True, kw_only=True
):
    """A transfer in a batch; neighbours with one `chain` are all posted or none."""

    chain: Label | None = None


class BatchBody(Struct, forbid_unknown_fields=True):
    """Rows are decided in order, each on its own but for chains."""

    rows: Annotated[list[AwardRow | TransferRow], Meta(min_length=1, max_length=5000)]


class ReversalBody(Struct, forbid_unknown_fields=True):
    """Why, and what to do about points that were already spent."""

    reason: ReversalReason
    when_spent: SpentPolicy = SpentPolicy.REFUSE


class OpenAccountBody(Struct, forbid_unknown_fields=True):
    """A resident's wallet, or (no owner) the bank's pool."""

    unit: Unit
    kind: Literal["wallet", "pool"] = "wallet"
    owner_id: UUID | None = None


class AccountView(Struct, frozen=True):
    """An account; `owner_id` is null for the bank's own."""

    account_id: UUID
    unit: Unit
    kind: AccountKind
    owner_id: UUID | None
    opened_at: datetime


class BalanceView(Struct, frozen=True, kw_only=True):
    """A balance now (`seq`: number of postings so far) or as of an instant.

    `points_available` stands there while less than all can be spent now: the rest is blocked, as
    the service that brought it is examined.
    """

    account_id: UUID
    unit: Unit
    minutes: int | UnsetType = UNSET
    points: int | UnsetType = UNSET
    points_available: int | UnsetType = UNSET
    seq: int | UnsetType = UNSET
    as_of: datetime | UnsetType = UNSET
    occurred_by: datetime | UnsetType = UNSET


class LineView(Struct, frozen=True, kw_only=True):
    """One passbook line: minutes or points are + in, - out; balance_after is in the same unit."""

    seq: int
    kind: TransferKind
    minutes: int | UnsetType = UNSET
    points: int | UnsetType = UNSET
    balance_after: int
    occurred_at: datetime
    recorded_at: datetime
    transfer_id: UUID
    subject_id: UUID | None
    reverses_id: UUID | None


class PassbookPage(Struct, frozen=True):
    """Newest lines first; `next_cursor` leads to older ones."""

    data: list[LineView]
    next_cursor: str | None
    has_more: bool


class AccountPage(Struct, frozen=True):
    """Accounts in the order of their ids."""

    data: list[AccountView]
    next_cursor: str | None
    has_more: bool


class PostedView(Struct, frozen=True):
    """A transfer that was posted, now or (a repeat) before."""

    transfer_id: UUID
    status: TransferStatus
    recorded_at: datetime


class RowResult(Struct, frozen=True):
    """What became of one row of a batch; refused rows moved nothing and say why in `status`."""

    row: int
    transfer_id: UUID
    status: TransferStatus
    recorded_at: datetime


class BatchView(Struct, frozen=True):
    """A result for each row, in order."""

    posted: int
    refused: int
    results: list[RowResult]


class ReversalView(Struct, frozen=True):
    """The transfers that took it back, the last original's first; debts come before them."""

    transfers: list[PostedView]


class TransferView(Struct, frozen=True, kw_only=True):
    """A journal entry, posted or refused."""

    transfer_id: UUID
    kind: TransferKind
    status: TransferStatus
    from_account_id: UUID
    to_account_id: UUID
    amount: int
    occurred_at: datetime
    recorded_at: datetime
    chain_id: UUID | None
    subject_id: UUID | None
    reverses_id: UUID | None
    reason: ReversalReason | None


class TrialBalanceRowView(Struct, frozen=True):
    """All accounts of one unit and kind."""

    unit: Unit
    kind: AccountKind
    accounts: int
    debit: int
    credit: int


class TrialBalanceView(Struct, frozen=True):
    """Within each unit the debits equal the credits; `balanced` says so."""

    balanced: bool
    rows: list[TrialBalanceRowView]


class HealthView(Struct, frozen=True):
    """`ok`, or the answer is a problem."""

    status: Literal["ok"] = "ok"
