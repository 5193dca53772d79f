"""The tree over HTTP: branches, service points, placements, totals and positions."""

from collections.abc import Iterable
from typing import Annotated
from uuid import UUID

import msgspec
from litestar import Response, Router
from litestar.params import FromPath, JSONBody, QueryParameter
from msgspec import UNSET

from timebank.api.call import Call, IdempotencyKey
from timebank.api.cursors import make_cursor, read_cursor
from timebank.api.once import Deed, once
from timebank.api.operations import get, post
from timebank.api.wire import parse_instant
from timebank.api.wire_branches import (
    BranchDetailView,
    BranchPage,
    BranchView,
    ChildTotalsView,
    ClosureBody,
    MoveBranchBody,
    OpenBranchBody,
    OpenServicePointBody,
    PlacementBody,
    PlacementView,
    PositionsView,
    PositionView,
    ServicePointView,
    SumView,
    TotalsView,
)
from timebank.db import Connection, transaction
from timebank.domain.branches import BranchLevel
from timebank.domain.errors import BranchNotFoundError, NotFoundError
from timebank.domain.ledger import Unit
from timebank.people import branches
from timebank.people.access import Action, Principal
from timebank.people.branches import Branch, ServicePoint
from timebank.people.parties import place_party
from timebank.people.targets import check_reaches_party
from timebank.people.totals import Total, add_up, list_positions, list_totals

AsOf = Annotated[
    str | None,
    QueryParameter(
        description="RFC 3339 with an offset, as 2026-05-01T00:00:00Z; without: now",
        schema_extra={"format": "date-time"},
    ),
]


@get("/branches", opt={"action": Action.READ_BRANCH}, operation_id="list_branches")
async def list_tree(
    request: Call,
    cursor: Annotated[str | None, QueryParameter(max_length=300)] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=1000)] = 200,
) -> BranchPage:
    """List the branch of one's role and all below it, from the top down."""
    principal = request.user
    bank = await request.desk.bank(principal.bank_id)
    listed = f"branches within {principal.branch_id}"
    after = (BranchLevel.DISTRICT, "")
    if cursor:
        level, _, code = read_cursor(bank.cursor_key, listed, cursor).partition(" ")
        after = (BranchLevel(level), code)
    async with transaction(request.desk.pool) as connection:
        found = await branches.list_branches(
            connection, bank.bank_id, within=principal.branch_id, after=after, limit=limit + 1
        )
    page, more = found[:limit], len(found) > limit
    return BranchPage(
        [_branch_view(branch) for branch in page],
        make_cursor(bank.cursor_key, listed, f"{page[-1].level} {page[-1].code}") if more else None,
        more,
    )


@get("/branches/{branch_id:uuid}", opt={"action": Action.READ_BRANCH}, operation_id="get_branch")
async def read_branch(request: Call, branch_id: FromPath[UUID]) -> BranchDetailView:
    """Return a branch with its open service points."""
    async with transaction(request.desk.pool) as connection:
        branch = await _branch_reached(connection, request, branch_id)
        points = await branches.list_service_points(connection, request.user.bank_id, branch_id)
    return BranchDetailView(
        **msgspec.structs.asdict(branch), service_points=[_point_view(point) for point in points]
    )


@get(
    "/branches/{branch_id:uuid}/totals",
    opt={"action": Action.READ_TOTALS},
    operation_id="get_branch_totals",
)
async def read_totals(request: Call, branch_id: FromPath[UUID], as_of: AsOf = None) -> TotalsView:
    """Return what a branch holds now, or held as recorded at an instant: own, children, total."""
    at = parse_instant(as_of, "as_of")
    async with transaction(request.desk.pool) as connection:
        await _branch_reached(connection, request, branch_id)
        parts = await list_totals(connection, request.user.bank_id, branch_id, at)
    children: dict[UUID, list[Total]] = {}
    for part in parts:
        children.setdefault(part.branch_id, []).append(part)
    own = children.pop(branch_id, [])
    return TotalsView(
        branch_id=branch_id,
        as_of=at or UNSET,
        own=_sums(own),
        children=[ChildTotalsView(child, _sums(totals)) for child, totals in children.items()],
        total=_sums(add_up(branch_id, parts)),
    )


