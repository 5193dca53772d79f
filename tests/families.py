"""Families whose members somebody has confirmed, for tests that are about what comes after."""

from collections.abc import Mapping
from uuid import UUID

from tests.book import STAFF
from timebank.db import Connection
from timebank.ledger.ids import new_id
from timebank.people.consents import ConsentKind, record_consents
from timebank.people.parties import PartyKind, register_parties
from timebank.people.registration import MembershipState, is_member, move_memberships
from timebank.redemption import families


async def enlist(connection: Connection, bank_id: int, person_id: UUID) -> None:
    """Make an approved member of somebody who is none, without personal data."""
    if await is_member(connection, bank_id, person_id):
        return
    await connection.execute(
        "SELECT register_residents($1, ARRAY[$2::uuid], ARRAY[NULL], ARRAY[NULL::timestamptz], $3)",
        bank_id,
        person_id,
        STAFF,
    )
    said = {ConsentKind.MEMBERSHIP: True}
    await record_consents(connection, bank_id, person_id, said, by_id=person_id, recorded_by=STAFF)
    await move_memberships(connection, bank_id, [person_id], MembershipState.APPROVED, new_id())


async def open_family(
    connection: Connection, bank_id: int, family_id: UUID, members: Mapping[UUID, bool]
) -> UUID:
    """Found a family with members, each with whether they may spend; return its pool.

    By the first of those who may, or by somebody else.
    """
    founder_id = next((member for member, may_hold in members.items() if may_hold), None)
    if founder_id is None:
        founder_id = new_id()
        await register_parties(connection, bank_id, PartyKind.PERSON, [founder_id])
    pool_id = await families.found_family(connection, bank_id, family_id, founder_id)
    for member_id, may_hold in members.items():
        await enlist(connection, bank_id, member_id)
        await families.join_family(connection, bank_id, family_id, member_id, may_hold=may_hold)
        await families.confirm_member(connection, bank_id, family_id, member_id, confirmed_by=STAFF)
    return pool_id
