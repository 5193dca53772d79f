"""Applying once more, or with what is known already; another coordinator decides, as ever."""

from datetime import UTC, date, datetime
from typing import Any

import httpx
import pytest

from tests.api.client import Api, check_only_fault, check_problem
from tests.api.counter_desk import CounterDesk
from tests.people.desk import person

CHILD = date(datetime.now(UTC).year - 10, 1, 1)


@pytest.fixture
async def desk(api: Api) -> CounterDesk:
    return await CounterDesk.open(api)


async def applied(desk: CounterDesk, person_id: str, **said: Any) -> Any:
    return await desk.operator.post(f"/persons/{person_id}/application", said)


async def approved(desk: CounterDesk, person_id: str, by: str = "checker") -> httpx.Response:
    caller = desk.checker if by == "checker" else desk.operator
    return await caller.post(f"/residents/{person_id}/decision", {"decision": "approved"})


async def test_who_was_rejected_or_left_applies_again(desk: CounterDesk) -> None:
    member = await desk.member()
    check_problem(await applied(desk, member.resident_id), "membership_refused")
    assert (await desk.operator.post(f"{member.path}/leave", {})).status_code == 201
    answer = await applied(desk, member.resident_id)
    assert answer.json() == {
        "resident_id": member.resident_id,
        "member_number": member.number,
        "is_minor": False,
    }
    check_problem(await applied(desk, member.resident_id), "membership_refused")
    check_problem(await approved(desk, member.resident_id, by="operator"), "second_person_needed")
    rejected = await desk.checker.post(f"{member.path}/decision", {"decision": "rejected"})
    assert rejected.status_code == 201
    assert (await applied(desk, member.resident_id)).status_code == 201
    # They left, and two coordinators alone do not bring them back: they sign anew.
    check_problem(await approved(desk, member.resident_id), "consent_missing")
    said = {"said": {"membership": True}, "paper": await desk.paper()}
    assert (await desk.operator.post(f"{member.path}/consents", said)).status_code == 201
    assert (await approved(desk, member.resident_id)).status_code == 201


async def test_a_guardian_becomes_a_resident(desk: CounterDesk) -> None:
    """They signed nothing so far but as a guardian: a new sheet, and the birthday, are needed."""
    guardian = (await desk.operator.post("/persons", {"name": "王秀英"})).json()["person_id"]
    child = await desk.member(person(CHILD), guardian_id=guardian)
    check_problem(await applied(desk, guardian), "invalid_input")
    known = {"born_on": "1960-03-01"}
    answer = await desk.operator.post(f"/persons/{guardian}/corrections", known)
    assert answer.status_code == 201
    check_only_fault(await applied(desk, guardian, consents=["membership"]), "/paper")
    assert (await applied(desk, guardian)).status_code == 201
    check_problem(await approved(desk, guardian), "consent_missing")
    said = {"said": {"membership": True}, "paper": await desk.paper()}
    answer = await desk.operator.post(f"/residents/{guardian}/consents", said)
    assert answer.status_code == 201, answer.text
    assert (await approved(desk, guardian)).status_code == 201
    kin = (await desk.operator.get(f"{child.path}/kin")).json()["guardians"]
    assert [one["guardian_id"] for one in kin] == [guardian]


async def test_a_minor_applies_again_with_a_guardian(desk: CounterDesk) -> None:
    guardian = (await desk.operator.post("/persons", {"name": "王秀英"})).json()["person_id"]
    child = await desk.member(person(CHILD), guardian_id=guardian)
    assert (await desk.operator.post(f"{child.path}/leave", {})).status_code == 201
    check_problem(await applied(desk, child.resident_id), "guardian_needed")
    check_only_fault(await applied(desk, child.resident_id, guardian_id=guardian), "/paper")
    signed = {"consents": ["membership"], "paper": await desk.paper("registration")}
    answer = await applied(desk, child.resident_id, guardian_id=guardian, **signed)
    assert answer.json()["is_minor"] is True
    assert (await approved(desk, child.resident_id)).status_code == 201
