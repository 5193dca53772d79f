"""What the database itself keeps to: once is once, whoever asks and however many at a time."""

import asyncio
from collections import Counter
from datetime import timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from tests.book import Book
from tests.guards.test_append_only import login
from tests.people.desk import Desk
from timebank.domain.errors import LoginFailedError, SecondPersonNeededError, TooManyAttemptsError
from timebank.embedded import Server
from timebank.ledger.ids import new_id
from timebank.people.access import SessionMethod
from timebank.people.cards import issue_card, revoke_card
from timebank.people.login.credentials import issue_code, keep_pin, make_code, set_pin
from timebank.people.login.delays import Subject, charge
from timebank.people.login.hashing import Hasher
from timebank.people.login.logins import (
    Attempt,
    begin_with_card,
    check_fits,
    finish,
    hash_staff_number,
)
from timebank.people.seals import Seals
from timebank.people.sessions import find_principals, hash_token

MINUTE = timedelta(minutes=1)


async def test_a_code_is_spent_once(book: Book) -> None:
    person, code = new_id(), new_id()
    await book.pool.execute(
        "SELECT issue_one_time_code($1, $2, $3, $4, $5, $6)",
        book.bank_id,
        person,
        code,
        b"a sealed value",
        new_id(),
        MINUTE,
    )
    use = "SELECT use_one_time_code($1, $2, $3)"
    assert not await book.pool.fetchval(use, book.bank_id, person, new_id())
    spent = await asyncio.gather(
        *(book.pool.fetchval(use, book.bank_id, person, code) for _ in range(10))
    )
    assert Counter(spent) == {True: 1, False: 9}


async def test_a_code_that_is_late_is_not_spent(book: Book) -> None:
    person, code = new_id(), new_id()
    await book.pool.execute(
        "SELECT issue_one_time_code($1, $2, $3, $4, $5, $6)",
        book.bank_id,
        person,
        code,
        b"a sealed value",
        new_id(),
        timedelta(0),
    )
    use = "SELECT use_one_time_code($1, $2, $3)"
    assert not await book.pool.fetchval(use, book.bank_id, person, code)


async def test_a_code_is_not_to_oneself(book: Book) -> None:
    person = new_id()
    with pytest.raises(asyncpg.CheckViolationError):
        await book.pool.execute(
            "SELECT issue_one_time_code($1, $2, $3, $4, $2, $5)",
            book.bank_id,
            person,
            new_id(),
            b"a sealed value",
            MINUTE,
        )


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE one_time_code SET used_at = NULL",
        "UPDATE enrolment SET used_at = NULL",
        "UPDATE staff_login SET last_step = 0",
        "UPDATE login_failure SET failures = 0",
        "INSERT INTO one_time_code DEFAULT VALUES",
        "INSERT INTO staff_login DEFAULT VALUES",
        "DELETE FROM login_secret",
        "UPDATE api_key SET scopes = '{award}'",
        "UPDATE session SET expires_at = 'infinity'",
    ],
)
async def test_the_service_cannot_spend_anything_twice(book: Book, statement: str) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await book.pool.execute(statement)


async def attempt(book: Book, subject: Subject) -> str:
    async with book.pool.acquire() as connection, connection.transaction():
        try:
            await charge(connection, subject)
        except TooManyAttemptsError as refused:
            return f"wait {refused.wait_seconds > 0}"
    return "looked at"


async def test_of_a_hundred_attempts_at_once_three_are_looked_at(book: Book) -> None:
    """So many as one after another: those that would have had to wait get nothing by haste."""
    shown = hash_staff_number("40718263")
    subject = Subject(book.bank_id, SessionMethod.PASSWORD, shown, is_known=True)
    found = await asyncio.gather(*(attempt(book, subject) for _ in range(100)))
    assert Counter(found) == {"looked at": 3, "wait True": 97}
    failures = await book.pool.fetchval(
        "SELECT failures FROM login_failure WHERE bank_id = $1", book.bank_id
    )
    assert failures == 3


async def test_attempts_of_a_day_ago_go_two_at_a_time(
    server: Server, own_database: str, own_book: Book
) -> None:
    """So cards that nobody has do not fill the table: it holds a day of them at most."""
    book = own_book
    subjects = [
        Subject(book.bank_id, SessionMethod.PIN, sha256(bytes([n])).digest(), is_known=False)
        for n in range(9)
    ]
    for subject in subjects[:6]:
        await attempt(book, subject)
    async with login(server, own_database) as admin:
        await admin.execute(
            "UPDATE login_failure SET last_failed_at = last_failed_at - interval '25 hours'"
        )
    left = []
    for subject in subjects[6:]:
        await attempt(book, subject)
        left.append(await book.pool.fetchval("SELECT count(*) FROM login_failure"))
    assert left == [5, 4, 3]


def hasher_of(desk: Desk) -> Hasher:
    """One that is quick."""
    return Hasher(Seals(desk.ring), memory_kib=64, passes=1)


