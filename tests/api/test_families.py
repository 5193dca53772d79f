"""Families over HTTP: both sides agree, all give to the pool, some spend from it, one leaves."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from tests.api.client import Caller, Resident, check_problem, new_key
from tests.api.counter import Counter
from tests.api.logins import Door
from tests.api.test_minor_cap import Youth
from tests.places import open_branch, place
from timebank.domain.redemption import CapScope
from timebank.redemption.families import invite_to_family


async def founded(resident: Resident) -> dict[str, Any]:
    """A family of one."""
    answer = await resident.caller.post("/families", {})
    assert answer.status_code == 201, answer.text
    family: dict[str, Any] = answer.json()
    return family


async def invited(inviter: Caller, family: dict[str, Any], **rights: bool) -> str:
    """A token for the family."""
    answer = await inviter.post(f"/families/{family['family_id']}/invitations", rights)
    assert answer.status_code == 201, answer.text
    assert answer.headers["cache-control"] == "no-store"
    token: str = answer.json()["token"]
    return token


async def join(caller: Caller, token: str, **whom: str) -> Any:
    return await caller.post("/family-memberships", {"token": token, **whom})


async def families(caller: Caller, resident: Resident) -> list[dict[str, Any]]:
    answer = await caller.get(f"/residents/{resident.resident_id}/families")
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["data"]
    return found


async def test_a_family_saves_and_spends_together(counter: Counter) -> None:
    parent, child = [await counter.api.resident(points=50) for _ in range(2)]
    await counter.market.cap(CapScope.GIFT_DAY, None)
    family = await founded(parent)
    joined = await join(child.caller, await invited(parent.caller, family))
    assert joined.status_code == 201, joined.text
    assert [one["may_hold"] for one in joined.json()["members"]] == [True, False]
    for member in (parent, child):
        gift = {"points": 20, "family_id": family["family_id"]}
        assert (await member.caller.post("/gifts", gift)).status_code == 201
    [seen] = await families(child.caller, child)
    assert (seen["points"], seen["may_hold"]) == (40, False)
    pool = {"account_id": family["account_id"]}
    held = await counter.hold(parent, points=30, **pool)
    assert held.status_code == 201, held.text
    code = {"code": held.json()["pickup"]["digits"]}
    captured = await counter.clerk.post(
        f"/holds/{held.json()['hold']['hold_id']}/captures", {**code, "quantity": 25}
    )
    assert captured.status_code == 201, captured.text
    refund = {"points": 5, "reason": "goods_faulty"}
    path = f"/holds/{held.json()['hold']['hold_id']}/refunds"
    assert (await counter.clerk.post(path, refund)).status_code == 201
    [seen] = await families(parent.caller, parent)
    assert seen["points"] == 20
    check_problem(await counter.hold(child, points=1, **pool), "not_found")
    stranger = await counter.api.resident(points=5)
    check_problem(await counter.hold(stranger, points=1, **pool), "not_found")
    assert await counter.api.book.balance(parent.wallet) == 30


async def test_a_token_is_good_once_and_while_its_maker_may_spend(counter: Counter) -> None:
    parent, child, other = [await counter.api.resident() for _ in range(3)]
    family = await founded(parent)
    token = await invited(parent.caller, family)
    assert (await join(child.caller, token)).status_code == 201
    check_problem(await join(other.caller, token), "not_found")
    check_problem(await join(other.caller, "0" * 26), "not_found")
    path = f"/families/{family['family_id']}/invitations"
    check_problem(await child.caller.post(path, {}), "not_found")  # may not spend, nor invite
    check_problem(await other.caller.post(path, {}), "not_found")
    unused = await invited(parent.caller, family)
    mine = f"/families/{family['family_id']}/members/{parent.resident_id}"
    assert (await parent.caller.send("DELETE", mine)).status_code == 204
    check_problem(await parent.caller.send("DELETE", mine), "not_found")
    check_problem(await join(other.caller, unused), "not_found")
    assert await families(parent.caller, parent) == []


async def test_of_five_who_use_a_token_at_once_one_joins(counter: Counter) -> None:
    parent = await counter.api.resident()
    others = [await counter.api.resident() for _ in range(5)]
    family = await founded(parent)
    token = await invited(parent.caller, family)
    answers = await asyncio.gather(*(join(other.caller, token) for other in others))
    assert sorted(answer.status_code for answer in answers) == [201] + [404] * 4
    [seen] = await families(parent.caller, parent)
    assert len(seen["members"]) == 2


async def test_a_token_expires(counter: Counter) -> None:
    parent, child = [await counter.api.resident() for _ in range(2)]
    family = await founded(parent)
    async with counter.api.book.pool.acquire() as connection:
        late = await invite_to_family(
            connection,
            counter.api.book.bank_id,
            UUID(family["family_id"]),
            may_hold=False,
            invited_by=parent.resident_id,
            lifetime=timedelta(seconds=-1),
        )
    check_problem(await join(child.caller, late.token), "not_found")


async def test_joining_is_answered_again_after_a_lost_answer(counter: Counter) -> None:
    parent, child = [await counter.api.resident() for _ in range(2)]
    token, key = await invited(parent.caller, await founded(parent)), new_key()
    first, again = [
        await child.caller.post("/family-memberships", {"token": token}, key=key) for _ in range(2)
    ]
    assert first.json() == again.json()
    assert again.headers["idempotent-replayed"] == "true"


async def test_nobody_removes_another(counter: Counter) -> None:
    parent, child = [await counter.api.resident() for _ in range(2)]
    family = await founded(parent)
    await join(child.caller, await invited(parent.caller, family))
    path = f"/families/{family['family_id']}/members/{child.resident_id}"
    check_problem(await parent.caller.send("DELETE", path), "not_found")
    assert (await child.caller.send("DELETE", path)).status_code == 204
    check_problem(await counter.hold(child, account_id=family["account_id"]), "not_found")


@pytest.fixture
async def youth(door: Door) -> Youth:
    """A minor of a new bank."""
    return await Youth.at(door)


async def test_a_minor_joins_by_the_guardian(youth: Youth) -> None:
    parent = await youth.door.api.resident()
    family = await founded(parent)
    token = await invited(parent.caller, family)
    check_problem(await youth.minor.post("/families", {}), "guardian_needed")
    check_problem(await join(youth.minor, token), "guardian_needed")
    whom = {"resident_id": str(youth.minor_id)}
    check_problem(await join(parent.caller, token, **whom), "not_found")
    joined = await join(youth.guardian, token, **whom)
    assert joined.status_code == 201, joined.text
    assert joined.json()["members"][1]["member_id"] == str(youth.minor_id)
    path = f"/families/{family['family_id']}/members/{youth.minor_id}"
    assert (await youth.guardian.send("DELETE", path)).status_code == 204


async def test_what_a_minor_spends_of_the_pool_counts_as_theirs(youth: Youth) -> None:
    parent = await youth.door.api.resident(points=50)
    await youth.counter.market.cap(CapScope.GIFT_DAY, None)
    family = await founded(parent)
    token = await invited(parent.caller, family, may_hold=True)
    await join(youth.guardian, token, resident_id=str(youth.minor_id))
    gift = {"points": 50, "family_id": family["family_id"]}
    assert (await parent.caller.post("/gifts", gift)).status_code == 201
    await youth.cap(10, 15)
    wish = {
        "merchant_id": str(youth.counter.market.merchant_id),
        "account_id": family["account_id"],
    }
    assert (await youth.minor.post("/holds", {**wish, "points": 10})).status_code == 201
    check_problem(await youth.minor.post("/holds", {**wish, "points": 6}), "guardian_needed")
    check_problem(await youth.hold(6), "guardian_needed")


async def test_staff_see_families_of_their_branch(counter: Counter) -> None:
    api = counter.api
    parent = await api.resident()
    here = await open_branch(api.book)
    await place(api.book, parent.resident_id, here)
    family = await founded(parent)
    [seen] = await families(counter.coordinator, parent)
    assert seen["family_id"] == family["family_id"]
    hung = await api.book.pool.fetchval(
        "SELECT branch_id FROM list_places($1, 'infinity') WHERE party_id = $2",
        api.book.bank_id,
        family["family_id"],
    )
    assert hung == here
