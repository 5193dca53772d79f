"""What minors redeem alone over HTTP: within the cap, at once too, and once for a key."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest

from tests.api.client import Caller, check_only_fault, check_problem, new_key, token_for
from tests.api.counter import Counter
from tests.api.logins import Door
from tests.api.test_caps import agreed, two_of
from tests.people.desk import person
from tests.places import open_branch
from timebank.domain.ages import MinorCap
from timebank.people.access import Role
from timebank.people.kin import find_minor_cap, set_minor_cap


@dataclass(frozen=True)
class Youth:
    """One of 16 with 100 points, and the guardian."""

    door: Door
    counter: Counter
    minor: Caller
    guardian: Caller
    guardian_id: UUID
    minor_id: UUID
    wallet: UUID

    @classmethod
    async def at(cls, door: Door) -> "Youth":
        """Register both."""
        api, desk = door.api, door.desk
        guardian_id = await desk.person()
        born_on = datetime.now(UTC).date() - timedelta(days=366 * 16)
        minor_id = await desk.member(person(born_on), guardian_id=guardian_id)
        minor, guardian = [
            Caller(api.http, await token_for(api.book, Role.RESIDENT, party))
            for party in (minor_id, guardian_id)
        ]
        wallet = await api.book.open_account(owner_id=minor_id, balance=100)
        return cls(door, await Counter.open(api), minor, guardian, guardian_id, minor_id, wallet)

    async def cap(self, at_once: int, a_day: int) -> None:
        """Say what may be redeemed without the guardian."""
        cap, bank_id = MinorCap(at_once, a_day), self.door.book.bank_id
        async with self.door.desk.at() as connection:
            await set_minor_cap(connection, bank_id, cap, set_by=self.guardian_id)

    async def hold(
        self, points: int, caller: Caller | None = None, key: str | None = None
    ) -> httpx.Response:
        """Hold of the minor's points, by the minor unless it is said by whom."""
        body = {
            "merchant_id": str(self.counter.market.merchant_id),
            "account_id": str(self.wallet),
            "points": points,
        }
        return await (caller or self.minor).post("/holds", body, key=key)


@pytest.fixture
async def youth(door: Door) -> Youth:
    """A minor of a new bank."""
    return await Youth.at(door)


async def test_a_minor_redeems_within_the_cap_and_the_guardian_the_rest(youth: Youth) -> None:
    check_problem(await youth.hold(10), "guardian_needed")
    await youth.cap(10, 15)
    assert (await youth.hold(10)).status_code == 201
    check_problem(await youth.hold(10), "guardian_needed")
    check_problem(await youth.minor.post("/payment-codes", {}), "guardian_needed")
    assert (await youth.hold(30, youth.guardian)).status_code == 201


async def test_ten_holds_at_once_stay_within_the_cap(youth: Youth) -> None:
    await youth.cap(3, 10)
    answers = await asyncio.gather(*(youth.hold(3) for _ in range(10)))
    refused = [answer for answer in answers if answer.status_code != 201]
    for answer in refused:
        check_problem(answer, "guardian_needed")
    assert len(answers) - len(refused) == 3
    assert await youth.door.book.balance(youth.wallet) == 91


async def test_a_minors_hold_is_answered_again_after_a_lost_answer(youth: Youth) -> None:
    await youth.cap(10, 10)
    key = new_key()
    first = await youth.hold(10, key=key)
    assert first.status_code == 201, first.text
    check_problem(await youth.hold(1), "guardian_needed")
    admin = Caller(youth.door.api.http, await token_for(youth.door.book, Role.ADMINISTRATOR))
    frozen = await admin.post(f"/persons/{youth.minor_id}/freeze", {})
    assert frozen.status_code == 201, frozen.text
    check_problem(await youth.hold(1), "person_frozen")
    again = await youth.hold(10, key=key)
    assert again.headers["idempotent-replayed"] == "true"
    assert again.json()["hold"] == first.json()["hold"]
    assert (await admin.post(f"/persons/{youth.minor_id}/unfreeze", {})).status_code == 201
    refused = new_key()
    for _ in range(2):
        check_problem(await youth.hold(1, key=refused), "guardian_needed")
    await youth.cap(20, 20)
    assert (await youth.hold(1, key=refused)).status_code == 201


async def test_two_administrators_set_the_cap(youth: Youth) -> None:
    counter, book = youth.counter, youth.door.book
    deed: dict[str, Any] = {"deed": "minor_cap", "points_at_once": 5, "points_a_day": 8}
    check_problem(await counter.coordinator.post("/approvals", deed), "forbidden")
    below = await two_of(counter, Role.ADMINISTRATOR, await open_branch(book))
    check_problem(await below[0].post("/approvals", deed), "not_found")  # it binds the whole bank
    administrators = await two_of(counter, Role.ADMINISTRATOR)
    upside_down = {**deed, "points_at_once": 9}
    check_only_fault(await administrators[0].post("/approvals", upside_down), "/points_at_once")
    await agreed(*administrators, deed)
    async with youth.door.desk.at() as connection:
        assert await find_minor_cap(connection, book.bank_id) == MinorCap(5, 8)
    shown = await counter.coordinator.get("/minor-cap")
    assert shown.json() == {"points_at_once": 5, "points_a_day": 8}
    check_problem(await youth.hold(6), "guardian_needed")
    assert (await youth.hold(5)).status_code == 201
    check_problem(await youth.hold(4), "guardian_needed")
