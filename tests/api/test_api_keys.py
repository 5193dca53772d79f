"""Keys of merchants' systems: their own people make them, and nobody of the programme."""

import asyncio
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from tests.api.client import Caller, check_problem, token_for
from tests.api.logins import Door
from tests.places import open_branch
from timebank.ledger.ids import new_id
from timebank.people.access import Role
from timebank.people.grants import OPERATOR_ID, grant_role, revoke_grant
from timebank.people.parties import PartyKind, register_parties

SCOPES = ["read_session", "rotate_api_key"]


@dataclass(frozen=True)
class Merchant:
    """A merchant with a system, and who runs it."""

    door: Door
    caller: Caller
    party_id: UUID
    grant_id: UUID
    merchant_id: UUID

    @classmethod
    async def open(cls, door: Door) -> "Merchant":
        """Grant a person and a system their roles at a new merchant."""
        merchant_id, person = new_id(), new_id()
        token = await token_for(door.book, Role.MERCHANT, person, merchant_id=merchant_id)
        grant_id = await system_grant(door, merchant_id)
        return cls(door, Caller(door.api.http, token), person, grant_id, merchant_id)

    async def another(self) -> "Merchant":
        """Let another person run the merchant too."""
        person = new_id()
        token = await token_for(self.door.book, Role.MERCHANT, person, merchant_id=self.merchant_id)
        return replace(self, caller=Caller(self.caller.http, token), party_id=person)

    async def new_key(self, scopes: list[str] | None = None) -> tuple[UUID, Caller]:
        """Issue a key."""
        body = {"grant_id": str(self.grant_id), "scopes": scopes or SCOPES, "days": 30}
        answer = await self.caller.post("/api-keys", body)
        assert answer.status_code == 201, answer.text
        assert answer.headers["cache-control"] == "no-store"
        return UUID(answer.json()["api_key_id"]), Caller(self.caller.http, answer.json()["token"])


async def system_grant(door: Door, merchant_id: UUID | None, branch_id: UUID | None = None) -> UUID:
    """Grant a new system the role of a merchant's, or (None) an integrator's."""
    system = new_id()
    async with door.book.pool.acquire() as connection:
        await register_parties(connection, door.book.bank_id, PartyKind.SYSTEM, [system])
        return await grant_role(
            connection,
            door.book.bank_id,
            system,
            Role.MERCHANT if merchant_id else Role.INTEGRATOR,
            branch_id,
            granted_by=OPERATOR_ID,
            approved_by=OPERATOR_ID,
            merchant_id=merchant_id,
        )


@pytest.fixture
async def merchant(door: Door) -> Merchant:
    return await Merchant.open(door)


async def administrator(door: Door) -> Caller:
    return Caller(door.api.http, await token_for(door.book, Role.ADMINISTRATOR))


async def counts(caller: Caller) -> bool:
    return (await caller.get("/sessions/me")).status_code == 200


async def pass_a_day(door: Door) -> None:
    """Let so much time pass for keys."""
    await door.admin.execute(
        "UPDATE session SET expires_at = expires_at - $2::interval "
        "WHERE bank_id = $1 AND scopes IS NOT NULL",
        door.book.bank_id,
        timedelta(hours=24, seconds=1),
    )


async def raw_rotation(door: Door, key: UUID, asking: UUID | None, by: UUID) -> bool:
    """What the service's own login to the database could do."""
    rotated: bool = await door.book.pool.fetchval(
        "SELECT rotate_api_key($1, $2, $3, $4, interval '1 day', $5)",
        door.book.bank_id,
        key,
        new_id(),
        asking,
        by,
    )
    return rotated


async def rotated(caller: Caller, key: UUID) -> Caller:
    answer = await caller.post(f"/api-keys/{key}/rotation", {})
    assert answer.status_code == 201, answer.text
    return Caller(caller.http, answer.json()["token"])


# ---- Who makes a key -----------------------------------------------------------------------------


@pytest.mark.parametrize("role", [Role.ADMINISTRATOR, Role.COORDINATOR, Role.AUDITOR])
async def test_nobody_of_the_programme_ever_holds_a_key(
    merchant: Merchant, door: Door, role: Role
) -> None:
    staff = Caller(door.api.http, await token_for(door.book, role))
    key, system = await merchant.new_key()
    body = {"grant_id": str(merchant.grant_id), "scopes": SCOPES, "days": 30}
    check_problem(await staff.post("/api-keys", body), "forbidden", 403)
    check_problem(await staff.post(f"/api-keys/{key}/rotation", {}), "forbidden", 403)
    if role is Role.COORDINATOR:
        check_problem(await staff.get("/api-keys"), "forbidden", 403)
    else:
        listed = await staff.get("/api-keys")
        assert [one["api_key_id"] for one in listed.json()["data"]] == [str(key)]
        assert system.token and system.token not in listed.text
    assert await counts(system)


