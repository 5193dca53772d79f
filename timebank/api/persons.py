"""The vault over HTTP: personal data by purpose, corrections, freezes, and one's own copy.

Every use writes the access log in the vault itself. No answer here is stored.
"""

from datetime import datetime
from uuid import UUID

import msgspec
from litestar import Response, Router
from litestar.params import FromPath, FromQuery, JSONBody
from msgspec import Struct

from timebank.api.call import Call, IdempotencyKey
from timebank.api.login_wire import NothingBody
from timebank.api.logins import NO_STORE
from timebank.api.once import Deed, note_deed, once
from timebank.api.operations import get_personal, post
from timebank.api.paper import access_of
from timebank.api.people_wire import (
    FreezeBody,
    PersonalBody,
    PersonalView,
    PersonView,
    RegisterPersonBody,
    personal_view,
)
from timebank.db import Connection, transaction
from timebank.people.access import Action
from timebank.people.own_data import OwnData, export_own_data
from timebank.people.parties import place_party
from timebank.people.purposes import list_fields_for
from timebank.people.registration import complete_correction, register_person
from timebank.people.targets import check_reaches_party
from timebank.people.vault import (
    LoggedAccess,
    Purpose,
    correct_person,
    freeze_person,
    list_accesses,
    read_person,
    unfreeze_person,
)


class AccessView(Struct, frozen=True, kw_only=True):
    """Who used one's data, which of it and what for."""

    reader_id: UUID
    act: str
    fields: list[str]
    purpose: Purpose
    outcome: str
    request_id: str
    made_at: datetime


class AccessList(Struct, frozen=True):
    """Uses of one's data, newest first: the last thousand."""

    data: list[AccessView]


_LONGEST_LIST = 1000


@post(
    "/persons",
    opt={"action": Action.REGISTER, "personal": True},
    operation_id="register_person",
)
async def register(
    request: Call, data: JSONBody[RegisterPersonBody], idempotency_key: IdempotencyKey
) -> Response[PersonView]:
    """Register somebody who is no resident, such as a guardian."""
    desk, principal = request.desk, request.user
    bank = await desk.bank(principal.bank_id)
    access = access_of(request, Purpose.REGISTRATION)

    async def work(connection: Connection) -> Deed[PersonView]:
        person_id = await register_person(connection, desk.ring, access, bank, data.data())
        if principal.branch_id:
            await place_party(connection, bank.bank_id, person_id, principal.branch_id)
        return Deed(PersonView(person_id), person_id, access.purpose)

    view, headers = await once(request, PersonView, work)
    return Response(view, status_code=201, headers=headers)


@get_personal(
    "/persons/{person_id:uuid}/personal",
    opt={"action": Action.READ_PERSONAL},
    operation_id="read_personal",
)
async def read_personal(
    request: Call, person_id: FromPath[UUID], purpose: FromQuery[Purpose]
) -> Response[PersonalView]:
    """Return what this purpose needs of a person; the use stands in the access log."""
    fields = list_fields_for(request.user.role, purpose)
    await _check_reaches(request, Action.READ_PERSONAL, person_id)
    access = access_of(request, purpose)
    data = await read_person(request.desk.pool, request.desk.ring, access, person_id, fields)
    return Response(personal_view(person_id, data), headers=NO_STORE)


@post(
    "/persons/{person_id:uuid}/corrections",
    opt={"action": Action.CORRECT, "personal": True},
    operation_id="correct_personal",
)
async def correct(
    request: Call,
    person_id: FromPath[UUID],
    data: JSONBody[PersonalBody],
    idempotency_key: IdempotencyKey,
) -> Response[PersonView]:
    """Overwrite the fields that are given; what stood there before is gone."""
    desk, bank = request.desk, await request.desk.bank(request.user.bank_id)

    async def work(connection: Connection) -> Deed[PersonView]:
        await check_reaches_party(connection, request.user, Action.CORRECT, person_id)
        checked = await complete_correction(connection, bank, person_id, data.data())
        access = access_of(request, Purpose.CORRECTION)
        await correct_person(connection, desk.ring, access, person_id, checked)
        return Deed(PersonView(person_id), person_id, access.purpose)

    view, headers = await once(request, PersonView, work)
    return Response(view, status_code=201, headers=headers)


