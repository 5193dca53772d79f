"""A merchant's people get in by two persons of the programme, neither of whom can be them."""

import asyncio
from dataclasses import dataclass
from uuid import UUID

import asyncpg
import httpx
import pyotp
import pytest

from tests.api.client import Caller, check_problem, token_for
from tests.api.logins import PASSWORD, Door, Member
from tests.places import open_branch
from timebank.ledger.ids import new_id
from timebank.people.access import Role
from timebank.people.parties import PartyKind, register_parties


async def staff(door: Door, role: Role, person: UUID | None = None, **rest: UUID) -> Caller:
    return Caller(door.api.http, await token_for(door.book, role, person, **rest))


async def person_of(door: Door, role: Role = Role.CLERK) -> UUID:
    """Somebody with a role at a new merchant."""
    person = new_id()
    await token_for(door.book, role, person, merchant_id=new_id())
    return person


async def enrolled(door: Door, code: str, person: UUID) -> Member:
    """What the invited person does."""
    secret = (await door.post("/enrolments", code=code)).json()["secret"]
    answer = await door.post(
        "/enrolments/completion", code=code, totp=pyotp.TOTP(secret).now(), password=PASSWORD
    )
    assert answer.status_code == 201, answer.text
    member = Member(door, person, answer.json()["staff_number"], secret)
    await member.forget_steps()
    return member


async def invited(by: Caller, person: UUID) -> str:
    answer = await by.post("/invitations", {"party_id": str(person)})
    assert answer.status_code == 201, answer.text
    assert answer.headers["cache-control"] == "no-store"
    code: str = answer.json()["code"]
    return code


async def confirm(by: Caller, member: Member) -> httpx.Response:
    return await by.post("/enrolments/confirmation", {"staff_number": member.staff_number})


@dataclass(frozen=True)
class Two:
    """Two persons who work for the programme."""

    inviter: Caller
    other: Caller


@pytest.fixture
async def two(door: Door) -> Two:
    return Two(await staff(door, Role.COORDINATOR), await staff(door, Role.ADMINISTRATOR))


@pytest.mark.parametrize("role", [Role.CLERK, Role.MERCHANT])
async def test_one_invites_and_another_confirms(door: Door, two: Two, role: Role) -> None:
    person = await person_of(door, role)
    member = await enrolled(door, await invited(two.inviter, person), person)
    check_problem(await member.log_in(), "enrolment_not_confirmed", 403)
    check_problem(await confirm(two.inviter, member), "second_person_needed", 403)
    check_problem(await member.log_in(), "enrolment_not_confirmed", 403)
    assert (await confirm(two.other, member)).status_code == 204
    answer = await member.log_in()
    assert (answer.status_code, answer.json()["role"]) == (201, role.value)
    assert (person, "enrolment_not_confirmed") not in await door.audit_lines("confirm_enrolment")
    assert [result for _, result in await door.audit_lines("confirm_enrolment")] == [
        "second_person_needed",
        "done",
    ]


async def test_who_is_invited_again_is_confirmed_again(door: Door, two: Two) -> None:
    """Else whoever invites a second time would take the login over, or at least end it."""
    person = await person_of(door)
    member = await enrolled(door, await invited(two.inviter, person), person)
    assert (await confirm(two.other, member)).status_code == 204
    session = door.caller(await member.log_in())
    again = await enrolled(door, await invited(two.other, person), person)
    assert again.staff_number != member.staff_number
    check_problem(await again.log_in(), "enrolment_not_confirmed", 403)
    assert (await session.get("/sessions/me")).status_code == 200
    await member.forget_steps()
    assert (await member.log_in()).status_code == 201
    check_problem(await confirm(two.other, again), "second_person_needed", 403)
    assert (await session.get("/sessions/me")).status_code == 200
    assert (await confirm(two.inviter, again)).status_code == 204
    check_problem(await session.get("/sessions/me"), "unauthenticated", 401)
    await member.forget_steps()
    check_problem(await member.log_in(), "login_failed", 401)
    assert (await again.log_in()).status_code == 201


