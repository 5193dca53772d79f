"""Four eyes where it is easy to slip past: chains, kin, roles that ended, scopes, branches."""

from typing import Any
from uuid import UUID

import pytest

from tests.api.client import Api, Caller, check_only_fault, check_problem, token_for
from tests.api.service import key_file
from tests.api.test_approvals import coordinators, decided, person, proposed
from tests.families import open_family
from tests.people.desk import Desk
from tests.people.test_kin import child_of
from tests.places import open_branch, place
from timebank.domain.ledger import AccountKind
from timebank.ledger.ids import new_id
from timebank.people.access import Action, Role
from timebank.people.grants import list_grants, revoke_grant
from timebank.people.kin import name_guardian
from timebank.people.parties import PartyKind, register_parties
from timebank.redemption.families import leave_family


async def chained(api: Api, *points: int) -> tuple[list[UUID], str]:
    """Award new wallets these points in one chain; return the wallets and one transfer."""
    wallets = [await api.book.open_account() for _ in points]
    rows = [
        {"type": "award", "account_id": str(wallet), "points": amount, "chain": "a"}
        for wallet, amount in zip(wallets, points, strict=True)
    ]
    answer = await api.system.post("/batches", {"rows": rows})
    assert answer.json()["posted"] == len(rows), answer.text
    return wallets, answer.json()["results"][-1]["transfer_id"]


@pytest.mark.parametrize(("points", "is_large"), [((60, 40), False), ((60, 41), True)])
async def test_a_chain_is_large_by_what_it_sums_up_to(
    api: Api, points: tuple[int, ...], is_large: bool
) -> None:
    maker, checker = await coordinators(api)
    wallets, transfer_id = await chained(api, *points)
    answer = await maker.caller.post(f"/transfers/{transfer_id}/reversal", {"reason": "abuse"})
    if is_large:
        check_problem(answer, "second_person_needed")
        assert [await api.book.balance(wallet) for wallet in wallets] == list(points)
        deed = {"deed": "reversal", "transfer_id": transfer_id, "reason": "abuse"}
        assert (await decided(checker, await proposed(maker, deed))).status_code == 200
    else:
        assert answer.status_code == 201, answer.text
    assert [await api.book.balance(wallet) for wallet in wallets] == [0] * len(wallets)


async def test_a_transfer_between_two_owners_counts_once(api: Api) -> None:
    coordinator = await person(api, Role.COORDINATOR)
    pool, wallet = await api.pool(points=100), await api.book.open_account()
    give: dict[str, Any] = {
        "from_account_id": str(pool),
        "to_account_id": str(wallet),
        "points": 100,
    }
    transfer_id = (await api.system.post("/transfers", give)).json()["transfer_id"]
    path = f"/transfers/{transfer_id}/reversal"
    answer = await coordinator.caller.post(path, {"reason": "duplicate"})
    assert answer.status_code == 201, answer.text


async def test_kin_family_and_staff_are_served_with_the_owner(api: Api) -> None:
    """A guardian by their child, a family by its pool, a clerk by their merchant."""
    book = api.book
    desk = await Desk.open(book, key_file().parent)
    guardian, member, (other, checker) = (
        await person(api, Role.COORDINATOR),
        await person(api, Role.COORDINATOR),
        await coordinators(api),
    )
    clerk, merchant_id = await person(api, Role.COORDINATOR), new_id()
    await token_for(book, Role.CLERK, clerk.party_id, merchant_id=merchant_id)
    child_id = await child_of(desk, guardian.party_id)
    async with book.pool.acquire() as connection:
        await register_parties(connection, book.bank_id, PartyKind.MERCHANT, [merchant_id])
        pool = await open_family(
            connection, book.bank_id, new_id(), {member.party_id: False, child_id: False}
        )
    wallet = await book.open_account(owner_id=child_id)
    takings = await book.open_account(AccountKind.MERCHANT, owner_id=merchant_id)
    for account_id, served in (
        (wallet, [guardian]),
        (pool, [member, guardian]),
        (takings, [clerk]),
    ):
        award = {"deed": "award", "account_id": str(account_id), "points": 1}
        proposal = await proposed(other, award)
        for somebody in served:
            check_problem(await somebody.caller.post("/approvals", award), "second_person_needed")
            check_problem(await decided(somebody, proposal), "second_person_needed")
        answer = await decided(checker, proposal, decision="rejected")
        assert answer.status_code == 200, answer.text
    small = book.award(wallet, 1)
    await book.post_all(small)
    path = f"/transfers/{small.transfer_id}/reversal"
    check_problem(await guardian.caller.post(path, {"reason": "abuse"}), "second_person_needed")


