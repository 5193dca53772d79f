"""Deeds of four eyes about redemption: caps, when a shop is full, and what a pool allocates."""

from typing import TypeAlias
from uuid import UUID

from msgspec import UNSET

from timebank.api.deed_kinds import (
    AllocationDeed,
    CapRuleDeed,
    MinorCapDeed,
    PassCapDeed,
    SaturationDeed,
)
from timebank.api.desk import Desk
from timebank.api.people_wire import exactly_one
from timebank.db import Connection
from timebank.domain.ages import MinorCap
from timebank.domain.errors import InvalidInputError, NotFoundError, RedemptionRefusedError
from timebank.domain.ledger import AccountKind, Unit
from timebank.domain.redemption import EVERYONE, RedemptionStatus
from timebank.ledger.accounts import ensure_account, get_account_of
from timebank.ledger.ids import derive_id
from timebank.people.access import Action, Principal
from timebank.people.approvals import Approval
from timebank.people.kin import set_minor_cap
from timebank.people.parties import PartyKind, is_party
from timebank.people.targets import check_reaches_party, check_reaches_person
from timebank.redemption.caps import check_cap, check_override, grant_override, set_cap
from timebank.redemption.exchange import allocate, set_saturation_bounds

RuleDeed: TypeAlias = CapRuleDeed | MinorCapDeed | PassCapDeed | SaturationDeed


async def check_caps(
    desk: Desk, principal: Principal, action: Action, deed: RuleDeed
) -> list[UUID | None]:
    """Return whose cap it is; InvalidInputError for a rule that could not be."""
    owners: list[UUID | None] = []
    match deed:
        case CapRuleDeed():
            check_cap(deed.scope, deed.points)
            owners = [deed.subject_id]
        case MinorCapDeed() if deed.points_at_once > deed.points_a_day:
            raise InvalidInputError("At once is at most a day's.", pointer="/points_at_once")
        case PassCapDeed():
            check_override(deed.terms())
            owners = [deed.subject_id]
    await desk.check_reaches(principal, action, owners[0] if owners else None)
    return owners


async def put_in_force(
    connection: Connection, bank_id: int, done: Approval, deed: RuleDeed
) -> None:
    """Do what two persons agreed on."""
    match deed:
        case CapRuleDeed():
            await set_cap(
                connection,
                bank_id,
                deed.scope,
                deed.points,
                subject_id=deed.subject_id or EVERYONE,
                set_by=done.maker_id,
            )
        case MinorCapDeed():
            cap = MinorCap(deed.points_at_once, deed.points_a_day)
            await set_minor_cap(connection, bank_id, cap, set_by=done.maker_id)
        case PassCapDeed():
            await grant_override(connection, bank_id, done.approval_id, deed.terms())
        case SaturationDeed():
            await set_saturation_bounds(connection, bank_id, deed.bounds(), set_by=done.maker_id)


async def check_allocation(desk: Desk, principal: Principal, deed: AllocationDeed) -> UUID:
    """Return who receives it; NotFoundError unless the caller reaches them and a pool there."""
    bank_id = principal.bank_id
    exactly_one(deed.resident_id, deed.family_id, pointer="/resident_id")
    async with desk.pool.acquire() as connection:
        await get_account_of(connection, bank_id, Unit.POINTS, AccountKind.POOL, deed.branch_id)
        if not await is_party(connection, bank_id, deed.branch_id, PartyKind.BRANCH):
            raise NotFoundError
        await check_reaches_party(connection, principal, Action.ALLOCATE, deed.branch_id)
        if deed.resident_id is not UNSET:
            await check_reaches_person(connection, principal, Action.ALLOCATE, deed.resident_id)
            return deed.resident_id
        family_id = deed.family_id
        if family_id is UNSET or not await is_party(
            connection, bank_id, family_id, PartyKind.FAMILY
        ):
            raise NotFoundError
        await check_reaches_party(connection, principal, Action.ALLOCATE, family_id)
    return family_id


async def do_allocate(
    connection: Connection, bank_id: int, done: Approval, deed: AllocationDeed
) -> None:
    """Give from the pool; RedemptionRefusedError if it cannot, and then nothing was approved."""
    kind = AccountKind.WALLET if deed.family_id is UNSET else AccountKind.POOL
    owner_id = deed.resident_id if deed.family_id is UNSET else deed.family_id
    receiver = await ensure_account(connection, bank_id, Unit.POINTS, kind, owner_id or None)
    answer = await allocate(
        connection,
        bank_id,
        derive_id(done.approval_id, "allocation"),
        branch_id=deed.branch_id,
        to_account_id=receiver.account_id,
        points=deed.points,
        actor_id=done.maker_id,
    )
    if answer.status is not RedemptionStatus.DONE:
        raise RedemptionRefusedError(answer.status)
