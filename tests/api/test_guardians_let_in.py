"""A guardian whom one person named gains nothing: paper, and another's approval, come first."""

from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import pytest

from tests.api.client import Api, Caller, check_only_fault, check_problem, token_for
from tests.api.counter import Counter
from tests.api.counter_desk import CounterDesk, body_of
from tests.people.desk import person
from timebank.people.access import Role

CHILD = date(datetime.now(UTC).year - 10, 1, 1)


@dataclass
class Friend:
    """A friend of a coordinator's, who would be the guardian of a child with points."""

    api: Api
    desk: CounterDesk
    counter: Counter
    party_id: str
    caller: Caller

    @classmethod
    async def of(cls, api: Api) -> "Friend":
        desk = await CounterDesk.open(api)
        friend = await desk.member()
        return cls(api, desk, await Counter.open(api), friend.resident_id, await friend.log_in())

    async def hold(self, wallet: UUID) -> httpx.Response:
        """Spend the child's points."""
        body = {"merchant_id": str(self.counter.market.merchant_id), "account_id": str(wallet)}
        return await self.caller.post("/holds", {**body, "points": 10})

    async def check_out(self, child_id: str, wallet: UUID) -> None:
        """They are nobody's kin."""
        check_problem(await self.hold(wallet), "not_found", 404)
        for path in (f"/accounts/{wallet}", f"/residents/{child_id}", f"/residents/{child_id}/kin"):
            check_problem(await self.caller.get(path), "not_found", 404)

    async def check_in(self, child_id: str, wallet: UUID) -> None:
        """They act for the child."""
        assert (await self.hold(wallet)).status_code == 201
        assert (await self.caller.get(f"/residents/{child_id}/kin")).status_code == 200

    async def decide(self, child_id: str, by: Caller, decision: str = "approved") -> httpx.Response:
        """Decide on the child's membership."""
        return await by.post(f"/residents/{child_id}/decision", {"decision": decision})


@pytest.fixture
async def friend(api: Api) -> Friend:
    return await Friend.of(api)


async def left_child(friend: Friend) -> tuple[str, UUID]:
    """A member's child with 100 points, who has left."""
    parent = await friend.desk.member()
    child = await friend.desk.member(person(CHILD), guardian_id=parent.resident_id)
    wallet = await friend.api.book.open_account(owner_id=UUID(child.resident_id), balance=100)
    assert (await friend.desk.operator.post(f"{child.path}/leave", {})).status_code == 201
    return child.resident_id, wallet


async def test_a_pseudonym_with_points_gets_a_guardian_by_two(friend: Friend) -> None:
    desk, known = friend.desk, await friend.api.resident(points=100)
    child_id = str(known.resident_id)
    body = {
        **body_of(person(CHILD)),
        "resident_id": child_id,
        "guardian_id": friend.party_id,
    }
    check_only_fault(await desk.operator.post("/residents", body), "/paper")
    signed = {"consents": ["membership"], "paper": await desk.paper("registration")}
    answer = await desk.operator.post("/residents", {**body, **signed})
    assert answer.status_code == 201, answer.text
    await friend.check_out(child_id, known.wallet)
    check_problem(await friend.decide(child_id, desk.operator), "second_person_needed", 403)
    await friend.check_out(child_id, known.wallet)
    assert (await friend.decide(child_id, desk.checker)).status_code == 201
    await friend.check_in(child_id, known.wallet)


async def test_a_child_who_left_gets_another_guardian_by_two(friend: Friend) -> None:
    child_id, wallet = await left_child(friend)
    desk, path = friend.desk, f"/persons/{child_id}/application"
    said: dict[str, Any] = {"guardian_id": friend.party_id}
    check_only_fault(await desk.operator.post(path, said), "/paper")
    signed = {**said, "consents": ["membership"], "paper": await desk.paper("registration")}
    assert (await desk.operator.post(path, signed)).status_code == 201
    await friend.check_out(child_id, wallet)
    kin = (await desk.operator.get(f"/residents/{child_id}/kin")).json()["guardians"]
    assert [one["let_in_at"] is None for one in kin] == [False, True]
    assert (await friend.decide(child_id, desk.checker)).status_code == 201
    await friend.check_in(child_id, wallet)


