"""微心愿 over HTTP: a wish goes from the wall to somebody who grants it, and is confirmed."""

from collections.abc import Awaitable, Callable
from typing import Annotated
from uuid import UUID

from litestar import Response, Router
from litestar.params import FromPath, JSONBody, QueryParameter

from timebank.api.accounts import Cursor, Limit
from timebank.api.call import Call, IdempotencyKey
from timebank.api.cursors import cut_page, read_cursor
from timebank.api.once import Deed, do_once
from timebank.api.operations import get, post
from timebank.api.paper import check_attendance_sheets
from timebank.api.reaching import named_branch, wish_reached
from timebank.api.wire import as_utc
from timebank.api.wire_service import (
    AssignBody,
    GrantedBody,
    StepBody,
    WishBody,
)
from timebank.api.wire_service_views import Wall, view_on_wall
from timebank.db import Connection, transaction
from timebank.domain.service import Award, Wish, WishStatus
from timebank.people.access import Action
from timebank.service import wishes


async def _care(
    request: Call, wish_id: UUID, step: Callable[[Connection], Awaitable[Wish]]
) -> Response[Wish]:
    """Take a step with a wish within the caller's reach."""

    async def work(connection: Connection) -> Deed[Wish]:
        await wish_reached(connection, request, wish_id)
        return Deed(await step(connection), wish_id)

    return await do_once(request, Wish, work)


@get("/wishes", opt={"action": Action.READ_PROGRAMME}, operation_id="list_wishes")
async def look_at_the_wall(
    request: Call,
    in_status: Annotated[WishStatus | None, QueryParameter(name="status")] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Wall:
    """List wishes, the latest first; the wall names nobody."""
    bank = await request.desk.bank(request.user.bank_id)
    listed = f"wishes {in_status}"
    before = UUID(read_cursor(bank.cursor_key, listed, cursor)) if cursor else None
    async with transaction(request.desk.pool) as connection:
        found = await wishes.list_wishes(
            connection, bank.bank_id, status=in_status, before=before, limit=limit + 1
        )
    page, next_cursor, more = cut_page(
        found, limit, bank.cursor_key, listed, lambda wish: str(wish.wish_id)
    )
    return Wall([view_on_wall(wish) for wish in page], next_cursor, more)


@get("/wishes/{wish_id:uuid}", opt={"action": Action.READ_WISH}, operation_id="get_wish")
async def read_wish(request: Call, wish_id: FromPath[UUID]) -> Wish:
    """Return a wish: whose it is, who grants it, and the record of the hours."""
    async with transaction(request.desk.pool) as connection:
        return await wish_reached(connection, request, wish_id)


@post("/wishes", opt={"action": Action.CARE_FOR_WISH}, operation_id="collect_wish")
async def collect_a_wish(
    request: Call, data: JSONBody[WishBody], idempotency_key: IdempotencyKey
) -> Response[Wish]:
    """Hang somebody's wish on the wall."""

    async def work(connection: Connection) -> Deed[Wish]:
        wish = await wishes.collect_wish(
            connection,
            request.user.bank_id,
            request.user.principal_id,
            category_id=data.category_id,
            title=data.title,
            served_id=data.served_id,
            branch_id=await named_branch(connection, request, data.branch_id),
        )
        return Deed(wish, wish.wish_id)

    return await do_once(request, Wish, work)


@post(
    "/wishes/{wish_id:uuid}/assignment",
    opt={"action": Action.CARE_FOR_WISH},
    operation_id="assign_wish",
)
async def assign_a_wish(
    request: Call,
    wish_id: FromPath[UUID],
    data: JSONBody[AssignBody],
    idempotency_key: IdempotencyKey,
) -> Response[Wish]:
    """Give a wish to a volunteer."""

    async def step(connection: Connection) -> Wish:
        return await wishes.assign_wish(
            connection,
            request.user.bank_id,
            request.user.principal_id,
            wish_id,
            data.volunteer_id,
        )

    return await _care(request, wish_id, step)


@post(
    "/wishes/{wish_id:uuid}/hand-back",
    opt={"action": Action.CARE_FOR_WISH},
    operation_id="hand_back_wish",
)
async def hand_a_wish_back(
    request: Call,
    wish_id: FromPath[UUID],
    data: JSONBody[StepBody],
    idempotency_key: IdempotencyKey,
) -> Response[Wish]:
    """Hang an assigned wish on the wall again."""

    async def step(connection: Connection) -> Wish:
        return await wishes.hand_back_wish(connection, request.user.bank_id, wish_id)

    return await _care(request, wish_id, step)


@post(
    "/wishes/{wish_id:uuid}/completion",
    opt={"action": Action.CARE_FOR_WISH},
    operation_id="finish_wish",
)
async def finish_a_wish(
    request: Call,
    wish_id: FromPath[UUID],
    data: JSONBody[GrantedBody],
    idempotency_key: IdempotencyKey,
) -> Response[Wish]:
    """Write down that a wish was granted, and when: a record for somebody else to decide."""
    started_at = as_utc(data.started_at, "/started_at")
    ended_at = as_utc(data.ended_at, "/ended_at")
    evidence = data.evidence.as_evidence()

    async def step(connection: Connection) -> Wish:
        await check_attendance_sheets(connection, request, [evidence])
        return await wishes.finish_wish(
            connection,
            request.user.bank_id,
            request.user.principal_id,
            wish_id,
            started_at=started_at,
            ended_at=ended_at,
            evidence=evidence,
        )

    return await _care(request, wish_id, step)


@post(
    "/wishes/{wish_id:uuid}/confirmation",
    opt={"action": Action.CONFIRM_WISH},
    operation_id="confirm_wish",
)
async def confirm_a_wish(
    request: Call,
    wish_id: FromPath[UUID],
    data: JSONBody[StepBody],
    idempotency_key: IdempotencyKey,
) -> Response[Award]:
    """Confirm that a wish was granted, and award its hours; the person served pays nothing."""

    async def work(connection: Connection) -> Deed[Award]:
        await wish_reached(connection, request, wish_id)
        award = await wishes.confirm_wish(
            connection, request.user.bank_id, request.user.principal_id, wish_id
        )
        return Deed(award, wish_id)

    return await do_once(request, Award, work)


router = Router(
    "/",
    route_handlers=[
        look_at_the_wall,
        read_wish,
        collect_a_wish,
        assign_a_wish,
        hand_a_wish_back,
        finish_a_wish,
        confirm_a_wish,
    ],
)
