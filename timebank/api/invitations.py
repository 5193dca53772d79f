"""Inviting a merchant's people and confirming who came: two persons, so that neither is them.

The programme's own staff are invited by a command on the machine itself.
"""

from uuid import UUID

from litestar import Response, Router
from litestar.params import JSONBody

from timebank.api.call import Call
from timebank.api.login_wire import ConfirmationBody, InvitationView, InviteBody
from timebank.api.logins import NO_STORE
from timebank.api.once import note_deed
from timebank.api.operations import post
from timebank.db import Connection, transaction
from timebank.domain.errors import NotFoundError
from timebank.people.access import Action
from timebank.people.login.credentials import find_staff_member
from timebank.people.login.enrolments import (
    INVITATION_LIFETIME,
    confirm,
    invite,
    list_merchants_of,
)
from timebank.people.targets import check_reaches_party


@post("/invitations", opt={"action": Action.INVITE, "keyless": True}, operation_id="invite")
async def invite_somebody(request: Call, data: JSONBody[InviteBody]) -> Response[InvitationView]:
    """Return a code with which a merchant's person enrols, once; hand it over in person.

    They log in after somebody else has confirmed them, and until then as they did before.
    """
    principal = request.user
    async with transaction(request.desk.pool) as connection:
        await _check_reaches(connection, request, Action.INVITE, data.party_id)
        code = await invite(connection, principal.bank_id, data.party_id, principal.principal_id)
        await note_deed(connection, request, data.party_id)
    view = InvitationView(code, int(INVITATION_LIFETIME.total_seconds()))
    return Response(view, status_code=201, headers=NO_STORE)


@post(
    "/enrolments/confirmation",
    opt={"action": Action.CONFIRM_ENROLMENT, "keyless": True},
    status_code=204,
    operation_id="confirm_enrolment",
)
async def confirm_enrolment(request: Call, data: JSONBody[ConfirmationBody]) -> None:
    """Confirm a merchant's person, who has told their number face to face; another invited them."""
    principal = request.user
    async with transaction(request.desk.pool) as connection:
        person = await find_staff_member(connection, principal.bank_id, data.staff_number)
        if person is None:
            raise NotFoundError
        await _check_reaches(connection, request, Action.CONFIRM_ENROLMENT, person)
        await confirm(connection, principal.bank_id, data.staff_number, principal.principal_id)
        await note_deed(connection, request, person)


async def _check_reaches(
    connection: Connection, request: Call, action: Action, person_id: UUID
) -> None:
    """Raise NotFoundError unless they work for merchants only, all of whom the caller reaches."""
    bank_id = request.user.bank_id
    for merchant_id in await list_merchants_of(connection, bank_id, person_id):
        await check_reaches_party(connection, request.user, action, merchant_id)


router = Router("/", route_handlers=[invite_somebody, confirm_enrolment])
