"""What the branches of the tree hold, and where they stand against each other.

Signs are those of balances: what a bank issued is below 0, so a unit adds up to 0 over the root.
An instant of the past tells what was recorded by then, with the tree and the places as they were;
it waits for whoever is writing, so that the answer never changes later.
"""

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from msgspec import Struct

from timebank.db import Connection, as_struct, load_queries
from timebank.domain.ledger import AccountKind, Unit

_QUERIES = load_queries(__package__)


class Total(Struct, frozen=True, kw_only=True):
    """All accounts of one unit and kind that hang on a branch, itself or below."""

    branch_id: UUID
    unit: Unit
    kind: AccountKind
    accounts: int
    balance: int


class Position(Struct, frozen=True, kw_only=True):
    """What a branch got from another, less what it gave it; positive: more came than went.

    `by_transfers` moved between their residents, merchants and pools; `by_moves` is what people
    had with them as they moved from one to the other.
    """

    branch_id: UUID
    unit: Unit
    by_transfers: int
    by_moves: int

    @property
    def position(self) -> int:
        """Both together: opposite to the other's against this one."""
        return self.by_transfers + self.by_moves


async def list_totals(
    connection: Connection, bank_id: int, branch_id: UUID, as_of: datetime | None = None
) -> list[Total]:
    """Return what hangs on the branch itself, under its own id, and the totals of its children.

    A child's total is with all below it. AsOfInFutureError; OverloadedError while others write
    for long.
    """
    records = await connection.fetch(_QUERIES["list_branch_totals"], bank_id, branch_id, as_of)
    return [as_struct(record, Total) for record in records]


def add_up(branch_id: UUID, parts: Iterable[Total]) -> list[Total]:
    """Return the total of a branch from what `list_totals` found, by unit and kind."""
    sums: dict[tuple[Unit, AccountKind], list[int]] = defaultdict(lambda: [0, 0])
    for part in parts:
        sums[part.unit, part.kind][0] += part.accounts
        sums[part.unit, part.kind][1] += part.balance
    return [
        Total(branch_id=branch_id, unit=unit, kind=kind, accounts=accounts, balance=balance)
        for (unit, kind), (accounts, balance) in sorted(sums.items())
    ]


async def list_positions(
    connection: Connection, bank_id: int, branch_id: UUID, as_of: datetime | None = None
) -> list[Position]:
    """Return the positions of the branch, with all below it, against the others of its level.

    Of a higher level each branch stands for what hangs on itself. Those at 0 are left out unless
    transfers and moves cancel. All of one unit add up to the branch's total. Errors as
    `list_totals`.
    """
    records = await connection.fetch(_QUERIES["list_branch_positions"], bank_id, branch_id, as_of)
    return [as_struct(record, Position) for record in records]
