"""`timebank branch`: the tree of a bank: import, demo, list, show, types."""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from uuid import UUID

import click
import msgspec
from rich.table import Table

from timebank.cli.demo import BANK_CODE, BANK_NAME
from timebank.cli.importing import CSV_FILE, progress_bar, tell_faults
from timebank.cli.running import command, err, out, settings_from_environment
from timebank.database import open_database
from timebank.db import Connection, Pool, transaction
from timebank.domain.branches import BRANCH_COLUMNS, BranchRow
from timebank.domain.demo_tree import COMMUNITY_TYPES, list_demo_branches
from timebank.domain.errors import ImportRefusedError, InvalidInputError, NotFoundError
from timebank.files import read_file
from timebank.ledger.banks import ensure_bank, get_bank
from timebank.people.branches import (
    Branch,
    define_community_type,
    get_branch,
    list_branches,
    list_community_types,
    list_service_points,
)
from timebank.people.totals import Position, Total, add_up, list_positions, list_totals
from timebank.people.tree_import import TreeSummary, import_branches, read_branches

BANK = click.option("--bank", default=BANK_CODE, show_default=True, help="Code of the bank.")
DRY_RUN = click.option("--dry-run", is_flag=True, help="Do everything, then take it back.")
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


@click.group()
def branch() -> None:
    """Branches: the tree 区 → 街道 → 社区 → 小区 and its service points."""


@branch.command("import")
@click.argument("path", metavar="TREE.csv", type=CSV_FILE)
@BANK
@DRY_RUN
@AS_JSON
@command
async def import_tree(path: Path, bank: str, *, dry_run: bool, as_json: bool) -> int:
    """Open the branches of a CSV file, and move or rename those that are there already.

    Columns: code, name, level (district, subdistrict, community, compound), parent_code,
    community_type (see `timebank branch type`), service_points (names, with ; between). The
    district is there from the start, under the bank's own code. A faulty row refuses the whole
    file; importing the same file again does nothing; nothing is closed.

    \b
    Example:
      timebank branch demo --csv > tree.csv
      timebank branch import tree.csv --bank jianxi --dry-run
    """
    try:
        rows = read_branches(str(path), read_file(path))
        async with open_database(settings_from_environment()) as pool:
            summary = await _import(pool, bank, str(path), rows, dry_run=dry_run)
    except ImportRefusedError as error:
        tell_faults(error)
        return 1
    _tell(summary, dry_run=dry_run, as_json=as_json)
    return 0


@branch.command()
@BANK
@click.option("--csv", "as_csv", is_flag=True, help="Print the tree as a file for import instead.")
@AS_JSON
@command
async def demo(bank: str, *, as_csv: bool, as_json: bool) -> None:
    """Give a bank a tree of the size of a district: 72 communities in four types, 581 compounds.

    The names are numbers, and every run gives the same. The bank `demo` is opened if need be.

    \b
    Example:
      timebank branch demo
      timebank branch demo --csv > tree.csv
    """
    rows = dict(enumerate(list_demo_branches(bank), start=2))
    if as_csv:
        click.echo(_write_csv(rows.values()).encode(), nl=False)  # UTF-8 wherever it runs
        return
    async with open_database(settings_from_environment()) as pool:
        async with transaction(pool) as connection:
            if bank == BANK_CODE:
                await ensure_bank(connection, BANK_CODE, BANK_NAME)
            bank_id = (await get_bank(connection, bank)).bank_id
            for code, name in COMMUNITY_TYPES.items():
                await define_community_type(connection, bank_id, code, name)
        summary = await _import(pool, bank, "demo", rows, dry_run=False)
    _tell(summary, dry_run=False, as_json=as_json)


@branch.command("type")
@click.argument("code", required=False)
@click.option("--name", help="What the pages call it.")
@BANK
@command
async def define_type(code: str | None, name: str | None, bank: str) -> None:
    """Add a community type, or list them all.

    \b
    Example:
      timebank branch type old --name 老旧社区 --bank jianxi
      timebank branch type
    """
    if (code is None) != (name is None):
        raise click.UsageError("CODE and --name go together.")
    async with open_database(settings_from_environment()) as pool, transaction(pool) as connection:
        bank_id = (await get_bank(connection, bank)).bank_id
        if code and name:
            await define_community_type(connection, bank_id, code, name)
        for one in await list_community_types(connection, bank_id):
            out.print(f"{one.code}  {one.name}", markup=False)


@branch.command("list")
@click.option("--within", metavar="CODE", help="Only this branch and all below it.")
@BANK
@AS_JSON
@command
async def list_tree(within: str | None, bank: str, *, as_json: bool) -> None:
    """List the branches as a tree.

    \b
    Example:
      timebank branch list --within s01
    """
    async with open_database(settings_from_environment()) as pool, transaction(pool) as connection:
        bank_id = (await get_bank(connection, bank)).bank_id
        top = await _find(connection, bank_id, within) if within else None
        branches = await list_branches(connection, bank_id, within=top.branch_id if top else None)
    if as_json:
        click.echo(msgspec.json.encode(branches))
        return
    for depth, one in _in_depth(branches):
        closed = " (closed)" if one.closed_at else ""
        kind = f" [{one.community_type}]" if one.community_type else ""
        out.print(f"{'  ' * depth}{one.code}  {one.name}{kind}{closed}", markup=False)


