"""Sessions end: by the clock, unused, revoked, or with the grant they stand on."""

from datetime import timedelta

from tests.book import Book
from timebank.ledger.ids import new_id
from timebank.people.access import Principal, Role, SessionMethod
from timebank.people.grants import OPERATOR_ID, grant_role, list_grants, revoke_grant
from timebank.people.parties import PartyKind, register_parties
from timebank.people.sessions import (
    SessionLimits,
    find_principals,
    hash_token,
    open_session,
    revoke_sessions,
)

DAY = timedelta(days=1)


async def found(book: Book, token: str) -> Principal | None:
    async with book.pool.acquire() as connection:
        return (await find_principals(connection, [hash_token(token)]))[0]


async def resident_session(book: Book, idle: timedelta | None = None) -> str:
    person = new_id()
    async with book.pool.acquire() as connection:
        await register_parties(connection, book.bank_id, PartyKind.PERSON, [person])
        return await open_session(
            connection,
            book.bank_id,
            person,
            Role.RESIDENT,
            method=SessionMethod.CODE,
            limits=SessionLimits(DAY, idle),
        )


async def age(book: Book, token: str, by: timedelta) -> None:
    """Move the last use of a session into the past."""
    async with book.pool.acquire() as connection:
        await connection.execute(
            "UPDATE session SET last_used_at = last_used_at - $2::interval WHERE token_hash = $1",
            hash_token(token),
            by,
        )


async def test_an_idle_session_ends(book: Book) -> None:
    used, idle = [await resident_session(book, timedelta(minutes=30)) for _ in range(2)]
    for _ in range(3):  # each use moves the limit on
        await age(book, used, timedelta(minutes=20))
        assert await found(book, used)
    await age(book, idle, timedelta(minutes=31))
    assert await found(book, idle) is None


async def test_a_session_without_an_idle_limit_lasts(book: Book) -> None:
    token = await resident_session(book)
    await age(book, token, timedelta(days=300))
    assert await found(book, token)


async def test_all_sessions_of_a_party_end_at_once(book: Book) -> None:
    token, other = [await resident_session(book) for _ in range(2)]
    principal = await found(book, token)
    assert principal
    async with book.pool.acquire() as connection:
        assert await revoke_sessions(connection, book.bank_id, principal.principal_id) == 1
    assert await found(book, token) is None
    assert await found(book, other)


async def test_a_session_ends_with_its_grant(book: Book) -> None:
    person = new_id()
    async with book.pool.acquire() as connection:
        await register_parties(connection, book.bank_id, PartyKind.PERSON, [person])
        grants = [
            await grant_role(
                connection,
                book.bank_id,
                person,
                Role.COORDINATOR,
                None,
                granted_by=OPERATOR_ID,
                approved_by=OPERATOR_ID,
            )
            for _ in range(2)
        ]
        assert len(set(grants)) == 1  # the same role is not granted twice
        token = await open_session(
            connection, book.bank_id, person, Role.COORDINATOR, grant_id=grants[0]
        )
        assert await found(book, token)
        await revoke_grant(connection, book.bank_id, grants[0])
        assert await list_grants(connection, book.bank_id, person) == []
    assert await found(book, token) is None
