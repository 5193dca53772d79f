"""Folding one passbook after another, line by line, against journal and balance rows.

Pure. Amounts are signed, credit + and debit -; instants are microseconds (snapshot.py). After a
fault the fold goes on from what the line says, so that one fault is not told again at each line.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

from msgspec import Struct

from timebank.audit.findings import Findings
from timebank.audit.invariants import (
    BALANCE_FOLLOWS,
    BANK_EXISTS,
    OCCURRED_BEFORE,
    RECORDED_IN_ORDER,
    SEQ_GAPLESS,
    TWO_POSTINGS,
    WITHIN_LIMITS,
    WITNESSES_AGREE,
    Invariant,
)
from timebank.audit.snapshot import NEVER, say_instant
from timebank.domain.ledger import LARGEST_AMOUNT, AccountKind

_NEGATIVE_KINDS = {AccountKind.ISSUANCE, AccountKind.DEBT}


class Line(NamedTuple):
    """A line of a passbook beside the same line as the journal tells it; either may be missing.

    The columns of query stream_lines. `seq` is None for a posted transfer without one.
    """

    bank_id: int
    account_id: UUID
    seq: int
    transfer_id: UUID | None
    amount: int
    balance_after: int
    occurred_at: int
    occurred_latest: int
    recorded_at: int
    told_transfer_id: UUID | None
    told_amount: int
    told_occurred_at: int
    told_recorded_at: int


class AccountRow(NamedTuple):
    """An account beside its balance row; either may be missing (query stream_accounts)."""

    bank_id: int
    account_id: UUID
    unit: str | None = None
    kind: str | None = None
    balance_unit: str | None = None
    balance_kind: str | None = None
    balance: int | None = None
    seq: int = 0
    floor: int = 0
    ceiling: int = 0
    recorded_at: int = NEVER
    occurred_latest: int = NEVER


class Tally(Struct):
    """The accounts of one unit and kind by the sums of their postings, as a trial balance."""

    accounts: int = 0
    debit: int = 0
    credit: int = 0

    def add(self, balance: int) -> None:
        """Count an account that stands at `balance`."""
        self.accounts += 1
        self.debit += max(-balance, 0)
        self.credit += max(balance, 0)


class Passbook:
    """The state after the lines read so far: all that the next line is checked against."""

    def __init__(self, account: AccountRow, findings: Findings) -> None:
        """`account` may be neither account nor balance row: lines of an account that is not."""
        self.account = account
        self.total = 0
        self._findings = findings
        self._floor, self._ceiling = limits(account.kind)
        self._seq = 0
        self._balance = 0
        self._recorded_at = NEVER
        self._latest = NEVER

    def read(self, line: Sequence[Any]) -> None:
        """Check the next line, given as the columns of `Line`."""
        (_, _, seq, transfer, amount, after, occurred, latest, recorded, *told) = line
        if transfer is None:
            self._report_missing(Line(*line))
            return
        true_latest = occurred if occurred > self._latest else self._latest
        if (
            seq != self._seq + 1
            or after != self._balance + amount
            or not self._floor <= after <= self._ceiling
            or recorded < self._recorded_at
            or latest != true_latest
            or told != [transfer, amount, occurred, recorded]
        ):
            self._report_faults(Line(*line), true_latest)
        self._seq = seq
        self._balance = after
        self._recorded_at = recorded
        self._latest = true_latest
        self.total += amount

    def close(self) -> None:
        """Check the balance row against the last line and the sum of all."""
        account, row = self.account, f"balance {self.account.account_id}"
        if account.balance is None or account.kind is None:
            self._report_half()
        if account.balance is None:
            return
        said = f"balance {account.balance}"
        self._compare(WITNESSES_AGREE, row, f"balance {self._balance}", said)
        self._compare(WITNESSES_AGREE, row, f"sum {self.total}", f"sum {self._balance}")
        self._compare(SEQ_GAPLESS, row, f"seq {self._seq}", f"seq {account.seq}")
        if account.recorded_at != self._recorded_at:
            said = f"recorded_at {say_instant(account.recorded_at)}"
            self._add(WITNESSES_AGREE, row, say_instant(self._recorded_at), said)
        if account.occurred_latest != self._latest:
            said = f"occurred_latest {say_instant(account.occurred_latest)}"
            self._add(WITNESSES_AGREE, row, say_instant(self._latest), said)
        if account.kind is not None:
            said = f"{account.floor} to {account.ceiling}"
            self._compare(WITHIN_LIMITS, row, f"{self._floor} to {self._ceiling}", said)
            said = f"{account.balance_unit} {account.balance_kind}"
            self._compare(WITNESSES_AGREE, row, f"{account.unit} {account.kind}", said)

    def _compare(self, invariant: Invariant, row: str, expected: str, found: str) -> None:
        if expected != found:
            self._add(invariant, row, expected, found)

    def _add(self, invariant: Invariant, row: str, expected: str, found: str) -> None:
        self._findings.add(invariant, self.account.bank_id, row, expected, found)

    def _report_half(self) -> None:
        account_id = self.account.account_id
        if self.account.kind is not None:
            self._add(WITNESSES_AGREE, f"balance {account_id}", "a balance row", "none")
        elif self.account.balance is not None:
            self._add(WITNESSES_AGREE, f"account {account_id}", "an account", "only a balance row")
        else:
            self._add(BANK_EXISTS, f"account {account_id}", "an account", "only lines of it")

    def _report_missing(self, line: Line) -> None:
        row = f"posting {line.account_id}/{line.seq} of transfer {line.told_transfer_id}"
        self._add(TWO_POSTINGS, row, f"a line of {line.told_amount:+}", "none")

    def _report_faults(self, line: Line, true_latest: int) -> None:
        row = f"posting {line.account_id}/{line.seq}"
        self._report_journal_faults(line, f"{row} of transfer {line.transfer_id}")
        self._compare(SEQ_GAPLESS, row, f"line {self._seq + 1}", f"line {line.seq}")
        true = f"{self._balance} {line.amount:+} = {self._balance + line.amount}"
        said = f"{self._balance} {line.amount:+} = {line.balance_after}"
        self._compare(BALANCE_FOLLOWS, row, true, said)
        if not self._floor <= line.balance_after <= self._ceiling:
            true = f"a balance from {self._floor} to {self._ceiling}"
            self._add(WITHIN_LIMITS, row, true, f"balance after {line.balance_after}")
        if line.recorded_at < self._recorded_at:
            true = f"recorded at {say_instant(self._recorded_at)} or later"
            self._add(RECORDED_IN_ORDER, row, true, say_instant(line.recorded_at))
        if line.occurred_latest != true_latest:
            said = f"occurred_latest {say_instant(line.occurred_latest)}"
            self._add(OCCURRED_BEFORE, row, say_instant(true_latest), said)

    def _report_journal_faults(self, line: Line, row: str) -> None:
        if line.told_transfer_id is None:
            self._add(TWO_POSTINGS, row, "a posted transfer with this line as a side", "none")
            return
        if line.told_transfer_id != line.transfer_id:
            row += f" or {line.told_transfer_id}"
            told = f"a line of transfer {line.told_transfer_id}"
            self._add(TWO_POSTINGS, row, told, f"a line of transfer {line.transfer_id}")
        told, said = f"amount {line.told_amount:+}", f"amount {line.amount:+}"
        self._compare(TWO_POSTINGS, row, told, said)
        for name, told_at, said_at in (
            ("recorded", line.told_recorded_at, line.recorded_at),
            ("occurred", line.told_occurred_at, line.occurred_at),
        ):
            if told_at != said_at:
                told = f"{name} at {say_instant(told_at)} as the transfer says"
                self._add(TWO_POSTINGS, row, told, say_instant(said_at))


def limits(kind: str | None) -> tuple[int, int]:
    """Return the floor and ceiling of an account of this kind; the widest for no kind."""
    floor = -LARGEST_AMOUNT if kind is None or kind in _NEGATIVE_KINDS else 0
    return floor, 0 if kind in _NEGATIVE_KINDS else LARGEST_AMOUNT