async def test_who_works_for_the_programme_too_makes_none(merchant: Merchant, door: Door) -> None:
    """Two roles are two hats on one head, and to change a key is to have a new one."""
    key, system = await merchant.new_key()
    await token_for(door.book, Role.ADMINISTRATOR, merchant.party_id)
    body = {"grant_id": str(merchant.grant_id), "scopes": SCOPES, "days": 30}
    check_problem(await merchant.caller.post("/api-keys", body), "forbidden", 403)
    check_problem(await merchant.caller.post(f"/api-keys/{key}/rotation", {}), "forbidden", 403)
    other = await merchant.another()
    check_problem(await system.post(f"/api-keys/{key}/rotation", {}), "forbidden", 403)
    assert await counts(await rotated(other.caller, key))


async def test_the_database_asks_who_issues(merchant: Merchant, door: Door) -> None:
    key, _ = await merchant.new_key()
    clerk, stranger = new_id(), new_id()
    merchant_id = (await merchant.caller.get("/sessions/me")).json()["merchant_id"]
    await token_for(door.book, Role.CLERK, clerk, merchant_id=merchant_id)
    await token_for(door.book, Role.MERCHANT, stranger, merchant_id=new_id())
    for issuer in (OPERATOR_ID, clerk, stranger, new_id()):
        with pytest.raises(asyncpg.CheckViolationError, match="whoever issues a key has seen it"):
            await door.book.pool.execute(
                "INSERT INTO api_key (bank_id, api_key_id, grant_id, scopes, lifetime_days, "
                "session_id, issued_by) SELECT bank_id, $2, grant_id, scopes, 1, session_id, $3 "
                "FROM api_key WHERE api_key_id = $1",
                key,
                new_id(),
                issuer,
            )


async def test_a_merchant_sees_and_changes_its_own_keys_only(
    merchant: Merchant, door: Door
) -> None:
    other = await Merchant.open(door)
    key, system = await merchant.new_key()
    assert (await other.caller.get("/api-keys")).json()["data"] == []
    answer = await other.caller.get(
        "/api-keys", merchant_id=(await merchant.caller.get("/sessions/me")).json()["merchant_id"]
    )
    check_problem(answer, "not_found", 404)
    body = {"grant_id": str(merchant.grant_id), "scopes": SCOPES, "days": 30}
    check_problem(await other.caller.post("/api-keys", body), "not_found", 404)
    check_problem(await other.caller.post(f"/api-keys/{key}/rotation", {}), "not_found", 404)
    check_problem(await other.caller.send("DELETE", f"/api-keys/{key}"), "not_found", 404)
    assert await counts(system)
    assert (await merchant.caller.send("DELETE", f"/api-keys/{key}")).status_code == 204
    assert not await counts(system)


# ---- What a key is good for ----------------------------------------------------------------------


async def test_a_key_is_good_for_its_scopes_only(merchant: Merchant) -> None:
    key, system = await merchant.new_key(["read_session"])
    session = (await system.get("/sessions/me")).json()
    assert (session["role"], session["scopes"]) == ("merchant", ["read_session"])
    check_problem(await system.send("DELETE", "/sessions/me"), "forbidden", 403)
    check_problem(await system.post(f"/api-keys/{key}/rotation", {}), "forbidden", 403)
    check_problem(await system.get("/accounts"), "forbidden", 403)


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"scopes": ["read_session", "award"]}, "/scopes/1"),
        ({"scopes": ["grant_role"]}, "/scopes/0"),
        ({"scopes": ["issue_api_key"]}, "/scopes/0"),  # a key that makes keys never ends
        ({"scopes": ["revoke_api_key"]}, "/scopes/0"),
        ({"scopes": ["end_session"]}, "/scopes/0"),  # it would end all keys of its system
        ({"scopes": ["public"]}, "/scopes/0"),
        ({"scopes": ["everything"]}, "/scopes/0"),
        ({"scopes": []}, "/scopes"),
        ({"days": 0}, "/days"),
        ({"days": 367}, "/days"),
        ({"role": "integrator"}, "/role"),
    ],
)
async def test_a_key_says_what_and_how_long(
    merchant: Merchant, change: dict[str, Any], pointer: str
) -> None:
    body = {"grant_id": str(merchant.grant_id), "scopes": SCOPES, "days": 30}
    answer = await merchant.caller.post("/api-keys", body | change)
    problem = check_problem(answer, "invalid_input", 400)
    assert problem["errors"][0]["pointer"] == pointer


async def test_keys_are_for_systems_of_merchants(merchant: Merchant, door: Door) -> None:
    """On the grant of the person who runs the merchant, a key would be that person."""
    own = await door.admin.fetchval(
        "SELECT grant_id FROM role_grant WHERE party_id = $1", merchant.party_id
    )
    for grant_id in (await system_grant(door, None), own, new_id()):
        body = {"grant_id": str(grant_id), "scopes": SCOPES}
        check_problem(await merchant.caller.post("/api-keys", body), "not_found", 404)


