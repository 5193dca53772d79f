"""Over any tree, however it is moved about: totals and positions are what adding up by hand gives.

A parent's totals are those of its children and of what hangs on itself; positions are opposite to
each other and add up to the totals; all of this at any instant of the past as well.
"""

import random
from collections import Counter
from datetime import datetime
from uuid import UUID

import asyncpg
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.book import Book
from tests.places import open_branch, place
from tests.properties.tree import History
from timebank.db import Connection, translate
from timebank.domain.errors import AlreadyThereError, BranchLevelError
from timebank.domain.ledger import AccountKind, Unit
from timebank.ledger.ids import new_id
from timebank.people.branches import move_branch
from timebank.people.parties import PartyKind, register_parties
from timebank.people.totals import add_up, list_positions, list_totals

ACTS = st.lists(
    st.tuples(
        st.sampled_from(["open", "move", "place", "place", "award", "give", "give"]),
        st.integers(0, 9),
        st.integers(0, 9),
    ),
    min_size=4,
    max_size=24,
)


class Town:
    """A bank whose tree, residents and pools are moved about at random."""

    def __init__(self, book: Book) -> None:
        self.book = book
        self.branches = [book.bank.root_id]
        self.depths = [0]
        self.people: list[UUID] = []
        self.wallets: list[UUID] = []

    @classmethod
    async def settle(cls, pool: asyncpg.Pool) -> "Town":
        """Open two branches of each level, a pool on one, and place residents with two units."""
        town = cls(await Book.open(pool))
        for parent in (0, 0, 1, 2, 3, 4):
            await town.open(parent)
        town.people = [new_id() for _ in range(3)]
        async with pool.acquire() as connection:
            await register_parties(connection, town.book.bank_id, PartyKind.PERSON, town.people)
        town.wallets = [await town.book.open_account(owner_id=one) for one in town.people]
        kind, owner = AccountKind.POOL, town.branches[3]
        town.wallets.append(await town.book.open_account(kind, balance=7, owner_id=owner))
        hours = await town.book.open_account(unit=Unit.HOURS, owner_id=town.people[0])
        awards = [town.book.award(wallet, 20) for wallet in town.wallets[:3]]
        await town.book.post_all(town.book.award(hours, 45, Unit.HOURS), *awards)
        for person, branch in zip(town.people, town.branches[4:], strict=True):
            await place(town.book, person, branch)
        return town

    async def open(self, parent: int) -> None:
        """Open a branch under the one of this place in the list."""
        self.branches.append(await open_branch(self.book, self.branches[parent]))
        self.depths.append(self.depths[parent] + 1)

    async def move(self, first: int, second: int) -> None:
        """Move a branch to one of those it may hang on."""
        place = first % (len(self.branches) - 1) + 1
        parents = [n for n, depth in enumerate(self.depths) if depth == self.depths[place] - 1]
        parent = self.branches[parents[second % len(parents)]]
        async with self.book.pool.acquire() as connection, connection.transaction():
            await move_branch(connection, self.book.bank_id, self.branches[place], parent)

    async def act(self, act: str, first: int, second: int) -> None:
        """Do one thing; what the tree's rules refuse is left undone."""
        other = self.branches[second % len(self.branches)]
        wallet = self.wallets[first % len(self.wallets)]
        try:
            match act:
                case "open":
                    await self.open(first % len(self.branches))
                case "move":
                    await self.move(first, second)
                case "place":
                    await place(self.book, self.people[first % len(self.people)], other)
                case "award":
                    await self.book.post(self.book.award(wallet, second + 1))
                case _:
                    credit = self.wallets[second % len(self.wallets)]
                    await self.book.post(self.book.transfer(wallet, credit, first + 1))
        except asyncpg.PostgresError as error:
            assert isinstance(translate(error), AlreadyThereError | BranchLevelError), error


@settings(max_examples=settings().max_examples // 2 + 8)  # each asks some eighty questions
@given(acts=ACTS, seed=st.integers(0, 2**16))
async def test_totals_and_positions_add_up_at_any_time(
    worker_pool: asyncpg.Pool, acts: list[tuple[str, int, int]], seed: int
) -> None:
    town = await Town.settle(worker_pool)
    settled = max((await History.read(town.book)).instants())
    for act in acts:
        await town.act(*act)
    history = await History.read(town.book)
    instants, draw = history.instants(), random.Random(seed)
    chosen = [
        draw.choice([at for at in instants if (at < settled) is early]) for early in (True, False)
    ]
    async with town.book.pool.acquire() as connection:
        for as_of in (None, settled, *chosen):
            at = as_of or instants[-1]
            await check_totals(connection, town, history, as_of, at)
            await check_positions(connection, town, history, as_of, at)


async def check_totals(
    connection: Connection, town: Town, history: History, as_of: datetime | None, at: datetime
) -> None:
    expected = history.totals(at)
    parents = history.parents(at)
    for branch in parents:
        parts = await list_totals(connection, town.book.bank_id, branch, as_of)
        for child in {part.branch_id for part in parts} - {branch}:
            assert parents[child] == branch
            found = {
                (part.unit, part.kind): (part.accounts, part.balance)
                for part in parts
                if part.branch_id == child
            }
            assert found == expected[child]
        whole = {
            (total.unit, total.kind): (total.accounts, total.balance)
            for total in add_up(branch, parts)
        }
        assert whole == expected.get(branch, {})
    everything: Counter[str] = Counter()
    for (unit, _), (_, balance) in expected.get(history.root, {}).items():
        everything[unit] += balance
    assert not any(everything.values())


async def check_positions(
    connection: Connection, town: Town, history: History, as_of: datetime | None, at: datetime
) -> None:
    totals = history.totals(at)
    expected = {
        level: history.positions(level, at) for level in sorted(set(history.levels.values()))
    }
    for branch in history.parents(at):
        level = history.levels[branch]
        listed = await list_positions(connection, town.book.bank_id, branch, as_of)
        assert {
            (branch, one.branch_id, str(one.unit)): [one.by_transfers, one.by_moves]
            for one in listed
        } == {key: pair for key, pair in expected[level].items() if key[0] == branch}
        for unit in Unit if level > 1 else []:
            position = sum(one.position for one in listed if one.unit == unit)
            total = sum(
                balance for key, (_, balance) in totals.get(branch, {}).items() if key[0] == unit
            )
            assert position == total
    for positions in expected.values():
        for (here, there, unit), pair in positions.items():
            assert pair == [-part for part in positions[there, here, unit]]