async def test_a_number_of_before_confirms_nobody(door: Door, two: Two) -> None:
    """The inviter enrols as the clerk, who cannot log in and tells the number that they know."""
    person = await person_of(door)
    clerk = await enrolled(door, await invited(two.inviter, person), person)
    thief = await enrolled(door, await invited(two.inviter, person), person)
    check_problem(await confirm(two.other, clerk), "not_found", 404)  # of the first enrolment
    check_problem(await thief.log_in(), "enrolment_not_confirmed", 403)
    clerk = await enrolled(door, await invited(two.inviter, person), person)
    assert (await confirm(two.other, clerk)).status_code == 204
    thief = await enrolled(door, await invited(two.inviter, person), person)
    assert (await confirm(two.other, clerk)).status_code == 204  # as it was: nothing happens
    check_problem(await thief.log_in(), "enrolment_not_confirmed", 403)
    await clerk.forget_steps()
    assert (await clerk.log_in()).status_code == 201


async def test_of_confirming_and_enrolling_again_at_once_none_opens_the_other(
    door: Door, two: Two
) -> None:
    person = await person_of(door)
    clerk = await enrolled(door, await invited(two.inviter, person), person)
    code = await invited(two.inviter, person)
    answer, thief = await asyncio.gather(confirm(two.other, clerk), enrolled(door, code, person))
    check_problem(await thief.log_in(), "enrolment_not_confirmed", 403)
    assert answer.status_code in {204, 404}
    await clerk.forget_steps()
    expected = 201 if answer.status_code == 204 else 401
    assert (await clerk.log_in()).status_code == expected


@pytest.mark.parametrize("role", [Role.ADMINISTRATOR, Role.COORDINATOR, Role.AUDITOR])
async def test_staff_are_not_invited_by_staff(door: Door, two: Two, role: Role) -> None:
    """A new invitation takes a login over, and with it all its roles."""
    member = await door.member(role)
    for person in (member.party_id, new_id(), await door.desk.member()):
        answer = await two.inviter.post("/invitations", {"party_id": str(person)})
        check_problem(answer, "not_found", 404)
    check_problem(await confirm(two.inviter, member), "not_found", 404)
    both = await person_of(door)
    await token_for(door.book, role, both)
    answer = await two.inviter.post("/invitations", {"party_id": str(both)})
    check_problem(answer, "not_found", 404)


async def test_a_role_granted_meanwhile_is_not_taken_over(door: Door, two: Two) -> None:
    """Who holds the code of a clerk, who becomes an administrator before it is used."""
    person = await person_of(door)
    code = await invited(two.inviter, person)
    await token_for(door.book, Role.ADMINISTRATOR, person)
    member = await enrolled(door, code, person)
    grants = await door.admin.fetch("SELECT grant_id FROM role_grant WHERE party_id = $1", person)
    for grant in grants:
        answer = await member.log_in(grant_id=str(grant["grant_id"]))
        check_problem(answer, "enrolment_not_confirmed", 403)
        await member.forget_steps()
    check_problem(await confirm(two.other, member), "not_found", 404)


async def test_invited_and_confirmed_where_the_merchant_hangs(door: Door) -> None:
    here, there = [await open_branch(door.book) for _ in range(2)]
    merchant_id, person = new_id(), new_id()
    await token_for(door.book, Role.CLERK, person, merchant_id=merchant_id)
    async with door.book.pool.acquire() as connection:
        await register_parties(connection, door.book.bank_id, PartyKind.MERCHANT, [merchant_id])
    await door.admin.fetchval(
        "SELECT place_party($1, $2, $3)", door.book.bank_id, merchant_id, here
    )
    near, far = [
        await staff(door, Role.COORDINATOR, branch_id=branch_id) for branch_id in (here, there)
    ]
    body = {"party_id": str(person)}
    check_problem(await far.post("/invitations", body), "not_found", 404)
    member = await enrolled(door, await invited(near, person), person)
    check_problem(await confirm(far, member), "not_found", 404)
    local = await staff(door, Role.COORDINATOR, branch_id=here)
    assert (await confirm(local, member)).status_code == 204


async def test_nobody_confirms_themselves(door: Door, two: Two) -> None:
    person = await person_of(door)
    member = await enrolled(door, await invited(two.inviter, person), person)
    with pytest.raises(asyncpg.CheckViolationError, match="enrolment_confirmed_by_another"):
        await door.book.pool.fetchval(
            "SELECT confirm_enrolment($1, $2, $3)",
            door.book.bank_id,
            member.staff_number,
            person,
        )
    found = await asyncio.gather(*(confirm(two.other, member) for _ in range(3)))
    assert [answer.status_code for answer in found] == [204] * 3