@branch.command()
@click.argument("code", required=False)
@click.option("--as-of", metavar="INSTANT", help="As it was then: RFC 3339 with an offset.")
@BANK
@AS_JSON
@command
async def show(code: str | None, as_of: str | None, bank: str, *, as_json: bool) -> None:
    """Show a branch, else the root: its service points, totals, and positions against others.

    \b
    Example:
      timebank branch show s01
      timebank branch show --as-of 2026-05-01T00:00:00+08:00
    """
    at = _parse_instant(as_of)
    async with open_database(settings_from_environment()) as pool, transaction(pool) as connection:
        bank_id = (await get_bank(connection, bank)).bank_id
        found = await _find(connection, bank_id, code)
        names = {one.branch_id: one for one in await list_branches(connection, bank_id)}
        points = await list_service_points(connection, bank_id, found.branch_id)
        totals = await list_totals(connection, bank_id, found.branch_id, at)
        positions = await list_positions(connection, bank_id, found.branch_id, at)
    if as_json:
        shown = {"branch": found, "service_points": points, "parts": totals}
        total = add_up(found.branch_id, totals)
        click.echo(msgspec.json.encode({**shown, "total": total, "positions": positions}))
        return
    out.print(f"{found.code}  {found.name}: {found.level}", markup=False)
    for point in points:
        out.print(f"  {point.kind}  {point.name}", markup=False)
    out.print(_totals_table(found, names, totals))
    if positions:
        out.print(_positions_table(names, positions))


async def _import(
    pool: Pool, bank: str, file: str, rows: Mapping[int, BranchRow], *, dry_run: bool
) -> TreeSummary:
    with progress_bar("Importing branches") as progress:
        return await import_branches(pool, bank, file, rows, dry_run=dry_run, progress=progress)


def _tell(summary: TreeSummary, *, dry_run: bool, as_json: bool) -> None:
    if as_json:
        click.echo(msgspec.json.encode(summary))
    else:
        out.print(
            f"{summary.branches:,} branches: {summary.opened:,} opened, {summary.moved:,} moved, "
            f"{summary.renamed:,} renamed; "
            f"{summary.service_points_opened:,} service points opened.",
            soft_wrap=True,
        )
    if dry_run:
        err.print("This was a dry run, nothing was written.")


def _write_csv(rows: Iterable[BranchRow]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(BRANCH_COLUMNS)
    for row in rows:
        cells = (getattr(row, column) or "" for column in BRANCH_COLUMNS[:-1])
        writer.writerow([*cells, ";".join(row.service_points)])
    return text.getvalue()


async def _find(connection: Connection, bank_id: int, code: str | None) -> Branch:
    if code is None:
        return (await list_branches(connection, bank_id, limit=1))[0]
    try:
        return await get_branch(connection, bank_id, code=code)
    except NotFoundError as error:
        raise NotFoundError(f"There is no branch {code}; `timebank branch list`.") from error


def _parse_instant(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise InvalidInputError("Give the instant with its offset, as 2026-05-01T00:00:00+08:00.")
    return at


def _in_depth(branches: Sequence[Branch]) -> Iterator[tuple[int, Branch]]:
    """Yield each branch after its parent, with how deep it is."""
    listed = {one.branch_id for one in branches}
    below: dict[UUID | None, list[Branch]] = {}
    for one in branches:
        below.setdefault(one.parent_id if one.parent_id in listed else None, []).append(one)
    waiting = [(0, one) for one in reversed(below.get(None, []))]
    while waiting:
        depth, one = waiting.pop()
        yield depth, one
        waiting += [(depth + 1, child) for child in reversed(below.get(one.branch_id, []))]


def _totals_table(found: Branch, names: Mapping[UUID, Branch], totals: Sequence[Total]) -> Table:
    table = Table("branch", title="Totals 合计")
    columns = sorted({(one.unit, one.kind) for one in totals})
    for unit, kind in columns:
        table.add_column(f"{unit}\n{kind}", justify="right")
    parts: dict[UUID, list[Total]] = {}
    for one in totals:
        parts.setdefault(one.branch_id, []).append(one)
    itself = parts.pop(found.branch_id, [])
    rows = [("itself 本级", itself)]
    rows += [(_say(names[id_]), part) for id_, part in parts.items()]
    rows.sort(key=lambda row: (row[1] is not itself, row[0]))
    for name, part in [*rows, ("total 合计", add_up(found.branch_id, totals))]:
        cells = {(one.unit, one.kind): f"{one.balance:,}" for one in part}
        table.add_row(name, *(cells.get(column, "") for column in columns))
    return table


def _positions_table(names: Mapping[UUID, Branch], positions: Sequence[Position]) -> Table:
    table = Table("against 对方", "unit", title="Positions 往来头寸")
    for column in ("by transfers", "by moves", "position"):
        table.add_column(column, justify="right")
    for one in sorted(positions, key=lambda one: (names[one.branch_id].code, one.unit)):
        amounts = (one.by_transfers, one.by_moves, one.position)
        table.add_row(_say(names[one.branch_id]), one.unit, *(f"{amount:,}" for amount in amounts))
    return table


def _say(branch: Branch) -> str:
    return f"{branch.code} {branch.name}"