async def test_a_pin_that_is_changed_meanwhile_opens_nothing(desk: Desk) -> None:
    """Its change has ended all sessions; none may be opened by the old one just after that."""
    hasher, resident_id = hasher_of(desk), await desk.member()
    async with desk.at() as connection:
        card = await issue_card(connection, desk.bank_id, resident_id, issued_by=desk.clerk)
        kept = await keep_pin(hasher, desk.bank_id, resident_id, "492716")
        await set_pin(connection, desk.bank_id, resident_id, kept, None, set_by=resident_id)
    attempts = []
    for _ in range(2):
        async with desk.at() as connection:
            attempts.append(
                await begin_with_card(connection, desk.bank_id, card, SessionMethod.PIN)
            )
        assert await check_fits(hasher, attempts[-1], "492716") == 0
    async with desk.at() as connection:
        assert (await finish(connection, attempts[0], 0)).party_id == resident_id
    async with desk.at() as connection:
        kept = await keep_pin(hasher, desk.bank_id, resident_id, "904172")
        await set_pin(connection, desk.bank_id, resident_id, kept, None, set_by=resident_id)
    with pytest.raises(LoginFailedError):
        async with desk.at() as connection:
            await finish(connection, attempts[1], 0)


async def test_nobody_else_holds_both_halves_of_a_login(desk: Desk) -> None:
    """Who issued a card has seen it: they give no secret to it, in either order."""
    hasher, bank_id, resident_id = hasher_of(desk), desk.bank_id, await desk.member()
    async with desk.at() as connection:
        await issue_card(connection, bank_id, resident_id, issued_by=desk.clerk)
    code = await make_code(hasher, bank_id, resident_id)
    kept = await keep_pin(hasher, bank_id, resident_id, "492716")
    with pytest.raises(SecondPersonNeededError):
        async with desk.at() as connection:
            await issue_code(connection, bank_id, resident_id, code, desk.clerk)
    with pytest.raises(SecondPersonNeededError):
        async with desk.at() as connection:
            await set_pin(connection, bank_id, resident_id, kept, None, set_by=desk.clerk)
    async with desk.at() as connection:
        await issue_code(connection, bank_id, resident_id, code, desk.checker)
        await set_pin(connection, bank_id, resident_id, kept, None, set_by=desk.checker)
    with pytest.raises(SecondPersonNeededError):
        async with desk.at() as connection:
            await issue_card(connection, bank_id, resident_id, issued_by=desk.checker)
    async with desk.at() as connection:  # once the resident has changed the PIN, anybody may
        await set_pin(connection, bank_id, resident_id, kept, None, set_by=resident_id)
        await issue_card(connection, bank_id, resident_id, issued_by=desk.checker)
    use = "SELECT use_one_time_code($1, $2, $3)"  # the code was for the card before
    assert not await desk.book.pool.fetchval(use, bank_id, resident_id, code.code_id)


async def test_at_once_as_well_nobody_gets_both_halves(desk: Desk) -> None:
    hasher, bank_id, resident_id = hasher_of(desk), desk.bank_id, await desk.member()
    code = await make_code(hasher, bank_id, resident_id)
    async with desk.at() as connection:
        await issue_card(connection, bank_id, resident_id, issued_by=desk.clerk)

        async def ask() -> None:
            async with desk.at() as other:
                await issue_code(other, bank_id, resident_id, code, desk.clerk)

        asking = asyncio.create_task(ask())
        await asyncio.sleep(0.2)
        assert not asking.done()
    with pytest.raises(SecondPersonNeededError):
        await asking


async def ready(desk: Desk) -> Attempt:
    """An attempt with card and PIN that fits and has only to be finished."""
    hasher, bank_id, resident_id = hasher_of(desk), desk.bank_id, await desk.member()
    kept = await keep_pin(hasher, bank_id, resident_id, "492716")
    async with desk.at() as connection:
        card = await issue_card(connection, bank_id, resident_id, issued_by=desk.clerk)
        await set_pin(connection, bank_id, resident_id, kept, None, set_by=resident_id)
    async with desk.at() as connection:
        attempt = await begin_with_card(connection, bank_id, card, SessionMethod.PIN)
    assert await check_fits(hasher, attempt, "492716") == 0
    return attempt


@pytest.mark.parametrize("act", [issue_card, revoke_card])
async def test_a_card_that_dies_meanwhile_opens_nothing(desk: Desk, act: Any) -> None:
    attempt = await ready(desk)
    more = {"issued_by": desk.clerk} if act is issue_card else {}
    async with desk.at() as connection:
        await act(connection, desk.bank_id, attempt.party_id, **more)
    with pytest.raises(LoginFailedError):
        async with desk.at() as connection:
            await finish(connection, attempt, 0)


async def test_a_card_that_dies_just_after_ends_what_it_opened(desk: Desk) -> None:
    attempt = await ready(desk)
    assert attempt.party_id

    async def kill(resident_id: UUID) -> None:
        async with desk.at() as connection:
            assert await revoke_card(connection, desk.bank_id, resident_id)

    async with desk.at() as connection:
        opened = await finish(connection, attempt, 0)
        killing = asyncio.create_task(kill(attempt.party_id))
        await asyncio.sleep(0.2)
        assert not killing.done()
    await killing
    async with desk.at() as connection:
        assert await find_principals(connection, [hash_token(opened.token)]) == [None]
