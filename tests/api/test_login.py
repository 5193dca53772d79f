"""Logging in: who gets which session, and what a failure, a slip or a guess is answered."""

import asyncio
import secrets
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
from litestar import Litestar

from tests.api.client import Api, Caller, check_problem, token_for
from tests.api.logins import PASSWORD, PIN, WRONG_PIN, Door
from tests.book import Book
from timebank.domain.secrets import SPRAYED_CARDS, WAITS
from timebank.ledger.ids import new_id
from timebank.people.access import Role
from timebank.people.cards import issue_card, revoke_card, spell_card_token
from timebank.people.grants import OPERATOR_ID, grant_role, list_grants, revoke_grant
from timebank.people.sessions import open_session
from timebank.people.vault import Purpose, erase_person

DAY = timedelta(days=1)


# ---- Who gets in ---------------------------------------------------------------------------------


async def test_a_card_and_its_pin_are_good_for_looking(door: Door) -> None:
    holder = await door.card_holder()
    answer = await holder.log_in()
    session = answer.json()
    assert answer.headers["cache-control"] == "no-store"
    assert (session["role"], session["method"]) == ("resident", "pin")
    assert session["party_id"] == str(holder.resident_id)
    caller = door.caller(answer)
    assert (await caller.get("/accounts")).status_code == 200
    assert (await caller.get("/sessions/me")).json() == {
        key: value for key, value in session.items() if key != "token"
    }
    # More than low value needs a code, and nothing is changed by asking.
    refused = await caller.post("/credentials/pin", {"pin": "904172"})
    check_problem(refused, "stronger_login_needed", 403)
    assert (await holder.log_in()).status_code == 201


async def test_a_card_is_scanned_or_typed(door: Door) -> None:
    holder = await door.card_holder()
    spelt = spell_card_token(holder.card).lower()
    for shown in (f"https://jianxi.example/p/{holder.card}", spelt, f" {holder.card}\n"):
        answer = await door.log_in(type="card_pin", card=shown, pin=PIN)
        assert answer.json()["party_id"] == str(holder.resident_id)


async def test_a_new_card_ends_what_the_old_one_could_do(door: Door) -> None:
    holder = await door.card_holder()
    old = [door.caller(await holder.log_in()), door.caller(await holder.log_in_by_code())]
    async with door.desk.at() as connection:
        token = await open_session(connection, door.book.bank_id, holder.resident_id, Role.RESIDENT)
        new = await issue_card(
            connection, door.book.bank_id, holder.resident_id, issued_by=door.desk.clerk
        )
    for caller in old:
        check_problem(await caller.get("/sessions/me"), "unauthenticated", 401)
    no_card = Caller(door.api.http, token)
    assert (await no_card.get("/sessions/me")).status_code == 200
    check_problem(await holder.log_in(), "login_failed")
    answer = await door.log_in(type="card_pin", card=new, pin=PIN)
    assert answer.json()["party_id"] == str(holder.resident_id)


async def test_a_one_time_code_is_good_for_all_a_resident_may(door: Door) -> None:
    holder = await door.card_holder(pin=None)
    answer = await holder.log_in_by_code()
    assert answer.json()["method"] == "code"
    changed = await door.caller(answer).post("/credentials/pin", {"pin": PIN})
    assert changed.status_code == 204
    assert (await holder.log_in()).status_code == 201


async def test_staff_come_with_password_and_second_factor(door: Door) -> None:
    member = await door.member()
    answer = await member.log_in()
    assert (answer.json()["role"], answer.json()["method"]) == ("coordinator", "password")
    assert (await door.caller(answer).get("/approvals")).status_code == 200
    assert (member.party_id, "done") in await door.audit_lines("log_in")


async def test_a_clerk_works_for_their_merchant(door: Door) -> None:
    merchant_id = new_id()
    member = await door.member(Role.CLERK, merchant_id)
    session = (await member.log_in()).json()
    assert (session["role"], session["merchant_id"]) == ("clerk", str(merchant_id))


async def test_who_has_two_roles_says_in_which_they_come(door: Door) -> None:
    member = await door.member(Role.COORDINATOR)
    async with door.book.pool.acquire() as connection:
        second = await grant_role(
            connection,
            door.book.bank_id,
            member.party_id,
            Role.AUDITOR,
            None,
            granted_by=OPERATOR_ID,
            approved_by=OPERATOR_ID,
        )
    assert (await member.log_in()).json()["role"] == "coordinator"
    await member.forget_steps()
    assert (await member.log_in(grant_id=str(second))).json()["role"] == "auditor"
    await member.forget_steps()
    check_problem(await member.log_in(grant_id=str(new_id())), "login_failed", 401)


