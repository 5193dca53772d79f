"""What the database itself keeps to: once is once, whoever asks and however many at a time."""

import asyncio
from collections import Counter
from datetime import timedelta
from hashlib import sha256

import asyncpg
import pytest

from tests.book import Book
from tests.guards.test_append_only import login
from tests.people.desk import Desk
from timebank.domain.errors import LoginFailedError, TooManyAttemptsError
from timebank.embedded import Server
from timebank.ledger.ids import new_id
from timebank.people.access import SessionMethod
from timebank.people.cards import issue_card
from timebank.people.login.credentials import keep_pin, set_pin
from timebank.people.login.delays import Subject, charge
from timebank.people.login.hashing import Hasher
from timebank.people.login.logins import begin_with_card, check_fits, finish, hash_staff_number
from timebank.people.seals import Seals

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


async def test_a_pin_that_is_changed_meanwhile_opens_nothing(desk: Desk) -> None:
    """Its change has ended all sessions; none may be opened by the old one just after that."""
    hasher = Hasher(Seals(desk.ring), memory_kib=64, passes=1)
    resident_id = await desk.member()
    async with desk.at() as connection:
        card = await issue_card(connection, desk.bank_id, resident_id, issued_by=desk.clerk)
        kept = await keep_pin(hasher, desk.bank_id, resident_id, "492716")
        await set_pin(connection, desk.bank_id, resident_id, kept, None)
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
        await set_pin(connection, desk.bank_id, resident_id, kept, None)
    with pytest.raises(LoginFailedError):
        async with desk.at() as connection:
            await finish(connection, attempts[1], 0)
