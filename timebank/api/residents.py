"""Residents over HTTP: registering, looking up, deciding on memberships, consents."""

from typing import Annotated
from uuid import UUID

from litestar import Response, Router
from litestar.params import FromPath, JSONBody, QueryParameter
from msgspec import UNSET

from timebank.api.accounts import Cursor, Limit
from timebank.api.call import Call, IdempotencyKey
from timebank.api.cursors import make_cursor, read_cursor
from timebank.api.login_wire import NothingBody
from timebank.api.logins import NO_STORE
from timebank.api.once import Deed, once, was_answered
from timebank.api.operations import get, post
from timebank.api.paper import access_of, check_paper, use_paper
from timebank.api.people_wire import (
    ConsentList,
    ConsentsBody,
    ConsentView,
    FoundList,
    FoundView,
    LookUpBody,
    MembershipBody,
    RegisterBody,
    RegisteredView,
    ResidentPage,
    ResidentView,
    exactly_one,
    resident_view,
)
from timebank.db import Connection, transaction
from timebank.domain.errors import NotFoundError
from timebank.domain.names import mask_name
from timebank.domain.numbers import add_check, parse_member_number, parse_sheet_number
from timebank.domain.personal import IdDocument, PersonalData
from timebank.people.access import Action
from timebank.people.consents import list_consents, record_consents
from timebank.people.parties import PartyKind, is_party
from timebank.people.registration import (
    Application,
    Membership,
    MembershipState,
    check_not_registered,
    find_resident_by_number,
    get_membership,
    list_memberships,
    move_memberships,
    register_resident,
)
from timebank.people.sheets import SheetKind
from timebank.people.targets import check_reaches_party, check_reaches_person
from timebank.people.vault import Purpose, find_persons, read_persons


@post(
    "/residents",
    opt={"action": Action.REGISTER, "personal": True},
    operation_id="register_resident",
)
async def register(
    request: Call, data: JSONBody[RegisterBody], idempotency_key: IdempotencyKey
) -> Response[RegisteredView]:
    """Register somebody who applies; another coordinator decides on the application."""
    desk, principal = request.desk, request.user
    bank = await desk.bank(principal.bank_id)
    access = access_of(request, Purpose.REGISTRATION)
    person = data.data()
    if data.consents or data.guardian_id:
        check_paper(request, data.paper)
    if not data.is_another and not await was_answered(request):
        await check_not_registered(desk.pool, desk.ring, access, person)

    async def work(connection: Connection) -> Deed[RegisteredView]:
        branch_id = data.branch_id or principal.branch_id
        if data.branch_id and not await is_party(
            connection, bank.bank_id, data.branch_id, PartyKind.BRANCH
        ):
            raise NotFoundError
        await check_reaches_party(connection, principal, Action.REGISTER, branch_id)
        if data.resident_id:
            await check_reaches_person(connection, principal, Action.REGISTER, data.resident_id)
        if data.guardian_id:
            await check_reaches_person(connection, principal, Action.REGISTER, data.guardian_id)
        application = Application(
            data=person,
            consents=data.consents,
            sheet=None if data.paper is None else parse_sheet_number(data.paper.sheet),
            guardian_id=data.guardian_id,
            branch_id=branch_id,
            resident_id=data.resident_id,
        )
        made = await register_resident(connection, desk.ring, access, bank, application)
        await use_paper(connection, request, data.paper, SheetKind.REGISTRATION, made.resident_id)
        view = RegisteredView(made.resident_id, made.member_number, made.is_minor)
        return Deed(view, made.resident_id, access.purpose)

    view, headers = await once(request, RegisteredView, work)
    return Response(view, status_code=201, headers=headers)


@get("/residents", opt={"action": Action.READ_RESIDENT}, operation_id="list_residents")
async def list_residents(
    request: Call,
    in_state: Annotated[MembershipState, QueryParameter(name="state")],
    cursor: Cursor = None,
    limit: Limit = 50,
) -> ResidentPage:
    """List residents of the caller's branch and below by where their membership stands."""
    principal = request.user
    bank = await request.desk.bank(principal.bank_id)
    await request.desk.check_reaches(principal, Action.READ_RESIDENT, principal.branch_id)
    listed = f"residents {in_state} within {principal.branch_id}"
    after = UUID(read_cursor(bank.cursor_key, listed, cursor)) if cursor else None
    async with transaction(request.desk.pool) as connection:
        found = await list_memberships(
            connection,
            bank.bank_id,
            in_state,
            within=principal.branch_id,
            after=after,
            limit=limit + 1,
        )
    page, more = found[:limit], len(found) > limit
    next_cursor = make_cursor(bank.cursor_key, listed, str(page[-1].resident_id)) if more else None
    return ResidentPage([resident_view(one) for one in page], next_cursor, more)


@get(
    "/residents/{resident_id:uuid}",
    opt={"action": Action.READ_RESIDENT},
    operation_id="get_resident",
)
async def read_resident(request: Call, resident_id: FromPath[UUID]) -> ResidentView:
    """Return where a resident's membership stands."""
    async with transaction(request.desk.pool) as connection:
        await check_reaches_party(connection, request.user, Action.READ_RESIDENT, resident_id)
        return resident_view(await get_membership(connection, request.user.bank_id, resident_id))