async def test_a_role_that_was_revoked_opens_nothing(door: Door) -> None:
    member = await door.member()
    async with door.book.pool.acquire() as connection:
        for grant in await list_grants(connection, door.book.bank_id, member.party_id):
            await revoke_grant(connection, door.book.bank_id, grant.grant_id)
    check_problem(await member.log_in(), "login_failed", 401)


@pytest.mark.parametrize(
    ("method", "lifetime", "idle"),
    [("pin", timedelta(hours=1), 600), ("code", timedelta(days=30), 7 * 86400)],
)
async def test_a_residents_session_ends_by_itself(
    door: Door, method: str, lifetime: timedelta, idle: int
) -> None:
    holder = await door.card_holder()
    answer = await (holder.log_in() if method == "pin" else holder.log_in_by_code())
    left = datetime.fromisoformat(answer.json()["expires_at"]) - datetime.now(UTC)
    assert timedelta(0) < lifetime - left < timedelta(minutes=1)
    assert answer.json()["idle_seconds"] == idle
    await door.admin.execute(
        "UPDATE session SET last_used_at = last_used_at - $2::interval WHERE session_id = $1",
        UUID(answer.json()["session_id"]),
        timedelta(seconds=idle),
    )
    check_problem(await door.caller(answer).get("/sessions/me"), "unauthenticated", 401)


@pytest.mark.parametrize(
    ("role", "hours", "minutes"),
    [(Role.ADMINISTRATOR, 10, 15), (Role.COORDINATOR, 10, 30), (Role.CLERK, 12, 60)],
)
async def test_staff_do_not_stay_logged_in(
    door: Door, role: Role, hours: int, minutes: int
) -> None:
    member = await door.member(role, new_id() if role is Role.CLERK else None)
    session = (await member.log_in()).json()
    left = datetime.fromisoformat(session["expires_at"]) - datetime.now(UTC)
    assert timedelta(0) < timedelta(hours=hours) - left < timedelta(minutes=1)
    assert session["idle_seconds"] == 60 * minutes


# ---- What does not fit ---------------------------------------------------------------------------


async def test_whatever_is_wrong_is_answered_the_same(door: Door) -> None:
    holder, without_pin = await door.card_holder(), await door.card_holder(pin=None)
    erased, revoked = await door.card_holder(), await door.card_holder()
    await door.code_for(holder.resident_id)
    async with door.desk.at() as connection:
        access = door.desk.access(Purpose.SUBJECT_ACCESS)
        await erase_person(connection, access, erased.resident_id)
        await revoke_card(connection, door.book.bank_id, revoked.resident_id)
    member, other = await door.member(), await door.member()
    by_pin: dict[str, Any] = {"type": "card_pin", "card": holder.card, "pin": PIN}
    by_code: dict[str, Any] = {"type": "one_time_code", "card": holder.card, "code": "00000000"}
    by_password: dict[str, Any] = {
        "type": "password",
        "staff_number": member.staff_number,
        "password": PASSWORD,
        "totp": member.totp(),
    }
    answers = [
        await door.log_in({"X-Request-Id": "abcdefab-cdef-abcd-efab-cdefabcdefab"}, **body)
        for body in (
            by_pin | {"pin": WRONG_PIN},
            by_pin | {"card": secrets.token_urlsafe(16)},
            by_pin | {"card": without_pin.card},
            by_pin | {"card": erased.card},
            by_pin | {"card": revoked.card},
            by_pin | {"bank": "nowhere"},
            by_code,
            by_code | {"card": without_pin.card},
            by_password | {"password": PASSWORD + "!"},
            by_password | {"totp": other.totp()},
            by_password | {"totp": member.totp(steps=-2)},
            by_password | {"staff_number": "00000000"},
            by_password | {"bank": "nowhere"},
        )
    ]
    for answer in answers:
        check_problem(answer, "login_failed", 401)
    assert len({(answer.text, tuple(sorted(answer.headers.items()))) for answer in answers}) == 1
    failed = [line for line in await door.audit_lines("log_in") if line[1] != "done"]
    assert failed == [(None, "login_failed")] * (len(answers) - 2)  # of no bank, no line


