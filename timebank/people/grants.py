"""Role grants: what a party is in the programme, for a branch and all below it."""

from datetime import datetime
from uuid import UUID

from msgspec import Struct

from timebank.db import Connection, as_struct, load_queries
from timebank.domain.errors import NotFoundError
from timebank.ledger.ids import derive_id, new_id
from timebank.people.access import Role

_QUERIES = load_queries(__package__)

OPERATOR_ID = derive_id(UUID(int=0), "timebank operator")
"""Who acts by commands on the machine itself; a party of no bank, and no person."""


class RoleGrant(Struct, frozen=True, kw_only=True):
    """A role of a party; it counts until it is revoked."""

    grant_id: UUID
    party_id: UUID
    role: Role
    branch_id: UUID
    merchant_id: UUID | None
    granted_by: UUID
    approved_by: UUID
    granted_at: datetime
    revoked_at: datetime | None


async def grant_role(
    connection: Connection,
    bank_id: int,
    party_id: UUID,
    role: Role,
    branch_id: UUID | None,
    *,
    granted_by: UUID,
    approved_by: UUID,
    merchant_id: UUID | None = None,
) -> UUID:
    """Return the id of the grant in force: this one, or an earlier one of the same.

    `branch_id` None is the whole bank.
    """
    granted: UUID = await connection.fetchval(
        _QUERIES["grant_role"],
        bank_id,
        new_id(),
        party_id,
        role,
        branch_id,
        merchant_id,
        granted_by,
        approved_by,
    )
    return granted


async def revoke_grant(connection: Connection, bank_id: int, grant_id: UUID) -> None:
    """End a role from the next request on; NotFoundError if there is none of this id in force."""
    if await connection.fetchval(_QUERIES["revoke_grant"], bank_id, grant_id) is None:
        raise NotFoundError


async def get_grant(connection: Connection, bank_id: int, grant_id: UUID) -> RoleGrant:
    """Return the grant, in force or revoked; NotFoundError if there is none."""
    record = await connection.fetchrow(_QUERIES["find_grant"], bank_id, grant_id)
    if record is None:
        raise NotFoundError
    return as_struct(record, RoleGrant)


async def list_grants(
    connection: Connection,
    bank_id: int,
    party_id: UUID | None = None,
    *,
    within: UUID | None = None,
) -> list[RoleGrant]:
    """Return the grants in force, oldest first, of one party and within one branch if given."""
    records = await connection.fetch(_QUERIES["list_grants"], bank_id, party_id, within)
    return [as_struct(record, RoleGrant) for record in records]
