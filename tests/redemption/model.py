"""Redemption once more, in plain Python: what schema.sql must do, by dict and counter alone.

One merchant, one day. Acts come strictly one after another, and a hold is overdue or it is not.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import UUID

from timebank.domain.redemption import CapScope, Channel, HoldState
from timebank.domain.redemption import RedemptionStatus as Status

ENDED = {
    HoldState.CAPTURED: Status.HOLD_ALREADY_CAPTURED,
    HoldState.RELEASED: Status.HOLD_RELEASED,
    HoldState.EXPIRED: Status.HOLD_EXPIRED,
}

UNTIL_SET = {
    CapScope.CARD_DAY: 0,
    CapScope.GIFT_DAY: 0,
    CapScope.REISSUE_DAY: 0,
    CapScope.SLIP: 0,
    CapScope.SLIPS_OPEN: 3,
}
"""The caps that hold before the bank sets any."""

Key = tuple[CapScope, UUID, UUID | None]
"""What a cap counts by, the day being today or none: scope, subject and offer."""


@dataclass
class Thing:
    """An offer; no stock is no end of it."""

    price: int
    stock: int | None
    per_person_day: int | None
    per_person: int | None
    withdrawn: bool = False


@dataclass(frozen=True)
class Asked:
    """What a hold is asked for with."""

    resident_id: UUID
    source: UUID
    merchant_id: UUID
    offer_id: UUID | None
    quantity: int
    channel: Channel
    overdue: bool


@dataclass
class Held:
    """A hold."""

    asked: Asked
    price: int
    state: HoldState = HoldState.OPEN
    captured: int = 0
    refunded: int = 0
    returned: int = 0


@dataclass(frozen=True)
class Told:
    """What an act was answered: status, the cap that stopped it, the points it moved."""

    status: Status
    cap: CapScope | None = None
    points: int | None = None


@dataclass
class Model:
    """A market: `owners` says whose each wallet or pool is, as points are held for an owner.

    `wallets` are those of the accounts that are no pools.
    """

    merchant_id: UUID
    owners: dict[UUID, UUID] = field(default_factory=dict)
    wallets: set[UUID] = field(default_factory=set)
    things: dict[UUID, Thing] = field(default_factory=dict)
    points: Counter[UUID] = field(default_factory=Counter)
    held: Counter[UUID] = field(default_factory=Counter)
    till: int = 0
    retired: int = 0
    unsettled: list[int] = field(default_factory=list)
    drafted: list[int] | None = None
    carried: int = 0
    caps: dict[CapScope, int | None] = field(default_factory=dict)
    used: Counter[Key] = field(default_factory=Counter)
    holds: dict[UUID, Held] = field(default_factory=dict)
    acts: dict[UUID, tuple[object, Told]] = field(default_factory=dict)

    # ---- Acts ----------------------------------------------------------------------------------

    def place(self, act_id: UUID, asked: Asked) -> Told:
        """Ask for a hold."""
        return self._once(act_id, ("hold", asked), lambda: self._place(act_id, asked))

    def capture(self, act_id: UUID, hold_id: UUID, quantity: int | None, clerk: UUID) -> Told:
        """Hand the goods over."""
        what = ("capture", hold_id, quantity, clerk)
        return self._once(act_id, what, lambda: self._capture(hold_id, quantity, clerk))

    def take(self, act_id: UUID, hold_id: UUID) -> Told:
        """Tell of a slip that a till took; the act is the acceptance's."""
        return self._once(act_id, ("take", hold_id), lambda: self._take(hold_id))

    def release(self, act_id: UUID, hold_id: UUID) -> Told:
        """Give all back."""
        return self._once(act_id, ("release", hold_id), lambda: self._release(hold_id))

    def refund(self, act_id: UUID, hold_id: UUID, points: int, returned: int) -> Told:
        """Give points of a capture back."""
        what = ("refund", hold_id, points, returned)
        return self._once(act_id, what, lambda: self._refund(hold_id, points, returned))

    def restock(self, act_id: UUID, offer_id: UUID, units: int) -> Told:
        """Bring units in, or take them out."""
        what = ("restock", offer_id, units)
        return self._once(act_id, what, lambda: self._restock(offer_id, units))

    def gift(self, act_id: UUID, giver: UUID, to: UUID, points: int) -> Told:
        """Give points from wallet to wallet or pool; `giver` is the wallet."""
        what = ("gift", giver, to, points)
        key = (CapScope.GIFT_DAY, self.owners[giver], None)
        return self._once(act_id, what, lambda: self._give(giver, to, points, key))

    def reissue(self, act_id: UUID, to: UUID, points: int) -> Told:
        """Give points of the till on."""
        key = (CapScope.REISSUE_DAY, self.merchant_id, None)
        return self._once(
            act_id, ("reissue", to, points), lambda: self._give(None, to, points, key)
        )

    def allocate(self, act_id: UUID, pool: UUID, to: UUID, points: int) -> Told:
        """Give points of a pool; two persons agreed, so there is no cap."""
        what = ("allocate", pool, to, points)
        return self._once(act_id, what, lambda: self._give(pool, to, points, None))

    def sweep(self) -> int:
        """End what is overdue."""
        due = [held for held in self.holds.values() if self._is_due(held)]
        for held in due:
            self._close(held, HoldState.EXPIRED, 0)
        return len(due)

    def end(self, hold_id: UUID) -> None:
        """End one that is overdue, as a sweeper came to it."""
        assert self._is_due(self.holds[hold_id])
        self._close(self.holds[hold_id], HoldState.EXPIRED, 0)

    def expire(self, taken: Mapping[UUID, int]) -> None:
        """Take what is past its last day out of wallets and pools."""
        self.points.subtract(taken)
        self.retired += sum(taken.values())

    # ---- Settlement ----------------------------------------------------------------------------

    def draft(self) -> int | None:
        """Draft all that happened in the till since the last one; its total, None if nothing."""
        if not self.unsettled:
            return None
        self.drafted, self.unsettled = self.unsettled, []
        return sum(self.drafted)

    def discard(self) -> None:
        """Take the draft back: its lines are unsettled again."""
        self.unsettled = (self.drafted or []) + self.unsettled
        self.drafted = None

    def close(self) -> tuple[int, int]:
        """Pay what is drafted and carried, at most what the till has; return paid and carried."""
        due = self.carried + sum(self.drafted or [])
        paid = max(0, min(due, self.till))
        self.till -= paid
        self.retired += paid
        self.carried, self.drafted = due - paid, None
        return paid, self.carried

    def _once(self, act_id: UUID, what: object, decide: object) -> Told:
        if act_id not in self.acts:
            self.acts[act_id] = what, decide()  # type: ignore[operator]
        known, told = self.acts[act_id]
        return told if known == what else Told(Status.ID_CONFLICT)

    # ---- Decisions -----------------------------------------------------------------------------

    def _place(self, hold_id: UUID, asked: Asked) -> Told:
        thing = self.things.get(asked.offer_id) if asked.offer_id else None
        price = thing.price if thing else 1
        points = asked.quantity * price
        status = None
        if asked.merchant_id != self.merchant_id:
            status = Status.MERCHANT_NOT_ACTIVE
        elif asked.offer_id and (thing is None or thing.withdrawn):
            status = Status.OFFER_NOT_VALID
        elif asked.quantity < 1:
            status = Status.AMOUNT_OUT_OF_RANGE
        elif thing and thing.stock is not None and asked.quantity > thing.stock:
            status = Status.OUT_OF_STOCK
        if status:
            return Told(status)
        adds = self._adds(asked, price, asked.quantity)
        measured = {**adds, **self._measures(asked)}
        for key in sorted(measured, key=lambda key: list(CapScope).index(key[0])):
            cap = self._cap(key)
            if cap is not None and self.used[key] + measured[key] > cap:
                return Told(Status.CAP_EXCEEDED, cap=key[0])
        if points > self.points[asked.source]:
            return Told(Status.INSUFFICIENT_POINTS)
        self.points[asked.source] -= points
        self.held[self.owners[asked.source]] += points
        if thing and thing.stock is not None:
            thing.stock -= asked.quantity
        self.used.update(adds)
        self.holds[hold_id] = Held(asked, price)
        return Told(Status.DONE, points=points)

    def _capture(self, hold_id: UUID, quantity: int | None, clerk: UUID) -> Told:
        held = self.holds.get(hold_id)
        if held is None:
            return Told(Status.HOLD_NOT_FOUND)
        quantity = held.asked.quantity if quantity is None else quantity
        unseen = Status.CODE_NOT_VALID if held.asked.channel is Channel.SLIP else None
        if status := unseen or self._ended(held):
            return Told(status)
        if quantity < 1:
            return Told(Status.AMOUNT_OUT_OF_RANGE)
        if quantity > held.asked.quantity:
            return Told(Status.CAPTURE_EXCEEDS_HOLD)
        key = (CapScope.CLERK_DAY, clerk, None)
        cap = self._cap(key)
        if cap is not None and self.used[key] + quantity * held.price > cap:
            return Told(Status.CAP_EXCEEDED, cap=CapScope.CLERK_DAY)
        self.used[key] += quantity * held.price
        self._close(held, HoldState.CAPTURED, quantity)
        return Told(Status.DONE, points=quantity * held.price)

    def _release(self, hold_id: UUID) -> Told:
        held = self.holds.get(hold_id)
        if held is None:
            return Told(Status.HOLD_NOT_FOUND)
        points = held.asked.quantity * held.price
        if status := self._ended(held):
            return Told(status, points=points)
        if held.asked.channel is Channel.SLIP:
            return Told(Status.SLIP_OUTSTANDING, points=points)
        self._close(held, HoldState.RELEASED, 0)
        return Told(Status.DONE, points=points)

    def _take(self, hold_id: UUID) -> Told:
        held = self.holds[hold_id]
        if status := self._ended(held):
            return Told(status)
        self._close(held, HoldState.CAPTURED, held.asked.quantity)
        return Told(Status.DONE, points=held.asked.quantity)

    def _refund(self, hold_id: UUID, points: int, returned: int) -> Told:
        held = self.holds.get(hold_id)
        if held is None:
            status = Status.HOLD_NOT_FOUND
        elif held.state is not HoldState.CAPTURED:
            status = self._ended(held) or Status.HOLD_NOT_CAPTURED
        elif points < 1 or returned < 0 or (returned and not held.asked.offer_id):
            status = Status.AMOUNT_OUT_OF_RANGE
        elif held.refunded + points > held.captured * held.price:
            status = Status.REFUND_EXCEEDS_CAPTURED
        elif held.returned + returned > held.captured:
            status = Status.RETURN_EXCEEDS_CAPTURED
        elif points > self.till:
            status = Status.MERCHANT_LACKS_POINTS
        else:
            status = Status.DONE
            self._add_to_till(-points)
            self.points[held.asked.source] += points
            held.refunded += points
            held.returned += returned
            self._add_stock(held.asked.offer_id, returned)
        return Told(status, points=points)

    def _give(self, source: UUID | None, to: UUID, points: int, cap_key: Key | None) -> Told:
        """From a wallet or pool, or from the till."""
        cap = self._cap(cap_key) if cap_key else None
        if points < 1:
            return Told(Status.AMOUNT_OUT_OF_RANGE, points=points)
        if cap_key and cap is not None and self.used[cap_key] + points > cap:
            return Told(Status.CAP_EXCEEDED, cap=cap_key[0], points=points)
        if points > (self.points[source] if source else self.till):
            lacks = Status.INSUFFICIENT_POINTS if source else Status.MERCHANT_LACKS_POINTS
            return Told(lacks, points=points)
        if source:
            self.points[source] -= points
        else:
            self._add_to_till(-points)
        self.points[to] += points
        if cap_key:
            self.used[cap_key] += points
        return Told(Status.DONE, points=points)

    def _restock(self, offer_id: UUID, units: int) -> Told:
        thing = self.things.get(offer_id)
        if thing is None or thing.stock is None:
            return Told(Status.OFFER_NOT_VALID)
        if units == 0:
            return Told(Status.AMOUNT_OUT_OF_RANGE)
        if thing.stock + units < 0:
            return Told(Status.OUT_OF_STOCK)
        thing.stock += units
        return Told(Status.DONE)

    # ---- Effects -------------------------------------------------------------------------------

    def _close(self, held: Held, state: HoldState, captured: int) -> None:
        asked = held.asked
        rest = asked.quantity - captured
        self.held[self.owners[asked.source]] -= asked.quantity * held.price
        if captured:
            self._add_to_till(captured * held.price)
        self.points[asked.source] += rest * held.price
        self._add_stock(asked.offer_id, rest)
        self.used.subtract(self._adds(asked, held.price, rest))
        held.state, held.captured = state, captured

    def _add_to_till(self, points: int) -> None:
        self.till += points
        self.unsettled.append(points)

    def _add_stock(self, offer_id: UUID | None, units: int) -> None:
        thing = self.things.get(offer_id) if offer_id else None
        if thing and thing.stock is not None:
            thing.stock += units

    def _adds(self, asked: Asked, price: int, quantity: int) -> Mapping[Key, int]:
        adds: dict[Key, int] = {
            (CapScope.PERSON_DAY, asked.resident_id, None): quantity * price,
            (CapScope.MERCHANT_DAY, asked.merchant_id, None): quantity * price,
        }
        if asked.channel is Channel.CARD:
            adds[CapScope.CARD_DAY, asked.resident_id, None] = quantity * price
        if asked.offer_id:
            adds[CapScope.OFFER_PERSON_DAY, asked.resident_id, asked.offer_id] = quantity
            adds[CapScope.OFFER_PERSON, asked.resident_id, asked.offer_id] = quantity
        return adds

    def _measures(self, asked: Asked) -> Mapping[Key, int]:
        """What a new slip is measured by and does not count in."""
        if asked.channel is not Channel.SLIP:
            return {}
        standing = sum(
            held.state is HoldState.OPEN
            and (held.asked.channel, held.asked.resident_id) == (Channel.SLIP, asked.resident_id)
            for held in self.holds.values()
        )
        return {
            (CapScope.SLIP, asked.resident_id, None): asked.quantity,
            (CapScope.SLIPS_OPEN, asked.resident_id, None): 1 + standing,
        }

    def _cap(self, key: Key) -> int | None:
        scope, _, offer_id = key
        if offer_id:
            thing = self.things[offer_id]
            return thing.per_person if scope is CapScope.OFFER_PERSON else thing.per_person_day
        return self.caps.get(scope, UNTIL_SET.get(scope))

    def _ended(self, held: Held) -> Status | None:
        return Status.HOLD_EXPIRED if self._is_due(held) else ENDED.get(held.state)

    def _is_due(self, held: Held) -> bool:
        return held.state is HoldState.OPEN and held.asked.overdue
