"""Activities over HTTP: what is planned and cancelled, and who signs up for it."""

from datetime import date
from typing import Annotated
from uuid import UUID

from litestar import Response, Router
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from timebank.api.accounts import Cursor, Limit
from timebank.api.call import Call, IdempotencyKey
from timebank.api.clock import now
from timebank.api.cursors import make_cursor, read_cursor
from timebank.api.once import Deed, do_once
from timebank.api.operations import get, post
from timebank.api.reaching import (
    activity_reached,
    check_reach,
    named_branch,
    shift_reached,
)
from timebank.api.wire_service import (
    ActivityBody,
    CancelBody,
    CategoryBody,
    DaysBody,
    LeaveBody,
    SignUpBody,
    TeamBody,
    check_days,
    parse_first_start,
)
from timebank.api.wire_service_views import (
    ActivityPage,
    ActivityView,
    CategoryList,
    RosterView,
    ShiftList,
    WithdrawalView,
    view_activity,
)
from timebank.db import Connection, transaction
from timebank.domain.errors import InvalidInputError
from timebank.domain.service import ActivityPlan, Category, RosterEntry, Shift
from timebank.domain.service_errors import ShiftClosedError
from timebank.people import branches
from timebank.people.access import Action, Role
from timebank.service import activities, categories, sign_ups

FromDay = Annotated[date, QueryParameter(name="from", description="A local day")]
UntilDay = Annotated[date, QueryParameter(name="until", description="Included")]


@get("/categories", opt={"action": Action.READ_PROGRAMME}, operation_id="list_categories")
async def list_all_categories(request: Call) -> CategoryList:
    """List the kinds of service."""
    async with transaction(request.desk.pool) as connection:
        found = await categories.list_categories(connection, request.user.bank_id)
    return CategoryList(found)


@post("/categories", opt={"action": Action.OPEN_CATEGORY}, operation_id="open_category")
async def open_a_category(
    request: Call, data: JSONBody[CategoryBody], idempotency_key: IdempotencyKey
) -> Response[Category]:
    """Open a kind of service; until it has a rate of its own, the bank's counts."""

    async def work(connection: Connection) -> Deed[Category]:
        await check_reach(connection, request, None)
        opened = await categories.open_category(
            connection, request.user.bank_id, data.code, data.name, is_risky=data.is_risky
        )
        return Deed(opened, opened.category_id)

    return await do_once(request, Category, work)


@get("/activities", opt={"action": Action.READ_PROGRAMME}, operation_id="list_activities")
async def list_all_activities(
    request: Call, cursor: Cursor = None, limit: Limit = 50
) -> ActivityPage:
    """List activities, the oldest first."""
    bank = await request.desk.bank(request.user.bank_id)
    after = UUID(read_cursor(bank.cursor_key, "activities", cursor)) if cursor else None
    async with transaction(request.desk.pool) as connection:
        found = await activities.list_activities(
            connection, bank.bank_id, after=after, limit=limit + 1
        )
    page, more = found[:limit], len(found) > limit
    last = str(page[-1].activity_id) if page else ""
    return ActivityPage(
        [view_activity(one) for one in page],
        make_cursor(bank.cursor_key, "activities", last) if more else None,
        more,
    )


@post("/activities", opt={"action": Action.PLAN_ACTIVITY}, operation_id="make_activity")
async def make_an_activity(
    request: Call, data: JSONBody[ActivityBody], idempotency_key: IdempotencyKey
) -> Response[ActivityView]:
    """Make an activity; its shifts of the first 92 days are planned with it."""
    first_start = parse_first_start(data.first_start)

    async def work(connection: Connection) -> Deed[ActivityView]:
        branch_id = await named_branch(connection, request, data.branch_id)
        await _check_service_point(connection, request, data.service_point_id, branch_id)
        plan = ActivityPlan(
            category_id=data.category_id,
            title=data.title,
            organiser_id=data.organiser_id or request.user.principal_id,
            first_start=first_start,
            wall_minutes=data.wall_minutes,
            rule=data.rule,
            branch_id=branch_id,
            service_point_id=data.service_point_id,
            capacity=data.capacity,
            insurance_ref=data.insurance_ref,
            team_ids=tuple(data.team_ids),
        )
        made = await activities.make_activity(
            connection, request.user.bank_id, request.user.principal_id, plan
        )
        return Deed(view_activity(made), made.activity_id)

    return await do_once(request, ActivityView, work)