async def test_whose_it_is_does_not_show_in_the_time_it_takes(
    door: Door, app: Litestar, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A secret is compared once, whether there is one to compare it with or not."""
    hasher = app.state.desk.hasher
    compare, compared = hasher._fits, list[str]()

    def count(hashed: str, secret: str) -> bool:
        compared.append(secret)
        return bool(compare(hashed, secret))

    holder = await door.card_holder()
    monkeypatch.setattr(hasher, "_fits", count)
    tried = ["731940", "731941", "731942"]
    for secret, wrong in zip(tried, ({}, {"card": "nobody's"}, {"bank": "nowhere"}), strict=True):
        body = {"type": "card_pin", "card": holder.card, "pin": secret}
        check_problem(await door.log_in(**(body | wrong)), "login_failed")
    await door.log_in(type="one_time_code", card=holder.card, code="73194300")
    await door.log_in(type="password", staff_number="0" * 8, totp="0" * 6, **{"password": "p"})
    assert len(compared) == 5


@pytest.mark.parametrize(
    "body",
    [
        {"type": "card_pin", "card": "c", "pin": PIN, "role": "administrator"},
        {"type": "card_pin", "card": "c", "pin": PIN, "balance": 1},
        {"type": "card_pin", "card": "c", "pin": PIN, "branch_id": None},
        {"type": "card_pin", "card": "c", "pin": PIN, "grant_id": None},
        {"type": "card_pin", "card": "c", "pin": PIN, "method": "password"},
        {"type": "card_pin", "card": "c", "pin": 492716},
        {"type": "card_pin", "card": "c", "pin": "49271"},
        {"type": "card_pin", "card": "c", "pin": "492716\n"},
        {"type": "card_pin", "card": "c", "pin": "４９２７１６"},
        {"type": "card_pin", "card": "c" * 201, "pin": PIN},
        {"type": "card_pin", "card": "", "pin": PIN},
        {"type": "card_pin", "card": ["c"], "pin": PIN},
        {"type": "card_pin", "card": "c", "pin": PIN, "deliver": "mail"},
        {"type": "one_time_code", "card": "c", "pin": PIN},
        {"type": "password", "staff_number": "12345678", "password": "x", "totp": "1"},
        {"type": "password", "staff_number": "12345678", "password": "x" * 401, "totp": "123456"},
        {"type": "password", "staff_number": "admin", "password": "x", "totp": "123456"},
        {"type": "token"},
        {"card": "c", "pin": PIN},
        {},
    ],
)
async def test_a_body_that_says_more_or_less_is_refused(door: Door, body: dict[str, Any]) -> None:
    check_problem(await door.log_in(**body), "invalid_input", 400)


# ---- Guessing ---------------------------------------------------------------------------------


async def test_who_guesses_waits_longer_and_longer_and_never_for_ever(door: Door) -> None:
    holder = await door.card_holder()
    for wait in WAITS:
        check_problem(await holder.log_in(WRONG_PIN), "login_failed")
        if wait:
            refused = await holder.log_in(WRONG_PIN)
            check_problem(refused, "too_many_attempts", 429)
            assert wait - 5 <= int(refused.headers["retry-after"]) <= wait
            # The right one is not looked at either; a one-time code is.
            check_problem(await holder.log_in(), "too_many_attempts")
            await door.let_pass(timedelta(seconds=wait))
    assert (await holder.log_in_by_code()).status_code == 201
    assert (await holder.log_in()).status_code == 201
    check_problem(await holder.log_in(WRONG_PIN), "login_failed")  # it begins anew
    check_problem(await holder.log_in(WRONG_PIN), "login_failed")


async def test_a_card_that_nobody_has_is_delayed_like_any(door: Door) -> None:
    holder = await door.card_holder()
    answered = []
    for card in (holder.card, secrets.token_urlsafe(16)):
        answers = [await door.log_in(type="card_pin", card=card, pin=WRONG_PIN) for _ in range(5)]
        answered.append([answer.status_code for answer in answers])
    assert answered == [[401, 401, 401, 429, 429]] * 2


async def test_staff_are_delayed_too(door: Door) -> None:
    member = await door.member()
    answers = [await member.log_in(totp="000000") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [401, 401, 401, 429]
    check_problem(await member.log_in(), "too_many_attempts")


async def test_a_hundred_guesses_at_once_get_no_more_than_one_after_another(door: Door) -> None:
    holder = await door.card_holder()
    answers = await asyncio.gather(*(holder.log_in(WRONG_PIN) for _ in range(100)))
    counted = Counter(answer.status_code for answer in answers)
    assert counted == {401: 3, 429: 97}
    failures = await door.admin.fetchval(
        "SELECT failures FROM login_failure WHERE bank_id = $1 AND method = 'pin' AND is_known",
        door.book.bank_id,
    )
    assert failures == 3


async def test_delays_are_forgotten_after_a_day(door: Door) -> None:
    holder = await door.card_holder()
    for _ in range(3):
        await holder.log_in(WRONG_PIN)
    await door.let_pass(DAY + timedelta(seconds=1))
    answers = [await holder.log_in(WRONG_PIN) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [401, 401, 401, 429]


async def spray(door: Door, cards: int) -> None:
    """Fail at so many cards of the bank just now."""
    await door.admin.execute(
        "INSERT INTO login_failure SELECT $1, 'pin', sha256(n::text::bytea), true, 1, "
        "clock_timestamp(), clock_timestamp() FROM generate_series(1, $2) AS n",
        door.book.bank_id,
        cards,
    )


async def test_spraying_a_pin_over_many_cards_slows_all_pins_down(door: Door) -> None:
    holders = [await door.card_holder() for _ in range(3)]
    await spray(door, SPRAYED_CARDS - 1)
    check_problem(await holders[0].log_in(WRONG_PIN), "login_failed")  # takes the only turn
    for holder in holders[1:]:
        refused = await holder.log_in()
        check_problem(refused, "too_many_attempts", 429)
        assert 1 <= int(refused.headers["retry-after"]) <= 60
    # Nobody is charged for the wait; codes go on; unknown cards take no turn.
    assert (await holders[1].log_in_by_code()).status_code == 201
    await door.let_pass(timedelta(seconds=5))
    unknown = await door.log_in(type="card_pin", card="nobody's", pin=PIN)
    check_problem(unknown, "login_failed")
    assert (await holders[1].log_in()).status_code == 201
    check_problem(await holders[2].log_in(), "too_many_attempts")
    # When the attack is over, so is the wait.
    await door.let_pass(timedelta(minutes=11))
    assert [(await holder.log_in()).status_code for holder in holders[1:]] == [201, 201]


async def test_the_turns_of_a_sprayed_bank_are_taken_one_by_one(door: Door) -> None:
    holders = [await door.card_holder() for _ in range(8)]
    await spray(door, SPRAYED_CARDS)
    answers = await asyncio.gather(*(holder.log_in() for holder in holders))
    assert Counter(answer.status_code for answer in answers) == {201: 1, 429: 7}


async def test_one_bank_does_not_wait_for_another(door: Door, http: httpx.AsyncClient) -> None:
    book = await Book.open(door.book.pool)
    elsewhere = Door(await Api.open(http, book), door.desk, door.admin)
    await spray(elsewhere, SPRAYED_CARDS * 3)
    holders = [await door.card_holder() for _ in range(2)]
    assert [(await holder.log_in()).status_code for holder in holders] == [201, 201]


# ---- What counts once -------------------------------------------------------------------------


async def test_of_ten_uses_of_a_code_at_once_one_succeeds(door: Door) -> None:
    holder = await door.card_holder(pin=None)
    code = await door.code_for(holder.resident_id)
    found = await asyncio.gather(*(holder.log_in_by_code(code) for _ in range(10)))
    assert sum(answer.status_code == 201 for answer in found) == 1
    assert {answer.status_code for answer in found} <= {201, 401, 429}
    await door.let_pass(DAY)
    check_problem(await holder.log_in_by_code(code), "login_failed")


async def test_a_code_is_good_for_its_person_its_time_and_until_the_next(door: Door) -> None:
    holder, other = [await door.card_holder(pin=None) for _ in range(2)]
    code = await door.code_for(holder.resident_id)
    check_problem(await other.log_in_by_code(code), "login_failed")
    newer = await door.code_for(holder.resident_id)
    check_problem(await holder.log_in_by_code(code), "login_failed")
    await door.admin.execute(
        "UPDATE one_time_code SET expires_at = clock_timestamp() WHERE party_id = $1",
        holder.resident_id,
    )
    check_problem(await holder.log_in_by_code(newer), "login_failed")


async def test_a_code_is_not_issued_to_oneself(door: Door) -> None:
    me = new_id()
    coordinator = Caller(door.api.http, await token_for(door.book, Role.COORDINATOR, me))
    answer = await coordinator.post("/one-time-codes", {"resident_id": str(me)})
    check_problem(answer, "forbidden", 403)


async def test_a_time_step_counts_once_and_none_before_it(door: Door) -> None:
    member = await door.member()
    at_once = await asyncio.gather(*(member.log_in() for _ in range(3)))
    assert sorted(answer.status_code for answer in at_once) == [201, 401, 401]
    check_problem(await member.log_in(totp=member.totp(steps=-1)), "login_failed")
    await door.let_pass(timedelta(minutes=1))  # two or three failed in a row, as it comes
    assert (await member.log_in(totp=member.totp(steps=1))).status_code == 201
