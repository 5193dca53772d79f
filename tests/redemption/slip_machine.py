"""The machine of redemption with slips: issued, and told of by one till and by another."""

import time
from datetime import timedelta
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from tests.api.service import key_file
from tests.properties.test_ledger_machine import Database
from tests.redemption.machine import PICK, SMALL, STRANGER, RedemptionMachine
from tests.redemption.market import INSTANT
from tests.redemption.model import Asked
from tests.redemption.slip_desk import SlipDesk
from timebank.domain.redemption import CapScope, Channel
from timebank.domain.redemption import RedemptionStatus as Status
from timebank.domain.slips import SYNC_GRACE, SlipResult
from timebank.ledger.ids import derive_id, new_id
from timebank.people.seals import Seals
from timebank.people.vault_keys import KeyRing

RESULTS = {
    Status.HOLD_ALREADY_CAPTURED: SlipResult.CAPTURED_BY_ANOTHER,
    Status.HOLD_EXPIRED: SlipResult.EXPIRED,
}


class SlipMachine(RedemptionMachine):
    """A slip is a hold that only an acceptance captures, and nobody releases."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.desk = SlipDesk(self.market, Seals(KeyRing(key_file())))
        self.run(self.desk.make_key())
        self.keys = self.run(self.desk.keys())
        self.slips: dict[UUID, tuple[int, str]] = {}
        self.set_cap(CapScope.SLIP, 30)

    @rule(who=SMALL, points=st.integers(1, 6), how=st.integers(0, 19))
    def place_slip(self, who: int, points: int, how: int) -> None:
        resident_id, wallet = self.residents[who % 2]
        asked = Asked(
            resident_id=resident_id,
            source=self.pool if how in (1, 2) else wallet,
            merchant_id=STRANGER if how in (3, 4) else self.market.merchant_id,
            offer_id=None,
            quantity=points,
            channel=Channel.SLIP,
            overdue=how == 5,
        )
        self.place_slip_as(new_id(), asked)

    @precondition(lambda self: self.slips)
    @rule(pick=PICK)
    def take_slip(self, pick: int) -> None:
        """Tell of an acceptance of a slip, the first or another."""
        recent = list(self.slips)[-6:]
        self.take_as(new_id(), recent[pick % len(recent)])

    def place_slip_as(self, act_id: UUID, asked: Asked) -> None:
        self.done.append((self.place_slip_as, act_id, asked))
        self.hold_ids.append(act_id)
        ends = {"lifetime": timedelta(seconds=1)} if asked.overdue else {}
        order = self.desk.order(
            (asked.resident_id, asked.source),
            asked.quantity,
            merchant_id=asked.merchant_id,
            **ends,
        )
        grace = INSTANT if asked.overdue else SYNC_GRACE
        answer = self.run(self.desk.ask(order, act_id, grace))
        self.compare(answer, self.model.place(act_id, asked))
        if answer.status is Status.DONE and act_id not in self.slips:
            slip = self.run(self.desk.get(act_id))
            self.slips[act_id] = slip.number, self.run(self.desk.text(slip))
            if asked.overdue:  # the shortest slip there is: now nobody takes it, nor tells of it
                time.sleep(1.01)

    def take_as(self, acceptance_id: UUID, hold_id: UUID) -> None:
        self.done.append((self.take_as, acceptance_id, hold_id))
        number, text = self.slips[hold_id]
        act_id = derive_id(acceptance_id, f"slip {number}")
        was_told = act_id in self.model.acts
        told = self.run(self.desk.tell(text, acceptance_id, keys=self.keys))
        status = self.model.take(act_id, hold_id).status
        done = SlipResult.CAPTURED_BEFORE if was_told else SlipResult.CAPTURED
        assert told.result is RESULTS.get(status, done)
