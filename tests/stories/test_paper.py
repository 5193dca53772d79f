"""A sheet of paper over HTTP: printed with a number, entered once, counted whole or not at all."""

from typing import Any
from uuid import UUID

from tests.api.client import Api, Resident, check_problem
from tests.places import open_branch
from tests.stories.test_service import Community, check_what_if, claim, first_friday, made
from timebank.domain.numbers import add_check
from timebank.ledger.ids import new_id
from timebank.people.sheets import SheetKind, issue_sheets


async def test_a_sheet_of_paper_is_entered_once_and_counts_whole_or_not(api: Api) -> None:
    here = await Community.open(api)
    people = [await here.resident() for _ in range(3)]
    [shift] = await here.plan(first_friday(api))
    run = {"count": 3, "kind": "attendance", "issued_to": str(here.branch_id)}
    first = made(await here.maker.post("/sheet-runs", run))["first_number"]
    missing = f"/sheet-runs/{first}/missing"
    sheet, spoilt, unused = (await here.maker.get(missing)).json()["data"]
    made(await here.maker.post("/sheets/voids", {"sheets": [spoilt], "reason": "spoilt"}))
    await check_sheets_are_fit(here, shift, people[0], spoilt)
    lines = [claim(shift, one, 90, sheet_number=sheet) for one in people]
    drafts = await here.claim(*lines)
    assert {draft["source"] for draft in drafts} == {"paper"}
    check_problem(
        await here.maker.post("/service-records", {"claims": lines[:1]}), "recorded_already"
    )
    assert (await here.maker.get(missing)).json()["data"] == [unused]
    voided = {"sheets": [sheet], "reason": "lost"}
    check_problem(await here.maker.post("/sheets/voids", voided), "sheet_used")
    body = await here.submit(drafts)
    # One of the three overlaps with something that counts already: then none of them counts.
    [other] = await here.plan(first_friday(api), title="同一时间的活动")
    [before] = await here.claim(claim(other, people[1], 60, note="device_failed"))
    first = await here.submit([before])
    made(await here.checker.post("/service-records/confirmation", first))
    check_problem(await here.checker.post("/service-records/confirmation", body), "record_overlap")
    assert [(await here.has(one))[0] for one in people] == [0, 60, 0]
    made(
        await here.checker.post(
            f"/service-records/{before['record_id']}/reversal", {"reason": "wrong_person"}
        )
    )
    made(await here.checker.post("/service-records/confirmation", body))
    assert [await here.has(one) for one in people] == [(90, 37)] * 3
    await check_what_if(here)
    await here.check_books()


async def check_sheets_are_fit(
    here: Community, shift: dict[str, Any], person: Resident, voided: str
) -> None:
    """A sheet that was voided, mistyped, printed for something else or for others is refused."""
    elsewhere = await open_branch(here.api.book)
    refused = {
        voided: "sheet_used",
        "999999999": "number_mistyped",
        await print_a_sheet(here.api, SheetKind.CONSENT, here.branch_id): "sheet_not_issued",
        await print_a_sheet(here.api, SheetKind.ATTENDANCE, elsewhere): "sheet_not_issued",
    }
    for number, code in refused.items():
        line = claim(shift, person, 90, sheet_number=number)
        check_problem(await here.maker.post("/service-records", {"claims": [line]}), code)


async def print_a_sheet(api: Api, kind: SheetKind, branch_id: UUID) -> str:
    """Issue a sheet to a branch; its number."""
    async with api.book.pool.acquire() as connection:
        run = await issue_sheets(
            connection, api.book.bank_id, 1, kind, issued_to=branch_id, issued_by=new_id()
        )
    return add_check(run.first_number)
