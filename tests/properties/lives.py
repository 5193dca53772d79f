"""Random lives of a few wallets and a pool: any order of what a journal may hold, over years.

They are drawn from a plain random number, not act by act by Hypothesis: its own draws stay near
the simplest life, and what matters here is what long ones come to.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import TypeVar
from uuid import UUID

from tests.properties.points import World
from timebank.domain.expiry import ExpiryRule
from timebank.domain.ledger import TransferKind
from timebank.domain.lots import Move

WALLETS = [UUID(int=n) for n in range(1, 5)]
FIRST_DAY = date(2020, 1, 15)

T = TypeVar("T")


def draw_rules(random: Random) -> list[ExpiryRule]:
    """Up to four rules; the first has often begun before anything was earned."""
    starts = sorted(random.sample(range(-200, 2500), random.randint(0, 4)))
    return [
        ExpiryRule(
            starts_on=FIRST_DAY + timedelta(days=days),
            months=random.choice([12, 12, 13, 18, 30, None]),
            grace_days=random.choice([0, 10, 60]),
        )
        for days in starts
    ]


ACTS = (
    "award", "award", "award", "gift", "gift", "hold", "hold", "hold", "release", "capture",
    "refund", "reissue", "loan", "repay", "reverse", "expire", "expire", "sleep", "sleep", "sleep",
)  # fmt: skip


@dataclass
class Hold:
    """What a hold still reserves and what of it was captured and not refunded."""

    wallet: UUID
    subject_id: UUID
    reserved: int
    captured: int = 0


@dataclass
class Life:
    """Draws acts that a ledger would accept; `world` has carried them out."""

    random: Random
    world: World
    day: date = FIRST_DAY
    seqs: dict[UUID, int] = field(default_factory=dict)
    holds: list[Hold] = field(default_factory=list)
    reversible: list[Move] = field(default_factory=list)
    made: int = 0

    def moves(self, acts: int) -> Iterator[tuple[Move, int]]:
        """Draw that many acts; yield what each posts, if anything, and how much had expired."""
        for _ in range(acts):
            act = self.random.choice(ACTS)
            move = getattr(self, f"_{act}")()
            if move:
                wallet = move.debit_id
                expired = self.world.count_expired(wallet, self.day) if wallet else 0
                self.world.move(move)
                yield move, expired

    def balance(self, wallet: UUID) -> int:
        return len(self.world.wallets.get(wallet, []))

    def _sleep(self) -> None:
        self.day += timedelta(days=self.random.choice([1, 10, 30, 90, 250, 400]))

    def _award(self) -> Move:
        return self._move(TransferKind.AWARD, None, self._wallet(), self._some(9))

    def _reissue(self) -> Move:
        return self._move(TransferKind.REISSUE, None, self._wallet(), self._some(9))

    def _loan(self) -> Move:
        return self._move(TransferKind.DEBT, None, self._wallet(), self._some(9))

    def _repay(self) -> Move | None:
        return self._spend(TransferKind.REPAYMENT, None)

    def _gift(self) -> Move | None:
        wallet, other = self.random.sample(WALLETS, 2)
        kind = self.random.choice([TransferKind.GIFT, TransferKind.TRANSFER])
        return self._spend(kind, other, wallet)

    def _hold(self) -> Move | None:
        subject_id = UUID(int=1000 + self.made)
        move = self._spend(TransferKind.HOLD, None, subject_id=subject_id)
        if move and move.debit_id:
            self.holds.append(Hold(move.debit_id, subject_id, move.amount))
        return move

    def _release(self) -> Move | None:
        hold = self._one([hold for hold in self.holds if hold.reserved])
        if hold is None:
            return None
        amount = self._some(hold.reserved)
        hold.reserved -= amount
        return self._move(
            TransferKind.RELEASE, None, hold.wallet, amount, subject_id=hold.subject_id
        )

    def _capture(self) -> None:
        """No wallet sees it."""
        if hold := self._one([hold for hold in self.holds if hold.reserved]):
            amount = self._some(hold.reserved)
            hold.reserved -= amount
            hold.captured += amount

    def _refund(self) -> Move | None:
        hold = self._one([hold for hold in self.holds if hold.captured])
        if hold is None:
            return None
        amount = self._some(hold.captured)
        hold.captured -= amount
        return self._move(
            TransferKind.REFUND, None, hold.wallet, amount, subject_id=hold.subject_id
        )

    def _give_back(self, kind: TransferKind, hold: Hold, amount: int) -> Move:
        return self._move(kind, None, hold.wallet, amount, subject_id=hold.subject_id)

    def _expire(self) -> Move | None:
        """Mostly what has expired; at times more, as only a fault would."""
        wallet = self._wallet()
        expired = self.world.count_expired(wallet, self.day)
        if expired and self.random.random() < 0.9:
            return self._move(TransferKind.EXPIRY, wallet, None, expired)
        return self._spend(TransferKind.EXPIRY, None, wallet) if not expired else None

    def _reverse(self) -> Move | None:
        original = self._one(
            [
                move
                for move in self.reversible
                if move.credit_id is None or self.balance(move.credit_id) >= move.amount
            ]
        )
        if original is None:
            return None
        self.reversible.remove(original)
        return self._move(
            TransferKind.REVERSAL,
            original.credit_id,
            original.debit_id,
            original.amount,
            reverses_id=original.transfer_id,
        )

    def _spend(
        self,
        kind: TransferKind,
        credit: UUID | None,
        wallet: UUID | None = None,
        subject_id: UUID | None = None,
    ) -> Move | None:
        wallet = wallet or self._wallet()
        if not self.balance(wallet):
            return None
        amount = self._some(self.balance(wallet))
        return self._move(kind, wallet, credit, amount, subject_id=subject_id)

    def _move(
        self,
        kind: TransferKind,
        debit: UUID | None,
        credit: UUID | None,
        amount: int,
        *,
        subject_id: UUID | None = None,
        reverses_id: UUID | None = None,
    ) -> Move:
        self.made += 1
        noon = datetime(self.day.year, self.day.month, self.day.day, 12, tzinfo=UTC)
        move = Move(
            # no order of ids: of two lots of one instant either may be the first
            transfer_id=UUID(int=self.made * 7919 % 10007 + 2**64),
            kind=kind,
            amount=amount,
            debit_id=debit,
            debit_seq=self._seq(debit),
            credit_id=credit,
            credit_seq=self._seq(credit),
            recorded_us=int(noon.timestamp()) * 1_000_000 + self.made // 3,
            recorded_on=self.day,
            subject_id=subject_id,
            reverses_id=reverses_id,
        )
        if kind not in (TransferKind.HOLD, TransferKind.RELEASE, TransferKind.REFUND) and (
            reverses_id is None
        ):
            self.reversible.append(move)
        return move

    def _seq(self, account_id: UUID | None) -> int:
        if account_id is None:
            return 0
        self.seqs[account_id] = self.seqs.get(account_id, 0) + 1
        return self.seqs[account_id]

    def _wallet(self) -> UUID:
        return self.random.choice(WALLETS)

    def _some(self, most: int) -> int:
        return self.random.choice([most, self.random.randint(1, most)])

    def _one(self, things: Sequence[T]) -> T | None:
        return self.random.choice(things) if things else None
