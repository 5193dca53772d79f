"""Applying for membership with what the vault knows already: once more, or as who is registered."""

from typing import Annotated
from uuid import UUID

from litestar import Response, Router
from litestar.params import FromPath, JSONBody
from msgspec import Meta, Struct

from timebank.api.call import Call, IdempotencyKey
from timebank.api.once import Deed, do_once, was_answered
from timebank.api.operations import post
from timebank.api.paper import access_of, check_paper, use_paper
from timebank.api.people_wire import PaperBody, RegisteredView
from timebank.db import Connection, transaction
from timebank.domain.numbers import parse_sheet_number
from timebank.domain.personal import PersonalData
from timebank.people.access import Action
from timebank.people.consents import ConsentKind
from timebank.people.registration import Application, apply_again
from timebank.people.sheets import SheetKind
from timebank.people.targets import check_reaches_person
from timebank.people.vault import Purpose, read_person


class ApplicationBody(Struct, forbid_unknown_fields=True, kw_only=True):
    """What the sheet says, where there is one; of a minor, the guardian, who consents by it."""

    consents: Annotated[list[ConsentKind], Meta(max_length=10)] = []
    paper: PaperBody | None = None
    guardian_id: UUID | None = None


@post(
    "/persons/{person_id:uuid}/application",
    opt={"action": Action.REGISTER},
    operation_id="apply_again",
)
async def apply(
    request: Call,
    person_id: FromPath[UUID],
    data: JSONBody[ApplicationBody],
    idempotency_key: IdempotencyKey,
) -> Response[RegisteredView]:
    """Let somebody apply who was rejected or left, or is registered as a guardian so far.

    They keep their id, their number and what is known of them; another coordinator decides.
    """
    desk, principal = request.desk, request.user
    bank = await desk.bank(principal.bank_id)
    if data.consents or data.guardian_id:
        check_paper(request, data.paper)
    async with transaction(desk.pool) as connection:
        await check_reaches_person(connection, principal, Action.REGISTER, person_id)
    known = PersonalData()
    if not await was_answered(request):
        access = access_of(request, Purpose.REGISTRATION)
        known = await read_person(desk.pool, desk.ring, access, person_id, ["born_on"])

    async def work(connection: Connection) -> Deed[RegisteredView]:
        await check_reaches_person(connection, principal, Action.REGISTER, person_id)
        if data.guardian_id:
            await check_reaches_person(connection, principal, Action.REGISTER, data.guardian_id)
        application = Application(
            data=known,
            consents=data.consents,
            sheet=None if data.paper is None else parse_sheet_number(data.paper.sheet),
            guardian_id=data.guardian_id,
            resident_id=person_id,
        )
        made = await apply_again(connection, bank, person_id, application, principal.principal_id)
        await use_paper(connection, request, data.paper, SheetKind.REGISTRATION, person_id)
        view = RegisteredView(person_id, made.member_number, made.is_minor)
        return Deed(view, person_id, Purpose.REGISTRATION)

    return await do_once(request, RegisteredView, work)


router = Router("/", route_handlers=[apply])
