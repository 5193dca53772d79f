"""The tree of branches: opening, moving, closing, listing, and the service points on them.

The rules of the tree stand in schema.sql; what it refuses leaves here as a database error that
db.translate knows. Lock order: there too, section Tree.
"""

from datetime import datetime
from uuid import UUID

from msgspec import Struct

from timebank.db import Connection, as_struct, load_queries
from timebank.domain.branches import BranchLevel, ServicePointKind
from timebank.domain.errors import NotFoundError
from timebank.ledger.ids import new_id

_QUERIES = load_queries(__package__)


class Branch(Struct, frozen=True, kw_only=True):
    """A place in the tree as it is now; the root alone has no parent."""

    branch_id: UUID
    code: str
    name: str
    level: BranchLevel
    parent_id: UUID | None
    community_type: str | None
    opened_at: datetime
    closed_at: datetime | None


class ServicePoint(Struct, frozen=True, kw_only=True):
    """Where people are served."""

    service_point_id: UUID
    branch_id: UUID
    kind: ServicePointKind
    name: str
    opened_at: datetime
    closed_at: datetime | None


class CommunityType(Struct, frozen=True):
    """A type that a bank sorts its communities into."""

    code: str
    name: str


async def open_branch(
    connection: Connection,
    bank_id: int,
    parent_id: UUID,
    *,
    code: str,
    name: str,
    community_type: str | None = None,
) -> UUID:
    """Open a branch of the level below its parent's, and return its id.

    BranchNotFoundError (of the parent), BranchClosedError, BranchLevelError,
    BranchCodeTakenError, CommunityTypeError.
    """
    branch_id = new_id()
    await connection.execute(
        _QUERIES["open_branch"], bank_id, branch_id, parent_id, code, name, community_type
    )
    return branch_id


async def describe_branch(
    connection: Connection, bank_id: int, branch_id: UUID, *, name: str, community_type: str | None
) -> None:
    """Give an open branch another name and, to a community, another type."""
    await connection.execute(_QUERIES["describe_branch"], bank_id, branch_id, name, community_type)


async def move_branch(
    connection: Connection, bank_id: int, branch_id: UUID, parent_id: UUID
) -> None:
    """Hang a branch, with all below it, on another parent from now on.

    BranchNotFoundError, BranchClosedError, BranchLevelError, AlreadyThereError.
    """
    await connection.execute(_QUERIES["move_branch"], bank_id, branch_id, parent_id)


async def close_branch(connection: Connection, bank_id: int, branch_id: UUID) -> None:
    """Close a branch; BranchNotEmptyError while anything hangs on it, BranchClosedError."""
    await connection.execute(_QUERIES["close_branch"], bank_id, branch_id)


async def open_service_point(
    connection: Connection, bank_id: int, branch_id: UUID, kind: ServicePointKind, name: str
) -> UUID:
    """Open a service point; ServicePointLevelError, ServicePointExistsError, BranchClosedError."""
    point_id = new_id()
    await connection.execute(
        _QUERIES["open_service_point"], bank_id, point_id, branch_id, kind, name
    )
    return point_id


async def close_service_point(connection: Connection, bank_id: int, point_id: UUID) -> None:
    """Close a service point; NotFoundError if there is none open of this id."""
    if not await connection.fetchval(_QUERIES["close_service_point"], bank_id, point_id):
        raise NotFoundError


async def get_branch(
    connection: Connection, bank_id: int, branch_id: UUID | None = None, code: str | None = None
) -> Branch:
    """Return the branch of this id or code, open or closed; NotFoundError if there is none."""
    record = await connection.fetchrow(_QUERIES["find_branch"], bank_id, branch_id, code)
    if record is None:
        raise NotFoundError
    return as_struct(record, Branch)


async def list_branches(
    connection: Connection,
    bank_id: int,
    *,
    within: UUID | None = None,
    after: tuple[BranchLevel, str] = (BranchLevel.DISTRICT, ""),
    limit: int | None = None,
) -> list[Branch]:
    """Return the branches by level from the top, then by code; `after` is a level and code.

    `within`: that branch and all below it only.
    """
    records = await connection.fetch(_QUERIES["list_branches"], bank_id, *after, within, limit)
    return [as_struct(record, Branch) for record in records]


async def list_service_points(
    connection: Connection, bank_id: int, branch_id: UUID | None = None
) -> list[ServicePoint]:
    """Return the open service points, of one branch if given."""
    records = await connection.fetch(_QUERIES["list_service_points"], bank_id, branch_id)
    return [as_struct(record, ServicePoint) for record in records]


async def get_service_point(connection: Connection, bank_id: int, point_id: UUID) -> ServicePoint:
    """Return a service point, open or closed; NotFoundError if there is none of this id."""
    record = await connection.fetchrow(_QUERIES["find_service_point"], bank_id, point_id)
    if record is None:
        raise NotFoundError
    return as_struct(record, ServicePoint)


async def define_community_type(connection: Connection, bank_id: int, code: str, name: str) -> None:
    """Add a community type, or give it another name."""
    await connection.execute(_QUERIES["define_community_type"], bank_id, code, name)


async def list_community_types(connection: Connection, bank_id: int) -> list[CommunityType]:
    """Return the bank's community types by code."""
    records = await connection.fetch(_QUERIES["list_community_types"], bank_id)
    return [as_struct(record, CommunityType) for record in records]
