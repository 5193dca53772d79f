"""The machine of acts on holds: a new bank and the model do the same, and are compared."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from tests.book import STAFF, Book
from tests.properties.test_ledger_machine import Database
from tests.redemption.market import HOUR, INSTANT, Market, noon_zone
from tests.redemption.model import Asked, Model, Thing, Told
from tests.redemption.state import check_state
from timebank.db import repeat_on_conflict
from timebank.domain.ledger import AccountKind, ReversalReason
from timebank.domain.redemption import Answer, CapScope, Channel, Wish
from timebank.ledger.ids import new_id
from timebank.ledger.reversals import reverse
from timebank.redemption import offers
from timebank.redemption.holds import sweep

CLERKS = [new_id(), new_id()]
STRANGER = UUID(int=404)
SCOPES = [scope for scope in CapScope if not scope.startswith("offer_")]
PICK = st.integers(0, 10**6)
SMALL = st.integers(0, 6)


class RedemptionMachine(RuleBasedStateMachine):
    """Does everything in a new bank and in the model, and compares all that can be seen."""

    def __init__(self, database: Database) -> None:
        super().__init__()
        self.run = database.run
        book = self.run(Book.open(database.pool, time_zone=noon_zone()))
        self.market: Market = self.run(Market.open(book))
        self.model = Model(self.market.merchant_id)
        self.residents = [self.run(self.market.resident()) for _ in range(2)]
        self.model.owners = {wallet: resident for resident, wallet in self.residents}
        self.model.wallets = {wallet for _, wallet in self.residents}
        self.pool, self.community = self.open_pool(new_id()), self.open_pool(book.bank.root_id)
        self.awards: list[tuple[UUID, UUID, int]] = []
        self.done: list[tuple[Any, ...]] = []
        self.hold_ids: list[UUID] = []

    def open_pool(self, owner_id: UUID) -> UUID:
        pool: UUID = self.run(self.market.book.open_account(AccountKind.POOL, owner_id=owner_id))
        self.model.owners[pool] = owner_id
        return pool

    @initialize(
        things=st.lists(
            st.tuples(
                st.integers(1, 4),
                st.none() | st.just(0),
                st.none() | st.integers(1, 4),
                st.none() | st.integers(1, 6),
            ),
            min_size=2,
            max_size=3,
        ),
        caps=st.lists(st.tuples(st.sampled_from(SCOPES), st.integers(0, 30)), max_size=3),
    )
    def begin(self, things: Sequence[tuple[Any, ...]], caps: Sequence[tuple[Any, int]]) -> None:
        for price, stock, day, whole in things:
            terms = {"per_person_day": day, "per_person": whole}
            offer_id = self.run(self.market.offer(price, stock, **terms))
            self.model.things[offer_id] = Thing(price, stock, day, whole)
            if stock is not None:
                self.restock_as(new_id(), offer_id, 5)
        for scope, points in caps:
            self.set_cap(scope, points)
        for account in self.model.owners:
            self.award(list(self.model.owners).index(account), 20)

    # ---- What happens around -------------------------------------------------------------------

    @rule(which=SMALL, amount=st.integers(1, 20))
    def award(self, which: int, amount: int) -> None:
        account = list(self.model.owners)[which % len(self.model.owners)]
        award = self.market.book.award(account, amount)
        self.run(self.market.book.post_all(award))
        self.awards.append((award.transfer_id, account, amount))
        self.model.points[account] += amount

    @precondition(lambda self: self.awards)
    @rule(pick=PICK)
    def reverse_award(self, pick: int) -> None:
        original_id, account, amount = self.awards[pick % len(self.awards)]
        outcomes = self.run(
            repeat_on_conflict(
                self.market.book.pool,
                lambda c: reverse(
                    c,
                    self.market.bank_id,
                    original_id,
                    reversal_id=new_id(),
                    actor_id=STAFF,
                    reason=ReversalReason.DUPLICATE,
                ),
            )
        )
        covered = self.model.points[account] >= amount
        assert (outcomes[-1].status == "posted") is covered
        if covered:
            self.model.points[account] -= amount
            self.awards.remove((original_id, account, amount))

    @rule(scope=st.sampled_from(SCOPES), points=st.none() | st.integers(0, 30))
    def set_cap(self, scope: CapScope, points: int | None) -> None:
        self.run(self.market.cap(scope, points))
        self.model.caps[scope] = points

    @precondition(lambda self: len(self.hold_ids) > 15)
    @rule(pick=PICK)
    def withdraw(self, pick: int) -> None:
        offer_id, thing = list(self.model.things.items())[pick % len(self.model.things)]
        if not thing.withdrawn and pick % 5 == 0:
            market = self.market
            self.run(market.run(offers.withdraw_offer, market.merchant_id, offer_id))
            thing.withdrawn = True

    # ---- Acts ----------------------------------------------------------------------------------

    @rule(who=SMALL, what=SMALL, quantity=st.integers(0, 4), how=st.integers(0, 9))
    def place(self, who: int, what: int, quantity: int, how: int) -> None:
        resident_id, wallet = self.residents[who % 2]
        offer_ids = [None, *self.model.things]
        asked = Asked(
            resident_id=resident_id,
            source=self.pool if how == 1 else wallet,
            merchant_id=STRANGER if how == 2 else self.market.merchant_id,
            offer_id=STRANGER if how == 3 else offer_ids[what % len(offer_ids)],
            quantity=quantity,
            channel=Channel.CARD if how in (4, 5) else Channel.SESSION,
            overdue=how in (6, 7),
        )
        self.place_as(new_id(), asked)

    @rule(who=SMALL, what=SMALL, quantity=st.integers(1, 3))
    def place_well(self, who: int, what: int, quantity: int) -> None:
        resident_id, wallet = self.residents[who % 2]
        offered = [key for key, thing in self.model.things.items() if not thing.withdrawn]
        asked = Asked(
            resident_id=resident_id,
            source=wallet,
            merchant_id=self.market.merchant_id,
            offer_id=[*offered, None][what % (len(offered) + 1)],
            quantity=quantity,
            channel=Channel.SESSION,
            overdue=False,
        )
        self.place_as(new_id(), asked)

    @precondition(lambda self: self.hold_ids)
    @rule(pick=PICK, quantity=st.none() | st.integers(0, 5), clerk=st.sampled_from(CLERKS))
    def capture(self, pick: int, quantity: int | None, clerk: UUID) -> None:
        self.capture_as(new_id(), self.some_hold(pick), quantity, clerk)

    @precondition(lambda self: self.hold_ids)
    @rule(pick=PICK)
    def release(self, pick: int) -> None:
        self.release_as(new_id(), self.some_hold(pick))

    @precondition(lambda self: self.hold_ids)
    @rule(pick=PICK, points=SMALL, returned=st.integers(-1, 2))
    def refund(self, pick: int, points: int, returned: int) -> None:
        captured = [key for key, held in self.model.holds.items() if held.captured]
        hold_id = captured[pick % len(captured)] if captured and pick % 7 else self.some_hold(pick)
        self.refund_as(new_id(), hold_id, points, returned)

    @precondition(lambda self: any(held.captured for held in self.model.holds.values()))
    @rule(pick=PICK, more=st.integers(-1, 1))
    def refund_all(self, pick: int, more: int) -> None:
        captured = [(key, held) for key, held in self.model.holds.items() if held.captured]
        hold_id, held = captured[pick % len(captured)]
        rest = held.captured * held.price - held.refunded
        self.refund_as(new_id(), hold_id, rest + more, 0)

    @rule(pick=PICK, units=st.integers(-4, 6))
    def restock(self, pick: int, units: int) -> None:
        offer_ids = [*self.model.things, STRANGER]
        self.restock_as(new_id(), offer_ids[pick % len(offer_ids)], units)

    @rule()
    def sweep(self) -> None:
        assert self.run(sweep(self.market.book.pool, self.market.bank_id)) == self.model.sweep()

    @precondition(lambda self: self.done)
    @rule(pick=PICK)
    def repeat(self, pick: int) -> None:
        """The same act again: the same answer, and nothing happens."""
        act, *rest = self.done[-1 - pick % min(len(self.done), 20)]
        act(*rest)

    @precondition(lambda self: len(self.done) > 1)
    @rule(pick=PICK, other=PICK)
    def reuse_id(self, pick: int, other: int) -> None:
        """Another act under an id that is taken: a conflict, unless it is the same after all."""
        _, act_id, *_ = self.done[-1 - pick % min(len(self.done), 20)]
        act, _, *rest = self.done[other % len(self.done)]
        act(act_id, *rest)

    # ---- Comparing -----------------------------------------------------------------------------

    def some_hold(self, pick: int) -> UUID:
        """Mostly an open one; else one that ended, was refused, or never was."""
        still_open = [key for key, held in self.model.holds.items() if held.state == "open"]
        ended = [key for key, held in self.model.holds.items() if held.state != "open"]
        choice = still_open[-8:] * 3 + ended[-8:] * 2 + [*self.hold_ids[-2:], STRANGER]
        return choice[pick % len(choice)]

    def place_as(self, act_id: UUID, asked: Asked) -> None:
        self.done.append((self.place_as, act_id, asked))
        self.hold_ids.append(act_id)
        lifetime: timedelta = INSTANT if asked.overdue else HOUR
        wish = Wish(
            merchant_id=asked.merchant_id,
            quantity=asked.quantity,
            lifetime=lifetime,
            channel=asked.channel,
            resident_id=asked.resident_id,
            source_account_id=asked.source,
            offer_id=asked.offer_id,
        )
        answer = self.run(self.market.place(wish, act_id))
        self.compare(answer, self.model.place(act_id, asked))

    def capture_as(self, act_id: UUID, hold_id: UUID, quantity: int | None, clerk: UUID) -> None:
        self.done.append((self.capture_as, act_id, hold_id, quantity, clerk))
        answer = self.run(self.market.capture(hold_id, quantity, capture_id=act_id, actor_id=clerk))
        self.compare(answer, self.model.capture(act_id, hold_id, quantity, clerk))

    def release_as(self, act_id: UUID, hold_id: UUID) -> None:
        self.done.append((self.release_as, act_id, hold_id))
        answer = self.run(self.market.release(hold_id, act_id))
        self.compare(answer, self.model.release(act_id, hold_id))

    def refund_as(self, act_id: UUID, hold_id: UUID, points: int, returned: int) -> None:
        self.done.append((self.refund_as, act_id, hold_id, points, returned))
        answer = self.run(self.market.refund(hold_id, points, returned, refund_id=act_id))
        self.compare(answer, self.model.refund(act_id, hold_id, points, returned))

    def restock_as(self, act_id: UUID, offer_id: UUID, units: int) -> None:
        self.done.append((self.restock_as, act_id, offer_id, units))
        answer = self.run(self.market.restock(offer_id, units, act_id))
        self.compare(answer, self.model.restock(act_id, offer_id, units))

    def compare(self, answer: Answer, told: Told) -> None:
        """The same answer, of this time or of the first."""
        assert (answer.status, answer.cap, answer.points) == (told.status, told.cap, told.points)

    @invariant()
    def states_agree(self) -> None:
        self.run(check_state(self.market, self.model))
