"""Families over HTTP: founded, joined by invitation, left, listed. Their pool is an account."""

from uuid import UUID

from litestar import Response, Router
from litestar.params import FromPath, JSONBody

from timebank.api.call import Call, IdempotencyKey
from timebank.api.logins import NO_STORE
from timebank.api.once import Deed, do_once, note_deed
from timebank.api.operations import delete, get, post
from timebank.api.wire_exchange import (
    FamilyList,
    FamilyMemberView,
    FamilyView,
    InvitationView,
    InviteBody,
    JoinBody,
)
from timebank.api.wire_redemption import EmptyBody
from timebank.db import Connection, transaction
from timebank.domain.errors import GuardianNeededError, NotFoundError
from timebank.ledger.ids import new_id
from timebank.ledger.passbook import list_balances
from timebank.people.access import Action
from timebank.people.cards import spell_card_token
from timebank.people.kin import is_guardian, is_minor
from timebank.people.parties import list_path_of, place_party
from timebank.people.targets import check_reaches_person
from timebank.redemption import families


@post("/families", opt={"action": Action.FOUND_FAMILY}, operation_id="found_family")
async def found_family(
    request: Call, data: JSONBody[EmptyBody], idempotency_key: IdempotencyKey
) -> Response[FamilyView]:
    """Found a family with a pool; who founds it may spend from it. Minors do not."""
    bank_id, me = request.user.bank_id, request.user.principal_id
    bank = await request.desk.bank(bank_id)
    family_id = new_id()

    async def work(connection: Connection) -> Deed[FamilyView]:
        if await is_minor(connection, bank_id, me):
            raise GuardianNeededError
        await families.found_family(connection, bank_id, family_id, {me: True})
        [branch_id, *_] = await list_path_of(connection, bank_id, me)
        if branch_id != bank.root_id:
            await place_party(connection, bank_id, family_id, branch_id)
        return Deed(await _get(connection, bank_id, me, family_id), family_id)

    return await do_once(request, FamilyView, work)


@get(
    "/residents/{resident_id:uuid}/families",
    opt={"action": Action.READ_FAMILY},
    operation_id="list_families",
)
async def list_families(request: Call, resident_id: FromPath[UUID]) -> FamilyList:
    """List the families of a resident: who belongs to them now, and what is in their pools."""
    async with transaction(request.desk.pool) as connection:
        await check_reaches_person(connection, request.user, Action.READ_FAMILY, resident_id)
        return FamilyList(await _families(connection, request.user.bank_id, resident_id))


@post(
    "/families/{family_id:uuid}/invitations",
    opt={"action": Action.INVITE_TO_FAMILY, "keyless": True},
    operation_id="invite_to_family",
)
async def invite_to_family(
    request: Call, family_id: FromPath[UUID], data: JSONBody[InviteBody]
) -> Response[InvitationView]:
    """Show a token that makes one person a member of one's family, once and within three days."""
    async with transaction(request.desk.pool) as connection:
        invitation = await families.invite_to_family(
            connection,
            request.user.bank_id,
            family_id,
            may_hold=data.may_hold,
            invited_by=request.user.principal_id,
        )
        await note_deed(connection, request, family_id)
    view = InvitationView(spell_card_token(invitation.token), invitation.expires_at)
    return Response(view, status_code=201, headers=NO_STORE)


@post(
    "/family-memberships",
    opt={"action": Action.JOIN_FAMILY, "personal": True},
    operation_id="join_family",
)
async def join_family(
    request: Call, data: JSONBody[JoinBody], idempotency_key: IdempotencyKey
) -> Response[FamilyView]:
    """Join the family whose token one was given: a minor's guardian does it for them."""
    bank_id, me = request.user.bank_id, request.user.principal_id
    member_id = data.resident_id or me

    async def work(connection: Connection) -> Deed[FamilyView]:
        await _check_acts_for(connection, request, Action.JOIN_FAMILY, member_id)
        if member_id == me and await is_minor(connection, bank_id, me):
            raise GuardianNeededError
        family_id = await families.join_by_invitation(connection, bank_id, data.token, member_id)
        return Deed(await _get(connection, bank_id, member_id, family_id), family_id)

    return await do_once(request, FamilyView, work)


@delete(
    "/families/{family_id:uuid}/members/{member_id:uuid}",
    opt={"action": Action.LEAVE_FAMILY, "keyless": True},
    operation_id="leave_family",
)
async def leave_family(request: Call, family_id: FromPath[UUID], member_id: FromPath[UUID]) -> None:
    """Leave a family, or let a minor whom one guards leave it; what was given stays there."""
    bank_id = request.user.bank_id
    async with transaction(request.desk.pool) as connection:
        await _check_acts_for(connection, request, Action.LEAVE_FAMILY, member_id)
        await _get(connection, bank_id, member_id, family_id)
        await families.leave_family(connection, bank_id, family_id, member_id)
        await note_deed(connection, request, family_id)


async def _check_acts_for(
    connection: Connection, request: Call, action: Action, member_id: UUID
) -> None:
    """Raise NotFoundError unless it is the caller or a minor whom they guard."""
    me = request.user.principal_id
    await check_reaches_person(connection, request.user, action, member_id)
    if member_id != me and not await is_guardian(connection, request.user.bank_id, me, member_id):
        raise NotFoundError


async def _get(
    connection: Connection, bank_id: int, member_id: UUID, family_id: UUID
) -> FamilyView:
    """Return a family of the member; NotFoundError if they do not belong to it."""
    for family in await _families(connection, bank_id, member_id):
        if family.family_id == family_id:
            return family
    raise NotFoundError


async def _families(connection: Connection, bank_id: int, member_id: UUID) -> list[FamilyView]:
    pools = await families.list_pools_of(connection, bank_id, member_id)
    balances = await list_balances(connection, bank_id, {pool.account_id for pool in pools})
    points = {balance.account_id: balance.balance for balance in balances}
    return [
        FamilyView(
            family_id=pool.family_id,
            account_id=pool.account_id,
            points=points[pool.account_id],
            may_hold=pool.may_hold,
            members=[
                FamilyMemberView(member.member_id, member.may_hold, member.joined_at)
                for member in await families.list_family(connection, bank_id, pool.family_id)
                if member.left_at is None
            ],
        )
        for pool in pools
    ]


router = Router(
    "/",
    route_handlers=[found_family, list_families, invite_to_family, join_family, leave_family],
)