async def test_what_came_to_nothing_lets_nobody_in_later(friend: Friend) -> None:
    """Rejected, or withdrawn: whoever applies again names the guardian again, with their paper."""
    child_id, wallet = await left_child(friend)
    desk, path = friend.desk, f"/persons/{child_id}/application"
    for ended in ("rejected", "left"):
        paper = await desk.paper("registration")
        said = {"guardian_id": friend.party_id, "consents": ["membership"], "paper": paper}
        assert (await desk.operator.post(path, said)).status_code == 201
        if ended == "left":
            answer = await desk.operator.post(f"/residents/{child_id}/leave", {})
        else:
            answer = await friend.decide(child_id, desk.checker, "rejected")
        assert answer.status_code == 201
        kin = (await desk.operator.get(f"/residents/{child_id}/kin")).json()["guardians"]
        assert [one["guardian_id"] for one in kin if one["ended_at"] is None] != [friend.party_id]
    parent = kin[0]["guardian_id"]
    said = {"guardian_id": parent, "paper": await desk.paper("registration")}
    assert (await desk.operator.post(path, said)).status_code == 201
    check_problem(await friend.decide(child_id, desk.checker), "consent_missing", 409)
    assert (await friend.decide(child_id, desk.checker, "rejected")).status_code == 201
    said = {**said, "consents": ["membership"], "paper": await desk.paper("registration")}
    assert (await desk.operator.post(path, said)).status_code == 201
    assert (await friend.decide(child_id, desk.checker)).status_code == 201
    await friend.check_out(child_id, wallet)


async def test_nobody_approves_whom_they_named_or_who_they_are(friend: Friend) -> None:
    """Whoever named the guardian later is not the other person, nor is the guardian."""
    child_id, wallet = await left_child(friend)
    desk, path = friend.desk, f"/persons/{child_id}/application"
    parent = (await desk.operator.get(f"/residents/{child_id}/kin")).json()["guardians"][0]
    said = {
        "guardian_id": parent["guardian_id"],
        "consents": ["membership"],
        "paper": await desk.paper("registration"),
    }
    assert (await desk.operator.post(path, said)).status_code == 201
    paper = {"sheet": await desk.sheet(), "witness_id": str(await desk.operator_id())}
    named = {"guardian_id": friend.party_id, "paper": paper}
    answer = await desk.checker.post(f"/residents/{child_id}/guardians", named)
    assert answer.status_code == 201, answer.text
    await friend.check_out(child_id, wallet)
    check_problem(await friend.decide(child_id, desk.checker), "second_person_needed", 403)
    two_hats = await token_for(friend.api.book, Role.COORDINATOR, UUID(friend.party_id))
    as_staff = Caller(friend.api.http, two_hats)
    check_problem(await friend.decide(child_id, as_staff), "second_person_needed", 403)
    third = Caller(friend.api.http, await token_for(friend.api.book, Role.COORDINATOR))
    assert (await friend.decide(child_id, third)).status_code == 201
    await friend.check_in(child_id, wallet)


async def test_who_is_not_let_in_lets_in_no_helper(friend: Friend) -> None:
    child_id, _ = await left_child(friend)
    desk, helper = friend.desk, await friend.desk.member()
    said = {
        "guardian_id": friend.party_id,
        "consents": ["membership"],
        "paper": await desk.paper("registration"),
    }
    answer = await desk.operator.post(f"/persons/{child_id}/application", said)
    assert answer.status_code == 201, answer.text
    path, named = f"/residents/{child_id}/helpers", {"member_number": helper.number}
    signed = {**named, "by_id": friend.party_id, "paper": await desk.paper()}
    check_problem(await desk.operator.post(path, signed), "guardian_needed", 409)
    assert (await friend.decide(child_id, desk.checker)).status_code == 201
    signed = {**named, "by_id": friend.party_id, "paper": await desk.paper()}
    assert (await desk.operator.post(path, signed)).status_code == 201


