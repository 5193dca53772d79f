"""Lots: which points stand in a wallet. Derived by folding the journal, never stored.

A lot is what one transfer brought into being: an award, a reissue, a loan. Its points are split
into parts as they move. Each wallet and pool keeps its parts in the order in which they are spent:
what expires first, then what was earned first. The fold goes over the transfers once, in order:

- an award, a reissue or a loan begins a lot; a loan's never expires. A merchant's and a held
  account have no lots: what a shop gives on is a new gift of the shop, because the service that
  once earned those points has paid for something already;
- a gift or transfer takes parts from the giver and brings the same parts, of the same age;
- a hold takes parts and remembers them under its subject. Release and refund give the last of them
  back, so what stays spent is what would have expired first, in whatever order they come;
- a reversal takes the parts that its original brought, then others in their order, and gives them
  to where the original took its own. What is reversed from outside (an expiry, a repayment) is
  what the original took. Reversing an award takes what is left of its own lot first;
- what is given back past its last day is good for the rule's grace;
- what is blocked is passed over, and comes last if nothing else is left, which no spending brings
  about: only the reversal of another award may. The reversal of its own award takes it first.

Every other rule is a special case: the points of the parts are always the balance. Pure.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from datetime import UTC, date, datetime, timedelta, tzinfo
from graphlib import TopologicalSorter
from itertools import groupby, pairwise
from typing import NamedTuple
from uuid import UUID

from msgspec import Struct

from timebank.domain.expiry import ExpiryRules
from timebank.domain.ledger import TransferKind

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_GIVES_BACK = (TransferKind.RELEASE, TransferKind.REFUND)
_NOTHING: frozenset[UUID] = frozenset()
_MAY_COME_BACK = (TransferKind.EXPIRY, TransferKind.REPAYMENT)


class Move(NamedTuple):
    """A posted transfer of points; an account that is neither wallet nor pool is None.

    `recorded_us` is the instant in microseconds since 1970, `recorded_on` the bank's local date.
    """

    transfer_id: UUID
    kind: TransferKind
    amount: int
    debit_id: UUID | None
    debit_seq: int
    credit_id: UUID | None
    credit_seq: int
    recorded_us: int
    recorded_on: date
    subject_id: UUID | None = None
    reverses_id: UUID | None = None


class Blocked(NamedTuple):
    """That what an award brought to a wallet is blocked: after a line, and until an instant."""

    account_id: UUID
    origin_id: UUID
    since_seq: int
    until_us: int | None


class Lot(NamedTuple):
    """What one transfer brought into being, `subject_id` being what for.

    It is earned on the day it was recorded: nobody could spend it before.
    """

    origin_id: UUID
    kind: TransferKind
    subject_id: UUID | None
    earned_us: int
    earned_on: date


class Part(NamedTuple):
    """Points of a lot that came into a wallet by one transfer."""

    lot: Lot
    came_by: UUID
    grace_until: date | None
    amount: int


class OpenLot(Struct, frozen=True):
    """Unspent points of a lot in a wallet and their last good day; None is for ever."""

    origin_id: UUID
    kind: TransferKind
    subject_id: UUID | None
    earned_on: date
    expires_on: date | None
    amount: int


class EarlyExpiry(NamedTuple):
    """An expiry that took more than what had expired by then."""

    transfer_id: UUID
    expired: int
    taken: int


OnParts = Callable[[UUID, Move, Sequence[Part], bool], None]
"""Hears which parts went into (True) or out of an account by a transfer."""

_Key = tuple[date, int, UUID, UUID, date]


class _Purse:
    """The parts of one wallet, in the order in which they are spent."""

    __slots__ = ("_keys", "_known", "_on", "_rules", "parts", "seq")

    def __init__(self, rules: ExpiryRules) -> None:
        self.parts: list[Part] = []
        self.seq = 0
        self._keys: list[_Key] = []
        self._rules = rules
        self._known = 0
        self._on = date.min

    def turn_to(self, on: date) -> None:
        """Put the parts in the order that the rules of that day ask for."""
        self._on = on
        known = self._rules.count_known(on)
        if known != self._known:
            self._known = known
            self.parts.sort(key=self._key)
            self._keys = [self._key(part) for part in self.parts]

    def last_day(self, part: Part) -> date:
        """Return the last day on which a part is good; the last of all dates is for ever."""
        if part.lot.kind is TransferKind.DEBT:
            return date.max
        last = self._rules.find_last_day(part.lot.earned_on, self._on) or date.max
        return max(last, part.grace_until or last)

    def put(self, part: Part) -> None:
        key = self._key(part)
        place = bisect_left(self._keys, key)
        if place < len(self._keys) and self._keys[place] == key:
            same = self.parts[place]
            self.parts[place] = same._replace(amount=same.amount + part.amount)
        else:
            self._keys.insert(place, key)
            self.parts.insert(place, part)

    def take(self, amount: int, brought_by: UUID | None, kept: Set[UUID]) -> list[Part]:
        """Take the next parts to be spent; before them those that a transfer brought.

        Those of the lots that are `kept` come last.
        """
        taken: list[Part] = []
        if brought_by:
            own = [n for n, part in enumerate(self.parts) if brought_by in (part[0][0], part[1])]
            if brought_by not in kept:
                own = [n for n in own if self.parts[n].lot.origin_id not in kept]
            amount = self._take_at(own, amount, taken)
        if kept:
            free = [n for n, part in enumerate(self.parts) if part.lot.origin_id not in kept]
            amount = self._take_at(free, amount, taken)
        self._take_at(range(len(self.parts)), amount, taken)
        return taken

    def _take_at(self, places: Iterable[int], amount: int, taken: list[Part]) -> int:
        """Take from these places, in order, and return what they could not give."""
        emptied = []
        for place in places:
            if not amount:
                break
            part = self.parts[place]
            if part.amount > amount:
                self.parts[place] = part._replace(amount=part.amount - amount)
                part = part._replace(amount=amount)
            else:
                emptied.append(place)
            amount -= part.amount
            taken.append(part)
        for place in reversed(emptied):
            del self.parts[place], self._keys[place]
        return amount

    def count_expired(self, kept: Set[UUID]) -> int:
        """Return how many points are past their last day and not of the lots that are `kept`."""
        return sum(
            part.amount
            for part in self.parts
            if self.last_day(part) < self._on and part.lot.origin_id not in kept
        )

    def _key(self, part: Part) -> _Key:
        lot = part.lot
        grace = part.grace_until or date.min
        return (self.last_day(part), lot.earned_us, lot.origin_id, part.came_by, grace)


class LotFold:
    """The parts of every wallet and pool after the transfers applied so far."""

    def __init__(
        self,
        rules: ExpiryRules,
        on_parts: OnParts | None = None,
        blocked: Iterable[Blocked] = (),
    ) -> None:
        """`on_parts` hears of every part that moves; `blocked` is all that ever was."""
        self.early: list[EarlyExpiry] = []
        self._rules = rules
        self._on_parts = on_parts
        self._purses: dict[UUID, _Purse] = {}
        self._held: dict[tuple[UUID, UUID | None], list[Part]] = {}
        self._outside: dict[UUID, list[Part]] = {}
        self._blocked: dict[UUID, list[Blocked]] = {}
        self._reversed: set[UUID] = set()
        for one in blocked:
            self._blocked.setdefault(one.account_id, []).append(one)

    def apply(self, move: Move) -> None:
        """Fold the next transfer, all that its accounts depend on having been folded before."""
        taken = self._take(move, move.debit_id) if move.debit_id else None
        if move.credit_id:
            self._bring(move, move.credit_id, taken)

    def accounts(self) -> Iterable[UUID]:
        """Return the wallets and pools that a transfer has touched."""
        return self._purses.keys()

    def last_seq(self, account_id: UUID) -> int:
        """Return the number of the last passbook line that was folded."""
        return self._purses[account_id].seq if account_id in self._purses else 0

    def total(self, account_id: UUID) -> int:
        """Return how many points stand in an account."""
        purse = self._purses.get(account_id)
        return sum(part.amount for part in purse.parts) if purse else 0

    def count_expired(self, account_id: UUID, on: date) -> int:
        """Return how many of them are past their last day, and not blocked now."""
        kept = self._kept(account_id, self.last_seq(account_id) + 1, None)
        return self._purse(account_id, on).count_expired(kept)

    def list_parts(self, account_id: UUID, on: date) -> list[tuple[Part, date | None]]:
        """Return the parts and their last days, in the order they would be spent in on that day."""
        purse = self._purse(account_id, on)
        last_days = map(purse.last_day, purse.parts)
        return [
            (part, None if last_day == date.max else last_day)
            for part, last_day in zip(purse.parts, last_days, strict=True)
        ]

    def list_given_away(self, account_id: UUID) -> Iterator[tuple[UUID, Sequence[Part]]]:
        """Return what each redemption has of an account; release and refund bring the last first.

        What went to a hold without a subject is left out.
        """
        for (holder, subject_id), parts in self._held.items():
            if holder == account_id and subject_id:
                yield subject_id, parts

    def list_lots(self, account_id: UUID, on: date) -> list[OpenLot]:
        """Return the unspent points by lot and last day, in the order they would be spent in."""
        parts = self.list_parts(account_id, on)
        return [
            OpenLot(
                lot.origin_id,
                lot.kind,
                lot.subject_id,
                lot.earned_on,
                last_day,
                sum(part.amount for part, _ in same),
            )
            for (lot, last_day), same in groupby(parts, lambda pair: (pair[0].lot, pair[1]))
        ]

    def _purse(self, account_id: UUID, on: date) -> _Purse:
        purse = self._purses.get(account_id)
        if purse is None:
            purse = self._purses[account_id] = _Purse(self._rules)
        purse.turn_to(on)
        return purse

    def _kept(self, account_id: UUID, seq: int, at_us: int | None) -> Set[UUID]:
        """Return the origins that are blocked at a line of a wallet and its instant; None: now."""
        blocked = self._blocked.get(account_id)
        if not blocked:
            return _NOTHING
        return {
            one.origin_id
            for one in blocked
            if one.since_seq < seq
            and (one.until_us is None or (at_us is not None and at_us < one.until_us))
            and one.origin_id not in self._reversed
        }

    def _take(self, move: Move, account_id: UUID) -> list[Part]:
        purse = self._purse(account_id, move.recorded_on)
        purse.seq = move.debit_seq
        kept = self._kept(account_id, move.debit_seq, move.recorded_us)
        if move.kind is TransferKind.EXPIRY:
            expired = purse.count_expired(kept)
            if expired < move.amount:
                self.early.append(EarlyExpiry(move.transfer_id, expired, move.amount))
        taken = purse.take(move.amount, move.reverses_id, kept)
        if move.reverses_id:
            self._reversed.add(move.reverses_id)
        if move.kind is TransferKind.HOLD:
            self._held.setdefault((account_id, move.subject_id), []).extend(taken)
        elif move.kind in _MAY_COME_BACK:
            self._outside[move.transfer_id] = taken
        if self._on_parts:
            self._on_parts(account_id, move, taken, False)
        return taken

    def _bring(self, move: Move, account_id: UUID, carried: list[Part] | None) -> None:
        purse = self._purse(account_id, move.recorded_on)
        purse.seq = move.credit_seq
        if move.kind in _GIVES_BACK:
            parts = self._give_back(move, account_id)
        elif carried is not None:
            parts = [part._replace(came_by=move.transfer_id) for part in carried]
        else:
            parts = self._outside.pop(move.reverses_id, []) if move.reverses_id else []
        if move.kind in _GIVES_BACK or move.reverses_id:
            parts = [self._with_grace(part, purse, move.recorded_on) for part in parts]
        if new := move.amount - sum(part.amount for part in parts):
            parts = [*parts, self._begin(move, new)]
        for part in parts:
            purse.put(part)
        if self._on_parts:
            self._on_parts(account_id, move, parts, True)

    def _give_back(self, move: Move, account_id: UUID) -> list[Part]:
        """Return the last of what the hold took, as much as is left of it."""
        held = self._held.get((account_id, move.subject_id), [])
        back: list[Part] = []
        amount = move.amount
        while held and amount:
            part = held.pop()
            if part.amount > amount:
                held.append(part._replace(amount=part.amount - amount))
                part = part._replace(amount=amount)
            amount -= part.amount
            back.append(part)
        if not held:
            self._held.pop((account_id, move.subject_id), None)
        return back

    def _with_grace(self, part: Part, purse: _Purse, on: date) -> Part:
        rule = self._rules.find_rule(on)
        if rule is None or purse.last_day(part) >= on:
            return part
        return part._replace(grace_until=on + timedelta(days=rule.grace_days))

    def _begin(self, move: Move, amount: int) -> Part:
        lot = Lot(move.transfer_id, move.kind, move.subject_id, move.recorded_us, move.recorded_on)
        return Part(lot, move.transfer_id, None, amount)


def local_date(recorded_us: int, zone: tzinfo) -> date:
    """Return the date on the calendars of `zone` at an instant in microseconds since 1970."""
    return (_EPOCH + timedelta(microseconds=recorded_us)).astimezone(zone).date()


def in_order(moves: Iterable[Move]) -> Iterator[Move]:
    """Yield transfers so that each comes after all that its accounts had before.

    They come in the order of their instants; those of one instant are put in that of the lines.
    CycleError when the lines contradict one another.
    """
    for _, same_instant in groupby(moves, lambda move: move.recorded_us):
        group = list(same_instant)
        yield from group if len(group) == 1 else _sort_by_lines(group)


def _sort_by_lines(moves: Sequence[Move]) -> Iterator[Move]:
    lines: dict[UUID, list[tuple[int, int]]] = {}
    for place, move in enumerate(moves):
        for account_id, seq in ((move[3], move[4]), (move[5], move[6])):
            if account_id:
                lines.setdefault(account_id, []).append((seq, place))
    order: TopologicalSorter[int] = TopologicalSorter(dict.fromkeys(range(len(moves)), ()))
    for passbook in lines.values():
        for (_, before), (_, after) in pairwise(sorted(passbook)):
            order.add(after, before)
    return (moves[place] for place in order.static_order())
