"""Enrolment and keys of systems: what is shown once, what counts once, and for how much."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

import pyotp
import pytest

from tests.api.client import Caller, check_problem, token_for
from tests.api.logins import PASSWORD, Door
from timebank.ledger.ids import new_id
from timebank.people.access import Role
from timebank.people.grants import OPERATOR_ID, grant_role, revoke_grant
from timebank.people.login.enrolments import invite
from timebank.people.parties import PartyKind, register_parties

SCOPES = ["read_session", "rotate_api_key"]


async def second_factor(door: Door, code: str) -> str:
    answer = await door.post("/enrolments", code=code)
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    secret: str = answer.json()["secret"]
    assert pyotp.parse_uri(answer.json()["otpauth_uri"]).secret == secret
    return secret


async def complete(door: Door, code: str, secret: str, **change: Any) -> Any:
    given = {"code": code, "totp": pyotp.TOTP(secret).now(), "password": PASSWORD}
    return await door.post("/enrolments/completion", **(given | change))


# ---- Enrolment -----------------------------------------------------------------------------------


async def test_an_invited_person_enrols_once_and_logs_in(door: Door) -> None:
    person, code = await door.invited(Role.ADMINISTRATOR)
    secret = await second_factor(door, code)
    assert await second_factor(door, code.lower().replace("-", " ")) == secret
    answer = await complete(door, code, secret)
    assert answer.status_code == 201
    number = answer.json()["staff_number"]
    body = {"type": "password", "staff_number": number, "password": PASSWORD}
    now = pyotp.TOTP(secret).now()
    check_problem(await door.log_in(**body, totp=now), "login_failed")  # spent by the enrolment
    await door.admin.execute("UPDATE staff_login SET last_step = 0 WHERE party_id = $1", person)
    assert (await door.log_in(**body, totp=now)).json()["role"] == "administrator"
    for spent in (await door.post("/enrolments", code=code), await complete(door, code, secret)):
        check_problem(spent, "login_failed", 401)
    assert (person, "done") in await door.audit_lines("enrol")


async def test_of_ten_completions_at_once_one_succeeds(door: Door) -> None:
    _, code = await door.invited()
    secret = await second_factor(door, code)
    found = await asyncio.gather(*(complete(door, code, secret) for _ in range(10)))
    assert sorted({answer.status_code for answer in found}) == [201, 401]
    assert sum(answer.status_code == 201 for answer in found) == 1


async def test_an_invitation_counts_for_a_day_and_in_its_bank(door: Door) -> None:
    _, code = await door.invited()
    check_problem(await door.post("/enrolments", code=code, bank="nowhere"), "login_failed")
    check_problem(await door.post("/enrolments", code=code[:-1] + "0"), "login_failed")
    check_problem(await complete(door, code, pyotp.random_base32()), "invalid_input")  # not begun
    secret = await second_factor(door, code)
    await door.admin.execute(
        "UPDATE enrolment SET expires_at = expires_at - $2::interval WHERE bank_id = $1",
        door.book.bank_id,
        timedelta(hours=24),
    )
    check_problem(await door.post("/enrolments", code=code), "login_failed")
    check_problem(await complete(door, code, secret), "login_failed")


async def test_what_is_not_right_leaves_the_invitation_as_it_was(door: Door) -> None:
    _, code = await door.invited()
    secret = await second_factor(door, code)
    for change, error, pointer in (
        ({"totp": "000000"}, "invalid_input", "/totp"),
        ({"password": "short"}, "weak_secret", "/password"),
        ({"password": "password1234"}, "weak_secret", "/password"),
        ({"role": "administrator"}, "invalid_input", "/role"),
    ):
        problem = check_problem(await complete(door, code, secret, **change), error)
        assert problem["errors"][0]["pointer"] == pointer
    assert (await complete(door, code, secret)).status_code == 201


async def test_who_lost_their_telephone_is_invited_again(door: Door) -> None:
    member = await door.member()
    old = door.caller(await member.log_in())
    async with door.book.pool.acquire() as connection:
        unused, code = [
            await invite(connection, door.book.bank_id, member.party_id, OPERATOR_ID)
            for _ in range(2)
        ]
    secret = await second_factor(door, code)
    answer = await complete(door, code, secret, password="five quiet lanterns")  # noqa: S106
    assert answer.json()["staff_number"] == member.staff_number
    check_problem(await old.get("/sessions/me"), "unauthenticated")
    check_problem(await door.post("/enrolments", code=unused), "login_failed")
    await member.forget_steps()
    check_problem(await member.log_in(), "login_failed")
    renewed = {"password": "five quiet lanterns", "totp": pyotp.TOTP(secret).now()}
    assert (await member.log_in(**renewed)).status_code == 201


# ---- Keys of systems ----------------------------------------------------------------------------


async def system_grant(door: Door, role: Role = Role.MERCHANT) -> UUID:
    """Grant a new system a role."""
    system = new_id()
    async with door.book.pool.acquire() as connection:
        await register_parties(connection, door.book.bank_id, PartyKind.SYSTEM, [system])
        return await grant_role(
            connection,
            door.book.bank_id,
            system,
            role,
            None,
            granted_by=OPERATOR_ID,
            approved_by=OPERATOR_ID,
            merchant_id=new_id() if role is Role.MERCHANT else None,
        )


async def administrator(door: Door) -> Caller:
    return Caller(door.api.http, await token_for(door.book, Role.ADMINISTRATOR))


async def new_key(door: Door, scopes: list[str] | None = None) -> tuple[UUID, Caller]:
    """Let an administrator issue a key."""
    body = {"grant_id": str(await system_grant(door)), "scopes": scopes or SCOPES, "days": 30}
    answer = await (await administrator(door)).post("/api-keys", body)
    assert answer.status_code == 201, answer.text
    assert answer.headers["cache-control"] == "no-store"
    return UUID(answer.json()["api_key_id"]), Caller(door.api.http, answer.json()["token"])


async def counts(caller: Caller) -> bool:
    return (await caller.get("/sessions/me")).status_code == 200


async def rotated(caller: Caller, key: UUID) -> Caller:
    answer = await caller.post(f"/api-keys/{key}/rotation", {})
    assert answer.status_code == 201, answer.text
    return Caller(caller.http, answer.json()["token"])


async def test_a_key_is_good_for_its_scopes_only(door: Door) -> None:
    key, system = await new_key(door, ["read_session"])
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
        ({"scopes": ["public"]}, "/scopes/0"),
        ({"scopes": ["everything"]}, "/scopes/0"),
        ({"scopes": []}, "/scopes"),
        ({"days": 0}, "/days"),
        ({"days": 367}, "/days"),
        ({"role": "integrator"}, "/role"),
    ],
)
async def test_a_key_says_what_and_how_long(
    door: Door, change: dict[str, Any], pointer: str
) -> None:
    body = {"grant_id": str(await system_grant(door)), "scopes": SCOPES, "days": 30}
    answer = await (await administrator(door)).post("/api-keys", body | change)
    problem = check_problem(answer, "invalid_input", 400)
    assert problem["errors"][0]["pointer"] == pointer


async def test_keys_are_for_systems_of_merchants(door: Door) -> None:
    """An administrator who made one for an integrator could post with it."""
    ours = await administrator(door)
    for grant_id in (await system_grant(door, Role.INTEGRATOR), new_id()):
        answer = await ours.post("/api-keys", {"grant_id": str(grant_id), "scopes": SCOPES})
        check_problem(answer, "not_found", 404)


async def test_a_rotated_key_overlaps_and_two_count(door: Door) -> None:
    key, first = await new_key(door)
    second = await rotated(first, key)
    assert await counts(first) and await counts(second)
    third = await rotated(second, key)
    assert [await counts(one) for one in (first, second, third)] == [False, True, True]
    await door.admin.execute(
        "UPDATE session SET expires_at = expires_at - interval '24 hours 1 second' "
        "WHERE bank_id = $1 AND scopes IS NOT NULL",
        door.book.bank_id,
    )
    assert [await counts(one) for one in (second, third)] == [False, True]


async def test_a_rotation_whose_answer_was_lost_is_asked_for_again(door: Door) -> None:
    key, first = await new_key(door)
    lost = await rotated(first, key)
    second = await rotated(first, key)
    assert [await counts(one) for one in (first, lost, second)] == [True, False, True]


async def test_of_rotations_at_once_two_tokens_are_left(door: Door) -> None:
    key, first = await new_key(door)
    ours = await administrator(door)
    others = await asyncio.gather(*(rotated(ours, key) for _ in range(5)))
    assert sum([await counts(one) for one in (first, *others)]) == 2


async def test_a_key_changes_no_other_key(door: Door) -> None:
    (_, mine), (key, other) = await new_key(door), await new_key(door)
    for foreign in (key, new_id()):
        check_problem(await mine.post(f"/api-keys/{foreign}/rotation", {}), "not_found", 404)
    assert await counts(other)


async def test_a_key_ends_when_it_is_revoked_or_its_grant_is(door: Door) -> None:
    ours = await administrator(door)
    key, first = await new_key(door)
    second = await rotated(first, key)
    assert (await ours.send("DELETE", f"/api-keys/{key}")).status_code == 204
    assert [await counts(one) for one in (first, second)] == [False, False]
    check_problem(await ours.send("DELETE", f"/api-keys/{key}"), "not_found", 404)
    check_problem(await ours.post(f"/api-keys/{key}/rotation", {}), "not_found", 404)
    key, system = await new_key(door)
    grant_id = await door.admin.fetchval("SELECT grant_id FROM api_key WHERE api_key_id = $1", key)
    async with door.book.pool.acquire() as connection:
        await revoke_grant(connection, door.book.bank_id, grant_id)
    assert not await counts(system)
