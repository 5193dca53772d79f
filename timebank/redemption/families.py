"""Families with a pool of their own: all members give to it, some also spend from it.

Who joins was invited: a member makes a token, and hands it over; using it is the other's consent.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from uuid import UUID

from msgspec import Struct

from timebank.db import Connection, as_struct, load_queries
from timebank.domain.errors import NotFoundError
from timebank.domain.ledger import AccountKind, Unit
from timebank.ledger.accounts import ensure_account
from timebank.ledger.ids import new_id
from timebank.people.cards import hash_card_token, new_card_token, parse_card_token
from timebank.people.parties import PartyKind, is_party, register_parties

_QUERIES = load_queries(__package__)

INVITATION_LIFETIME = timedelta(days=3)


class FamilyMember(Struct, frozen=True, kw_only=True):
    """Who belongs to a family, or did; `may_hold` is to spend from its pool."""

    family_id: UUID
    member_id: UUID
    may_hold: bool
    joined_at: datetime
    left_at: datetime | None


class Invitation(Struct, frozen=True):
    """A token that is good once, before `expires_at`; it cannot be read again."""

    token: str
    expires_at: datetime


class FamilyPool(Struct, frozen=True):
    """A pool that a member gives to and, if they may hold, spends from."""

    account_id: UUID
    family_id: UUID
    may_hold: bool


async def found_family(
    connection: Connection, bank_id: int, family_id: UUID, members: Mapping[UUID, bool]
) -> UUID:
    """Register a family with members, each with whether they may spend; return its pool.

    It may be repeated. NotFoundError for members who are not registered.
    """
    await register_parties(connection, bank_id, PartyKind.FAMILY, [family_id])
    pool = await ensure_account(connection, bank_id, Unit.POINTS, AccountKind.POOL, family_id)
    for member_id in sorted(members):
        await join_family(connection, bank_id, family_id, member_id, may_hold=members[member_id])
    return pool.account_id


async def join_family(
    connection: Connection, bank_id: int, family_id: UUID, member_id: UUID, *, may_hold: bool
) -> None:
    """Make a person a member from now on; nothing if they are. To change a right, leave first."""
    if not await is_party(connection, bank_id, family_id, PartyKind.FAMILY):
        raise NotFoundError
    if not await is_party(connection, bank_id, member_id, PartyKind.PERSON):
        raise NotFoundError
    await connection.execute(_QUERIES["join_family"], bank_id, family_id, member_id, may_hold)


async def invite_to_family(
    connection: Connection,
    bank_id: int,
    family_id: UUID,
    *,
    may_hold: bool,
    invited_by: UUID,
    lifetime: timedelta = INVITATION_LIFETIME,
) -> Invitation:
    """Return a token that makes one person a member; NotFoundError unless who invites may spend."""
    pools = await list_pools_of(connection, bank_id, invited_by)
    if not any(pool.family_id == family_id and pool.may_hold for pool in pools):
        raise NotFoundError
    token = new_card_token()
    expires_at = await connection.fetchval(
        _QUERIES["invite_to_family"],
        bank_id,
        new_id(),
        family_id,
        hash_card_token(token),
        may_hold,
        invited_by,
        lifetime,
    )
    return Invitation(token, expires_at)


async def join_by_invitation(
    connection: Connection, bank_id: int, token: str, member_id: UUID
) -> UUID:
    """Make a person a member of the family that a token is of, and return it.

    NotFoundError for a token that was used, has expired, or whose maker may no longer spend.
    """
    used = await connection.fetchrow(
        _QUERIES["use_invitation"], bank_id, hash_card_token(parse_card_token(token)), member_id
    )
    if used is None:
        raise NotFoundError
    family_id: UUID = used["family_id"]
    await join_family(connection, bank_id, family_id, member_id, may_hold=used["may_hold"])
    return family_id


async def leave_family(
    connection: Connection, bank_id: int, family_id: UUID, member_id: UUID
) -> None:
    """End a membership now; what they gave stays in the pool. Nothing if they are no member."""
    await connection.execute(_QUERIES["leave_family"], bank_id, family_id, member_id)


async def list_family(connection: Connection, bank_id: int, family_id: UUID) -> list[FamilyMember]:
    """Return all who belong to a family or did, in the order of joining."""
    records = await connection.fetch(_QUERIES["list_family"], bank_id, family_id)
    return [as_struct(record, FamilyMember) for record in records]


async def list_pools_of(connection: Connection, bank_id: int, member_id: UUID) -> list[FamilyPool]:
    """Return the pools of a person's families."""
    records = await connection.fetch(_QUERIES["list_pools_of_member"], bank_id, member_id)
    return [as_struct(record, FamilyPool) for record in records]


async def check_may_hold(
    connection: Connection, bank_id: int, member_id: UUID, account_id: UUID
) -> None:
    """Raise NotFoundError unless this is a family's pool that the person may spend from."""
    pools = await list_pools_of(connection, bank_id, member_id)
    if not any(pool.account_id == account_id and pool.may_hold for pool in pools):
        raise NotFoundError
