"""Explaining a balance: which points paid for what, and where those that are left come from.

A wallet's own part of the fold of lots (lots.py). Points that somebody else gave are told as a
gift, not as the giver's service: that is nobody else's business. Pure.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from uuid import UUID

from msgspec import Struct

from timebank.domain.ledger import TransferKind
from timebank.domain.lots import LotFold, Move, Part


class Source(Struct, frozen=True):
    """A transfer that brought points: a service if it is an award, `subject_id` saying which."""

    transfer_id: UUID
    kind: TransferKind
    subject_id: UUID | None
    on: date


class Payment(Struct, frozen=True):
    """What one source paid."""

    source: Source
    amount: int


class Use(Struct, frozen=True, kw_only=True):
    """What points were used for, less what came back.

    A hold is a redemption: `subject_id` is its id, and of the amount `still_held` was not captured
    yet.
    """

    kind: TransferKind
    transfer_id: UUID
    subject_id: UUID | None
    on: date
    amount: int
    still_held: int
    paid_by: list[Payment]


class Unspent(Struct, frozen=True):
    """What is left of a source, and its last good day; None is for ever."""

    source: Source
    amount: int
    expires_on: date | None


class Explanation(Struct, frozen=True):
    """A balance as the sum of what is left; the uses in the order they began in."""

    balance: int
    unspent: list[Unspent]
    uses: list[Use]


def list_subjects(explanation: Explanation) -> set[UUID]:
    """Return what the points of an explanation were earned at, and what they were used for."""
    sources = [one.source for one in explanation.unspent]
    sources += [paid.source for use in explanation.uses for paid in use.paid_by]
    found = {source.subject_id for source in sources} | {use.subject_id for use in explanation.uses}
    return {subject_id for subject_id in found if subject_id}


class _Use:
    """A use while it is being told."""

    def __init__(self, move: Move) -> None:
        self.began = move
        self.parts: dict[Source, int] = {}
        self.sources: dict[UUID, Source] = {}  # by the origin of the lot
        self.held = 0


class Explainer:
    """Listens to a fold for one account."""

    def __init__(self, account_id: UUID) -> None:
        """`hear` is to be the fold's listener."""
        self._account_id = account_id
        self._arrivals: dict[UUID, Source] = {}
        self._returned: dict[tuple[UUID, UUID], Source] = {}
        self._uses: dict[tuple[UUID | None, bool], _Use] = {}

    def hear(self, account_id: UUID, move: Move, parts: Sequence[Part], came_in: bool) -> None:
        """Note parts that went into or out of an account, as LotFold tells them."""
        if account_id != self._account_id:
            return
        if came_in:
            source = Source(move.transfer_id, move.kind, move.subject_id, move.recorded_on)
            self._arrivals[move.transfer_id] = source
            self._take_back(move, parts)
            return
        is_hold = move.kind is TransferKind.HOLD
        key = (move.subject_id if is_hold else move.transfer_id, is_hold)
        use = self._uses.setdefault(key, _Use(move))
        use.held += move.amount if is_hold else 0
        for part in parts:
            source = self._source(part)
            use.sources[part.lot.origin_id] = source
            use.parts[source] = use.parts.get(source, 0) + part.amount

    def _take_back(self, move: Move, parts: Sequence[Part]) -> None:
        """Count what comes back as not used."""
        is_hold = move.kind in (TransferKind.RELEASE, TransferKind.REFUND)
        use = self._uses.get((move.subject_id if is_hold else move.reverses_id, is_hold))
        if use is None:
            return
        use.held -= move.amount if move.kind is TransferKind.RELEASE else 0
        for part in parts:
            origin_id = part.lot.origin_id
            if part.came_by == move.transfer_id and origin_id in use.sources:
                self._returned[origin_id, part.came_by] = use.sources[origin_id]
            source = self._source(part)
            use.parts[source] = max(use.parts.get(source, 0) - part.amount, 0)

    def explain(self, fold: LotFold, on: date, captured: Mapping[UUID, int]) -> Explanation:
        """Return the explanation; `captured` says how much of each hold was."""
        left: dict[tuple[Source, date | None], int] = {}
        for part, last_day in fold.list_parts(self._account_id, on):
            key = self._source(part), last_day
            left[key] = left.get(key, 0) + part.amount
        unspent = [Unspent(source, amount, day) for (source, day), amount in left.items()]
        return Explanation(sum(left.values()), unspent, list(self._list_uses(captured)))

    def _list_uses(self, captured: Mapping[UUID, int]) -> Iterator[Use]:
        for use in self._uses.values():
            began, amount = use.began, sum(use.parts.values())
            taken = captured.get(began.subject_id, 0) if began.subject_id else 0
            if amount:
                yield Use(
                    kind=began.kind,
                    transfer_id=began.transfer_id,
                    subject_id=began.subject_id,
                    on=began.recorded_on,
                    amount=amount,
                    still_held=use.held - taken if use.held else 0,
                    paid_by=[Payment(*pair) for pair in use.parts.items() if pair[1]],
                )

    def _source(self, part: Part) -> Source:
        """Return what brought a part here; if a reversal did, what had brought it before."""
        returned = self._returned.get((part.lot.origin_id, part.came_by))
        return returned or self._arrivals[part.came_by]
