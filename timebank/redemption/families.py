"""Families with a pool of their own: all members give to it, some also spend from it.

Who joins was invited: a member makes a token, and hands it over; using it is the other's consent.
That they are family nobody says of themselves: until somebody whom the family does not serve has
confirmed it, they are kin of nobody there and have no part in the pool.
"""

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
from timebank.people.registration import is_member

_QUERIES = load_queries(__package__)

INVITATION_LIFETIME = timedelta(days=3)


class FamilyMember(Struct, frozen=True, kw_only=True):
    """Who belongs to a family, or did; `may_hold` is to spend from its pool, once confirmed."""

    family_id: UUID
    member_id: UUID
    may_hold: bool
    joined_at: datetime
    left_at: datetime | None
    confirmed_at: datetime | None


class Invitation(Struct, frozen=True):
    """A token that is good once, before `expires_at`; it cannot be read again."""

    token: str
    expires_at: datetime


class FamilyPool(Struct, frozen=True):
    """A pool that a confirmed member gives to and, if they may hold, spends from."""

    account_id: UUID
    family_id: UUID
    may_hold: bool
    confirmed_at: datetime | None


async def found_family(
    connection: Connection, bank_id: int, family_id: UUID, founder_id: UUID
) -> UUID:
    """Register a family of one, who may spend and is confirmed; return its pool.

    It may be repeated. NotFoundError for a founder who is not registered.
    """
    if not await is_party(connection, bank_id, founder_id, PartyKind.PERSON):
        raise NotFoundError
    await register_parties(connection, bank_id, PartyKind.FAMILY, [family_id])
    pool = await ensure_account(connection, bank_id, Unit.POINTS, AccountKind.POOL, family_id)
    await connection.execute(_QUERIES["found_family"], bank_id, family_id, founder_id)
    return pool.account_id


async def join_family(
    connection: Connection, bank_id: int, family_id: UUID, member_id: UUID, *, may_hold: bool
) -> None:
    """Make a person a member who waits to be confirmed; nothing if they are one.

    To change a right, leave first.
    """
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

    NotFoundError for a token that was used, has expired, or whose maker may no longer spend, and
    for whoever is no approved member of the bank.
    """
    if not await is_member(connection, bank_id, member_id):
        raise NotFoundError
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


async def confirm_member(
    connection: Connection, bank_id: int, family_id: UUID, member_id: UUID, *, confirmed_by: UUID
) -> None:
    """Say that a member is family of the others; nothing if somebody has said so.

    NotFoundError if they are no member; SecondPersonNeededError for whoever the family serves.
    """
    query = _QUERIES["confirm_family_member"]
    if not await connection.fetchval(query, bank_id, family_id, member_id, confirmed_by):
        raise NotFoundError


async def list_family(connection: Connection, bank_id: int, family_id: UUID) -> list[FamilyMember]:
    """Return all who belong to a family or did, in the order of joining."""
    records = await connection.fetch(_QUERIES["list_family"], bank_id, family_id)
    return [as_struct(record, FamilyMember) for record in records]


async def has_members(connection: Connection, bank_id: int, family_id: UUID) -> bool:
    """Return whether somebody belongs to the family now; whom all left nobody can join again."""
    found: bool = await connection.fetchval(_QUERIES["has_members"], bank_id, family_id)
    return found


async def list_pools_of(connection: Connection, bank_id: int, member_id: UUID) -> list[FamilyPool]:
    """Return the pools of the families in which a person is confirmed."""
    found = await list_families_of(connection, bank_id, member_id)
    return [family for family in found if family.confirmed_at]


async def list_families_of(
    connection: Connection, bank_id: int, member_id: UUID
) -> list[FamilyPool]:
    """Return a person's families, also those in which they wait to be confirmed."""
    records = await connection.fetch(_QUERIES["list_families_of_member"], bank_id, member_id)
    return [as_struct(record, FamilyPool) for record in records]


async def check_may_hold(
    connection: Connection, bank_id: int, member_id: UUID, account_id: UUID
) -> None:
    """Raise NotFoundError unless this is a family's pool that the person may spend from."""
    pools = await list_pools_of(connection, bank_id, member_id)
    if not any(pool.account_id == account_id and pool.may_hold for pool in pools):
        raise NotFoundError
