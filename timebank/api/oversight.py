"""Who holds which role, and who did what: what administrators and auditors look at."""

from datetime import datetime
from uuid import UUID

from litestar import Response, Router
from litestar.params import FromPath, FromQuery, JSONBody
from msgspec import Struct

from timebank.api.accounts import Cursor, Limit
from timebank.api.call import Call, IdempotencyKey
from timebank.api.cursors import make_cursor, read_cursor
from timebank.api.once import Deed, once
from timebank.api.operations import get, post
from timebank.db import Connection, transaction
from timebank.people.access import Action, Role
from timebank.people.audit_log import list_entries
from timebank.people.grants import RoleGrant, get_grant, list_grants, revoke_grant
from timebank.people.targets import check_reaches_party


class RoleGrantView(Struct, frozen=True, kw_only=True):
    """A role in force."""

    grant_id: UUID
    party_id: UUID
    role: Role
    branch_id: UUID
    merchant_id: UUID | None
    granted_by: UUID
    approved_by: UUID
    granted_at: datetime


class RevocationBody(Struct, forbid_unknown_fields=True):
    """Nothing more to say."""


class RevocationView(Struct, frozen=True):
    """The grant that ended."""

    grant_id: UUID


class RoleGrantList(Struct, frozen=True):
    """Roles in force, oldest first."""

    data: list[RoleGrantView]


class AuditEntryView(Struct, frozen=True, kw_only=True):
    """A line of the audit log."""

    entry_id: UUID
    actor_id: UUID | None
    role: Role | None
    action: str
    object_id: UUID | None
    purpose: str | None
    result: str
    request_id: str
    recorded_at: datetime


class AuditPage(Struct, frozen=True):
    """Lines of the audit log, newest first."""

    data: list[AuditEntryView]
    next_cursor: str | None
    has_more: bool


@get("/role-grants", opt={"action": Action.READ_ROLES}, operation_id="list_role_grants")
async def list_role_grants(request: Call, party_id: FromQuery[UUID | None] = None) -> RoleGrantList:
    """List the roles in force within the caller's branch, of one party if given."""
    principal = request.user
    async with transaction(request.desk.pool) as connection:
        grants = await list_grants(
            connection, principal.bank_id, party_id, within=principal.branch_id
        )
    return RoleGrantList([_grant_view(grant) for grant in grants])


@post(
    "/role-grants/{grant_id:uuid}/revocation",
    opt={"action": Action.REVOKE_ROLE},
    operation_id="revoke_role_grant",
)
async def revoke_role_grant(
    request: Call,
    grant_id: FromPath[UUID],
    data: JSONBody[RevocationBody],
    idempotency_key: IdempotencyKey,
) -> Response[RevocationView]:
    """End a role and its sessions at once; that needs no second person."""
    bank_id = request.user.bank_id

    async def work(connection: Connection) -> Deed[RevocationView]:
        grant = await get_grant(connection, bank_id, grant_id)
        for party_id in (grant.branch_id, grant.party_id):
            await check_reaches_party(connection, request.user, Action.REVOKE_ROLE, party_id)
        await revoke_grant(connection, bank_id, grant_id)
        return Deed(RevocationView(grant_id), grant_id)

    view, headers = await once(request, RevocationView, work)
    return Response(view, status_code=201, headers=headers)


@get("/audit-log", opt={"action": Action.READ_AUDIT_LOG}, operation_id="list_audit_log")
async def read_audit_log(
    request: Call,
    object_id: FromQuery[UUID | None] = None,
    actor_id: FromQuery[UUID | None] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> AuditPage:
    """List who did or tried what, newest first; postings themselves stand in the journal."""
    bank = await request.desk.bank(request.user.bank_id)
    listed = f"audit log of {object_id} by {actor_id}"
    before = UUID(read_cursor(bank.cursor_key, listed, cursor)) if cursor else None
    async with transaction(request.desk.pool) as connection:
        found = await list_entries(
            connection,
            bank.bank_id,
            before=before,
            object_id=object_id,
            actor_id=actor_id,
            limit=limit + 1,
        )
    page, more = found[:limit], len(found) > limit
    next_cursor = make_cursor(bank.cursor_key, listed, str(page[-1].entry_id)) if more else None
    views = [
        AuditEntryView(
            entry_id=entry.entry_id,
            actor_id=entry.actor_id,
            role=entry.role,
            action=entry.action,
            object_id=entry.object_id,
            purpose=entry.purpose,
            result=entry.result,
            request_id=entry.request_id,
            recorded_at=entry.recorded_at,
        )
        for entry in page
    ]
    return AuditPage(views, next_cursor, more)


def _grant_view(grant: RoleGrant) -> RoleGrantView:
    return RoleGrantView(
        grant_id=grant.grant_id,
        party_id=grant.party_id,
        role=grant.role,
        branch_id=grant.branch_id,
        merchant_id=grant.merchant_id,
        granted_by=grant.granted_by,
        approved_by=grant.approved_by,
        granted_at=grant.granted_at,
    )


router = Router("/", route_handlers=[list_role_grants, revoke_role_grant, read_audit_log])
