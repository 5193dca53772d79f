"""Lists of service page by page: each row once, in order, and no cursor of another list."""

from datetime import date, timedelta
from typing import Any

import pytest

from tests.api.client import Api, Caller, check_problem, token_for
from tests.service.programme import MAKER, Programme, at
from timebank.domain.service import RecordStatus
from timebank.people.access import Role
from timebank.service.rates import propose_rate
from timebank.service.wishes import collect_wish


async def pages(caller: Caller, path: str, limit: int, **asked: Any) -> list[list[dict[str, Any]]]:
    """Every page of a list."""
    found, cursor = [], None
    while True:
        answer = await caller.get(path, cursor=cursor, limit=limit, **asked)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        found.append(page["data"])
        cursor = page["next_cursor"]
        assert page["has_more"] is (cursor is not None)
        if cursor is None:
            return found


@pytest.fixture
async def coordinator(api: Api) -> Caller:
    return Caller(api.http, await token_for(api.book, Role.COORDINATOR))


async def check_pages(caller: Caller, path: str, key: str, ids: list[str], **asked: Any) -> None:
    """Whatever the size of the page, the rows are these; an end has no cursor."""
    for limit in (1, 2, len(ids), 200):
        found = await pages(caller, path, limit, **asked)
        assert [row[key] for page in found for row in page] == ids
        assert len(found) == -(-len(ids) // limit)
    cursor = (await caller.get(path, limit=1, **asked)).json()["next_cursor"]
    check_problem(await caller.get("/activities", cursor=cursor), "invalid_cursor")


async def test_wishes(api: Api, coordinator: Caller) -> None:
    programme, served = await Programme.open(api.book), await api.resident()
    made = [
        await programme.run(
            collect_wish,
            MAKER,
            category_id=programme.category_id,
            title=f"心愿{n}",
            served_id=served.resident_id,
            branch_id=None,
        )
        for n in range(5)
    ]
    ids = [str(wish.wish_id) for wish in reversed(made)]
    await check_pages(coordinator, "/wishes", "wish_id", ids)
    await check_pages(coordinator, "/wishes", "wish_id", ids, status="collected")
    assert await pages(coordinator, "/wishes", 2, status="done") == [[]]


async def test_rates(api: Api, coordinator: Caller) -> None:
    """Two of one day stand in the order in which they were proposed."""
    programme = await Programme.open(api.book)
    days = [date(2026, 5, 1) + timedelta(days=n) for n in (0, 2, 2, 1, 2)]
    made = [
        await programme.run(
            propose_rate,
            MAKER,
            category_id=programme.category_id,
            points_per_hour=10,
            effective_on=day,
        )
        for day in days
    ]
    ids = [str(rate.rate_id) for rate in sorted(made, key=lambda rate: rate.effective_on)]
    path = f"/categories/{programme.category_id}/rates"
    await check_pages(coordinator, path, "rate_id", ids)


async def test_records_of_a_resident_and_of_a_shift(api: Api, coordinator: Caller) -> None:
    programme, who = await Programme.open(api.book), await api.resident()
    shift = await programme.make_shift()
    about = {"activity_id": shift.activity_id, "shift_id": shift.shift_id, "wish_id": None}
    times = [(day, hour) for day in (2, 4, 3) for hour in (9, 11)]
    made = await programme.record_all(
        [(who.resident_id, at(f"2026-01-0{day} {hour:02}:00"), 60) for day, hour in times],
        status=RecordStatus.DRAFT,
        **about,
    )
    in_order = [str(record_id) for record_id in made]
    path = f"/shifts/{shift.shift_id}/records"
    await check_pages(coordinator, path, "record_id", in_order)
    by_day = sorted(zip((day for day, _ in times), in_order, strict=True), reverse=True)
    path = f"/residents/{who.resident_id}/service-records"
    await check_pages(who.caller, path, "record_id", [record_id for _, record_id in by_day])
