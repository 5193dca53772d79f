"""The tree's totals and positions, folded by hand from the rows of history alone."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any
from uuid import UUID

from tests.book import Book

Totals = Mapping[tuple[str, str], tuple[int, int]]
"""Accounts and balance by unit and kind, without those that count no account."""


@dataclass(frozen=True)
class History:
    """What a bank's tables hold, in the order it was recorded."""

    root: UUID
    levels: Mapping[UUID, int]
    moves: Sequence[Any]
    placements: Sequence[Any]
    accounts: Sequence[Any]
    lines: Sequence[Any]

    @classmethod
    async def read(cls, book: Book) -> "History":
        """Read everything."""
        async with book.pool.acquire() as connection:

            async def rows(query: str) -> Sequence[Any]:
                return await connection.fetch(query, book.bank_id)

            return cls(
                book.bank.root_id,
                dict(
                    await rows(
                        "SELECT branch_id, array_position(enum_range(level), level) FROM branch "
                        "WHERE bank_id = $1"
                    )
                ),
                await rows("SELECT * FROM branch_move WHERE bank_id = $1 ORDER BY moved_at"),
                await rows("SELECT * FROM placement WHERE bank_id = $1 ORDER BY placed_at"),
                await rows("SELECT * FROM account WHERE bank_id = $1"),
                await rows(
                    "SELECT account_id, amount, recorded_at, counter_account_id FROM passbook "
                    "WHERE bank_id = $1 ORDER BY recorded_at"
                ),
            )

    @cached_property
    def owners(self) -> Mapping[UUID, UUID | None]:
        """The owner of each account."""
        return {row["account_id"]: row["owner_id"] for row in self.accounts}

    @cached_property
    def units(self) -> Mapping[UUID, str]:
        """The unit of each account."""
        return {row["account_id"]: row["unit"] for row in self.accounts}

    def instants(self) -> list[datetime]:
        """Every instant at which something changed."""
        return sorted(
            {row["moved_at"] for row in self.moves}
            | {row["placed_at"] for row in self.placements}
            | {row["recorded_at"] for row in self.lines}
        )

    def parents(self, at: datetime) -> Mapping[UUID, UUID | None]:
        """The tree as it was."""
        return {row["branch_id"]: row["parent_id"] for row in self.moves if row["moved_at"] <= at}

    def place(self, party: UUID | None, at: datetime, *, before: bool = False) -> UUID:
        """Where a party hung at an instant, or just before it."""
        if party in self.levels:
            return party
        places = [
            row["branch_id"]
            for row in self.placements
            if row["party_id"] == party
            and (row["placed_at"] < at if before else row["placed_at"] <= at)
        ]
        return places[-1] if places else self.root

    def above(self, branch: UUID, at: datetime) -> list[UUID]:
        """The branch and all above it."""
        parents, path = self.parents(at), [branch]
        while (parent := parents.get(path[-1])) is not None:
            path.append(parent)
        return path

    def totals(self, at: datetime) -> Mapping[UUID, Totals]:
        """The totals of every branch with all below it."""
        sums: dict[UUID, dict[tuple[str, str], list[int]]] = defaultdict(
            lambda: defaultdict(lambda: [0, 0])
        )
        balances: Counter[UUID] = Counter()
        for line in self.lines:
            if line["recorded_at"] <= at:
                balances[line["account_id"]] += line["amount"]
        for account in self.accounts:
            if account["opened_at"] <= at:
                for branch in self.above(self.place(account["owner_id"], at), at):
                    counted = sums[branch][account["unit"], account["kind"]]
                    counted[0] += 1
                    counted[1] += balances[account["account_id"]]
        return {
            branch: {key: (count, total) for key, (count, total) in by_kind.items()}
            for branch, by_kind in sums.items()
        }

    def positions(self, level: int, at: datetime) -> Mapping[tuple[UUID, UUID, str], list[int]]:
        """What each side of a level got from each other, by transfers and by moves."""
        found: dict[tuple[UUID, UUID, str], list[int]] = defaultdict(lambda: [0, 0])

        def side(place: UUID) -> UUID:
            return next(one for one in self.above(place, at) if self.levels[one] <= level)

        for line in self.lines:
            if line["recorded_at"] <= at:
                here, there = (
                    side(self.place(self.owners[line[name]], line["recorded_at"]))
                    for name in ("account_id", "counter_account_id")
                )
                if here != there:
                    found[here, there, self.units[line["account_id"]]][0] += line["amount"]
        for move in self.placements:
            party, moved_at = move["party_id"], move["placed_at"]
            if moved_at > at:
                continue
            old, new = side(self.place(party, moved_at, before=True)), side(move["branch_id"])
            for line in self.lines:
                account_id = line["account_id"]
                carried = self.owners[account_id] == party and line["recorded_at"] < moved_at
                if carried and old != new:
                    found[new, old, self.units[account_id]][1] += line["amount"]
                    found[old, new, self.units[account_id]][1] -= line["amount"]
        return {key: pair for key, pair in found.items() if any(pair)}