@post(
    "/persons/{person_id:uuid}/freeze",
    opt={"action": Action.FREEZE},
    operation_id="freeze_personal",
)
async def freeze(
    request: Call,
    person_id: FromPath[UUID],
    data: JSONBody[FreezeBody],
    idempotency_key: IdempotencyKey,
) -> Response[PersonView]:
    """Make a person's data unreadable but for legal duties and their own wishes."""

    async def work(connection: Connection) -> Deed[PersonView]:
        await check_reaches_party(connection, request.user, Action.FREEZE, person_id)
        access = access_of(request, Purpose.LEGAL_DUTY)
        await freeze_person(connection, access, person_id, data.retain_until)
        return Deed(PersonView(person_id), person_id, access.purpose)

    view, headers = await once(request, PersonView, work)
    return Response(view, status_code=201, headers=headers)


@post(
    "/persons/{person_id:uuid}/unfreeze",
    opt={"action": Action.FREEZE},
    operation_id="unfreeze_personal",
)
async def unfreeze(
    request: Call,
    person_id: FromPath[UUID],
    data: JSONBody[NothingBody],
    idempotency_key: IdempotencyKey,
) -> Response[PersonView]:
    """Make a person's data readable again; a day up to which a law asks to keep it stays."""

    async def work(connection: Connection) -> Deed[PersonView]:
        await check_reaches_party(connection, request.user, Action.FREEZE, person_id)
        access = access_of(request, Purpose.LEGAL_DUTY)
        await unfreeze_person(connection, access, person_id)
        return Deed(PersonView(person_id), person_id, access.purpose)

    view, headers = await once(request, PersonView, work)
    return Response(view, status_code=201, headers=headers)


@get_personal("/me", opt={"action": Action.READ_OWN_DATA}, operation_id="get_own_data")
async def read_own(request: Call) -> Response[PersonalView]:
    """Return what is known of oneself."""
    me, access = request.user.principal_id, access_of(request, Purpose.SUBJECT_ACCESS)
    data = await read_person(request.desk.pool, request.desk.ring, access, me)
    return Response(personal_view(me, data), headers=NO_STORE)


@post(
    "/me/export",
    opt={"action": Action.EXPORT_OWN_DATA, "keyless": True},
    status_code=200,
    operation_id="export_own_data",
)
async def export(request: Call, data: JSONBody[NothingBody]) -> Response[OwnData]:
    """Return a copy of all that is known of oneself, and who used it; the passbook is apart."""
    me, access = request.user.principal_id, access_of(request, Purpose.SUBJECT_ACCESS)
    copy = await export_own_data(request.desk.pool, request.desk.ring, access, me)
    async with transaction(request.desk.pool) as connection:
        await note_deed(connection, request, me, access.purpose)
    headers = {**NO_STORE, "Content-Disposition": 'attachment; filename="own-data.json"'}
    return Response(msgspec.json.decode(copy, type=OwnData), status_code=200, headers=headers)


@get_personal(
    "/me/accesses", opt={"action": Action.READ_OWN_DATA}, operation_id="list_own_accesses"
)
async def list_own_accesses(request: Call) -> AccessList:
    """List who used one's data and what for, newest first."""
    async with transaction(request.desk.pool) as connection:
        found = await list_accesses(connection, request.user.bank_id, request.user.principal_id)
    return AccessList([_access_view(one) for one in found[: -_LONGEST_LIST - 1 : -1]])


async def _check_reaches(request: Call, action: Action, person_id: UUID) -> None:
    async with transaction(request.desk.pool) as connection:
        await check_reaches_party(connection, request.user, action, person_id)


def _access_view(logged: LoggedAccess) -> AccessView:
    return AccessView(
        reader_id=logged.reader_id,
        act=logged.act,
        fields=logged.fields,
        purpose=logged.purpose,
        outcome=logged.outcome,
        request_id=logged.request_id,
        made_at=logged.made_at,
    )


router = Router(
    "/",
    route_handlers=[
        register,
        read_personal,
        correct,
        freeze,
        unfreeze,
        read_own,
        export,
        list_own_accesses,
    ],
)
