"""What four eyes do with points that are given, what staff see, and overrides at the counter."""

from typing import Any

import pytest

from tests.api.client import Caller, check_problem, token_for
from tests.api.counter import Counter
from tests.api.test_caps import agreed, two_of
from tests.places import open_branch, place
from timebank.domain.ledger import AccountKind
from timebank.domain.redemption import CapScope
from timebank.ledger.ids import new_id
from timebank.people.access import Role
from timebank.redemption.families import found_family


async def test_a_pool_helps_a_household_by_four_eyes(counter: Counter) -> None:
    book = counter.api.book
    here = await open_branch(book)
    pool = await book.open_account(AccountKind.POOL, balance=50, owner_id=here)
    needy = await counter.api.resident()
    await place(book, needy.resident_id, here)
    family_id = new_id()
    async with book.pool.acquire() as connection:
        family_pool = await found_family(
            connection, book.bank_id, family_id, {needy.resident_id: True}
        )
    two = await two_of(counter, Role.COORDINATOR)
    deed = {"deed": "allocation", "branch_id": str(here), "points": 20}
    await agreed(*two, {**deed, "resident_id": str(needy.resident_id)})
    await agreed(*two, {**deed, "family_id": str(family_id)})
    assert await book.balance(needy.wallet) == 20
    assert await book.balance(family_pool) == 20
    assert await book.balance(pool) == 10
    too_much = (await two[0].post("/approvals", {**deed, "family_id": str(family_id)})).json()
    decision = {"decision": "approved", "content_hash": too_much["content_hash"]}
    path = f"/approvals/{too_much['approval_id']}"
    answer = await two[1].post(f"{path}/decision", decision)
    check_problem(answer, "insufficient_points")
    assert (await two[0].get(path)).json()["state"] == "proposed"


async def test_whom_an_allocation_serves_has_no_part_in_it(counter: Counter) -> None:
    book = counter.api.book
    await book.open_account(AccountKind.POOL, balance=50, owner_id=book.bank.root_id)
    served = await counter.api.resident()
    token = await token_for(book, Role.COORDINATOR, served.resident_id)
    deed = {"deed": "allocation", "branch_id": str(book.bank.root_id), "points": 1}
    body = {**deed, "resident_id": str(served.resident_id)}
    answer = await Caller(counter.api.http, token).post("/approvals", body)
    check_problem(answer, "second_person_needed")


async def test_an_allocation_is_of_ones_branch_to_ones_residents(counter: Counter) -> None:
    book = counter.api.book
    here, there = await open_branch(book), await open_branch(book)
    for branch_id in (here, there):
        await book.open_account(AccountKind.POOL, balance=5, owner_id=branch_id)
    own, foreign = [await counter.api.resident() for _ in range(2)]
    for resident, branch_id in ((own, here), (foreign, there)):
        await place(book, resident.resident_id, branch_id)
    [coordinator, _] = await two_of(counter, Role.COORDINATOR, here)
    for branch_id, resident, code in (
        (here, foreign, "not_found"),
        (there, own, "not_found"),
        (new_id(), own, "not_found"),
    ):
        deed = {"deed": "allocation", "branch_id": str(branch_id), "points": 1}
        body = {**deed, "resident_id": str(resident.resident_id)}
        check_problem(await coordinator.post("/approvals", body), code)
    deed = {"deed": "allocation", "branch_id": str(here), "points": 1}
    check_problem(await coordinator.post("/approvals", deed), "invalid_input")
    body = {**deed, "resident_id": str(own.resident_id)}
    assert (await coordinator.post("/approvals", body)).status_code == 201


@pytest.mark.parametrize(
    ("language", "words"),
    [("zh-CN", "收入 40 分，没有支出"), ("zh-TW", "沒有支出"), ("en", "40 points came in")],
)
async def test_a_full_shop_is_told_by_the_banks_own_bounds(
    counter: Counter, language: str, words: str
) -> None:
    await counter.captured(await counter.api.resident(points=40), 40)
    found = (await counter.coordinator.get("/saturation")).json()
    assert (found["data"], found["points"], found["percent_out"]) == ([], 1000, 20)
    administrators = await two_of(counter, Role.ADMINISTRATOR)
    deed = {"deed": "saturation", "days": 7, "points": 40, "percent_out": 10}
    check_problem(await counter.coordinator.post("/approvals", deed), "forbidden")
    await agreed(*administrators, deed)
    answer = await counter.coordinator.get("/saturation", {"Accept-Language": language})
    assert (answer.json()["days"], answer.json()["points"]) == (7, 40)
    [full] = answer.json()["data"]
    assert (full["reason"], full["came_in"], full["went_out"]) == ("only_fills", 40, 0)
    assert words in full["words"]
    [elsewhere, _] = await two_of(counter, Role.COORDINATOR, await open_branch(counter.api.book))
    assert (await elsewhere.get("/saturation")).json()["data"] == []
    check_problem(await counter.clerk.get("/saturation"), "forbidden")


async def override_for(counter: Counter, scope: CapScope, subject_id: Any) -> str:
    """Leave of two coordinators to pass a cap by 20."""
    deed = {
        "deed": "pass_cap",
        "scope": scope.value,
        "subject_id": str(subject_id),
        "amount": 20,
        "reason": "event",
    }
    return await agreed(*(await two_of(counter, Role.COORDINATOR)), deed)


@pytest.mark.parametrize("scope", [CapScope.PERSON_DAY, CapScope.MERCHANT_DAY, CapScope.CLERK_DAY])
async def test_a_charge_takes_an_override(counter: Counter, scope: CapScope) -> None:
    """Whichever of its two acts the cap stands against, and once."""
    resident = await counter.api.resident(points=100)
    subject = {
        CapScope.PERSON_DAY: resident.resident_id,
        CapScope.MERCHANT_DAY: counter.market.merchant_id,
        CapScope.CLERK_DAY: (await counter.clerk.get("/sessions/me")).json()["party_id"],
    }[scope]
    await counter.market.cap(scope, 5)

    async def charge(**more: str) -> Any:
        code = await counter.payment_code(resident)
        return await counter.clerk.post("/charges", {"code": code, "points": 20, **more})

    refused = check_problem(await charge(), "cap_exceeded")
    assert scope in refused["detail"]
    assert await counter.api.book.balance(resident.wallet) == 100
    override_id = await override_for(counter, scope, subject)
    charged = await charge(override_id=override_id)
    assert charged.status_code == 201, charged.text
    check_problem(await charge(override_id=override_id), "override_not_valid")
    check_problem(await charge(override_id=str(new_id())), "override_not_valid")
    assert await counter.api.book.balance(resident.wallet) == 80
    [used] = (await counter.api.auditor.get("/overrides", is_used="true")).json()["data"]
    assert (used["scope"], used["subject_id"]) == (scope, str(subject))


async def test_overrides_are_listed_page_by_page(counter: Counter) -> None:
    subjects = [str(new_id()) for _ in range(3)]
    made = [await override_for(counter, CapScope.MERCHANT_DAY, one) for one in subjects]
    seen, cursor = [], None
    for _ in range(3):
        page = (await counter.api.auditor.get("/overrides", limit=1, cursor=cursor)).json()
        seen += [one["override_id"] for one in page["data"]]
        cursor = page["next_cursor"]
    assert seen == sorted(made, reverse=True)
    assert cursor is None
