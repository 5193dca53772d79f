"""One-time codes, PINs, passwords and enrolments over HTTP.

None takes an Idempotency-Key: setting a secret twice is setting it, and neither a fingerprint of a
PIN nor an answer that holds a code may be stored. A code that is asked for again is another one
and takes the place of the first.
"""

from litestar import Response, Router
from litestar.params import JSONBody

from timebank.api.call import Call
from timebank.api.login_wire import (
    ChangePasswordBody,
    CodeView,
    CompletionBody,
    EnrolledView,
    EnrolmentBody,
    IssueCodeBody,
    SecondFactorView,
    SetPinBody,
)
from timebank.api.logins import NO_STORE
from timebank.api.once import note_deed, public_entry
from timebank.api.operations import post, post_in_public
from timebank.db import Connection, repeat_on_conflict, transaction
from timebank.domain.errors import InvalidInputError, LoginFailedError, NotFoundError
from timebank.domain.secrets import normalise
from timebank.ledger.banks import Bank
from timebank.people.access import Action, Role
from timebank.people.audit_log import DONE, write_entries
from timebank.people.login.credentials import (
    find_staff_number,
    issue_code,
    keep_password,
    keep_pin,
    make_code,
    set_password,
    set_pin,
)
from timebank.people.login.delays import forget
from timebank.people.login.enrolments import (
    check_second_factor,
    complete,
    get_invitation,
    show_second_factor,
)
from timebank.people.login.logins import begin_with_password
from timebank.people.login.second_factor import otpauth_uri
from timebank.people.parties import PartyKind, is_party
from timebank.people.targets import check_reaches_party


@post(
    "/one-time-codes",
    opt={"action": Action.ISSUE_ONE_TIME_CODE, "keyless": True},
    operation_id="issue_one_time_code",
)
async def issue_one_time_code(request: Call, data: JSONBody[IssueCodeBody]) -> Response[CodeView]:
    """Issue a code to a resident who stands here: with their card it is good for one login.

    Whoever issued that card issues no code to it.
    """
    principal, pool, person = request.user, request.desk.pool, data.resident_id
    async with transaction(pool) as connection:
        if not await is_party(connection, principal.bank_id, person, PartyKind.PERSON):
            raise NotFoundError
        await check_reaches_party(connection, principal, Action.ISSUE_ONE_TIME_CODE, person)
    code = await make_code(request.desk.hasher, principal.bank_id, person)
    async with transaction(pool) as connection:
        expires_at = await issue_code(
            connection, principal.bank_id, person, code, principal.principal_id
        )
        await note_deed(connection, request, person)
    return Response(CodeView(code.code, expires_at), status_code=201, headers=NO_STORE)


@post(
    "/credentials/pin",
    opt={"action": Action.SET_PIN, "keyless": True},
    status_code=204,
    operation_id="set_pin",
)
async def set_a_pin(request: Call, data: JSONBody[SetPinBody]) -> None:
    """Set a PIN: one's own after a login with a one-time code, or a resident's at the counter.

    All other sessions of the resident end. Whoever issued their card sets no PIN to it.
    """
    principal, pool = request.user, request.desk.pool
    person = data.resident_id
    if person is None and principal.role is not Role.RESIDENT:
        raise InvalidInputError("Say whose PIN it is.", pointer="/resident_id")
    person = person or principal.principal_id
    async with transaction(pool) as connection:
        if not await is_party(connection, principal.bank_id, person, PartyKind.PERSON):
            raise NotFoundError
        await check_reaches_party(connection, principal, Action.SET_PIN, person)
    kept = await keep_pin(request.desk.hasher, principal.bank_id, person, data.pin)
    async with transaction(pool) as connection:
        await set_pin(
            connection,
            principal.bank_id,
            person,
            kept,
            principal.session_id,
            set_by=principal.principal_id,
        )
        await note_deed(connection, request, person)


@post(
    "/credentials/password",
    opt={"action": Action.CHANGE_PASSWORD, "keyless": True},
    status_code=204,
    operation_id="change_password",
)
async def change_password(request: Call, data: JSONBody[ChangePasswordBody]) -> None:
    """Change one's password. All other sessions end."""
    principal, pool, hasher = request.user, request.desk.pool, request.desk.hasher
    bank_id, me = principal.bank_id, principal.principal_id
    async with transaction(pool) as connection:
        number = await find_staff_number(connection, bank_id, me)
        if number is None:
            raise NotFoundError
        attempt = await begin_with_password(connection, bank_id, number)
    if not await hasher.fits(attempt.kept, normalise(data.old_password), attempt.bound_to):
        raise LoginFailedError
    kept = await keep_password(
        hasher,
        bank_id,
        me,
        data.new_password,
        staff_number=number,
        pointer="/new_password",
    )
    async with transaction(pool) as connection:
        await set_password(connection, bank_id, me, kept, principal.session_id)
        await forget(connection, attempt.subject)
        await note_deed(connection, request, me)


@post_in_public(
    "/enrolments", opt={"action": Action.PUBLIC}, status_code=200, operation_id="begin_enrolment"
)
async def begin_enrolment(
    request: Call, data: JSONBody[EnrolmentBody]
) -> Response[SecondFactorView]:
    """Show the second factor that an invitation is for: a new one each time; the last counts."""
    bank = await _bank(request, data.bank)
    hasher = request.desk.hasher
    async with transaction(request.desk.pool) as connection:
        invitation = await get_invitation(connection, bank.bank_id, data.code)
        secret = await show_second_factor(connection, hasher, bank.bank_id, invitation)
        shown = public_entry(
            request, bank.bank_id, "begin_enrolment", DONE, object_id=invitation.party_id
        )  # whoever has the code: it may have been who invited
        await write_entries(connection, [shown])
    uri = otpauth_uri(secret, f"{bank.code} {invitation.staff_number or ''}".strip(), "timebank")
    view = SecondFactorView(uri, secret, invitation.expires_at)
    return Response(view, status_code=200, headers=NO_STORE)


@post_in_public(
    "/enrolments/completion", opt={"action": Action.PUBLIC}, operation_id="complete_enrolment"
)
async def complete_enrolment(
    request: Call, data: JSONBody[CompletionBody]
) -> Response[EnrolledView]:
    """Enrol with password and second factor; the invitation counts no more.

    Whom a person invited has a new number, to tell to another person, who confirms it.
    """
    bank = await _bank(request, data.bank)
    hasher, pool = request.desk.hasher, request.desk.pool
    async with transaction(pool) as connection:
        invitation = await get_invitation(connection, bank.bank_id, data.code)
    step = check_second_factor(hasher, bank.bank_id, invitation, data.totp)
    kept = await keep_password(
        hasher,
        bank.bank_id,
        invitation.party_id,
        data.password,
        staff_number=invitation.staff_number or "",
    )

    async def work(connection: Connection) -> str:
        number = await complete(connection, bank.bank_id, invitation, step, kept)
        entry = public_entry(request, bank.bank_id, "enrol", DONE, actor_id=invitation.party_id)
        await write_entries(connection, [entry])
        return number

    number = await repeat_on_conflict(pool, work)
    return Response(EnrolledView(number), status_code=201, headers=NO_STORE)


async def _bank(request: Call, code: str) -> Bank:
    bank = await request.desk.find_bank(code)
    if bank is None:
        raise LoginFailedError
    return bank


router = Router(
    "/",
    route_handlers=[
        issue_one_time_code,
        set_a_pin,
        change_password,
        begin_enrolment,
        complete_enrolment,
    ],
)
