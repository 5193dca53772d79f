"""What needs four eyes: each deed as it is proposed, whom it serves, and how it is done.

A deed is examined when it is proposed and again when it is decided, for the person who does so:
both must reach what it touches.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias
from uuid import UUID

from msgspec import Struct

from timebank.api.call import Call
from timebank.api.deed_kinds import (
    ACTIONS,
    AllocationDeed,
    AwardDeed,
    BatchDeed,
    CapRuleDeed,
    CapsDeed,
    Deed,
    ErasureDeed,
    MinorCapDeed,
    PassCapDeed,
    PoolTransferDeed,
    RateDeed,
    RecordReversalDeed,
    ReversalDeed,
    RoleGrantDeed,
    SaturationDeed,
    StarRuleDeed,
)
from timebank.api.desk import Desk
from timebank.api.paper import access_of
from timebank.api.postings import Actor, make_award, make_chains, make_transfer, raise_if_refused
from timebank.api.reaching import place_of_record
from timebank.api.redemption_deeds import (
    check_allocation,
    check_caps,
    do_allocate,
    put_in_force,
)
from timebank.api.wire import AwardRow
from timebank.api.wire_service import check_days
from timebank.db import Connection
from timebank.domain.errors import InvalidInputError, NotFoundError
from timebank.domain.ledger import AccountKind, Chain, Outcome, TransferStatus, Unit
from timebank.domain.service import Caps
from timebank.domain.stars import find_faults
from timebank.ledger.ids import derive_id
from timebank.ledger.reversals import reverse
from timebank.ledger.transfers import list_chain, post
from timebank.people.access import Action, Principal, Role, check_may
from timebank.people.approvals import Approval
from timebank.people.grants import grant_role
from timebank.people.parties import (
    PartyKind,
    find_common_branch,
    is_party,
    list_path_of,
    list_persons_behind,
)
from timebank.people.targets import check_reaches_party, check_reaches_person
from timebank.people.vault import Purpose, erase_person
from timebank.service.awards import check_not_of_record, reverse_record
from timebank.service.categories import get_category
from timebank.service.honours import set_star_rule
from timebank.service.rates import approve_rate, propose_rate, set_caps
from timebank.service.records import get_record

_KINDS: Mapping[Role, Sequence[PartyKind]] = {
    Role.INTEGRATOR: (PartyKind.SYSTEM,),
    Role.MERCHANT: (PartyKind.PERSON, PartyKind.SYSTEM),  # who runs it, and what it runs
}
"""What a party is that may have a role; a person, if not said."""

RuleDeed: TypeAlias = RateDeed | CapsDeed | StarRuleDeed
"""What changes the rules of service for the whole bank."""


class Examined(Struct, frozen=True):
    """Where a deed belongs, and whom it serves."""

    branch_id: UUID
    beneficiaries: frozenset[UUID]


class Touched(Struct, frozen=True):
    """Whose accounts a reversal touches, and what it takes back: each transfer once."""

    owners: frozenset[UUID | None]
    amounts: Sequence[tuple[Unit, int]]


async def examine(request: Call, deed: Deed) -> Examined:
    """Return where the deed belongs and whom it serves, for a caller who may have it done.

    ForbiddenError if their role may not, NotFoundError for what they do not reach.
    """
    desk, principal, action = request.desk, request.user, ACTIONS[type(deed)]
    check_may(principal, action)
    places: list[UUID | None] = []
    match deed:
        case AwardDeed():
            owners = await _owners(desk, principal, action, [deed.account_id])
        case PoolTransferDeed():
            accounts = [deed.to_account_id, deed.from_account_id]
            owners = await _owners(desk, principal, action, accounts)
        case BatchDeed():
            owners = await _owners(desk, principal, action, _accounts_of(deed))
        case ReversalDeed():
            touched = await check_reaches_chain(desk, principal, deed.transfer_id)
            owners = list(touched.owners)
        case RoleGrantDeed():
            owners = [await _check_grant(desk, principal, deed)]
            places = [deed.branch_id]  # a role for the whole bank is granted at its root
        case RateDeed() | CapsDeed() | StarRuleDeed():
            owners = []
            await _check_rules(desk, principal, deed)
        case AllocationDeed():
            owners = [await check_allocation(desk, principal, deed)]
            places = [deed.branch_id]
        case CapRuleDeed() | MinorCapDeed() | PassCapDeed() | SaturationDeed():
            owners = await check_caps(desk, principal, action, deed)
        case RecordReversalDeed():
            return await _examine_record(desk, principal, deed)
        case ErasureDeed():
            async with desk.pool.acquire() as connection:
                await check_reaches_person(connection, principal, action, deed.person_id)
            owners = [deed.person_id]
    async with desk.pool.acquire() as connection:
        branch_id = await find_common_branch(connection, principal.bank_id, [*owners, *places])
        served = await list_persons_behind(connection, principal.bank_id, owners)
    return Examined(branch_id, served)


async def prepare(request: Call, proposed: Approval, deed: Deed) -> list[Chain]:
    """Return what a deed posts, if it posts; call it before the proposal is locked.

    It may ask for a connection: whoever held the lock then, and all that wait for it, would wait
    for one another.
    """
    desk, actor = request.desk, Actor(request.user.bank_id, proposed.maker_id, proposed.approval_id)
    match deed:
        case AwardDeed():
            return [[await make_award(desk, actor, deed)]]
        case PoolTransferDeed():
            return [[await make_transfer(desk, actor, deed)]]
        case BatchDeed():
            return await make_chains(desk, actor, deed.rows)
    return []


async def perform(
    connection: Connection, request: Call, done: Approval, deed: Deed, chains: list[Chain]
) -> None:
    """Do what was approved, in the transaction of the approval; its maker is the actor.

    `chains` are what `prepare` returned.
    """
    bank_id = request.user.bank_id
    match deed:
        case AwardDeed() | PoolTransferDeed() | BatchDeed():
            raise_if_refused(await post(connection, bank_id, chains))
        case ReversalDeed():
            raise_if_refused(await _reverse(connection, bank_id, done, deed))
        case RoleGrantDeed():
            await _grant(connection, bank_id, done, deed)
        case RateDeed() | CapsDeed() | StarRuleDeed():
            await _set_rules(connection, bank_id, done, deed)
        case RecordReversalDeed():
            await reverse_record(
                connection,
                bank_id,
                done.maker_id,
                deed.record_id,
                reason=deed.reason,
                when_spent=deed.when_spent,
            )
        case AllocationDeed():
            await do_allocate(connection, bank_id, done, deed)
        case CapRuleDeed() | MinorCapDeed() | PassCapDeed() | SaturationDeed():
            await put_in_force(connection, bank_id, done, deed)
        case ErasureDeed():
            access = access_of(request, Purpose.SUBJECT_ACCESS)
            await erase_person(connection, access, deed.person_id)


async def _grant(connection: Connection, bank_id: int, done: Approval, deed: RoleGrantDeed) -> None:
    await grant_role(
        connection,
        bank_id,
        deed.party_id,
        deed.role,
        deed.branch_id,
        merchant_id=deed.merchant_id,
        granted_by=done.maker_id,
        approved_by=done.checker_id or done.maker_id,
    )


async def _reverse(
    connection: Connection, bank_id: int, done: Approval, deed: ReversalDeed
) -> list[Outcome]:
    await check_not_of_record(connection, bank_id, deed.transfer_id)
    return await reverse(
        connection,
        bank_id,
        deed.transfer_id,
        reversal_id=derive_id(done.approval_id, "reversal"),
        actor_id=done.maker_id,
        reason=deed.reason,
        when_spent=deed.when_spent,
    )


def _accounts_of(batch: BatchDeed) -> list[UUID]:
    """Return the accounts that the rows give to and take from, each once."""
    accounts: dict[UUID, None] = {}
    for row in batch.rows:
        if isinstance(row, AwardRow):
            accounts[row.account_id] = None
        else:
            accounts |= {row.to_account_id: None, row.from_account_id: None}
    return list(accounts)


async def _owners(
    desk: Desk, principal: Principal, action: Action, account_ids: Iterable[UUID]
) -> list[UUID | None]:
    return [
        (await desk.account_seen_by(principal, account_id, action)).owner_id
        for account_id in account_ids
    ]


async def check_reaches_chain(desk: Desk, principal: Principal, transfer_id: UUID) -> Touched:
    """Return what reversing a transfer and its chain touches.

    Issuance accounts are left out: they are nobody's. NotFoundError unless the caller reaches all.
    """
    async with desk.pool.acquire() as connection:
        chain = await list_chain(connection, principal.bank_id, transfer_id)
    owners: set[UUID | None] = set()
    amounts = []
    for entry in chain:
        for account_id in (entry.credit_account_id, entry.debit_account_id):
            account = await desk.find_account(principal.bank_id, account_id)
            if account and account.kind is not AccountKind.ISSUANCE:
                await desk.check_reaches(principal, Action.REVERSE, account.owner_id)
                owners.add(account.owner_id)
        if account and entry.status is TransferStatus.POSTED:
            amounts.append((account.unit, entry.amount))
    return Touched(frozenset(owners), amounts)


async def _check_grant(desk: Desk, principal: Principal, deed: RoleGrantDeed) -> UUID:
    """Return whom the role is for; NotFoundError unless the caller reaches them and the branch."""
    if deed.role is Role.RESIDENT:
        raise InvalidInputError("A resident is registered, not granted.", pointer="/role")
    if (deed.role in {Role.CLERK, Role.MERCHANT}) != (deed.merchant_id is not None):
        raise InvalidInputError("A merchant goes with these roles.", pointer="/merchant_id")
    bank = await desk.bank(principal.bank_id)
    async with desk.pool.acquire() as connection:
        for kind in _KINDS.get(deed.role, (PartyKind.PERSON,)):
            if await is_party(connection, bank.bank_id, deed.party_id, kind):
                break
        else:
            raise NotFoundError
        place = deed.branch_id or bank.root_id
        if deed.role is Role.INTEGRATOR and place != bank.root_id:
            raise InvalidInputError("An integrator is of the whole bank.", pointer="/branch_id")
        if deed.merchant_id and not await is_party(
            connection, bank.bank_id, deed.merchant_id, PartyKind.MERCHANT
        ):
            raise NotFoundError
        for party_id in filter(None, (deed.party_id, place, deed.merchant_id)):
            await check_reaches_party(connection, principal, Action.GRANT_ROLE, party_id)
    return deed.party_id


async def _check_rules(desk: Desk, principal: Principal, deed: RuleDeed) -> None:
    """Raise NotFoundError unless the caller reaches the whole bank and the category exists."""
    check_days(deed.effective_on, deed.effective_on, "/effective_on")
    if isinstance(deed, StarRuleDeed) and (fault := find_faults(deed.rule())):
        raise InvalidInputError(fault, pointer="/hours")
    async with desk.pool.acquire() as connection:
        await check_reaches_party(connection, principal, ACTIONS[type(deed)], None)
        if isinstance(deed, RateDeed):
            await get_category(connection, principal.bank_id, deed.category_id)


async def _set_rules(connection: Connection, bank_id: int, done: Approval, deed: RuleDeed) -> None:
    if isinstance(deed, StarRuleDeed):
        await set_star_rule(connection, bank_id, done.maker_id, deed.rule())
        return
    if isinstance(deed, CapsDeed):
        caps = Caps(
            effective_on=deed.effective_on,
            minutes_per_activity=deed.minutes_per_activity,
            minutes_per_day=deed.minutes_per_day,
        )
        await set_caps(connection, bank_id, done.maker_id, caps)
        return
    rate = await propose_rate(
        connection,
        bank_id,
        done.maker_id,
        category_id=deed.category_id,
        points_per_hour=deed.points_per_hour,
        effective_on=deed.effective_on,
    )
    await approve_rate(connection, bank_id, done.checker_id or done.maker_id, rate.rate_id)


async def _examine_record(desk: Desk, principal: Principal, deed: RecordReversalDeed) -> Examined:
    """Return whose record it is, and of which branch; NotFoundError out of the caller's reach."""
    bank_id = principal.bank_id
    async with desk.pool.acquire() as connection:
        record = await get_record(connection, bank_id, deed.record_id)
        place = await place_of_record(connection, bank_id, record)
        await check_reaches_party(connection, principal, Action.REVERSE_RECORD, place)
        path = await list_path_of(connection, bank_id, place)
        served = await list_persons_behind(connection, bank_id, [record.person_id])
    return Examined(path[0], served)
