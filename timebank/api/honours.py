"""Stars and honours over HTTP: what a star takes, who has how many, grades, and named honours.

Rules for stars change as a deed of four eyes. One nominates, another decides, about a third.
"""

from enum import StrEnum
from typing import Annotated
from uuid import UUID

from litestar import Response, Router
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter
from msgspec import Meta, Struct

from timebank.api.accounts import Cursor, Limit
from timebank.api.call import Call, IdempotencyKey
from timebank.api.cursors import cut_page, read_cursor
from timebank.api.once import Deed, do_once
from timebank.api.operations import get, post
from timebank.api.reaching import check_reach, records_reached
from timebank.api.records import check_resident
from timebank.api.wire_service import CategoryCode, Short
from timebank.db import Connection, transaction
from timebank.domain.stars import StarRule, Stars
from timebank.ledger.expiry import read_today
from timebank.people.access import Action, Role
from timebank.service import honours
from timebank.service.honours import Honour, HonourStatus, HonourTitle


class Decision(StrEnum):
    """What may be said of an honour: `withdrawn` of one that was awarded."""

    AWARDED = "awarded"
    DECLINED = "declined"
    WITHDRAWN = "withdrawn"


class TitleBody(Struct, forbid_unknown_fields=True):
    """A new named honour."""

    code: CategoryCode
    name: Short


class NominationBody(Struct, forbid_unknown_fields=True):
    """Who is nominated, for what, of which year."""

    title_id: UUID
    resident_id: UUID
    year: Annotated[int, Meta(ge=2000, le=2999)]


class HonourDecisionBody(Struct, forbid_unknown_fields=True):
    """What becomes of a nomination or an honour."""

    decision: Decision


class GradeBody(Struct, forbid_unknown_fields=True):
    """How well it was served, from 1 to 5."""

    grade: Annotated[int, Meta(ge=1, le=5)]


class GradeView(Struct, frozen=True):
    """The grade of a record; it stays."""

    record_id: UUID
    grade: int


class StarRuleList(Struct, frozen=True):
    """All rules for stars, by the day they begin; before the first the usual one is in force."""

    data: list[StarRule]


class TitleList(Struct, frozen=True):
    """The named honours by their codes."""

    data: list[HonourTitle]


class HonourPage(Struct, frozen=True):
    """Honours and nominations, the latest first."""

    data: list[Honour]
    next_cursor: str | None
    has_more: bool


# ---- Stars -------------------------------------------------------------------------------------


@get("/star-rules", opt={"action": Action.READ_PROGRAMME}, operation_id="list_star_rules")
async def list_star_rules(request: Call) -> StarRuleList:
    """List what stars take, by the day from which on."""
    async with transaction(request.desk.pool) as connection:
        return StarRuleList(await honours.list_star_rules(connection, request.user.bank_id))


@get(
    "/residents/{resident_id:uuid}/stars",
    opt={"action": Action.READ_RECORD},
    operation_id="get_stars",
)
async def read_stars(request: Call, resident_id: FromPath[UUID]) -> Stars:
    """Return a resident's stars by today's rule, and what one more takes."""
    bank = await request.desk.bank(request.user.bank_id)
    async with transaction(request.desk.pool) as connection:
        await check_resident(connection, request, resident_id)
        today = await read_today(connection, bank)
        return await honours.get_stars(connection, bank.bank_id, resident_id, today)


@post(
    "/service-records/{record_id:uuid}/grade",
    opt={"action": Action.GRADE_RECORD},
    operation_id="grade_record",
)
async def grade_a_record(
    request: Call,
    record_id: FromPath[UUID],
    data: JSONBody[GradeBody],
    idempotency_key: IdempotencyKey,
) -> Response[GradeView]:
    """Grade a confirmed record of somebody else, once and for good."""

    async def work(connection: Connection) -> Deed[GradeView]:
        await records_reached(connection, request, [record_id])
        await honours.grade_record(
            connection, request.user.bank_id, request.user.principal_id, record_id, data.grade
        )
        return Deed(GradeView(record_id, data.grade), record_id)

    return await do_once(request, GradeView, work)


# ---- Named honours -----------------------------------------------------------------------------


@get("/honour-titles", opt={"action": Action.READ_PROGRAMME}, operation_id="list_honour_titles")
async def list_honour_titles(request: Call) -> TitleList:
    """List the named honours there are."""
    async with transaction(request.desk.pool) as connection:
        return TitleList(await honours.list_honour_titles(connection, request.user.bank_id))