# ---- How it changes and ends ---------------------------------------------------------------------


async def test_a_rotated_key_overlaps_and_two_count(merchant: Merchant, door: Door) -> None:
    key, first = await merchant.new_key()
    second = await rotated(first, key)
    assert await counts(first) and await counts(second)
    third = await rotated(second, key)
    assert [await counts(one) for one in (first, second, third)] == [False, True, True]
    await pass_a_day(door)
    assert [await counts(one) for one in (second, third)] == [False, True]


async def test_the_key_before_makes_no_other(merchant: Merchant, door: Door) -> None:
    """It may have leaked, which is why it was rotated: within the overlap it works, and no more."""
    key, first = await merchant.new_key()
    second = await rotated(first, key)
    check_problem(await first.post(f"/api-keys/{key}/rotation", {}), "not_found", 404)
    before = (await first.get("/sessions/me")).json()
    for by in (UUID(before["party_id"]), merchant.party_id):
        assert not await raw_rotation(door, key, UUID(before["session_id"]), by)
    assert await counts(first) and await counts(second)
    third = await rotated(merchant.caller, key)
    assert [await counts(one) for one in (first, second, third)] == [False, True, True]


async def test_what_has_ended_is_neither_listed_nor_changed(merchant: Merchant, door: Door) -> None:
    ours = await administrator(door)
    keys = [(await merchant.new_key())[0] for _ in range(3)]
    ended = "UPDATE session s SET {} FROM api_key k WHERE (k.session_id, k.api_key_id) = " + (
        "(s.session_id, $1)"
    )
    await door.admin.execute(ended.format("expires_at = clock_timestamp()"), keys[0])
    await door.admin.execute(ended.format("revoked_at = clock_timestamp()"), keys[1])
    for caller in (merchant.caller, ours):
        listed = (await caller.get("/api-keys")).json()["data"]
        assert [one["api_key_id"] for one in listed] == [str(keys[2])]
        for key in keys[:2]:
            check_problem(await caller.send("DELETE", f"/api-keys/{key}"), "not_found", 404)
    for key in keys[:2]:
        check_problem(await merchant.caller.post(f"/api-keys/{key}/rotation", {}), "not_found", 404)
        assert not await raw_rotation(door, key, None, merchant.party_id)


async def test_who_runs_a_merchant_sees_its_keys_wherever_they_hang(door: Door) -> None:
    """The roles of a person and of a system at one merchant may be of two branches."""
    here, there = [await open_branch(door.book) for _ in range(2)]
    merchant_id, person = new_id(), new_id()
    token = await token_for(
        door.book, Role.MERCHANT, person, merchant_id=merchant_id, branch_id=here
    )
    grant_id = await system_grant(door, merchant_id, there)
    merchant = Merchant(door, Caller(door.api.http, token), person, grant_id, merchant_id)
    key, _ = await merchant.new_key()
    listed = (await merchant.caller.get("/api-keys")).json()["data"]
    assert [one["api_key_id"] for one in listed] == [str(key)]
    await rotated(merchant.caller, key)


async def test_of_rotations_at_once_two_tokens_are_left(merchant: Merchant) -> None:
    key, first = await merchant.new_key()
    others = await asyncio.gather(*(rotated(merchant.caller, key) for _ in range(5)))
    assert sum([await counts(one) for one in (first, *others)]) == 2


async def test_a_key_rotates_once_however_often_it_asks_at_once(merchant: Merchant) -> None:
    key, first = await merchant.new_key()
    path = f"/api-keys/{key}/rotation"
    found = await asyncio.gather(*(first.post(path, {}) for _ in range(5)))
    assert sorted(answer.status_code for answer in found) == [201, 404, 404, 404, 404]


async def test_a_key_changes_no_other_key(merchant: Merchant) -> None:
    (_, mine), (key, other) = await merchant.new_key(), await merchant.new_key()
    for foreign in (key, new_id()):
        check_problem(await mine.post(f"/api-keys/{foreign}/rotation", {}), "not_found", 404)
    assert await counts(other)


async def test_a_key_ends_when_it_is_revoked_or_its_grant_is(
    merchant: Merchant, door: Door
) -> None:
    ours = await administrator(door)
    key, first = await merchant.new_key()
    second = await rotated(first, key)
    assert (await ours.send("DELETE", f"/api-keys/{key}")).status_code == 204
    assert [await counts(one) for one in (first, second)] == [False, False]
    check_problem(await ours.send("DELETE", f"/api-keys/{key}"), "not_found", 404)
    check_problem(await merchant.caller.post(f"/api-keys/{key}/rotation", {}), "not_found", 404)
    key, system = await merchant.new_key()
    async with door.book.pool.acquire() as connection:
        await revoke_grant(connection, door.book.bank_id, merchant.grant_id)
    assert not await counts(system)
    assert (await ours.get("/api-keys")).json()["data"] == []
