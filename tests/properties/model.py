"""The ledger once more, in plain Python: what schema.sql must do, by dict and list alone.

It takes transfers strictly one after another, keeps every line of every passbook and folds them
whenever it is asked for a balance. Nothing is clever here, so that it can be believed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from msgspec.structs import replace

from timebank.domain.ledger import (
    LARGEST_AMOUNT,
    AccountKind,
    Chain,
    ReversalReason,
    SpentPolicy,
    Transfer,
    TransferKind,
    TransferStatus,
    Unit,
)
from timebank.ledger.ids import derive_id

NEGATIVE = {AccountKind.ISSUANCE, AccountKind.DEBT}
SHARED = {AccountKind.WALLET, AccountKind.POOL}
ROUNDED = {AccountKind.ISSUANCE, AccountKind.WALLET}
MOVES: Mapping[TransferKind, tuple[set[AccountKind], set[AccountKind]]] = {
    TransferKind.AWARD: ({AccountKind.ISSUANCE}, SHARED),
    TransferKind.TRANSFER: (SHARED, SHARED),
    TransferKind.DEBT: ({AccountKind.DEBT}, {AccountKind.WALLET}),
    TransferKind.REPAYMENT: ({AccountKind.WALLET}, {AccountKind.DEBT}),
    TransferKind.GIFT: ({AccountKind.WALLET}, SHARED),
    TransferKind.HOLD: (SHARED, {AccountKind.HELD}),
    TransferKind.CAPTURE: ({AccountKind.HELD}, {AccountKind.MERCHANT}),
    TransferKind.RELEASE: ({AccountKind.HELD}, SHARED),
    TransferKind.REFUND: ({AccountKind.MERCHANT}, SHARED),
    TransferKind.REISSUE: ({AccountKind.MERCHANT}, SHARED),
    TransferKind.SETTLEMENT: ({AccountKind.MERCHANT}, {AccountKind.RETIRED}),
    TransferKind.EXPIRY: (SHARED, {AccountKind.RETIRED}),
    TransferKind.ROUNDING: (ROUNDED, ROUNDED),
}
"""From which kinds of account to which."""

REFUNDED_INSTEAD = {
    TransferKind.HOLD,
    TransferKind.CAPTURE,
    TransferKind.RELEASE,
    TransferKind.REFUND,
    TransferKind.SETTLEMENT,
    TransferKind.ROUNDING,
}


def kinds_between(debit: AccountKind, credit: AccountKind) -> list[TransferKind]:
    """What may be posted from the one to the other, reversals aside."""
    kinds = [kind for kind, (out, to) in MOVES.items() if debit in out and credit in to]
    return [kind for kind in kinds if kind is not TransferKind.ROUNDING or debit is not credit]


@dataclass
class Line:
    """A line of a passbook; its seq is its place, from 1."""

    transfer_id: UUID
    amount: int
    balance_after: int
    occurred_at: datetime
    recorded_at: datetime


@dataclass
class BookAccount:
    """An account and its passbook."""

    unit: Unit
    kind: AccountKind
    lines: list[Line] = field(default_factory=list)

    @property
    def balance(self) -> int:
        return sum(line.amount for line in self.lines)

    @property
    def floor(self) -> int:
        return -LARGEST_AMOUNT if self.kind in NEGATIVE else 0

    @property
    def ceiling(self) -> int:
        return 0 if self.kind in NEGATIVE else LARGEST_AMOUNT


@dataclass
class Entry:
    """A transfer of the journal, posted or refused."""

    transfer: Transfer
    chain_id: UUID | None
    status: TransferStatus
    recorded_at: datetime

    def is_same(self, transfer: Transfer, chain_id: UUID | None) -> bool:
        """Tell whether this is the same content; without occurred_at it is when it was recorded."""
        mine, other = (
            replace(t, occurred_at=t.occurred_at or self.recorded_at)
            for t in (self.transfer, transfer)
        )
        return (mine, self.chain_id) == (other, chain_id)


@dataclass(frozen=True)
class Reversal:
    """What a reversal was asked for; its policy is not part of it."""

    reversal_id: UUID
    original_ids: frozenset[UUID]
    actor_id: UUID
    reason: ReversalReason


class Model:
    """Accounts and a journal."""

    def __init__(self) -> None:
        self.accounts: dict[UUID, BookAccount] = {}
        self.journal: dict[UUID, Entry] = {}
        self.reversals: dict[UUID, tuple[Reversal, list[Transfer]]] = {}

    def post(self, chains: Sequence[Chain], stamp: datetime) -> list[TransferStatus]:
        """Take the chains in order, at the instant `stamp`; a status for each transfer."""
        return [
            status
            for chain in chains
            for run in _runs(chain)
            for status in self._post_run(
                run, chain[0].transfer_id if len(chain) > 1 else None, stamp
            )
        ]

    def chain_of(self, transfer_id: UUID) -> list[Entry]:
        """The whole chain of a known transfer; itself alone if it is in none."""
        entry = self.journal[transfer_id]
        if entry.chain_id is None:
            return [entry]
        return [other for other in self.journal.values() if other.chain_id == entry.chain_id]

    def reverse(
        self, asked: Reversal, policy: SpentPolicy, debts: Mapping[UUID, UUID], stamp: datetime
    ) -> list[TransferStatus]:
        """Reverse posted originals, last first; `debts` names the debt account of each wallet."""
        if asked.reversal_id in self.reversals:
            earlier, chain = self.reversals[asked.reversal_id]
            if earlier != asked:
                return [TransferStatus.ID_CONFLICT] * len(asked.original_ids)
            return [self.journal[transfer.transfer_id].status for transfer in chain]
        originals = [self.journal[key] for key in sorted(asked.original_ids)]
        chain = [
            replace(
                entry.transfer,
                transfer_id=derive_id(asked.reversal_id, f"reversal {place}"),
                kind=TransferKind.REVERSAL,
                debit_account_id=entry.transfer.credit_account_id,
                credit_account_id=entry.transfer.debit_account_id,
                actor_id=asked.actor_id,
                occurred_at=entry.transfer.occurred_at or entry.recorded_at,
                reverses_id=entry.transfer.transfer_id,
                reason=asked.reason,
            )
            for place, entry in enumerate(reversed(originals))
        ]
        if policy is SpentPolicy.DEBT:
            chain = self._loans(asked, chain, debts) + chain
        self.reversals[asked.reversal_id] = asked, chain
        return self.post([chain], stamp)

    def _loans(
        self, asked: Reversal, mirrors: Sequence[Transfer], debts: Mapping[UUID, UUID]
    ) -> list[Transfer]:
        """What each wallet must be lent so that it never falls below 0 on the way."""
        standing = {key: account.balance for key, account in self.accounts.items()}
        lowest: dict[UUID, int] = {}
        for mirror in mirrors:
            standing[mirror.debit_account_id] -= mirror.amount
            standing[mirror.credit_account_id] += mirror.amount
            key = mirror.debit_account_id
            lowest[key] = min(lowest.get(key, 0), standing[key])
        return [
            Transfer(
                transfer_id=derive_id(asked.reversal_id, f"debt of {key}"),
                kind=TransferKind.DEBT,
                debit_account_id=debts[key],
                credit_account_id=key,
                amount=-low,
                actor_id=asked.actor_id,
            )
            for key, low in lowest.items()
            if low < 0 and self.accounts[key].kind is AccountKind.WALLET
        ]

    def _post_run(self, run: Chain, chain_id: UUID | None, stamp: datetime) -> list[TransferStatus]:
        answers: list[Entry | None] = []
        written: list[Entry] = []
        broken = False
        for transfer in run:
            entry = self.journal.get(transfer.transfer_id)
            if entry:  # used before: nothing new happens, and the chain around it breaks
                answers.append(entry if entry.is_same(transfer, chain_id) else None)
            else:
                entry = Entry(transfer, chain_id, self._decide(transfer, broken, stamp), stamp)
                self.journal[transfer.transfer_id] = entry
                answers.append(entry)
                written.append(entry)
                if entry.status is TransferStatus.POSTED:
                    self._write(entry)
                    continue
            if chain_id and not broken:
                broken = True
                self._take_back(written)
        return [entry.status if entry else TransferStatus.ID_CONFLICT for entry in answers]

    def _write(self, entry: Entry) -> None:
        transfer = entry.transfer
        occurred_at = transfer.occurred_at or entry.recorded_at
        for account_id, amount in (
            (transfer.debit_account_id, -transfer.amount),
            (transfer.credit_account_id, transfer.amount),
        ):
            account = self.accounts[account_id]
            after = account.balance + amount
            account.lines.append(
                Line(transfer.transfer_id, amount, after, occurred_at, entry.recorded_at)
            )

    def _take_back(self, written: Sequence[Entry]) -> None:
        for entry in reversed(written):
            if entry.status is TransferStatus.POSTED:
                entry.status = TransferStatus.CHAIN_BROKEN
                self.accounts[entry.transfer.debit_account_id].lines.pop()
                self.accounts[entry.transfer.credit_account_id].lines.pop()

    def _decide(self, transfer: Transfer, broken: bool, stamp: datetime) -> TransferStatus:
        if fault := self._fault(transfer, stamp):
            return fault
        debit = self.accounts[transfer.debit_account_id]
        credit = self.accounts[transfer.credit_account_id]
        if broken:
            return TransferStatus.CHAIN_BROKEN
        if debit.balance - transfer.amount < debit.floor:
            return TransferStatus.INSUFFICIENT_BALANCE
        if credit.balance + transfer.amount > credit.ceiling:
            return TransferStatus.CEILING_EXCEEDED
        return TransferStatus.POSTED

    def _fault(self, transfer: Transfer, stamp: datetime) -> TransferStatus | None:
        """What is wrong with it whatever the balances are: the first that applies."""
        debit = self.accounts.get(transfer.debit_account_id)
        credit = self.accounts.get(transfer.credit_account_id)
        fault = None
        if not 1 <= transfer.amount <= LARGEST_AMOUNT:
            fault = TransferStatus.AMOUNT_OUT_OF_RANGE
        elif debit is None or credit is None:
            fault = TransferStatus.ACCOUNT_NOT_FOUND
        elif debit is credit:
            fault = TransferStatus.SAME_ACCOUNT
        elif debit.unit is not credit.unit:
            fault = TransferStatus.UNIT_MISMATCH
        elif transfer.occurred_at and transfer.occurred_at > stamp:
            fault = TransferStatus.OCCURRED_IN_FUTURE
        elif transfer.kind is TransferKind.REVERSAL:
            fault = self._reversal_fault(transfer)
        elif transfer.kind not in kinds_between(debit.kind, credit.kind):
            fault = TransferStatus.ACCOUNT_KIND_MISMATCH
        return fault

    def _reversal_fault(self, reversal: Transfer) -> TransferStatus | None:
        posted = [e.transfer for e in self.journal.values() if e.status is TransferStatus.POSTED]
        original = next((t for t in posted if t.transfer_id == reversal.reverses_id), None)
        if original is None:
            return TransferStatus.ORIGINAL_NOT_FOUND
        if original.kind is TransferKind.REVERSAL:
            return TransferStatus.ORIGINAL_IS_REVERSAL
        if original.kind in REFUNDED_INSTEAD:
            return TransferStatus.ORIGINAL_NOT_REVERSIBLE
        if (original.credit_account_id, original.debit_account_id, original.amount) != (
            reversal.debit_account_id,
            reversal.credit_account_id,
            reversal.amount,
        ):
            return TransferStatus.ORIGINAL_DIFFERS
        if any(t.reverses_id == reversal.reverses_id for t in posted):
            return TransferStatus.ALREADY_REVERSED
        return None

    def balance_as_of(self, account_id: UUID, recorded_by: datetime, occurred_by: datetime) -> int:
        """Add up what was recorded by the one instant and had occurred by the other."""
        return sum(
            line.amount
            for line in self.accounts[account_id].lines
            if line.recorded_at <= recorded_by and line.occurred_at <= occurred_by
        )


def _runs(chain: Chain) -> list[list[Transfer]]:
    """Cut a chain where its first transfer comes again: there it starts anew."""
    runs: list[list[Transfer]] = []
    for transfer in chain:
        if transfer.transfer_id == chain[0].transfer_id:
            runs.append([])
        runs[-1].append(transfer)
    return runs
