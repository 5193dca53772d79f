"""Guardians and family helpers over HTTP: named, listed, ended."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from litestar import Response, Router
from litestar.params import FromPath, JSONBody

from timebank.api.call import Call, IdempotencyKey
from timebank.api.once import Deed, note_deed, once, was_answered
from timebank.api.operations import delete, get, post
from timebank.api.paper import check_paper, use_paper
from timebank.api.people_wire import (
    GuardianBody,
    GuardianView,
    HelperBody,
    HelperView,
    KinView,
)
from timebank.db import Connection, transaction
from timebank.domain.errors import NotFoundError
from timebank.domain.numbers import parse_member_number
from timebank.people.access import Action, Role
from timebank.people.counter import find_member
from timebank.people.kin import (
    end_guardianship,
    end_helper,
    is_guardian,
    list_guardianships,
    list_helpers,
    name_guardian,
    name_helper,
)
from timebank.people.registration import find_resident_by_number
from timebank.people.sheets import SheetKind
from timebank.people.targets import check_reaches_person


@get("/residents/{resident_id:uuid}/kin", opt={"action": Action.READ_KIN}, operation_id="list_kin")
async def read_kin(request: Call, resident_id: FromPath[UUID]) -> KinView:
    """List who guards or helps a resident and whom they guard or help, oldest first."""
    async with transaction(request.desk.pool) as connection:
        await check_reaches_person(connection, request.user, Action.READ_KIN, resident_id)
        return await _kin(connection, request.user.bank_id, resident_id)


@post(
    "/residents/{resident_id:uuid}/guardians",
    opt={"action": Action.NAME_GUARDIAN},
    operation_id="name_guardian",
)
async def name_a_guardian(
    request: Call,
    resident_id: FromPath[UUID],
    data: JSONBody[GuardianBody],
    idempotency_key: IdempotencyKey,
) -> Response[KinView]:
    """Name a minor's guardian, an adult who is registered, with the paper that shows it.

    For who is no member yet, they act once another person has approved the membership.
    """
    principal = request.user

    async def work(connection: Connection) -> Deed[KinView]:
        for person in (resident_id, data.guardian_id):
            await check_reaches_person(connection, principal, Action.NAME_GUARDIAN, person)
        sheet = await use_paper(connection, request, data.paper, SheetKind.CONSENT, resident_id)
        await name_guardian(
            connection,
            principal.bank_id,
            resident_id,
            data.guardian_id,
            named_by=principal.principal_id,
            sheet=sheet,
        )
        return Deed(await _kin(connection, principal.bank_id, resident_id), resident_id)

    view, headers = await once(request, KinView, work)
    return Response(view, status_code=201, headers=headers)


@delete(
    "/residents/{resident_id:uuid}/guardians/{guardian_id:uuid}",
    opt={"action": Action.NAME_GUARDIAN, "keyless": True},
    operation_id="end_guardianship",
)
async def end_a_guardianship(
    request: Call, resident_id: FromPath[UUID], guardian_id: FromPath[UUID]
) -> None:
    """End a guardianship at once."""
    async with transaction(request.desk.pool) as connection:
        await check_reaches_person(connection, request.user, Action.NAME_GUARDIAN, resident_id)
        await end_guardianship(connection, request.user.bank_id, resident_id, guardian_id)
        await note_deed(connection, request, resident_id)


@post(
    "/residents/{resident_id:uuid}/helpers",
    opt={"action": Action.NAME_HELPER},
    operation_id="name_helper",
)
async def name_a_helper(
    request: Call,
    resident_id: FromPath[UUID],
    data: JSONBody[HelperBody],
    idempotency_key: IdempotencyKey,
) -> Response[KinView]:
    """Name a family helper: the resident by login (a minor's guardian), or with a signed sheet.

    A resident who guesses member numbers has to wait after a few.
    """
    principal = request.user
    check_paper(request, data.paper, data.by_id)
    number = parse_member_number(data.member_number)
    said_by = principal.principal_id if data.paper is None else data.by_id or resident_id
    if principal.role is Role.RESIDENT and not await was_answered(request):
        async with transaction(request.desk.pool) as connection:
            await check_reaches_person(connection, principal, Action.NAME_HELPER, resident_id)
            found = await find_member(
                connection, principal.bank_id, principal.principal_id, member_number=number
            )
        if found is None:
            raise NotFoundError

    async def work(connection: Connection) -> Deed[KinView]:
        await check_reaches_person(connection, principal, Action.NAME_HELPER, resident_id)
        helper_id = await find_resident_by_number(connection, principal.bank_id, number)
        if helper_id is None:
            raise NotFoundError
        sheet = await use_paper(connection, request, data.paper, SheetKind.CONSENT, resident_id)
        await name_helper(
            connection,
            principal.bank_id,
            resident_id,
            helper_id,
            expires_at=datetime.now(UTC) + timedelta(days=data.days, minutes=-1),
            by_id=said_by,
            named_by=principal.principal_id,
            sheet=sheet,
        )
        return Deed(await _kin(connection, principal.bank_id, resident_id), resident_id)

    view, headers = await once(request, KinView, work)
    return Response(view, status_code=201, headers=headers)


@delete(
    "/residents/{resident_id:uuid}/helpers/{helper_id:uuid}",
    opt={"action": Action.NAME_HELPER, "keyless": True},
    operation_id="end_helper",
)
async def end_a_helper(
    request: Call, resident_id: FromPath[UUID], helper_id: FromPath[UUID]
) -> None:
    """End a helper's part at once: the resident, a guardian, a coordinator, or the helper."""
    principal, bank_id = request.user, request.user.bank_id
    async with transaction(request.desk.pool) as connection:
        await check_reaches_person(connection, principal, Action.NAME_HELPER, resident_id)
        me = principal.principal_id
        if (
            principal.role is Role.RESIDENT
            and me not in {resident_id, helper_id}
            and not await is_guardian(connection, bank_id, me, resident_id)
        ):
            raise NotFoundError
        await end_helper(connection, bank_id, resident_id, helper_id)
        await note_deed(connection, request, resident_id)


async def _kin(connection: Connection, bank_id: int, party_id: UUID) -> KinView:
    guardians = await list_guardianships(connection, bank_id, party_id)
    helpers = await list_helpers(connection, bank_id, party_id)
    return KinView(
        [
            GuardianView(
                minor_id=one.minor_id,
                guardian_id=one.guardian_id,
                named_at=one.named_at,
                let_in_at=one.let_in_at,
                ended_at=one.ended_at,
            )
            for one in guardians
        ],
        [
            HelperView(
                resident_id=one.resident_id,
                helper_id=one.helper_id,
                named_at=one.named_at,
                expires_at=one.expires_at,
                ended_at=one.ended_at,
            )
            for one in helpers
        ],
    )


router = Router(
    "/",
    route_handlers=[
        read_kin,
        name_a_guardian,
        end_a_guardianship,
        name_a_helper,
        end_a_helper,
    ],
)
