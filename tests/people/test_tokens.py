"""Tokens: opaque, kept as hashes only, useless once revoked or expired."""

from datetime import timedelta
from hashlib import sha256

import asyncpg
import pytest

from tests.book import Book
from timebank.ledger.ids import new_id
from timebank.people.access import Principal, Role
from timebank.people.sessions import find_principals, hash_token, revoke_token
from timebank.people.tokens import issue_token

DAY = timedelta(days=1)


async def issued(book: Book, role: Role = Role.INTEGRATOR, lifetime: timedelta = DAY) -> str:
    """Issue a token to a new principal."""
    async with book.pool.acquire() as connection:
        return await issue_token(connection, book.bank_id, role, new_id(), lifetime)


async def found(book: Book, *tokens: str) -> list[Principal | None]:
    """Look up whose tokens these are."""
    async with book.pool.acquire() as connection:
        return await find_principals(connection, [hash_token(token) for token in tokens])


@pytest.mark.parametrize("role", Role)
async def test_a_token_stands_for_its_principal(book: Book, role: Role) -> None:
    principal_id = new_id()
    async with book.pool.acquire() as connection:
        merchant_id = new_id() if role in {Role.CLERK, Role.MERCHANT} else None
        token = await issue_token(
            connection, book.bank_id, role, principal_id, DAY, merchant_id=merchant_id
        )
    [principal] = await found(book, token)
    assert principal
    assert principal == Principal(
        bank_id=book.bank_id,
        principal_id=principal_id,
        role=role,
        merchant_id=merchant_id,
        session_id=principal.session_id,
    )


async def test_tokens_are_long_and_never_the_same(book: Book) -> None:
    tokens = [await issued(book) for _ in range(20)]
    assert len(set(tokens)) == 20
    assert all(token.startswith("tb_") and len(token) >= 46 for token in tokens)


async def test_only_the_hash_is_kept(book: Book) -> None:
    token = await issued(book)
    assert hash_token(token) == sha256(token.encode()).digest()
    async with book.pool.acquire() as connection:
        rows = await connection.fetch(
            "SELECT t::text FROM session t WHERE bank_id = $1", book.bank_id
        )
    assert len(rows) == 1
    assert hash_token(token).hex() in rows[0][0]
    assert token.removeprefix("tb_") not in rows[0][0]


async def test_answers_are_in_the_order_of_the_questions(book: Book) -> None:
    first, second = await issued(book), await issued(book, Role.AUDITOR)
    revoked, expired = await issued(book), await issued(book, lifetime=-DAY)
    async with book.pool.acquire() as connection:
        await revoke_token(connection, revoked)
    answers = await found(book, "x", second, revoked, first, expired, "", first)
    [staff] = await found(book, first)
    [auditor] = await found(book, second)
    assert staff
    assert auditor
    assert answers == [None, auditor, None, staff, None, None, staff]
    assert await found(book) == []


async def test_a_token_is_revoked_once_and_for_good(book: Book) -> None:
    token, other = await issued(book), await issued(book)
    async with book.pool.acquire() as connection:
        assert await revoke_token(connection, token)
        assert not await revoke_token(connection, token)
        assert not await revoke_token(connection, "tb_unknown")
    assert await found(book, token) == [None]
    assert await found(book, other) != [None]


async def test_a_token_ends_by_itself(book: Book) -> None:
    soon, past = await issued(book, lifetime=DAY), await issued(book, lifetime=timedelta())
    assert await found(book, soon) != [None]
    assert await found(book, past) == [None]


async def test_the_service_cannot_bring_a_token_back_or_change_whose_it_is(book: Book) -> None:
    await issued(book)
    async with book.pool.acquire() as connection:
        for change in ("expires_at = 'infinity'", "role = 'auditor'", f"bank_id = {book.bank_id}"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(f"UPDATE session SET {change}")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("DELETE FROM session")


async def test_a_system_that_posts_is_of_the_whole_bank(book: Book) -> None:
    """Whoever writes: the policy gives it the bank, whatever branch a grant names."""
    with pytest.raises(asyncpg.CheckViolationError, match="reaches the whole bank"):
        await book.pool.execute(
            "INSERT INTO role_grant (bank_id, grant_id, party_id, role, branch_id, granted_by, "
            "approved_by) VALUES ($1, $2, $3, 'integrator', $2, $4, $4)",
            book.bank_id,
            new_id(),
            new_id(),
            new_id(),
        )
