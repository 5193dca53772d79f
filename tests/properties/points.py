"""Lots once more, point by point: every single point is an object that carries its own tags.

Nothing is split, merged or kept in order: each question is answered by looking at every point.
"""

import calendar
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from uuid import UUID

from timebank.domain.expiry import ExpiryRule
from timebank.domain.ledger import TransferKind
from timebank.domain.lots import Move


@dataclass
class Point:
    """One point: where it comes from, and how it came to where it is."""

    origin_id: UUID
    earned_us: int
    earned_on: date
    is_lent: bool
    came_by: UUID
    grace_until: date | None = None


@dataclass
class World:
    """Every point of a bank is in one wallet, in one hold, or gone by one transfer."""

    rules: Sequence[ExpiryRule]
    wallets: dict[UUID, list[Point]] = field(default_factory=dict)
    holds: dict[tuple[UUID, UUID | None], list[Point]] = field(default_factory=dict)
    gone: dict[UUID, list[Point]] = field(default_factory=dict)

    def last_day(self, point: Point, on: date) -> date:
        """Until when a point is good, as far as is known on that day."""
        in_force = [rule for rule in self.rules if rule.starts_on <= on]
        now = max(in_force, key=lambda rule: rule.starts_on, default=None)
        if now is None or now.months is None or point.is_lent:
            return date.max
        at_birth = [rule for rule in in_force if rule.starts_on <= point.earned_on]
        promises = [rule for rule in in_force if rule.starts_on > point.earned_on]
        if at_birth:
            promises.append(max(at_birth, key=lambda rule: rule.starts_on))
        days = [
            months_later(max(point.earned_on, rule.starts_on), rule.months)
            for rule in promises
            if rule.months
        ]
        return max([*days, *([point.grace_until] if point.grace_until else [])])

    def count_expired(self, wallet: UUID, on: date) -> int:
        return sum(self.last_day(point, on) < on for point in self.wallets.get(wallet, []))

    def tags(self, wallet: UUID) -> Counter[tuple[object, ...]]:
        """How many points with the same tags stand in a wallet."""
        return Counter(
            (point.origin_id, point.came_by, point.grace_until)
            for point in self.wallets.get(wallet, [])
        )

    def move(self, move: Move) -> None:
        """Carry each point of a transfer from one place to the other."""
        points = [self._pick(move) for _ in range(move.amount)] if move.debit_id else None
        if points and move.kind is TransferKind.HOLD and move.debit_id:
            self.holds.setdefault((move.debit_id, move.subject_id), []).extend(points)
        elif points and not move.credit_id:
            self.gone[move.transfer_id] = points
        if move.credit_id:
            self._arrive(move, move.credit_id, points)

    def _pick(self, move: Move) -> Point:
        """Take the one point that goes next."""
        assert move.debit_id
        points = self.wallets[move.debit_id]
        chosen = min(
            points,
            key=lambda point: (
                move.reverses_id is None
                or move.reverses_id not in (point.origin_id, point.came_by),
                self.last_day(point, move.recorded_on),
                point.earned_us,
                point.origin_id,
                point.came_by,
                point.grace_until or date.min,
            ),
        )
        points.remove(chosen)
        return chosen

    def _arrive(self, move: Move, wallet: UUID, carried: list[Point] | None) -> None:
        returned: list[Point] = []
        if move.kind in {TransferKind.RELEASE, TransferKind.REFUND}:
            hold = self.holds.get((wallet, move.subject_id), [])
            returned = [hold.pop() for _ in range(min(move.amount, len(hold)))]
        elif move.reverses_id and carried is None:
            returned = self.gone.pop(move.reverses_id, [])
        elif move.reverses_id and carried:
            returned, carried = carried, []
            for point in returned:
                point.came_by = move.transfer_id
        for point in returned:
            self._give_grace(point, move.recorded_on)
        for point in carried or []:
            point.came_by = move.transfer_id
        arrived = returned + (carried or [])
        while len(arrived) < move.amount:
            is_lent = move.kind is TransferKind.DEBT
            arrived.append(
                Point(
                    move.transfer_id, move.recorded_us, move.recorded_on, is_lent, move.transfer_id
                )
            )
        self.wallets.setdefault(wallet, []).extend(arrived)

    def _give_grace(self, point: Point, on: date) -> None:
        started = [rule for rule in self.rules if rule.starts_on <= on]
        if started and self.last_day(point, on) < on:
            rule = max(started, key=lambda rule: rule.starts_on)
            point.grace_until = on + timedelta(days=rule.grace_days)


def months_later(day: date, months: int) -> date:
    """The last day of the month that comes so many months after the day's."""
    year, month = day.year, day.month
    for _ in range(months):
        year, month = (year + 1, 1) if month == 12 else (year, month + 1)
    return date(year, month, calendar.monthrange(year, month)[1])