@post(
    "/honour-titles",
    opt={"action": Action.OPEN_HONOUR_TITLE},
    operation_id="open_honour_title",
)
async def open_a_title(
    request: Call, data: JSONBody[TitleBody], idempotency_key: IdempotencyKey
) -> Response[HonourTitle]:
    """Add a named honour, such as 榜样 or 先锋."""

    async def work(connection: Connection) -> Deed[HonourTitle]:
        await check_reach(connection, request, None)
        title = await honours.open_honour_title(
            connection, request.user.bank_id, data.code, data.name
        )
        return Deed(title, title.title_id)

    return await do_once(request, HonourTitle, work)


@post("/honours", opt={"action": Action.NOMINATE}, operation_id="nominate")
async def nominate_a_resident(
    request: Call, data: JSONBody[NominationBody], idempotency_key: IdempotencyKey
) -> Response[Honour]:
    """Nominate a resident for a named honour of a year; somebody else decides."""

    async def work(connection: Connection) -> Deed[Honour]:
        await check_resident(connection, request, data.resident_id)
        honour = await honours.nominate(
            connection,
            request.user.bank_id,
            request.user.principal_id,
            title_id=data.title_id,
            person_id=data.resident_id,
            year=data.year,
        )
        return Deed(honour, honour.honour_id)

    return await do_once(request, Honour, work)


@post(
    "/honours/{honour_id:uuid}/decision",
    opt={"action": Action.DECIDE_HONOUR},
    operation_id="decide_honour",
)
async def decide_an_honour(
    request: Call,
    honour_id: FromPath[UUID],
    data: JSONBody[HonourDecisionBody],
    idempotency_key: IdempotencyKey,
) -> Response[Honour]:
    """Award or decline what another nominated, or withdraw what was awarded."""

    async def work(connection: Connection) -> Deed[Honour]:
        await _honour_reached(connection, request, honour_id)
        decided = await honours.decide_honour(
            connection,
            request.user.bank_id,
            request.user.principal_id,
            honour_id,
            HonourStatus(data.decision),
        )
        return Deed(decided, honour_id)

    return await do_once(request, Honour, work)


@get("/honours/{honour_id:uuid}", opt={"action": Action.READ_HONOUR}, operation_id="get_honour")
async def read_honour(request: Call, honour_id: FromPath[UUID]) -> Honour:
    """Return an honour or a nomination."""
    async with transaction(request.desk.pool) as connection:
        return await _honour_reached(connection, request, honour_id)


@get("/honours", opt={"action": Action.READ_HONOUR}, operation_id="list_honours")
async def list_all_honours(
    request: Call,
    resident_id: FromQuery[UUID | None] = None,
    in_status: Annotated[HonourStatus | None, QueryParameter(name="status")] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> HonourPage:
    """List honours and nominations, the latest first: residents see their own or their kin's."""
    user = request.user
    bank = await request.desk.bank(user.bank_id)
    if user.role is Role.RESIDENT and resident_id is None:
        resident_id = user.principal_id
    listed = f"honours {in_status} of {resident_id} within {user.branch_id}"
    before = UUID(read_cursor(bank.cursor_key, listed, cursor)) if cursor else None
    async with transaction(request.desk.pool) as connection:
        if resident_id is not None:
            await check_reach(connection, request, resident_id)
        found = await honours.list_honours(
            connection,
            bank.bank_id,
            person_id=resident_id,
            status=in_status,
            within=user.branch_id,
            before=before,
            limit=limit + 1,
        )
    return HonourPage(
        *cut_page(found, limit, bank.cursor_key, listed, lambda honour: str(honour.honour_id))
    )


async def _honour_reached(connection: Connection, request: Call, honour_id: UUID) -> Honour:
    """Return the honour; NotFoundError if it is absent or out of the caller's reach."""
    honour = await honours.get_honour(connection, request.user.bank_id, honour_id)
    await check_reach(connection, request, honour.person_id)
    return honour


router = Router(
    "/",
    route_handlers=[
        list_star_rules,
        read_stars,
        grade_a_record,
        list_honour_titles,
        open_a_title,
        nominate_a_resident,
        decide_an_honour,
        read_honour,
        list_all_honours,
    ],
)