async def test_who_comes_to_be_served_after_the_proposal_has_no_part_in_it(api: Api) -> None:
    desk = await Desk.open(api.book, key_file().parent)
    maker, checker = await coordinators(api)
    child_id = await child_of(desk, (await person(api, Role.AUDITOR)).party_id)
    wallet = await api.book.open_account(owner_id=child_id)
    award = {"deed": "award", "account_id": str(wallet), "points": 1}
    by_maker, by_checker = await proposed(maker, award), await proposed(checker, award)
    async with api.book.pool.acquire() as connection:
        await name_guardian(
            connection, api.book.bank_id, child_id, maker.party_id, named_by=checker.party_id
        )
    check_problem(await decided(maker, by_checker), "second_person_needed")
    check_problem(await decided(checker, by_maker), "second_person_needed")
    assert await api.book.balance(wallet) == 0
    answer = await decided(checker, by_maker, decision="rejected")
    assert answer.status_code == 200


async def revoke_roles(api: Api, party_id: UUID) -> None:
    async with api.book.pool.acquire() as connection:
        for grant in await list_grants(connection, api.book.bank_id, party_id):
            await revoke_grant(connection, api.book.bank_id, grant.grant_id)


async def test_a_proposal_does_not_outlive_its_makers_role(api: Api) -> None:
    """Neither a role that may not have it done counts, nor one of another branch."""
    here, there = await open_branch(api.book), await open_branch(api.book)
    maker, checker = await coordinators(api, here)
    resident = await api.resident()
    await place(api.book, resident.resident_id, here)
    award = {"deed": "award", "account_id": str(resident.wallet), "points": 1}
    approved, rejected = await proposed(maker, award), await proposed(maker, award)
    await revoke_roles(api, maker.party_id)
    check_problem(await decided(checker, approved), "approval_lapsed")
    await token_for(api.book, Role.ADMINISTRATOR, maker.party_id)
    await token_for(api.book, Role.COORDINATOR, maker.party_id, branch_id=there)
    check_problem(await decided(checker, approved), "approval_lapsed")
    assert (await decided(checker, rejected, decision="rejected")).status_code == 200
    assert await api.book.balance(resident.wallet) == 0
    await token_for(api.book, Role.COORDINATOR, maker.party_id)  # the whole bank reaches it too
    assert (await decided(checker, approved)).status_code == 200
    assert await api.book.balance(resident.wallet) == 1


async def test_a_batch_passes_no_scope(api: Api) -> None:
    """A system that may award only gives from no pool by way of a batch."""
    pool, wallet = await api.pool(points=5), await api.book.open_account()
    award = {"type": "award", "account_id": str(wallet), "points": 1}
    give = {
        "type": "transfer",
        "from_account_id": str(pool),
        "to_account_id": str(wallet),
        "points": 5,
    }
    scopes = [Action.AWARD, Action.TRANSFER_FROM_POOL]
    awards, both = [
        Caller(api.http, await token_for(api.book, Role.INTEGRATOR, scopes=some))
        for some in (scopes[:1], scopes)
    ]
    check_problem(await awards.post("/batches", {"rows": [award, give]}), "forbidden")
    assert await api.book.balance(wallet) == 0
    assert (await awards.post("/batches", {"rows": [award]})).status_code == 200
    assert (await both.post("/batches", {"rows": [give]})).status_code == 200
    assert await api.book.balance(wallet) == 6


async def test_a_familys_pool_is_spent_by_the_family(api: Api) -> None:
    """No system takes from it, and two coordinators only what all have left behind."""
    maker, checker = await coordinators(api)
    resident, family_id, bank_id = await api.resident(), new_id(), api.book.bank_id
    async with api.book.pool.acquire() as connection:
        members = {resident.resident_id: True}
        pool = await open_family(connection, bank_id, family_id, members)
    await api.book.post_all(api.book.award(pool, 9))
    to = await api.pool()
    give = {"from_account_id": str(pool), "to_account_id": str(to), "points": 4}
    row = {"type": "transfer", **give}
    deeds = [{"deed": "pool_transfer", **give}, {"deed": "batch", "rows": [row]}]
    proposals = [await proposed(maker, deed) for deed in deeds]
    for proposal, pointer in zip(proposals, ("", "/rows/0"), strict=True):
        check_only_fault(await decided(checker, proposal), f"{pointer}/from_account_id")

    async def check_no_system_takes() -> None:
        check_only_fault(await api.system.post("/transfers", give), "/from_account_id")
        answer = await api.system.post("/batches", {"rows": [row]})
        check_only_fault(answer, "/rows/0/from_account_id")

    await check_no_system_takes()
    assert await api.book.balance(pool) == 9
    async with api.book.pool.acquire() as connection:
        await leave_family(connection, bank_id, family_id, resident.resident_id)
    await check_no_system_takes()
    for proposal in proposals:
        assert (await decided(checker, proposal)).status_code == 200
    assert await api.book.balance(to) == 8