async def _check_service_point(
    connection: Connection, request: Call, point_id: UUID | None, branch_id: UUID | None
) -> None:
    """Raise NotFoundError or InvalidInputError unless the point is of the activity's branch."""
    if point_id is None:
        return
    point = await branches.get_service_point(connection, request.user.bank_id, point_id)
    await check_reach(connection, request, point.branch_id)
    if point.closed_at or (branch_id is not None and point.branch_id != branch_id):
        raise InvalidInputError(
            "The service point is closed, or of another branch.", pointer="/service_point_id"
        )


@get(
    "/activities/{activity_id:uuid}",
    opt={"action": Action.READ_PROGRAMME},
    operation_id="get_activity",
)
async def read_activity(request: Call, activity_id: FromPath[UUID]) -> ActivityView:
    """Return an activity."""
    async with transaction(request.desk.pool) as connection:
        found = await activities.get_activity(connection, request.user.bank_id, activity_id)
    return view_activity(found)


@post(
    "/activities/{activity_id:uuid}/teams",
    opt={"action": Action.PLAN_ACTIVITY},
    operation_id="add_team",
)
async def add_a_team(
    request: Call,
    activity_id: FromPath[UUID],
    data: JSONBody[TeamBody],
    idempotency_key: IdempotencyKey,
) -> Response[ActivityView]:
    """Let an organisation or a 双报到 unit attend as such."""

    async def work(connection: Connection) -> Deed[ActivityView]:
        await activity_reached(connection, request, activity_id)
        activity = await activities.add_team(
            connection, request.user.bank_id, activity_id, data.team_id
        )
        return Deed(view_activity(activity), activity_id)

    return await do_once(request, ActivityView, work)


@post(
    "/activities/{activity_id:uuid}/shifts",
    opt={"action": Action.PLAN_ACTIVITY},
    operation_id="plan_shifts",
)
async def plan_more_shifts(
    request: Call,
    activity_id: FromPath[UUID],
    data: JSONBody[DaysBody],
    idempotency_key: IdempotencyKey,
) -> Response[ShiftList]:
    """Plan the shifts between two days; those that are there stay as they are."""
    check_days(data.from_on, data.until_on, "/until_on")

    async def work(connection: Connection) -> Deed[ShiftList]:
        await activity_reached(connection, request, activity_id)
        shifts = await activities.plan_shifts(
            connection, request.user.bank_id, activity_id, data.from_on, data.until_on
        )
        return Deed(ShiftList(shifts), activity_id)

    return await do_once(request, ShiftList, work)


@post(
    "/activities/{activity_id:uuid}/cancellation",
    opt={"action": Action.CANCEL_ACTIVITY},
    operation_id="cancel_activity",
)
async def cancel_an_activity(
    request: Call,
    activity_id: FromPath[UUID],
    data: JSONBody[CancelBody],
    idempotency_key: IdempotencyKey,
) -> Response[ActivityView]:
    """Cancel an activity for good; shifts that have begun stay."""
    bank_id = request.user.bank_id

    async def work(connection: Connection) -> Deed[ActivityView]:
        await activity_reached(connection, request, activity_id)
        await activities.cancel_activity(
            connection, bank_id, request.user.principal_id, activity_id, data.reason
        )
        activity = await activities.get_activity(connection, bank_id, activity_id)
        return Deed(view_activity(activity), activity_id)

    return await do_once(request, ActivityView, work)


@get("/shifts", opt={"action": Action.READ_PROGRAMME}, operation_id="list_shifts")
async def list_all_shifts(
    request: Call, from_on: FromDay, until_on: UntilDay, activity_id: FromQuery[UUID | None] = None
) -> ShiftList:
    """List the shifts between two days, of one activity or of all."""
    check_days(from_on, until_on, "until")
    async with transaction(request.desk.pool) as connection:
        found = await activities.list_shifts(
            connection, request.user.bank_id, from_on, until_on, activity_id=activity_id
        )
    return ShiftList(found)


