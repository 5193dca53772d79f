"""What residents read of themselves: what expires first, and which of their points they can use."""

import calendar
from datetime import date, timedelta
from typing import Any
from uuid import UUID

from tests.api.client import Api, Resident
from tests.api.counter import Counter
from tests.ledger.ageing import add_rule, pass_days
from timebank.db import Connection, transaction
from timebank.ledger.blocks import place_block
from timebank.ledger.expiry import expire_points, read_today
from timebank.ledger.ids import new_id


async def read(who: Resident) -> dict[str, Any]:
    answer = await who.caller.get(f"/residents/{who.resident_id}/summary")
    assert answer.status_code == 200, answer.text
    return answer.json()


async def award(api: Api, who: Resident, points: int) -> UUID:
    given = api.book.award(who.wallet, points)
    await api.book.post_all(given)
    return given.transfer_id


def last_day(earned_on: date) -> date:
    """The end of the month that lies a year after this day's."""
    year, month = earned_on.year + 1, earned_on.month
    return date(year, month, calendar.monthrange(year, month)[1])


async def test_without_a_rule_nothing_expires(api: Api) -> None:
    resident = await api.resident(points=5)
    told = await read(resident)
    assert "next_expiry" not in told
    assert (told["points"], told["points_available"]) == (5, 5)


async def test_what_expires_first_under_a_rule_in_force(
    api: Api, worker_superuser: Connection
) -> None:
    counter, resident = await Counter.open(api), await api.resident()
    await add_rule(api.book, 12, 20)
    await pass_days(worker_superuser, api.book, 1)
    assert "next_expiry" not in await read(resident)
    await award(api, resident, 15)
    await pass_days(worker_superuser, api.book, 40)
    await award(api, resident, 7)
    async with api.book.pool.acquire() as connection:
        today = await read_today(connection, api.book.bank)
    first = str(last_day(today - timedelta(days=40)))
    assert (await read(resident))["next_expiry"] == {"expires_on": first, "points": 15}
    hold_id, _ = await counter.held(resident, points=10)
    assert (await read(resident))["next_expiry"] == {"expires_on": first, "points": 5}
    released = {"reason": "changed_mind"}
    answer = await resident.caller.post(f"/holds/{hold_id}/release", released)
    assert answer.status_code == 201, answer.text
    assert (await read(resident))["next_expiry"] == {"expires_on": first, "points": 15}
    await counter.held(resident, points=15)
    second = str(last_day(today))
    assert (await read(resident))["next_expiry"] == {"expires_on": second, "points": 7}
    await pass_days(
        worker_superuser, api.book, 800
    )  # past its day it is good until the run takes it
    passed = (await read(resident))["next_expiry"]
    assert (passed["points"], date.fromisoformat(passed["expires_on"]) < today) == (7, True)
    assert (await expire_points(api.book.pool, api.book.bank)).points == 7
    assert "next_expiry" not in await read(resident)


async def test_what_is_blocked_is_told_apart(api: Api, worker_superuser: Connection) -> None:
    """In the summary and in the balance, whose tag changes though nothing was posted."""
    resident, block = await api.resident(points=5), new_id()
    origin = await award(api, resident, 20)
    path = f"/accounts/{resident.wallet}/balance"
    before = await resident.caller.get(path)
    assert "points_available" not in before.json()
    async with transaction(api.book.pool) as connection:
        await place_block(connection, api.book.bank, block, {origin: resident.wallet})
    told = await read(resident)
    assert (told["points"], told["points_available"]) == (25, 5)
    seen = {"If-None-Match": before.headers["etag"]}
    for caller in (resident.caller, api.auditor):
        for _ in range(2):  # the long way, then the short one
            during = await caller.get(path, seen)
            assert during.status_code == 200
            assert (during.json()["points"], during.json()["points_available"]) == (25, 5)
    await worker_superuser.execute("SELECT lift_block($1, $2)", api.book.bank_id, block)
    assert (await resident.caller.get(path, seen)).status_code == 304
    assert (await resident.caller.get(path)).json() == before.json()