@post(
    "/residents/lookups",
    opt={"action": Action.LOOK_UP, "keyless": True},
    status_code=200,
    operation_id="look_up_residents",
)
async def look_up(request: Call, data: JSONBody[LookUpBody]) -> Response[FoundList]:
    """Find residents by member number, telephone or document; each use stands in the access log."""
    desk, bank_id = request.desk, request.user.bank_id
    exactly_one(data.member_number, data.phone, data.id_document, pointer="/phone")
    access = access_of(request, Purpose(data.purpose))
    if data.member_number is UNSET:
        document = data.id_document
        asked = PersonalData(
            phone=data.phone,
            id_document=UNSET if document is UNSET else IdDocument(document.type, document.number),
        )
        ids = list(await find_persons(desk.pool, desk.ring, access, asked))
    else:
        number = parse_member_number(data.member_number)
        async with transaction(desk.pool) as connection:
            found = await find_resident_by_number(connection, bank_id, number)
        ids = [found] if found else []
    reached = [one for one in ids if await _is_reached(request, one)]
    names = await read_persons(desk.pool, desk.ring, access, reached, ["name"])
    async with transaction(desk.pool) as connection:
        memberships = [await get_membership(connection, bank_id, one) for one in reached]
    views = [_found_view(one, names.get(one.resident_id)) for one in memberships]
    return Response(FoundList(views), status_code=200, headers=NO_STORE)


async def _is_reached(request: Call, person_id: UUID) -> bool:
    """Tell whether this is a resident whom the caller reaches."""
    try:
        async with transaction(request.desk.pool) as connection:
            await check_reaches_person(connection, request.user, Action.LOOK_UP, person_id)
            await get_membership(connection, request.user.bank_id, person_id)
    except NotFoundError:
        return False
    return True


@post(
    "/residents/{resident_id:uuid}/decision",
    opt={"action": Action.DECIDE_MEMBERSHIP},
    operation_id="decide_membership",
)
async def decide_membership(
    request: Call,
    resident_id: FromPath[UUID],
    data: JSONBody[MembershipBody],
    idempotency_key: IdempotencyKey,
) -> Response[ResidentView]:
    """Approve or reject an application that somebody else entered."""
    return await _move(
        request, resident_id, Action.DECIDE_MEMBERSHIP, MembershipState(data.decision)
    )


@post(
    "/residents/{resident_id:uuid}/leave",
    opt={"action": Action.END_MEMBERSHIP},
    operation_id="end_membership",
)
async def leave(
    request: Call,
    resident_id: FromPath[UUID],
    data: JSONBody[NothingBody],
    idempotency_key: IdempotencyKey,
) -> Response[ResidentView]:
    """End a membership: card and sessions end at once, the accounts stay as they are."""
    return await _move(request, resident_id, Action.END_MEMBERSHIP, MembershipState.LEFT)


async def _move(
    request: Call, resident_id: UUID, action: Action, state: MembershipState
) -> Response[ResidentView]:
    principal = request.user

    async def work(connection: Connection) -> Deed[ResidentView]:
        await check_reaches_person(connection, principal, action, resident_id)
        await get_membership(connection, principal.bank_id, resident_id)
        await move_memberships(
            connection, principal.bank_id, [resident_id], state, principal.principal_id
        )
        moved = await get_membership(connection, principal.bank_id, resident_id)
        return Deed(resident_view(moved), resident_id)

    view, headers = await once(request, ResidentView, work)
    return Response(view, status_code=201, headers=headers)


@get(
    "/residents/{resident_id:uuid}/consents",
    opt={"action": Action.READ_CONSENTS},
    operation_id="list_consents",
)
async def read_consents(request: Call, resident_id: FromPath[UUID]) -> ConsentList:
    """List what was ever consented to or withdrawn, oldest first."""
    async with transaction(request.desk.pool) as connection:
        await check_reaches_person(connection, request.user, Action.READ_CONSENTS, resident_id)
        return await _consents(connection, request.user.bank_id, resident_id)


@post(
    "/residents/{resident_id:uuid}/consents",
    opt={"action": Action.RECORD_CONSENT},
    operation_id="record_consents",
)
async def record(
    request: Call,
    resident_id: FromPath[UUID],
    data: JSONBody[ConsentsBody],
    idempotency_key: IdempotencyKey,
) -> Response[ConsentList]:
    """Record consents: one's own (or of a minor one guards) by login, another's with a sheet."""
    principal = request.user
    check_paper(request, data.paper, data.by_id)
    said_by = principal.principal_id if data.paper is None else data.by_id or resident_id

    async def work(connection: Connection) -> Deed[ConsentList]:
        await check_reaches_person(connection, principal, Action.RECORD_CONSENT, resident_id)
        sheet = await use_paper(connection, request, data.paper, SheetKind.CONSENT, resident_id)
        await record_consents(
            connection,
            principal.bank_id,
            resident_id,
            data.said,
            by_id=said_by,
            recorded_by=principal.principal_id,
            sheet=sheet,
        )
        return Deed(await _consents(connection, principal.bank_id, resident_id), resident_id)

    view, headers = await once(request, ConsentList, work)
    return Response(view, status_code=201, headers=headers)


async def _consents(connection: Connection, bank_id: int, person_id: UUID) -> ConsentList:
    return ConsentList(
        [
            ConsentView(
                kind=one.kind,
                given=one.given,
                by_id=one.by_id,
                sheet=None if one.sheet is None else add_check(one.sheet),
                recorded_by=one.recorded_by,
                recorded_at=one.recorded_at,
            )
            for one in await list_consents(connection, bank_id, person_id)
        ]
    )


def _found_view(membership: Membership, data: PersonalData | None) -> FoundView:
    name = data.name if data else UNSET
    return FoundView(
        resident_id=membership.resident_id,
        member_number=membership.member_number,
        is_minor=membership.is_minor,
        state=membership.state,
        masked_name=None if name is UNSET else mask_name(name),
    )


router = Router(
    "/",
    route_handlers=[
        register,
        list_residents,
        read_resident,
        look_up,
        decide_membership,
        leave,
        read_consents,
        record,
    ],
)
