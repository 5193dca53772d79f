"""Caps over HTTP: set and passed by two persons, and what a human should look at, in words."""

from typing import Any
from uuid import UUID

import pytest

from tests.api.client import Caller, check_only_fault, check_problem, token_for
from tests.api.counter import Counter, clerk_of
from tests.places import open_branch, place
from timebank.ledger.ids import new_id
from timebank.people.access import Role


async def two_of(counter: Counter, role: Role, branch_id: UUID | None = None) -> list[Caller]:
    tokens = [await token_for(counter.api.book, role, branch_id=branch_id) for _ in range(2)]
    return [Caller(counter.api.http, token) for token in tokens]


async def agreed(maker: Caller, checker: Caller, deed: dict[str, Any]) -> str:
    """Propose and approve; return the approval's id."""
    proposed = await maker.post("/approvals", deed)
    assert proposed.status_code == 201, proposed.text
    path = f"/approvals/{proposed.json()['approval_id']}"
    body = {"decision": "approved", "content_hash": proposed.json()["content_hash"]}
    check_problem(await maker.post(f"{path}/decision", body), "second_person_needed")
    decided = await checker.post(f"{path}/decision", body)
    assert decided.status_code == 200, decided.text
    approval_id: str = proposed.json()["approval_id"]
    return approval_id


async def test_a_cap_is_set_by_two_administrators_and_passed_once(counter: Counter) -> None:
    resident = await counter.api.resident(points=100)
    administrators = await two_of(counter, Role.ADMINISTRATOR)
    coordinators = await two_of(counter, Role.COORDINATOR)
    cap = {"deed": "cap_rule", "scope": "person_day", "points": 15}
    check_problem(await coordinators[0].post("/approvals", cap), "forbidden")
    await agreed(*administrators, cap)
    [listed] = (await counter.coordinator.get("/caps")).json()["data"]
    assert (listed["scope"], listed["points"]) == ("person_day", 15)
    assert UUID(listed["subject_id"]).int == 0
    assert (await counter.hold(resident)).status_code == 201
    answer = await counter.hold(resident)
    assert "person_day" in check_problem(answer, "cap_exceeded")["detail"]
    override = {
        "deed": "pass_cap",
        "scope": "person_day",
        "subject_id": str(resident.resident_id),
        "amount": 10,
        "reason": "hardship",
    }
    override_id = await agreed(*coordinators, override)
    check_problem(
        await counter.hold(resident, points=11, override_id=override_id), "override_not_valid"
    )
    assert (await counter.hold(resident, override_id=override_id)).status_code == 201
    check_problem(await counter.hold(resident, override_id=override_id), "override_not_valid")


async def test_whom_an_override_serves_does_not_decide_it(counter: Counter) -> None:
    served = new_id()
    caller = Caller(counter.api.http, await token_for(counter.api.book, Role.COORDINATOR, served))
    override = {
        "deed": "pass_cap",
        "scope": "person_day",
        "subject_id": str(served),
        "amount": 10,
        "reason": "event",
    }
    check_problem(await caller.post("/approvals", override), "second_person_needed")


async def test_an_override_is_for_the_coordinators_branch(counter: Counter) -> None:
    resident = await counter.api.resident()
    [coordinator, _] = await two_of(counter, Role.COORDINATOR, await open_branch(counter.api.book))
    override = {
        "deed": "pass_cap",
        "scope": "person_day",
        "subject_id": str(resident.resident_id),
        "amount": 10,
        "reason": "event",
    }
    check_problem(await coordinator.post("/approvals", override), "not_found")


@pytest.mark.parametrize(
    ("deed", "pointer"),
    [
        ({"deed": "cap_rule", "scope": "offer_person", "points": 1}, "/points"),
        ({"deed": "cap_rule", "scope": "person_day", "points": -1}, "/points"),
        (
            {
                "deed": "pass_cap",
                "scope": "offer_person",
                "subject_id": str(new_id()),
                "amount": 1,
                "reason": "event",
            },
            "/offer_id",
        ),
    ],
)
async def test_what_no_cap_could_be_is_refused_before_it_is_proposed(
    counter: Counter, deed: dict[str, Any], pointer: str
) -> None:
    role = Role.ADMINISTRATOR if deed["deed"] == "cap_rule" else Role.COORDINATOR
    [maker, _] = await two_of(counter, role)
    check_only_fault(await maker.post("/approvals", deed), pointer)


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("zh-CN", "为自己兑换了 1 次"),
        ("zh-TW", "為自己兌換了 1 次"),
        ("en", "Redeemed for themselves 1 times"),
    ],
)
async def test_anomalies_say_why_in_the_readers_language(
    counter: Counter, language: str, words: str
) -> None:
    resident = await counter.api.resident(points=100)
    self_served = await clerk_of(counter.api, counter.market.merchant_id, resident.resident_id)
    hold_id, code = await counter.held(resident)
    captured = await self_served.post(f"/holds/{hold_id}/captures", {"code": code})
    assert captured.status_code == 201
    found = (await counter.coordinator.get("/anomalies", {"Accept-Language": language})).json()
    [anomaly] = found["data"]
    assert (anomaly["reason"], anomaly["words"]) == ("captures_for_oneself", words)
    assert anomaly["subject_id"] == str(resident.resident_id)


async def test_anomalies_are_of_the_readers_branch(counter: Counter) -> None:
    book = counter.api.book
    resident = await counter.api.resident(points=100)
    own, other = await open_branch(book), await open_branch(book)
    await place(book, resident.resident_id, own)
    clerk = await clerk_of(counter.api, counter.market.merchant_id, resident.resident_id)
    hold_id, code = await counter.held(resident)
    await clerk.post(f"/holds/{hold_id}/captures", {"code": code})
    for branch_id, seen in ((own, 1), (other, 0)):
        [coordinator, _] = await two_of(counter, Role.COORDINATOR, branch_id)
        assert len((await coordinator.get("/anomalies")).json()["data"]) == seen
    check_problem(await counter.clerk.get("/anomalies"), "forbidden")
