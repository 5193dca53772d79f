"""Importing a tree of branches: opens what is new, moves what moved, all of it or nothing.

Branches that the rows do not name stay as they are, and so do service points: nothing is closed.
Two imports into one bank wait for each other (an advisory lock, before all others).
"""

from collections.abc import Callable, Mapping, Sequence
from uuid import UUID

from msgspec import Struct

from timebank.db import Connection, Pool, load_queries, repeat_on_conflict
from timebank.domain.branches import (
    BRANCH_COLUMNS,
    POINTS_OF_LEVEL,
    BranchRow,
    KnownBranch,
    find_branch_faults,
    in_tree_order,
    parse_branch,
)
from timebank.domain.csv_rows import parse_rows, refuse_if_any
from timebank.domain.errors import RowFault
from timebank.ledger.banks import get_bank
from timebank.people.branches import (
    Branch,
    describe_branch,
    list_branches,
    list_community_types,
    list_service_points,
    move_branch,
    open_branch,
    open_service_point,
)
from timebank.people.labels import NUMBER_FOUND, list_unfit

_QUERIES = load_queries(__package__)

SECONDS_FOR_ANOTHER_IMPORT = 600

Progress = Callable[[int, int], None]
"""Is told how many branches are done, of how many."""


class TreeSummary(Struct, frozen=True, kw_only=True):
    """How many branches were given, and what this run did."""

    branches: int
    opened: int
    moved: int
    renamed: int
    service_points_opened: int


class _Standing(Struct, frozen=True):
    """What the bank has when the import begins; `ids` grows as branches are opened."""

    bank_id: int
    branches: Mapping[str, Branch]
    points: Mapping[UUID, Sequence[str]]
    ids: dict[str, UUID]


def read_branches(file: str, content: bytes) -> Mapping[int, BranchRow]:
    """Return the rows of a CSV file by line; ImportRefusedError lists every faulty row."""
    rows, faults = parse_rows(file, content, BRANCH_COLUMNS, parse_branch)
    refuse_if_any(faults)
    return rows


async def import_branches(
    pool: Pool,
    bank: str,
    file: str,
    rows: Mapping[int, BranchRow],
    *,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> TreeSummary:
    """Bring the tree of the bank of this code to what the rows say, in one commit.

    A repeat does nothing. A dry run does the same and takes it back. BankNotFoundError,
    ImportRefusedError with all rows that do not go with each other or with the bank.
    """

    async def work(connection: Connection) -> TreeSummary:
        savepoint = connection.transaction()
        await savepoint.start()
        bank_id = (await get_bank(connection, bank)).bank_id
        await connection.execute(_QUERIES["lock_tree"], bank_id, timeout=SECONDS_FOR_ANOTHER_IMPORT)
        standing = await _check(connection, bank_id, file, rows)
        summary = await _bring_about(connection, standing, rows, progress or _ignore)
        await (savepoint.rollback() if dry_run else savepoint.commit())
        return summary

    return await repeat_on_conflict(pool, work)


def _ignore(done: int, total: int) -> None:
    pass


async def _check(
    connection: Connection, bank_id: int, file: str, rows: Mapping[int, BranchRow]
) -> _Standing:
    branches = {branch.code: branch for branch in await list_branches(connection, bank_id)}
    points: dict[UUID, list[str]] = {}
    for point in await list_service_points(connection, bank_id):
        points.setdefault(point.branch_id, []).append(point.name)
    types = {one.code for one in await list_community_types(connection, bank_id)}
    known = {
        code: KnownBranch(branch.level, branch.closed_at is None, points.get(branch.branch_id, ()))
        for code, branch in branches.items()
    }
    faults = [*find_branch_faults(rows, known, types), *await _find_numbers(connection, rows)]
    refuse_if_any([RowFault(file, line, fault) for line, fault in faults])
    ids = {code: branch.branch_id for code, branch in branches.items()}
    return _Standing(bank_id, branches, points, ids)


async def _find_numbers(
    connection: Connection, rows: Mapping[int, BranchRow]
) -> list[tuple[int, str]]:
    """Return line and fault of each name with a number of a person, which may not stand in it."""
    cells = [
        (line, column, label)
        for line, row in rows.items()
        for column, labels in (("name", [row.name]), ("service_points", row.service_points))
        for label in labels
    ]
    unfit = await list_unfit(connection, {label for _, _, label in cells})
    return [(line, f"{column} {NUMBER_FOUND}") for line, column, label in cells if label in unfit]


async def _bring_about(
    connection: Connection, standing: _Standing, rows: Mapping[int, BranchRow], progress: Progress
) -> TreeSummary:
    opened = moved = renamed = points_opened = 0
    for done, row in enumerate(in_tree_order(rows)):
        progress(done, len(rows))
        branch = standing.branches.get(row.code)
        if branch is None:
            await _open(connection, standing, row)
            opened += 1
        else:
            moved += await _move(connection, standing, branch, row)
            renamed += await _describe(connection, standing, branch, row)
        points_opened += await _open_points(connection, standing, row)
    return TreeSummary(
        branches=len(rows),
        opened=opened,
        moved=moved,
        renamed=renamed,
        service_points_opened=points_opened,
    )


async def _open(connection: Connection, standing: _Standing, row: BranchRow) -> None:
    standing.ids[row.code] = await open_branch(
        connection,
        standing.bank_id,
        standing.ids[row.parent_code or ""],
        code=row.code,
        name=row.name,
        community_type=row.community_type,
    )


async def _move(
    connection: Connection, standing: _Standing, branch: Branch, row: BranchRow
) -> bool:
    parent_id = standing.ids[row.parent_code] if row.parent_code else None
    if parent_id is None or parent_id == branch.parent_id:
        return False
    await move_branch(connection, standing.bank_id, branch.branch_id, parent_id)
    return True


async def _describe(
    connection: Connection, standing: _Standing, branch: Branch, row: BranchRow
) -> bool:
    if (row.name, row.community_type) == (branch.name, branch.community_type):
        return False
    await describe_branch(
        connection,
        standing.bank_id,
        branch.branch_id,
        name=row.name,
        community_type=row.community_type,
    )
    return True


async def _open_points(connection: Connection, standing: _Standing, row: BranchRow) -> int:
    branch_id = standing.ids[row.code]
    known = standing.points.get(branch_id, ())
    new = [name for name in row.service_points if name not in known]
    for name in new:
        await open_service_point(
            connection, standing.bank_id, branch_id, POINTS_OF_LEVEL[row.level], name
        )
    return len(new)
