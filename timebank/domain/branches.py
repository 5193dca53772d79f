"""The tree 区 → 街道 → 社区 → 小区: its levels, its service points, and a file that describes it.

1 + N + X service points: centres on subdistricts, a station on each community, neighbourhood
centres on compounds. A file need not follow the tree's order.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from enum import StrEnum

from msgspec import Struct

from timebank.domain.csv_rows import FaultyRowError, parse_name, quote

LONGEST_NAME = 80
CODE = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$(?!\n)"
TYPE_CODE = r"^[a-z0-9][a-z0-9-]{0,31}$(?!\n)"

_SEPARATORS = re.compile("[;；]")


class BranchLevel(StrEnum):
    """From the top down; a branch hangs on one of the level before its own."""

    DISTRICT = "district"
    SUBDISTRICT = "subdistrict"
    COMMUNITY = "community"
    COMPOUND = "compound"

    @property
    def above(self) -> "BranchLevel | None":
        """The level a branch of this one hangs on; the root hangs on none."""
        place = LEVELS.index(self)
        return LEVELS[place - 1] if place else None


LEVELS = tuple(BranchLevel)


class ServicePointKind(StrEnum):
    """Where people are served; each kind stands on one level."""

    CENTRE = "centre"
    STATION = "station"
    NEIGHBOURHOOD_CENTRE = "neighbourhood_centre"


POINTS_OF_LEVEL: Mapping[BranchLevel, ServicePointKind] = {
    BranchLevel.SUBDISTRICT: ServicePointKind.CENTRE,
    BranchLevel.COMMUNITY: ServicePointKind.STATION,
    BranchLevel.COMPOUND: ServicePointKind.NEIGHBOURHOOD_CENTRE,
}
"""As schema.sql says, level_of_service_point; the district has none."""

BRANCH_COLUMNS = ("code", "name", "level", "parent_code", "community_type", "service_points")


class BranchRow(Struct, frozen=True, kw_only=True):
    """A branch as a file describes it, with the names of its service points."""

    code: str
    name: str
    level: BranchLevel
    parent_code: str | None
    community_type: str | None = None
    service_points: Sequence[str] = ()


class KnownBranch(Struct, frozen=True):
    """What the bank has of a branch that a file may name."""

    level: BranchLevel
    is_open: bool
    service_points: Collection[str] = ()


def parse_branch(row: Mapping[str, str]) -> BranchRow:
    """Return the branch of a row with BRANCH_COLUMNS; FaultyRowError names its first fault.

    `service_points` are names with a semicolon between.
    """
    level = _parse_level(row["level"])
    parent = _parse_code("parent_code", row["parent_code"]) if row["parent_code"] else None
    if (parent is None) != (level is BranchLevel.DISTRICT):
        raise FaultyRowError("every branch but the district has a parent_code")
    community_type = row["community_type"] or None
    if community_type and level is not BranchLevel.COMMUNITY:
        raise FaultyRowError(f"a {level} has no community_type")
    return BranchRow(
        code=_parse_code("code", row["code"]),
        name=parse_name("name", row["name"], LONGEST_NAME),
        level=level,
        parent_code=parent,
        community_type=community_type,
        service_points=_parse_service_points(level, row["service_points"]),
    )


def _parse_level(text: str) -> BranchLevel:
    try:
        return BranchLevel(text)
    except ValueError as error:
        levels = ", ".join(LEVELS)
        raise FaultyRowError(f"level is one of {levels}, not {quote(text)}") from error


def _parse_code(column: str, text: str) -> str:
    if not re.fullmatch(CODE, text):
        raise FaultyRowError(
            f"{column} is 1 to 64 of A-Z, a-z, 0-9, '.', '_' and '-', a letter or digit first, "
            f"not {quote(text)}"
        )
    return text


def _parse_service_points(level: BranchLevel, text: str) -> Sequence[str]:
    parts = [part for part in _SEPARATORS.split(text) if part.strip()]
    names = [parse_name("service_points", part, LONGEST_NAME) for part in parts]
    if names and level not in POINTS_OF_LEVEL:
        raise FaultyRowError(f"a {level} has no service points")
    if len(names) > 1 and level is BranchLevel.COMMUNITY:
        raise FaultyRowError("a community has one service point")
    if len(set(names)) < len(names):
        raise FaultyRowError("a service point is named twice")
    return names


def find_branch_faults(
    rows: Mapping[int, BranchRow], known: Mapping[str, KnownBranch], types: Collection[str]
) -> Iterator[tuple[int, str]]:
    """Yield line and fault of each row, by line, that does not go with the others or the bank.

    `known` are the bank's branches by code, `types` the codes of its community types.
    """
    lines: dict[str, int] = {}
    levels = {code: branch.level for code, branch in known.items()}
    levels |= {row.code: row.level for row in rows.values()}
    for line, row in rows.items():
        first = lines.setdefault(row.code, line)
        if first != line:
            yield line, f"branch {row.code} stands in line {first} already"
        if row.community_type and row.community_type not in types:
            yield line, f"there is no community type {quote(row.community_type)}"
        if row.code in known:
            yield from ((line, fault) for fault in _find_changes(row, known[row.code]))
        elif row.level is BranchLevel.DISTRICT:
            yield line, "a bank has one district, and its code is another"
        if row.parent_code:
            parent = known.get(row.parent_code)
            if row.parent_code not in levels:
                yield line, f"there is no branch {row.parent_code}"
            elif levels[row.parent_code] is not row.level.above:
                yield (
                    line,
                    f"a {row.level} hangs on a {row.level.above}, and "
                    f"{row.parent_code} is a {levels[row.parent_code]}",
                )
            elif parent is not None and not parent.is_open:
                yield line, f"branch {row.parent_code} is closed"


def _find_changes(row: BranchRow, known: KnownBranch) -> Iterator[str]:
    """Yield what the row asks of a branch and cannot be done to it."""
    if not known.is_open:
        yield f"branch {row.code} is closed; give the new one another code"
    if row.level is not known.level:
        yield f"branch {row.code} is a {known.level} and stays one"
    elif row.level is BranchLevel.COMMUNITY:
        for name in set(known.service_points).difference(row.service_points):
            if row.service_points:
                yield f"branch {row.code} has the station {quote(name)}; close it first"


def in_tree_order(rows: Mapping[int, BranchRow]) -> list[BranchRow]:
    """Return the rows with every parent before its children, else as they stand."""
    return sorted(rows.values(), key=lambda row: LEVELS.index(row.level))
