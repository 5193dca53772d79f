"""Stars and honours over HTTP: rules by four eyes, grades once, honours by three persons."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from tests.api.client import Api, Caller, Resident, check_only_fault, check_problem, token_for
from tests.api.test_approvals import Person, decided, person, proposed
from tests.places import open_branch, place
from tests.service.programme import Programme, at
from timebank.ledger.ids import new_id
from timebank.people.access import Role
from timebank.people.kin import name_helper


async def administrators(api: Api) -> tuple[Person, Person]:
    return await person(api, Role.ADMINISTRATOR), await person(api, Role.ADMINISTRATOR)


async def coordinator(api: Api, branch_id: UUID | None = None) -> Caller:
    return Caller(api.http, await token_for(api.book, Role.COORDINATOR, branch_id=branch_id))


async def served(programme: Programme, who: Resident, minutes: int, day: int = 2) -> UUID:
    """A confirmed record, of the whole bank."""
    shift = await programme.make_shift()
    about = {"activity_id": shift.activity_id, "shift_id": shift.shift_id, "wish_id": None}
    start = at(f"2026-01-0{day} 09:00")
    record_id = await programme.record(who.resident_id, start, minutes, **about)
    await programme.confirm(record_id)
    return record_id


async def stars(who: Resident) -> dict[str, Any]:
    answer = await who.caller.get(f"/residents/{who.resident_id}/stars")
    assert answer.status_code == 200, answer.text
    return answer.json()


RULE = {"deed": "star_rule", "effective_on": "2026-01-01", "hours": [2, 5], "grades": [0, 400]}


async def test_a_rule_for_stars_takes_two_administrators(api: Api) -> None:
    resident, (maker, checker) = await api.resident(), await administrators(api)
    await served(await Programme.open(api.book), resident, 300)
    assert (await stars(resident))["stars"] == 0  # by the usual rule
    assert (await resident.caller.get("/star-rules")).json() == {"data": []}
    proposal = await proposed(maker, RULE)
    check_problem(await decided(maker, proposal), "second_person_needed")
    assert (await stars(resident))["stars"] == 0
    assert (await decided(checker, proposal)).status_code == 200
    assert (await resident.caller.get("/star-rules")).json()["data"] == [
        {key: value for key, value in RULE.items() if key != "deed"}
    ]
    assert await stars(resident) == {
        "stars": 1,
        "minutes": 300,
        "grade": None,
        "next_minutes": 300,
        "next_grade": 400,
    }
    again = await proposed(maker, RULE)
    check_problem(await decided(checker, again), "star_rule_exists")


async def test_a_rule_that_cannot_be_is_refused_when_it_is_proposed(api: Api) -> None:
    maker, _ = await administrators(api)
    for fault in ({"hours": [5, 2]}, {"grades": [0]}, {"grades": [0, 50]}, {"hours": []}):
        answer = await maker.caller.post("/approvals", {**RULE, **fault})
        check_only_fault(answer, "/hours")
    check_problem(await (await coordinator(api)).post("/approvals", RULE), "forbidden")


async def test_a_record_is_graded_once_by_somebody_else(api: Api) -> None:
    resident, grader = await api.resident(), await coordinator(api)
    programme = await Programme.open(api.book)
    path = f"/service-records/{await served(programme, resident, 60)}/grade"
    check_problem(await grader.post(path, {"grade": 6}), "invalid_input")
    assert (await stars(resident))["grade"] is None
    assert (await grader.post(path, {"grade": 4})).json()["grade"] == 4
    check_problem(await (await coordinator(api)).post(path, {"grade": 5}), "graded_already")
    assert (await stars(resident))["grade"] == 400
    own = Caller(api.http, await token_for(api.book, Role.COORDINATOR, resident.resident_id))
    path = f"/service-records/{await served(programme, resident, 60, day=3)}/grade"
    check_problem(await own.post(path, {"grade": 5}), "second_person_needed")


async def test_one_nominates_another_decides_about_a_third(api: Api) -> None:
    admin = (await administrators(api))[0].caller
    nominee_id = (nominee := await api.resident()).resident_id
    title = (await admin.post("/honour-titles", {"code": "model", "name": "涧贤榜样"})).json()
    check_problem(
        await admin.post("/honour-titles", {"code": "model", "name": "别的"}),
        "honour_title_exists",
    )
    assert (await nominee.caller.get("/honour-titles")).json() == {"data": [title]}
    body = {"title_id": title["title_id"], "resident_id": str(nominee_id), "year": 2026}
    own = Caller(api.http, await token_for(api.book, Role.COORDINATOR, nominee_id))
    check_problem(await own.post("/honours", body), "second_person_needed")
    check_problem(await admin.post("/honours", body), "forbidden")
    maker = await coordinator(api)
    honour = (await maker.post("/honours", body)).json()
    assert honour["status"] == "nominated"
    check_problem(await maker.post("/honours", body), "honour_exists")
    path = f"/honours/{honour['honour_id']}"
    for somebody in (maker, own):
        answer = await somebody.post(f"{path}/decision", {"decision": "awarded"})
        check_problem(answer, "second_person_needed")
    assert (await admin.post(f"{path}/decision", {"decision": "withdrawn"})).status_code == 409
    awarded = (await admin.post(f"{path}/decision", {"decision": "awarded"})).json()
    assert (awarded["status"], awarded["decided_by"] is None) == ("awarded", False)
    check_problem(await admin.post(f"{path}/decision", {"decision": "declined"}), "wrong_step")
    assert (await nominee.caller.get(path)).json() == awarded
    assert (await nominee.caller.get("/honours")).json()["data"] == [awarded]
    withdrawn = (await maker.post(f"{path}/decision", {"decision": "withdrawn"})).json()
    assert withdrawn["status"] == "withdrawn"


async def test_a_branch_opens_no_title_for_the_whole_bank(api: Api) -> None:
    token = await token_for(api.book, Role.ADMINISTRATOR, branch_id=await open_branch(api.book))
    admin = Caller(api.http, token)
    for path in ("/honour-titles", "/categories"):
        check_problem(await admin.post(path, {"code": "model", "name": "榜样"}), "not_found")
    assert (await admin.get("/honour-titles")).json() == {"data": []}


async def test_honours_are_listed_page_by_page_within_reach(api: Api) -> None:
    here = await open_branch(api.book)
    admin = (await administrators(api))[0].caller
    maker = await coordinator(api, here)
    neighbour = await coordinator(api, await open_branch(api.book))
    title = (await admin.post("/honour-titles", {"code": "model", "name": "涧贤榜样"})).json()
    people = [await api.resident() for _ in range(3)]
    for one in people:
        await place(api.book, one.resident_id, here)
        body = {
            "title_id": title["title_id"],
            "resident_id": str(one.resident_id),
            "year": 2026,
        }
        assert (await maker.post("/honours", body)).status_code == 201
        check_problem(await neighbour.post("/honours", body), "not_found")
    seen, cursor = [], None
    for more in (True, False):
        page = (await maker.get("/honours", cursor=cursor, limit=2, status="nominated")).json()
        seen += [one["person_id"] for one in page["data"]]
        cursor = page["next_cursor"]
        assert page["has_more"] is more
    assert seen == [str(one.resident_id) for one in reversed(people)]
    assert (await maker.get("/honours", status="awarded")).json()["data"] == []
    assert (await neighbour.get("/honours")).json()["data"] == []
    first = (await maker.get("/honours", limit=1)).json()["next_cursor"]
    check_problem(await maker.get("/honours", cursor=first, status="nominated"), "invalid_cursor")

    me, other, _ = people
    asked = {"resident_id": other.resident_id}
    check_problem(await me.caller.get("/honours", **asked), "not_found")
    async with api.book.pool.acquire() as connection, connection.transaction():
        await name_helper(
            connection,
            api.book.bank_id,
            other.resident_id,
            me.resident_id,
            expires_at=datetime.now(UTC) + timedelta(days=30),
            by_id=other.resident_id,
            named_by=new_id(),
        )
    [theirs] = (await me.caller.get("/honours", **asked)).json()["data"]
    assert theirs["person_id"] == str(other.resident_id)
