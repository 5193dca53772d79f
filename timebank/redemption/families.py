"""Families with a pool of their own: all members give to it, some also spend from it."""

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from msgspec import Struct

from timebank.db import Connection, as_struct, load_queries
from timebank.domain.errors import NotFoundError
from timebank.domain.ledger import AccountKind, Unit
from timebank.ledger.accounts import ensure_account
from timebank.people.parties import PartyKind, is_party, register_parties

_QUERIES = load_queries(__package__)


class FamilyMember(Struct, frozen=True, kw_only=True):
    """Who belongs to a family, or did; `may_hold` is to spend from its pool."""

    family_id: UUID
    member_id: UUID
    may_hold: bool
    joined_at: datetime
    left_at: datetime | None


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
    """Return the pools of a person's families.

    Ask before a hold whose source is a family's pool: `may_hold` of that account must be true.
    """
    records = await connection.fetch(_QUERIES["list_pools_of_member"], bank_id, member_id)
    return [as_struct(record, FamilyPool) for record in records]
