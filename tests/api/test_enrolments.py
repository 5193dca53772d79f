"""Enrolment and keys of systems: what is shown once, what counts once, and for how much."""

import asyncio
from datetime import timedelta
from typing import Any

import pyotp
import pytest

from tests.api.client import check_problem
from tests.api.logins import PASSWORD, Door
from timebank.domain.errors import LoginFailedError
from timebank.people.access import Role
from timebank.people.grants import OPERATOR_ID
from timebank.people.login.enrolments import complete as complete_it
from timebank.people.login.enrolments import get_invitation, invite


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
    secret = await second_factor(door, code.lower().replace("-", " "))
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


async def test_each_call_shows_another_second_factor_and_the_last_counts(door: Door) -> None:
    """Who invites has the code first: what they saw with it must not be what the invited gets."""
    person, code = await door.invited(Role.ADMINISTRATOR)
    seen = await second_factor(door, code)
    secret = await second_factor(door, code)
    assert seen != secret
    problem = check_problem(await complete(door, code, seen), "invalid_input", 400)
    assert problem["errors"][0]["pointer"] == "/totp"
    assert (await complete(door, code, secret)).status_code == 201
    lines = await door.admin.fetch(
        "SELECT object_id, actor_id, result FROM audit_log WHERE action = 'begin_enrolment' "
        "AND bank_id = $1",
        door.book.bank_id,
    )
    assert [tuple(line) for line in lines] == [(person, None, "done")] * 2


async def test_a_second_factor_shown_during_the_completion_is_not_put_in_force(
    door: Door,
) -> None:
    _, code = await door.invited(Role.ADMINISTRATOR)
    await second_factor(door, code)
    async with door.book.pool.acquire() as connection:
        invitation = await get_invitation(connection, door.book.bank_id, code)
        await second_factor(door, code)
        with pytest.raises(LoginFailedError):
            await complete_it(connection, door.book.bank_id, invitation, 1, b"not stored")


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