@get(
    "/branches/{branch_id:uuid}/positions",
    opt={"action": Action.READ_TOTALS},
    operation_id="list_branch_positions",
)
async def read_positions(
    request: Call, branch_id: FromPath[UUID], as_of: AsOf = None
) -> PositionsView:
    """Return where a branch stands against the others of its level, now or at an instant."""
    at = parse_instant(as_of, "as_of")
    async with transaction(request.desk.pool) as connection:
        await _branch_reached(connection, request, branch_id)
        positions = await list_positions(connection, request.user.bank_id, branch_id, at)
    return PositionsView(
        branch_id=branch_id,
        as_of=at or UNSET,
        positions=[
            PositionView(**msgspec.structs.asdict(one), position=one.position) for one in positions
        ],
    )


@post("/branches", opt={"action": Action.OPEN_BRANCH}, operation_id="open_branch")
async def open_a_branch(
    request: Call, data: JSONBody[OpenBranchBody], idempotency_key: IdempotencyKey
) -> Response[BranchView]:
    """Open a branch under a parent; its level is the one below the parent's."""
    bank_id = request.user.bank_id

    async def work(connection: Connection) -> Deed[BranchView]:
        await _check_named(connection, request, data.parent_id)
        branch_id = await branches.open_branch(
            connection,
            bank_id,
            data.parent_id,
            code=data.code,
            name=data.name,
            community_type=data.community_type,
        )
        branch = await branches.get_branch(connection, bank_id, branch_id)
        return Deed(_branch_view(branch), branch_id)

    view, headers = await once(request, BranchView, work)
    return Response(view, status_code=201, headers=headers)


@post(
    "/branches/{branch_id:uuid}/moves",
    opt={"action": Action.MOVE_BRANCH},
    operation_id="move_branch",
)
async def move_a_branch(
    request: Call,
    branch_id: FromPath[UUID],
    data: JSONBody[MoveBranchBody],
    idempotency_key: IdempotencyKey,
) -> Response[BranchView]:
    """Hang a branch, with all below it, on another parent from now on."""
    bank_id = request.user.bank_id

    async def work(connection: Connection) -> Deed[BranchView]:
        await _branch_reached(connection, request, branch_id)
        await _check_named(connection, request, data.parent_id)
        await branches.move_branch(connection, bank_id, branch_id, data.parent_id)
        branch = await branches.get_branch(connection, bank_id, branch_id)
        return Deed(_branch_view(branch), branch_id)

    view, headers = await once(request, BranchView, work)
    return Response(view, status_code=201, headers=headers)


@post(
    "/branches/{branch_id:uuid}/closure",
    opt={"action": Action.CLOSE_BRANCH},
    operation_id="close_branch",
)
async def close_a_branch(
    request: Call,
    branch_id: FromPath[UUID],
    data: JSONBody[ClosureBody],
    idempotency_key: IdempotencyKey,
) -> Response[BranchView]:
    """Close a branch that nothing hangs on; it stays in the tree of the past."""
    bank_id = request.user.bank_id

    async def work(connection: Connection) -> Deed[BranchView]:
        await _branch_reached(connection, request, branch_id)
        await branches.close_branch(connection, bank_id, branch_id)
        branch = await branches.get_branch(connection, bank_id, branch_id)
        return Deed(_branch_view(branch), branch_id)

    view, headers = await once(request, BranchView, work)
    return Response(view, status_code=201, headers=headers)


