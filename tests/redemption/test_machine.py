"""Redemption against the model: whatever is done in whatever order, answers and state agree.

To the acts on holds come slips, gifts, allocations, settlements, time that passes and points that
expire. Which points have expired is asked of the model of single points, by the journal alone.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.book import STAFF
from tests.conftest import SERVER_SETTINGS
from tests.ledger.ageing import add_rule, pass_days
from tests.properties.test_ledger_machine import Database
from tests.properties.test_lots_in_the_book import list_rules, tell_the_model
from tests.races.checks import THOROUGH
from tests.redemption.machine import SMALL
from tests.redemption.slip_machine import SlipMachine
from tests.redemption.test_settlements import ONE, approve, close, draft
from timebank.db import transaction
from timebank.domain.redemption import Answer, CapScope
from timebank.domain.settlement import Settlement
from timebank.domain.settlement_errors import SettlementRefusedError
from timebank.embedded import Server
from timebank.ledger.expiry import expire_points, read_today
from timebank.ledger.ids import new_id
from timebank.redemption import exchange, families, settlements

POINTS = st.integers(0, 12)
CAP = st.sampled_from([0, 8, 60])


class ProgrammeMachine(SlipMachine):
    """All that moves points of residents, merchants and pools, together."""

    steps = 0

    def __init__(self, database: Database, superuser: asyncpg.Connection) -> None:
        super().__init__(database)
        self.superuser = superuser
        self.bank = self.market.book.bank
        self.drafted: Settlement | None = None
        kin = {resident: True for resident, _ in self.residents}
        family_id = new_id()
        self.run(self.market.run(families.found_family, family_id, kin))
        [pool] = self.run(self.market.run(families.list_pools_of, self.residents[0][0]))
        self.family_pool = pool.account_id
        self.model.owners[self.family_pool] = family_id

    @initialize(gifts=CAP, reissues=CAP)
    def allow_gifts(self, gifts: int, reissues: int) -> None:
        self.set_cap(CapScope.GIFT_DAY, gifts)
        self.set_cap(CapScope.REISSUE_DAY, reissues)

    @rule(who=SMALL, quantity=st.integers(1, 6))
    def buy(self, who: int, quantity: int) -> None:
        """Hold and capture at once, so that there is something to settle and to give on."""
        self.place_well(who, len(self.model.things), quantity)
        self.capture_as(new_id(), self.hold_ids[-1], None, STAFF)

    # ---- Exchange ------------------------------------------------------------------------------

    @rule(who=SMALL, to=SMALL, points=POINTS)
    def give(self, who: int, to: int, points: int) -> None:
        giver, other = self.residents[who % 2], self.residents[1 - who % 2]
        receivers = [other[1], self.community, self.family_pool]
        self.give_as(new_id(), giver, receivers[to % 3], points)

    @rule(to=SMALL, points=POINTS)
    def reissue(self, to: int, points: int) -> None:
        self.reissue_as(new_id(), list(self.model.owners)[to % len(self.model.owners)], points)

    @rule(who=SMALL, points=POINTS)
    def allocate(self, who: int, points: int) -> None:
        self.allocate_as(new_id(), self.residents[who % 2][1], points)

    def give_as(self, act_id: UUID, giver: tuple[UUID, UUID], to: UUID, points: int) -> None:
        self.done.append((self.give_as, act_id, giver, to, points))
        named = {"giver_id": giver[0], "to_account_id": to, "points": points, "actor_id": giver[0]}
        answer = self.act(exchange.give, act_id, **named)
        self.compare(answer, self.model.gift(act_id, giver[1], to, points))

    def reissue_as(self, act_id: UUID, to: UUID, points: int) -> None:
        self.done.append((self.reissue_as, act_id, to, points))
        named = {"merchant_id": self.market.merchant_id, "to_account_id": to, "points": points}
        answer = self.act(exchange.reissue, act_id, actor_id=STAFF, **named)
        self.compare(answer, self.model.reissue(act_id, to, points))

    def allocate_as(self, act_id: UUID, to: UUID, points: int) -> None:
        self.done.append((self.allocate_as, act_id, to, points))
        named = {"branch_id": self.bank.root_id, "to_account_id": to, "points": points}
        answer = self.act(exchange.allocate, act_id, actor_id=STAFF, **named)
        self.compare(answer, self.model.allocate(act_id, self.community, to, points))

    def act(self, do: Any, act_id: UUID, **named: Any) -> Answer:
        answer: Answer = self.run(self.market.run(do, act_id, **named))
        return answer

    # ---- Settlement ----------------------------------------------------------------------------

    @rule(rate=st.sampled_from([None, 3333, 10_000]))
    def draft(self, rate: int | None) -> None:
        try:
            drafted = self.run(draft(self.market, fen_rate=rate))
        except SettlementRefusedError as refusal:
            assert refusal.status == ("settlement_open" if self.drafted else "settlement_empty")
            assert self.drafted or self.model.draft() is None
            return
        assert not self.drafted
        assert (drafted.carried_in, drafted.total) == (self.model.carried, self.model.draft())
        self.drafted = drafted

    @precondition(lambda self: self.drafted)
    @rule()
    def approve_by_one(self) -> None:
        assert self.drafted
        self.run(approve(self.market, self.drafted, ONE))

    @precondition(lambda self: self.drafted)
    @rule()
    def discard(self) -> None:
        assert self.drafted
        self.run(self.market.run(settlements.discard_settlement, self.drafted.settlement_id))
        self.model.discard()
        self.drafted = None

    @precondition(lambda self: self.drafted)
    @rule()
    def close(self) -> None:
        assert self.drafted
        approved = self.run(approve(self.market, self.drafted))
        closed = self.run(close(self.market, approved))
        assert (closed.paid, closed.carried_out) == self.model.close()
        assert self.run(close(self.market, approved)) == closed
        lines = self.run(self.list_lines(closed))
        assert sum(line.points for line in lines if line.counts) == closed.total
        self.drafted = None

    async def list_lines(self, closed: Settlement) -> list[Any]:
        async with self.market.book.pool.acquire() as connection:
            return await settlements.list_lines(connection, self.market.bank_id, closed)

    # ---- Expiry --------------------------------------------------------------------------------

    @initialize(months=st.sampled_from([None, 12]))
    def limit_points(self, months: int | None) -> None:
        self.run(add_rule(self.market.book, months, 20))
        self.run(pass_days(self.superuser, self.market.book, 1))

    @precondition(lambda self: len(self.done) > 10)
    @rule(days=st.sampled_from([15, 200, 400]))
    def pass_days(self, days: int) -> None:
        self.run(pass_days(self.superuser, self.market.book, days))

    @precondition(lambda self: len(self.done) > 10)
    @rule()
    def expire(self) -> None:
        due = self.run(self.count_expired())
        taken = self.run(expire_points(self.market.book.pool, self.bank))
        assert taken.points == sum(due.values())
        self.model.expire(due)

    async def count_expired(self) -> dict[UUID, int]:
        book = self.market.book
        async with transaction(book.pool) as connection:
            today = await read_today(connection, self.bank)
            world = await tell_the_model(connection, book, await list_rules(connection, book))
        return {account: world.count_expired(account, today) for account in self.model.owners}

    @invariant()
    def count_steps(self) -> None:
        ProgrammeMachine.steps += 1


@pytest.fixture
def database(server: Server, own_database: str) -> Iterator[Database]:
    """A database of its own, seen from a loop of its own: time passes in it."""
    database = Database(server.dsn(own_database, "timebank_app"))
    yield database
    database.close()


@pytest.fixture
def superuser(server: Server, own_database: str, database: Database) -> Iterator[Any]:
    """Whoever lets time pass, in the loop of the database."""
    connect = asyncpg.connect(server.dsn(own_database), server_settings=SERVER_SETTINGS)
    connection = database.run(connect)
    yield connection
    database.run(connection.close())


def test_the_programme_does_what_the_model_does(
    database: Database, superuser: asyncpg.Connection
) -> None:
    """At least 10,000 steps in the profile of CI."""
    ProgrammeMachine.steps = 0
    many = settings(max_examples=6 * settings().max_examples) if THOROUGH else settings()
    long = settings(many, stateful_step_count=50) if THOROUGH else many
    run_state_machine_as_test(partial(ProgrammeMachine, database, superuser), settings=long)
    assert ProgrammeMachine.steps >= (10_000 if THOROUGH else 100)
