"""The ledger against the model: whatever is sent in whatever order, answers and books agree."""

import asyncio
from collections.abc import Awaitable, Iterator, Sequence
from contextlib import AsyncExitStack
from typing import Any, TypeVar
from uuid import UUID

import asyncpg
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.book import STAFF, Book
from tests.properties import strategies
from tests.properties.model import BookAccount, Model, Reversal
from timebank.db import open_pool, repeat_on_conflict
from timebank.domain.errors import NotFoundError, TransferRefusedError
from timebank.domain.ledger import (
    AccountKind,
    Chain,
    Outcome,
    ReversalReason,
    SpentPolicy,
    TransferKind,
    TransferStatus,
    Unit,
)
from timebank.embedded import Server
from timebank.ledger.accounts import list_accounts
from timebank.ledger.ids import new_id
from timebank.ledger.passbook import list_trial_balance
from timebank.ledger.reversals import reverse

T = TypeVar("T")


class Database:
    """A pool on an event loop of its own, for a machine whose rules cannot await."""

    def __init__(self, dsn: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._open = AsyncExitStack()
        self.pool: asyncpg.Pool = self.run(self._open.enter_async_context(open_pool(dsn, size=2)))

    def run(self, work: Awaitable[T]) -> T:
        """Wait for the work to be done."""
        return self._loop.run_until_complete(work)

    def close(self) -> None:
        """Leave nothing open behind."""
        self.run(self._open.aclose())
        self._loop.close()


class LedgerMachine(RuleBasedStateMachine):
    """Sends everything to a new bank and to the model, and compares all that can be seen."""

    def __init__(self, database: Database) -> None:
        super().__init__()
        self.run = database.run
        self.model = Model()
        self.sent: list[Chain] = []
        self.reversals: list[Reversal] = []
        self.book = self.run(Book.open(database.pool))
        for unit, account_id in self.book.issuance.items():
            self.model.accounts[account_id] = BookAccount(unit, AccountKind.ISSUANCE)
        for kind in (AccountKind.WALLET, AccountKind.POOL):
            self.open_account(Unit.HOURS, kind)
        for kind in AccountKind:
            if kind is not AccountKind.ISSUANCE:
                self.open_account(Unit.POINTS, kind)

    # ---- Rules ---------------------------------------------------------------------------------

    @precondition(lambda self: len(self.model.accounts) < 10)
    @rule(
        unit=st.sampled_from(Unit),
        kind=st.sampled_from([kind for kind in AccountKind if kind is not AccountKind.ISSUANCE]),
    )
    def open_account(self, unit: Unit, kind: AccountKind) -> None:
        if kind in (AccountKind.HELD, AccountKind.MERCHANT):
            unit = Unit.POINTS
        account_id = self.run(self.book.open_account(kind, unit))
        self.model.accounts[account_id] = BookAccount(unit, kind)

    @rule(data=st.data(), amount=strategies.AMOUNTS, occurred_at=strategies.OCCURRED)
    def award(self, data: st.DataObject, amount: int, occurred_at: Any) -> None:
        account_id = data.draw(st.sampled_from(list(self.model.accounts)))
        unit = self.model.accounts[account_id].unit
        self.post([[self.book.award(account_id, amount, unit, occurred_at=occurred_at)]])

    @rule(data=st.data())
    def transfer(self, data: st.DataObject) -> None:
        self.post([[strategies.draw_transfer(data.draw, self.model.accounts)]])

    @rule(data=st.data())
    def post_malformed(self, data: st.DataObject) -> None:
        malformed = strategies.draw_malformed(data.draw, self.model.accounts)
        self.post([[transfer] for transfer in malformed])
        del self.sent[1 - len(malformed) :]  # one of them will do to come back to

    @rule(data=st.data())
    def post_chain(self, data: st.DataObject) -> None:
        self.post([strategies.draw_long_chain(data.draw, self.model.accounts, self.sent)])

    @rule(data=st.data())
    def post_batch(self, data: st.DataObject) -> None:
        self.post(strategies.draw_batch(data.draw, self.model.accounts, self.sent, most=12))

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def post_again(self, data: st.DataObject) -> None:
        self.post([strategies.draw_again(data.draw, self.model.accounts, self.sent)])

    @precondition(lambda self: self.model.journal)
    @rule(
        data=st.data(),
        policy=st.sampled_from(SpentPolicy),
        reason=st.sampled_from(ReversalReason),
    )
    def reverse(self, data: st.DataObject, policy: SpentPolicy, reason: ReversalReason) -> None:
        original_id = data.draw(self.originals())
        self.ask_to_reverse(original_id, new_id(), STAFF, reason, policy)

    @precondition(lambda self: self.reversals)
    @rule(data=st.data(), policy=st.sampled_from(SpentPolicy))
    def reverse_again(self, data: st.DataObject, policy: SpentPolicy) -> None:
        earlier = data.draw(st.sampled_from(self.reversals))
        original_id = data.draw(st.sampled_from(sorted(earlier.original_ids)))
        self.ask_to_reverse(
            original_id, earlier.reversal_id, earlier.actor_id, earlier.reason, policy
        )

    @precondition(lambda self: self.reversals)
    @rule(
        data=st.data(),
        policy=st.sampled_from(SpentPolicy),
        actor_id=st.sampled_from([STAFF, strategies.UNKNOWN]),
        reason=st.sampled_from(ReversalReason),
    )
    def reverse_otherwise(
        self,
        data: st.DataObject,
        policy: SpentPolicy,
        actor_id: UUID,
        reason: ReversalReason,
    ) -> None:
        earlier = data.draw(st.sampled_from(self.reversals))
        original_id = data.draw(self.originals())
        self.ask_to_reverse(original_id, earlier.reversal_id, actor_id, reason, policy)

    def originals(self) -> st.SearchStrategy[UUID]:
        """What to reverse: mostly something posted, else anything."""
        journal = self.model.journal
        posted = [key for key in journal if journal[key].status is TransferStatus.POSTED]
        anything = st.sampled_from([*journal, strategies.UNKNOWN])
        return st.one_of(st.sampled_from(posted), anything) if posted else anything

    # ---- Comparing -----------------------------------------------------------------------------

    def post(self, chains: Sequence[Chain]) -> None:
        """Post to both and compare the answers."""
        outcomes = self.run(self.book.post_chains(*chains))
        self.sent.extend(chains)
        self.compare(outcomes, self.model.post(chains, stamp_of(outcomes)))

    def ask_to_reverse(
        self,
        original_id: UUID,
        reversal_id: UUID,
        actor_id: UUID,
        reason: ReversalReason,
        policy: SpentPolicy,
    ) -> None:
        """Reverse in both and compare the answers."""

        def work(connection: Any) -> Awaitable[list[Outcome]]:
            return reverse(
                connection,
                self.book.bank_id,
                original_id,
                reversal_id=reversal_id,
                actor_id=actor_id,
                reason=reason,
                when_spent=policy,
            )

        asking = repeat_on_conflict(self.book.pool, work)
        if original_id not in self.model.journal:
            with pytest.raises(NotFoundError):
                self.run(asking)
            return
        if self.model.journal[original_id].status is not TransferStatus.POSTED:
            with pytest.raises(TransferRefusedError, match="original_not_found"):
                self.run(asking)
            return
        outcomes = self.run(asking)
        ids = frozenset(
            entry.transfer.transfer_id
            for entry in self.model.chain_of(original_id)
            if entry.status is TransferStatus.POSTED
        )
        asked = Reversal(reversal_id, ids, actor_id, reason)
        statuses = self.model.reverse(asked, policy, self.find_debts(), stamp_of(outcomes))
        self.compare(outcomes, statuses)
        self.reversals.append(asked)

    def find_debts(self) -> dict[UUID, UUID]:
        """Return the debt account of each wallet's owner; a reversal may just have opened it."""
        accounts = self.run(list_accounts(self.book.pool, self.book.bank_id, limit=100))
        debts = {(a.owner_id, a.unit): a.account_id for a in accounts if a.kind == AccountKind.DEBT}
        for (_, unit), account_id in debts.items():
            self.model.accounts.setdefault(account_id, BookAccount(unit, AccountKind.DEBT))
        return {
            account.account_id: debts[account.owner_id, account.unit]
            for account in accounts
            if account.kind == AccountKind.WALLET and (account.owner_id, account.unit) in debts
        }

    def compare(self, outcomes: Sequence[Outcome], statuses: Sequence[TransferStatus]) -> None:
        """The same statuses, and the instants of the first time."""
        assert [outcome.status for outcome in outcomes] == statuses
        for outcome in outcomes:
            if outcome.status is not TransferStatus.ID_CONFLICT:
                entry = self.model.journal[outcome.transfer_id]
                assert outcome.recorded_at == entry.recorded_at

    @invariant()
    def passbooks_agree(self) -> None:
        lines = self.fetch(
            "SELECT account_id, seq, transfer_id, amount, balance_after, occurred_at, recorded_at, "
            "       occurred_latest FROM posting WHERE bank_id = $1"
        )
        expected = [
            (
                key,
                seq,
                line.transfer_id,
                line.amount,
                line.balance_after,
                line.occurred_at,
                line.recorded_at,
                max(earlier.occurred_at for earlier in account.lines[:seq]),
            )
            for key, account in self.model.accounts.items()
            for seq, line in enumerate(account.lines, start=1)
        ]
        assert lines == sorted(expected)

    @invariant()
    def balances_agree(self) -> None:
        """The balance row is the last line and the sum of all lines, and within the limits."""
        expected = [
            (
                key,
                account.balance,
                account.lines[-1].balance_after if account.lines else 0,
                len(account.lines),
                True,
            )
            for key, account in self.model.accounts.items()
        ]
        assert self.fetch(
            "SELECT b.account_id, b.balance, coalesce(p.balance_after, 0), b.seq, "
            "       b.balance BETWEEN floor AND ceiling "
            "FROM balance b LEFT JOIN posting p USING (bank_id, account_id, seq) "
            "WHERE b.bank_id = $1"
        ) == sorted(expected)

    @invariant()
    def journals_agree(self) -> None:
        expected = [(key, str(entry.status)) for key, entry in self.model.journal.items()]
        assert self.fetch(
            "SELECT transfer_id, status::text FROM transfer WHERE bank_id = $1"
        ) == sorted(expected)

    @invariant()
    def units_sum_to_zero(self) -> None:
        rows = self.run(list_trial_balance(self.book.pool, self.book.bank_id))
        for unit in Unit:
            assert sum(row.debit - row.credit for row in rows if row.unit is unit) == 0

    def fetch(self, query: str) -> list[tuple[Any, ...]]:
        """Return the bank's rows in order."""
        return sorted(
            tuple(row) for row in self.run(self.book.pool.fetch(query, self.book.bank_id))
        )

    def teardown(self) -> None:
        """An original is reversed once, whatever was tried."""
        reversed_ids = [
            entry.transfer.reverses_id
            for entry in self.model.journal.values()
            if entry.status is TransferStatus.POSTED
            and entry.transfer.kind is TransferKind.REVERSAL
        ]
        assert len(reversed_ids) == len(set(reversed_ids))


def stamp_of(outcomes: Sequence[Outcome]) -> Any:
    """When the new ones among them were recorded: all at once, and after the known ones."""
    return max(outcome.recorded_at for outcome in outcomes)


@pytest.fixture
def database(server: Server, worker_database: str) -> Iterator[Database]:
    """The worker's database, seen from a loop of its own."""
    database = Database(server.dsn(worker_database, "timebank_app"))
    yield database
    database.close()


def test_the_ledger_does_what_the_model_does(database: Database) -> None:
    twice = settings(max_examples=2 * settings().max_examples)
    run_state_machine_as_test(lambda: LedgerMachine(database), settings=twice)