@post(
    "/branches/{branch_id:uuid}/service-points",
    opt={"action": Action.OPEN_SERVICE_POINT},
    operation_id="open_service_point",
)
async def open_a_service_point(
    request: Call,
    branch_id: FromPath[UUID],
    data: JSONBody[OpenServicePointBody],
    idempotency_key: IdempotencyKey,
) -> Response[ServicePointView]:
    """Open a service point on a branch of its kind's level."""
    bank_id = request.user.bank_id

    async def work(connection: Connection) -> Deed[ServicePointView]:
        await _branch_reached(connection, request, branch_id)
        point_id = await branches.open_service_point(
            connection, bank_id, branch_id, data.kind, data.name
        )
        point = await branches.get_service_point(connection, bank_id, point_id)
        return Deed(_point_view(point), point_id)

    view, headers = await once(request, ServicePointView, work)
    return Response(view, status_code=201, headers=headers)


@post(
    "/service-points/{service_point_id:uuid}/closure",
    opt={"action": Action.CLOSE_SERVICE_POINT},
    operation_id="close_service_point",
)
async def close_a_service_point(
    request: Call,
    service_point_id: FromPath[UUID],
    data: JSONBody[ClosureBody],
    idempotency_key: IdempotencyKey,
) -> Response[ServicePointView]:
    """Close a service point."""
    bank_id = request.user.bank_id

    async def work(connection: Connection) -> Deed[ServicePointView]:
        point = await branches.get_service_point(connection, bank_id, service_point_id)
        await _branch_reached(connection, request, point.branch_id)
        await branches.close_service_point(connection, bank_id, service_point_id)
        point = await branches.get_service_point(connection, bank_id, service_point_id)
        return Deed(_point_view(point), service_point_id)

    view, headers = await once(request, ServicePointView, work)
    return Response(view, status_code=201, headers=headers)


@post(
    "/parties/{party_id:uuid}/placement",
    opt={"action": Action.PLACE_PARTY},
    operation_id="place_party",
)
async def place_a_party(
    request: Call,
    party_id: FromPath[UUID],
    data: JSONBody[PlacementBody],
    idempotency_key: IdempotencyKey,
) -> Response[PlacementView]:
    """Hang a resident or merchant on a branch; both the old and the new must be yours to reach."""
    principal = request.user

    async def work(connection: Connection) -> Deed[PlacementView]:
        await _check_named(connection, request, data.branch_id)
        before = await place_party(connection, principal.bank_id, party_id, data.branch_id)
        # Asked afterwards, under the lock on the party: nobody can have moved it in between.
        await check_reaches_party(connection, principal, Action.PLACE_PARTY, before)
        return Deed(PlacementView(party_id, data.branch_id), party_id)

    view, headers = await once(request, PlacementView, work)
    return Response(view, status_code=201, headers=headers)


async def _branch_reached(connection: Connection, request: Call, branch_id: UUID) -> Branch:
    """Return a branch of the path; NotFoundError if it is absent or out of the caller's reach."""
    principal: Principal = request.user
    action = Action(request.route_handler.opt["action"])
    branch = await branches.get_branch(connection, principal.bank_id, branch_id)
    await check_reaches_party(connection, principal, action, branch_id)
    return branch


async def _check_named(connection: Connection, request: Call, branch_id: UUID) -> None:
    """Raise BranchNotFoundError unless a branch that a body names is within the caller's reach."""
    try:
        await _branch_reached(connection, request, branch_id)
    except NotFoundError as error:
        raise BranchNotFoundError from error


def _branch_view(branch: Branch) -> BranchView:
    return BranchView(**msgspec.structs.asdict(branch))


def _point_view(point: ServicePoint) -> ServicePointView:
    return ServicePointView(**msgspec.structs.asdict(point))


def _sums(totals: Iterable[Total]) -> list[SumView]:
    return [
        SumView(
            unit=one.unit,
            kind=one.kind,
            accounts=one.accounts,
            minutes=one.balance if one.unit is Unit.HOURS else UNSET,
            points=one.balance if one.unit is Unit.POINTS else UNSET,
        )
        for one in totals
    ]


router = Router(
    "/",
    route_handlers=[
        list_tree,
        read_branch,
        read_totals,
        read_positions,
        open_a_branch,
        move_a_branch,
        close_a_branch,
        open_a_service_point,
        close_a_service_point,
        place_a_party,
    ],
)
