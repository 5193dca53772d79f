"""The JSON of branches, service points, placements, totals and positions."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from msgspec import UNSET, Meta, Struct, UnsetType

from timebank.api.wire import LINE
from timebank.domain.branches import CODE, LONGEST_NAME, TYPE_CODE, BranchLevel, ServicePointKind
from timebank.domain.ledger import AccountKind, Unit

Name = Annotated[str, Meta(min_length=1, max_length=LONGEST_NAME, pattern=LINE)]
Code = Annotated[str, Meta(pattern=CODE)]
TypeCode = Annotated[str, Meta(pattern=TYPE_CODE)]


class OpenBranchBody(Struct, forbid_unknown_fields=True):
    """A new branch, of the level below its parent's; only a community has a type."""

    parent_id: UUID
    code: Code
    name: Name
    community_type: TypeCode | None = None


class MoveBranchBody(Struct, forbid_unknown_fields=True):
    """The parent it hangs on from now on."""

    parent_id: UUID


class OpenServicePointBody(Struct, forbid_unknown_fields=True):
    """A new service point; each kind stands on one level."""

    kind: ServicePointKind
    name: Name


class PlacementBody(Struct, forbid_unknown_fields=True):
    """The branch it hangs on from now on."""

    branch_id: UUID


class ClosureBody(Struct, forbid_unknown_fields=True):
    """Nothing more to say."""


class BranchView(Struct, frozen=True, kw_only=True):
    """A branch as it is now; the root alone has no parent."""

    branch_id: UUID
    code: str
    name: str
    level: BranchLevel
    parent_id: UUID | None
    community_type: str | None
    opened_at: datetime
    closed_at: datetime | None


class ServicePointView(Struct, frozen=True, kw_only=True):
    """Where people are served."""

    service_point_id: UUID
    branch_id: UUID
    kind: ServicePointKind
    name: str
    opened_at: datetime
    closed_at: datetime | None


class BranchDetailView(BranchView, frozen=True, kw_only=True):
    """A branch with its open service points."""

    service_points: list[ServicePointView]


class BranchPage(Struct, frozen=True):
    """Branches by level from the top, then by code; `parent_id` makes them a tree."""

    data: list[BranchView]
    next_cursor: str | None
    has_more: bool


class PlacementView(Struct, frozen=True):
    """Where a party hangs now."""

    party_id: UUID
    branch_id: UUID


class SumView(Struct, frozen=True, kw_only=True):
    """All accounts of a unit and kind; the balance is in minutes or points, as its field says."""

    unit: Unit
    kind: AccountKind
    accounts: int
    minutes: int | UnsetType = UNSET
    points: int | UnsetType = UNSET


class ChildTotalsView(Struct, frozen=True):
    """A child with all below it."""

    branch_id: UUID
    totals: list[SumView]


class TotalsView(Struct, frozen=True, kw_only=True):
    """What hangs on the branch itself, its children, and the total of both."""

    branch_id: UUID
    as_of: datetime | UnsetType = UNSET
    own: list[SumView]
    children: list[ChildTotalsView]
    total: list[SumView]


class PositionView(Struct, frozen=True, kw_only=True):
    """Against another branch: what came from it less what went there, in minutes or points.

    `position` = `by_transfers` + `by_moves` (what people had with them as they moved).
    """

    branch_id: UUID
    unit: Unit
    by_transfers: int
    by_moves: int
    position: int


class PositionsView(Struct, frozen=True, kw_only=True):
    """Against each branch of the level; of a higher level, against what hangs on itself."""

    branch_id: UUID
    as_of: datetime | UnsetType = UNSET
    positions: list[PositionView]
