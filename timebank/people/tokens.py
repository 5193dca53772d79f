"""Tokens that the operator issues by command: long sessions without a login, for systems and tries.

Whoever can run commands on the machine is trusted with them; everybody else logs in.
"""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from timebank.db import Connection
from timebank.domain.errors import NotFoundError
from timebank.people.access import Action, Role
from timebank.people.grants import OPERATOR_ID, grant_role, list_grants
from timebank.people.parties import PartyKind, register_parties
from timebank.people.sessions import SessionLimits, open_session


async def issue_token(
    connection: Connection,
    bank_id: int,
    role: Role,
    party_id: UUID,
    lifetime: timedelta,
    *,
    branch_id: UUID | None = None,
    merchant_id: UUID | None = None,
    scopes: Sequence[Action] | None = None,
) -> str:
    """Return a token for the party, registered and granted the role now where need be.

    `branch_id` None is the whole bank.
    """
    kind = PartyKind.SYSTEM if role is Role.INTEGRATOR else PartyKind.PERSON
    await register_parties(connection, bank_id, kind, [party_id])
    grant_id = None
    if role is not Role.RESIDENT:
        grant_id = await grant_role(
            connection,
            bank_id,
            party_id,
            role,
            branch_id,
            merchant_id=merchant_id,
            granted_by=OPERATOR_ID,
            approved_by=OPERATOR_ID,
        )
    return await open_session(
        connection,
        bank_id,
        party_id,
        role,
        grant_id=grant_id,
        limits=SessionLimits(lifetime),
        scopes=scopes,
    )


async def issue_another_token(
    connection: Connection, bank_id: int, system_id: UUID, lifetime: timedelta
) -> str:
    """Return one more token for an integrator, on the role it was granted by whomever.

    What it sent under a key before is answered as before. NotFoundError without such a role.
    """
    for grant in await list_grants(connection, bank_id, system_id):
        if grant.role is Role.INTEGRATOR:
            return await open_session(
                connection,
                bank_id,
                system_id,
                grant.role,
                grant_id=grant.grant_id,
                limits=SessionLimits(lifetime),
            )
    raise NotFoundError(f"No system {system_id} is an integrator of this bank.")
