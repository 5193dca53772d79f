"""Keys of merchants' systems: tokens with scopes and an end, changed for new ones without a pause.

A key stands on a grant to a system, narrows it, and ends with it. While a rotated key overlaps with
the one before, two tokens count, of which only the newer makes another. Whoever issues or changes
a key holds it: so the merchant's own people do, and nobody who works for the programme. Whose role
at the merchant ends holds it for a day more, and another of its people may change it meanwhile.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from msgspec import Struct

from timebank.db import Connection, as_struct, load_queries
from timebank.domain.errors import InvalidInputError, NotFoundError
from timebank.ledger.ids import new_id
from timebank.people.access import POLICY, Action, Role
from timebank.people.grants import RoleGrant, get_grant
from timebank.people.narrow_sessions import FOR_PERSONS
from timebank.people.parties import PartyKind, is_party
from timebank.people.sessions import NewSession, SessionLimits, start_session

_QUERIES = load_queries(__package__)

OVERLAP = timedelta(hours=24)


class ApiKey(Struct, frozen=True, kw_only=True):
    """A key in force, and the system whose it is."""

    api_key_id: UUID
    grant_id: UUID
    branch_id: UUID
    merchant_id: UUID
    party_id: UUID
    scopes: list[Action]
    lifetime_days: int
    session_id: UUID
    previous_session_id: UUID | None
    issued_by: UUID
    issued_at: datetime
    rotated_at: datetime | None
    rotated_by: UUID | None
    expires_at: datetime


async def get_system_grant(connection: Connection, bank_id: int, grant_id: UUID) -> RoleGrant:
    """Return a grant to a merchant's system; NotFoundError if there is none of this id in force."""
    grant = await get_grant(connection, bank_id, grant_id)
    if grant.role is not Role.MERCHANT or grant.revoked_at is not None:
        raise NotFoundError
    if not await is_party(connection, bank_id, grant.party_id, PartyKind.SYSTEM):
        raise NotFoundError
    return grant


async def issue_key(
    connection: Connection,
    bank_id: int,
    grant: RoleGrant,
    *,
    scopes: Sequence[Action],
    lifetime_days: int,
    issued_by: UUID,
) -> tuple[UUID, NewSession]:
    """Return the id of a new key, and its first token.

    InvalidInputError for a scope that is none; ForbiddenError unless `issued_by` is a person of the
    grant's merchant who does not work for the programme.
    """
    for place, scope in enumerate(scopes):
        if Role.MERCHANT not in POLICY.get(scope, {}) or scope in FOR_PERSONS:
            raise InvalidInputError(
                "A merchant's system may not do that.", pointer=f"/scopes/{place}"
            )
    api_key_id = new_id()
    session = await _start(
        connection,
        bank_id,
        party_id=grant.party_id,
        grant_id=grant.grant_id,
        scopes=scopes,
        lifetime_days=lifetime_days,
    )
    await connection.execute(
        _QUERIES["make_api_key"],
        bank_id,
        api_key_id,
        grant.grant_id,
        scopes,
        lifetime_days,
        session.span.session_id,
        issued_by,
    )
    return api_key_id, session


async def get_key(connection: Connection, bank_id: int, api_key_id: UUID) -> ApiKey:
    """Return a key; NotFoundError if there is none of this id in force."""
    record = await connection.fetchrow(_QUERIES["find_api_key"], bank_id, api_key_id)
    if record is None:
        raise NotFoundError
    return as_struct(record, ApiKey)


async def list_keys(
    connection: Connection,
    bank_id: int,
    *,
    merchant_id: UUID | None = None,
    within: UUID | None = None,
) -> list[ApiKey]:
    """Return the keys in force, oldest first, of one merchant and within one branch if given."""
    records = await connection.fetch(_QUERIES["list_api_keys"], bank_id, merchant_id, within)
    return [as_struct(record, ApiKey) for record in records]


async def rotate_key(
    connection: Connection, bank_id: int, key: ApiKey, asking: UUID | None, by_id: UUID
) -> NewSession:
    """Return a new token; the one before counts for OVERLAP more, and none before that.

    `asking` is the session of who asks, `by_id`; NotFoundError for one that was rotated itself,
    since a key that leaked would else outlive its rotation. ForbiddenError unless `by_id` might
    issue the key, or is its system while that holds for who had it last. Locks the grants, the key,
    then its sessions.
    """
    session = await _start(
        connection,
        bank_id,
        party_id=key.party_id,
        grant_id=key.grant_id,
        scopes=key.scopes,
        lifetime_days=key.lifetime_days,
    )
    rotated = await connection.fetchval(
        _QUERIES["rotate_api_key"],
        bank_id,
        key.api_key_id,
        session.span.session_id,
        asking,
        OVERLAP,
        by_id,
    )
    if not rotated:
        raise NotFoundError
    return session


async def revoke_key(connection: Connection, bank_id: int, api_key_id: UUID) -> None:
    """End a key and all its tokens; NotFoundError if there is none of this id in force."""
    sessions = await connection.fetchval(_QUERIES["revoke_api_key"], bank_id, api_key_id)
    if sessions is None:
        raise NotFoundError
    await connection.execute(_QUERIES["revoke_sessions_by_id"], bank_id, sessions)


async def _start(
    connection: Connection,
    bank_id: int,
    *,
    party_id: UUID,
    grant_id: UUID,
    scopes: Sequence[Action],
    lifetime_days: int,
) -> NewSession:
    return await start_session(
        connection,
        bank_id,
        party_id,
        Role.MERCHANT,
        grant_id=grant_id,
        limits=SessionLimits(timedelta(days=lifetime_days)),
        scopes=scopes,
    )