async def test_a_deed_is_filed_where_all_that_it_touches_hangs(api: Api) -> None:
    """Who reaches one of several owners sees nothing of the others."""
    street = await open_branch(api.book)
    here, there = [await open_branch(api.book, street) for _ in range(2)]
    residents = [await api.resident() for _ in range(2)]
    for resident, branch_id in zip(residents, (here, there), strict=True):
        await place(api.book, resident.resident_id, branch_id)
    pool = await api.book.open_account(AccountKind.POOL, balance=9, owner_id=street)
    of_bank = await api.pool(points=9)
    maker = await person(api, Role.COORDINATOR)
    awards = [
        {"type": "award", "account_id": str(resident.wallet), "points": 1} for resident in residents
    ]
    give = {"deed": "pool_transfer", "to_account_id": str(residents[0].wallet), "points": 1}
    for deed, branch_id in (
        ({"deed": "batch", "rows": awards[:1]}, here),
        ({"deed": "batch", "rows": awards}, street),
        ({**give, "from_account_id": str(pool)}, street),
        ({**give, "from_account_id": str(of_bank)}, api.book.bank.root_id),
    ):
        assert (await proposed(maker, deed))["branch_id"] == str(branch_id)
    near = await person(api, Role.COORDINATOR, here)
    seen = (await near.caller.get("/approvals")).json()["data"]
    assert [proposal["branch_id"] for proposal in seen] == [str(here)]


async def test_a_role_for_the_bank_is_filed_at_its_root(api: Api) -> None:
    here = await open_branch(api.book)
    maker, newcomer = await person(api, Role.ADMINISTRATOR), await person(api, Role.AUDITOR)
    await place(api.book, newcomer.party_id, here)
    grant = {"deed": "role_grant", "party_id": str(newcomer.party_id), "role": "coordinator"}
    for branch_id in (here, None):
        deed = {**grant, "branch_id": branch_id and str(branch_id)}
        filed = (await proposed(maker, deed))["branch_id"]
        assert filed == str(branch_id or api.book.bank.root_id)


@pytest.mark.parametrize("role", [Role.AUDITOR, Role.ADMINISTRATOR])
@pytest.mark.parametrize("path", ["/audit-log", "/trial-balance"])
async def test_a_role_of_a_branch_does_not_see_the_whole_bank(
    api: Api, role: Role, path: str
) -> None:
    of_branch = await person(api, role, await open_branch(api.book))
    check_problem(await of_branch.caller.get(path), "forbidden")
    assert (await (await person(api, role)).caller.get(path)).status_code == 200


async def test_an_integrator_is_of_the_whole_bank_and_a_clerk_of_a_merchant(api: Api) -> None:
    here, there = [await open_branch(api.book) for _ in range(2)]
    root = await person(api, Role.ADMINISTRATOR)
    local = await person(api, Role.ADMINISTRATOR, here)
    system, clerk, merchant, abroad = [new_id() for _ in range(4)]
    async with api.book.pool.acquire() as connection:
        for kind, party_ids in (
            (PartyKind.SYSTEM, [system]),
            (PartyKind.PERSON, [clerk]),
            (PartyKind.MERCHANT, [merchant, abroad]),
        ):
            await register_parties(connection, api.book.bank_id, kind, party_ids)
    for party_id, branch_id in ((clerk, here), (merchant, here), (abroad, there), (system, here)):
        await place(api.book, party_id, branch_id)
    integrator = {"deed": "role_grant", "party_id": str(system), "role": "integrator"}
    for somebody in (root, local):
        answer = await somebody.caller.post("/approvals", {**integrator, "branch_id": str(here)})
        check_only_fault(answer, "/branch_id")
    await proposed(root, integrator)
    at_till = {"deed": "role_grant", "party_id": str(clerk), "role": "clerk"}
    at_till["branch_id"] = str(here)
    for no_merchant in (new_id(), clerk):
        answer = await root.caller.post("/approvals", {**at_till, "merchant_id": str(no_merchant)})
        check_problem(answer, "not_found")
    answer = await local.caller.post("/approvals", {**at_till, "merchant_id": str(abroad)})
    check_problem(answer, "not_found")
    await proposed(local, {**at_till, "merchant_id": str(merchant)})
