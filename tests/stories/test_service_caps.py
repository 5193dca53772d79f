"""Caps of service over HTTP: set by two administrators, and kept when records are confirmed."""

from tests.api.client import Api, Caller, check_problem, token_for
from tests.stories.test_service import Community, claim, first_friday, made
from timebank.people.access import Role


async def test_caps_are_set_by_two_and_hold_from_their_day(api: Api) -> None:
    here = await Community.open(api)
    ana = await here.resident()
    [shift] = await here.plan(first_friday(api))
    proposer, approver = [
        Caller(api.http, await token_for(api.book, Role.ADMINISTRATOR)) for _ in range(2)
    ]
    caps = {"deed": "service_caps", "effective_on": "2020-01-01", "minutes_per_day": 60}
    check_problem(await here.maker.post("/approvals", caps), "forbidden")
    proposal = made(await proposer.post("/approvals", caps))
    decision = {"decision": "approved", "content_hash": proposal["content_hash"]}
    answer = await approver.post(f"/approvals/{proposal['approval_id']}/decision", decision)
    assert answer.json()["state"] == "approved", answer.text
    [told] = (await ana.caller.get("/service-caps")).json()["data"]
    assert (told["minutes_per_day"], told["minutes_per_activity"]) == (60, None)
    [draft] = await here.claim(claim(shift, ana, 61, note="device_failed"))
    body = await here.submit([draft])
    check_problem(
        await here.checker.post("/service-records/confirmation", body), "hours_cap_exceeded"
    )
    assert await here.has(ana) == (0, 0)
