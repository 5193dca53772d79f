"""Signing up over HTTP: oneself, one's ward, whom one helps, and nobody else."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from tests.api.client import Api, Caller, Resident, check_problem, token_for
from tests.people.desk import Desk, person
from tests.service.programme import Programme
from timebank.ledger.ids import new_id
from timebank.people.access import Role
from timebank.people.kin import end_helper, name_helper
from timebank.people.registration import local_today


@pytest.fixture
async def shift(api: Api) -> str:
    """Tomorrow's, with one place."""
    start = datetime.now(api.book.bank.zone) + timedelta(days=1)
    local = start.replace(tzinfo=None, second=0, microsecond=0)
    programme = await Programme.open(api.book)
    made = await programme.make_shift(first_start=local, capacity=1)
    return f"/shifts/{made.shift_id}"


async def help_out(api: Api, resident: Resident, helper: Resident) -> None:
    async with api.book.pool.acquire() as connection, connection.transaction():
        await name_helper(
            connection,
            api.book.bank_id,
            resident.resident_id,
            helper.resident_id,
            expires_at=datetime.now(UTC) + timedelta(days=30),
            by_id=resident.resident_id,
            named_by=new_id(),
        )


def of(resident_id: UUID) -> dict[str, str]:
    return {"resident_id": str(resident_id)}


async def test_a_helper_signs_up_and_withdraws(api: Api, shift: str) -> None:
    old, helper = await api.resident(), await api.resident()
    for path in ("sign-ups", "withdrawals"):
        answer = await helper.caller.post(f"{shift}/{path}", of(old.resident_id))
        check_problem(answer, "not_found")
    await help_out(api, old, helper)
    entry = (await helper.caller.post(f"{shift}/sign-ups", of(old.resident_id))).json()
    assert (entry["person_id"], entry["has_place"]) == (str(old.resident_id), True)
    waits = (await helper.caller.post(f"{shift}/sign-ups", of(helper.resident_id))).json()
    assert waits["has_place"] is False
    left = await helper.caller.post(f"{shift}/withdrawals", of(old.resident_id))
    assert left.json() == {"promoted_ids": []}  # a resident learns nothing of the others
    signed_up_by = await api.book.pool.fetchval(
        "SELECT signed_up_by FROM sign_up WHERE bank_id = $1 AND person_id = $2",
        api.book.bank_id,
        old.resident_id,
    )
    assert signed_up_by == helper.resident_id
    async with api.book.pool.acquire() as connection, connection.transaction():
        await end_helper(connection, api.book.bank_id, old.resident_id, helper.resident_id)
    check_problem(await helper.caller.post(f"{shift}/sign-ups", of(old.resident_id)), "not_found")


async def test_a_guardian_signs_a_ward_up_and_not_the_other_way_round(
    api: Api, shift: str, tmp_path: Path
) -> None:
    desk = await Desk.open(api.book, tmp_path)
    born = local_today(api.book.bank) - timedelta(days=365 * 10)
    guardian_id = await desk.person()
    ward_id = await desk.member(person(born), guardian_id=guardian_id)
    guardian, ward = [
        Caller(api.http, await token_for(api.book, Role.RESIDENT, one))
        for one in (guardian_id, ward_id)
    ]
    check_problem(await ward.post(f"{shift}/sign-ups", of(guardian_id)), "not_found")
    entry = (await guardian.post(f"{shift}/sign-ups", of(ward_id))).json()
    assert (entry["person_id"], entry["has_place"]) == (str(ward_id), True)
    # By the code at the door comes only who stands there.
    check_problem(
        await guardian.post(f"{shift}/check-ins/by-code", {"code": "000000"}), "not_on_roster"
    )