@get("/shifts/{shift_id:uuid}", opt={"action": Action.READ_PROGRAMME}, operation_id="get_shift")
async def read_shift(request: Call, shift_id: FromPath[UUID]) -> Shift:
    """Return a shift."""
    async with transaction(request.desk.pool) as connection:
        return await activities.get_shift(connection, request.user.bank_id, shift_id)


@post(
    "/shifts/{shift_id:uuid}/cancellation",
    opt={"action": Action.CANCEL_ACTIVITY},
    operation_id="cancel_shift",
)
async def cancel_a_shift(
    request: Call,
    shift_id: FromPath[UUID],
    data: JSONBody[CancelBody],
    idempotency_key: IdempotencyKey,
) -> Response[Shift]:
    """Cancel one shift; one that has begun can no longer be cancelled."""
    bank_id = request.user.bank_id

    async def work(connection: Connection) -> Deed[Shift]:
        await shift_reached(connection, request, shift_id)
        await activities.cancel_shift(
            connection, bank_id, request.user.principal_id, shift_id, data.reason
        )
        shift = await activities.get_shift(connection, bank_id, shift_id)
        if shift.cancelled_at is None:
            raise ShiftClosedError
        return Deed(shift, shift_id)

    return await do_once(request, Shift, work)


@get(
    "/shifts/{shift_id:uuid}/roster",
    opt={"action": Action.READ_ROSTER},
    operation_id="list_roster",
)
async def read_roster(request: Call, shift_id: FromPath[UUID]) -> RosterView:
    """List who signed up: those with a place, then those who wait."""
    async with transaction(request.desk.pool) as connection:
        await shift_reached(connection, request, shift_id)
        roster = await sign_ups.list_roster(connection, request.user.bank_id, shift_id)
    return RosterView(roster)


@post("/shifts/{shift_id:uuid}/sign-ups", opt={"action": Action.SIGN_UP}, operation_id="sign_up")
async def sign_somebody_up(
    request: Call,
    shift_id: FromPath[UUID],
    data: JSONBody[SignUpBody],
    idempotency_key: IdempotencyKey,
) -> Response[RosterEntry]:
    """Sign up oneself, one's kin, or a resident at the coordinator; the answer says who waits."""

    async def work(connection: Connection) -> Deed[RosterEntry]:
        await _check_roster(connection, request, shift_id, data.resident_id)
        entry = await sign_ups.sign_up(
            connection,
            request.user.bank_id,
            request.user.principal_id,
            shift_id=shift_id,
            person_id=data.resident_id,
            team_id=data.team_id,
            now=now(),
        )
        return Deed(entry, shift_id)

    return await do_once(request, RosterEntry, work)


@post(
    "/shifts/{shift_id:uuid}/withdrawals",
    opt={"action": Action.SIGN_UP},
    operation_id="leave_shift",
)
async def give_a_place_up(
    request: Call,
    shift_id: FromPath[UUID],
    data: JSONBody[LeaveBody],
    idempotency_key: IdempotencyKey,
) -> Response[WithdrawalView]:
    """Give a place up; the first who waits gets it."""

    async def work(connection: Connection) -> Deed[WithdrawalView]:
        await _check_roster(connection, request, shift_id, data.resident_id)
        promoted = await sign_ups.leave(
            connection,
            request.user.bank_id,
            shift_id=shift_id,
            person_id=data.resident_id,
            now=now(),
        )
        # A resident learns nothing of the others.
        told = [] if request.user.role is Role.RESIDENT else promoted
        return Deed(WithdrawalView(told), shift_id)

    return await do_once(request, WithdrawalView, work)


async def _check_roster(
    connection: Connection, request: Call, shift_id: UUID, resident_id: UUID
) -> None:
    """Raise NotFoundError unless residents mean themselves or kin, and coordinators their shift."""
    if request.user.role is Role.RESIDENT:
        await check_reach(connection, request, resident_id)
    else:
        await shift_reached(connection, request, shift_id)


router = Router(
    "/",
    route_handlers=[
        list_all_categories,
        open_a_category,
        list_all_activities,
        make_an_activity,
        read_activity,
        add_a_team,
        plan_more_shifts,
        cancel_an_activity,
        list_all_shifts,
        read_shift,
        cancel_a_shift,
        read_roster,
        sign_somebody_up,
        give_a_place_up,
    ],
)