async def test_whoever_writes_a_guardian_lets_nobody_in(friend: Friend) -> None:
    child_id, wallet = await left_child(friend)
    bank_id, pool = friend.api.book.bank_id, friend.api.book.pool
    await pool.execute(
        "INSERT INTO guardianship (bank_id, minor_id, guardian_id, named_by, let_in_at) "
        "VALUES ($1, $2, $3, $4, clock_timestamp())",
        bank_id,
        UUID(child_id),
        UUID(friend.party_id),
        friend.desk.witness_id,
    )
    await friend.check_out(child_id, wallet)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await pool.execute("UPDATE guardianship SET let_in_at = clock_timestamp()")


async def test_the_word_of_who_came_to_nothing_counts_for_nothing(friend: Friend) -> None:
    """A guardian's word counts once they are let in: for the roll, and for who applies again."""
    desk, book, parent = friend.desk, friend.api.book, await friend.desk.member()

    async def consented(child_id: str) -> list[bool]:
        kinds = ("membership", "publication")
        said = "SELECT has_consent($1, $2, $3)"
        return [
            await book.pool.fetchval(said, book.bank_id, UUID(child_id), kind) for kind in kinds
        ]

    child = await friend.api.resident(points=100)
    child_id, path = str(child.resident_id), f"/persons/{child.resident_id}/application"
    consents = {"consents": ["membership", "sensitive", "publication"]}
    body = {**body_of(person(CHILD)), "resident_id": child_id, "guardian_id": friend.party_id}
    body |= {**consents, "paper": await desk.paper("registration")}
    assert (await desk.operator.post("/residents", body)).status_code == 201
    assert await consented(child_id) == [False, False]
    assert (await friend.decide(child_id, desk.checker, "rejected")).status_code == 201

    said = {"guardian_id": parent.resident_id, "paper": await desk.paper("registration")}
    assert (await desk.operator.post(path, said)).status_code == 201
    check_problem(await friend.decide(child_id, desk.checker), "consent_missing", 409)
    assert await consented(child_id) == [False, False]
    assert (await friend.decide(child_id, desk.checker, "rejected")).status_code == 201

    said |= {**consents, "paper": await desk.paper("registration")}
    assert (await desk.operator.post(path, said)).status_code == 201
    assert (await friend.decide(child_id, desk.checker)).status_code == 201
    assert await consented(child_id) == [True, True]


async def test_who_is_not_let_in_says_nothing_beside_who_is(friend: Friend) -> None:
    """Neither signs them in again nor takes back what the guardian said."""
    child_id, _ = await left_child(friend)
    desk, book, path = friend.desk, friend.api.book, f"/persons/{child_id}/application"
    parent = (await desk.operator.get(f"/residents/{child_id}/kin")).json()["guardians"][0]
    for consents in (["membership"], []):
        guardian_id = friend.party_id if consents else parent["guardian_id"]
        said = {"guardian_id": guardian_id, "consents": consents}
        said["paper"] = await desk.paper("registration")
        assert (await desk.operator.post(path, said)).status_code == 201
        if consents:
            assert (await friend.decide(child_id, desk.checker, "rejected")).status_code == 201
    check_problem(await friend.decide(child_id, desk.checker), "consent_missing", 409)
    for guardian_id, given in ((parent["guardian_id"], True), (friend.party_id, False)):
        if not given:
            paper = {"sheet": await desk.sheet(), "witness_id": str(await desk.operator_id())}
            named = {"guardian_id": guardian_id, "paper": paper}
            answer = await desk.checker.post(f"/residents/{child_id}/guardians", named)
            assert answer.status_code == 201, answer.text
        await book.pool.execute(
            "INSERT INTO consent (bank_id, consent_id, party_id, kind, given, by_id, recorded_by) "
            "VALUES ($1, gen_random_uuid(), $2, 'publication', $3, $4, $5)",
            book.bank_id,
            UUID(child_id),
            given,
            UUID(guardian_id),
            desk.witness_id,
        )
        assert await book.pool.fetchval(
            "SELECT has_consent($1, $2, 'publication')", book.bank_id, UUID(child_id)
        )
