"""Setting PINs and passwords, and one-time codes; whatever else was open to the person ends."""

import secrets
from datetime import datetime, timedelta
from uuid import UUID

from msgspec import Struct

from timebank.db import Connection, load_queries
from timebank.domain.errors import ForbiddenError
from timebank.domain.secrets import check_password, check_pin, normalise
from timebank.ledger.ids import new_id
from timebank.people.access import SessionMethod
from timebank.people.login.hashing import Hasher
from timebank.people.login.logins import place_of

_QUERIES = load_queries(__package__)

CODE_LIFETIME = timedelta(minutes=15)
_CODE_DIGITS = 8


class NewCode(Struct, frozen=True):
    """A one-time code before it is stored; `code` is shown once."""

    code: str
    code_id: UUID
    kept: bytes


async def make_code(hasher: Hasher, bank_id: int, party_id: UUID) -> NewCode:
    """Return a new code for this person alone."""
    code, code_id = f"{secrets.randbelow(10**_CODE_DIGITS):0{_CODE_DIGITS}}", new_id()
    kept = await hasher.keep(code, place_of(bank_id, party_id, str(code_id)))
    return NewCode(code, code_id, kept)


async def issue_code(
    connection: Connection, bank_id: int, party_id: UUID, code: NewCode, issued_by: UUID
) -> datetime:
    """Store a code in the place of the person's last; return when it expires.

    ForbiddenError for oneself, SecondPersonNeededError for who issued the card in use.
    """
    if issued_by == party_id:
        raise ForbiddenError("A one-time code is issued by somebody else.")
    expires_at: datetime = await connection.fetchval(
        _QUERIES["issue_one_time_code"],
        bank_id,
        party_id,
        code.code_id,
        code.kept,
        issued_by,
        CODE_LIFETIME,
    )
    return expires_at


async def keep_pin(hasher: Hasher, bank_id: int, party_id: UUID, pin: str) -> bytes:
    """Return what is stored of a PIN; WeakSecretError."""
    check_pin(pin)
    return await hasher.keep(pin, place_of(bank_id, party_id, SessionMethod.PIN))


async def set_pin(
    connection: Connection,
    bank_id: int,
    party_id: UUID,
    kept: bytes,
    session_id: UUID | None,
    *,
    set_by: UUID,
) -> None:
    """Put a PIN in force; every session of the person but this one ends, and so do delays.

    SecondPersonNeededError for who issued the card in use.
    """
    await connection.execute(
        _QUERIES["set_secret"], bank_id, party_id, SessionMethod.PIN, kept, set_by
    )
    await connection.execute(_QUERIES["forget_failures_of_cards"], bank_id, party_id)
    await end_other_sessions(connection, bank_id, party_id, session_id)


async def find_staff_number(connection: Connection, bank_id: int, party_id: UUID) -> str | None:
    """Return the number a person logs in with; None if they were never enrolled."""
    number: str | None = await connection.fetchval(_QUERIES["find_staff_number"], bank_id, party_id)
    return number


async def find_staff_member(connection: Connection, bank_id: int, staff_number: str) -> UUID | None:
    """Return whose number this is."""
    person: UUID | None = await connection.fetchval(
        _QUERIES["find_staff_member"], bank_id, staff_number
    )
    return person


async def keep_password(
    hasher: Hasher,
    bank_id: int,
    party_id: UUID,
    password: str,
    *,
    staff_number: str,
    pointer: str = "/password",
) -> bytes:
    """Return what is stored of a password; WeakSecretError, at `pointer` of the request."""
    check_password(password, staff_number, pointer)
    return await hasher.keep(normalise(password), place_of(bank_id, party_id, "password"))


async def set_password(
    connection: Connection, bank_id: int, party_id: UUID, kept: bytes, session_id: UUID | None
) -> None:
    """Put a password in force; every session of the person but this one ends."""
    await connection.execute(
        _QUERIES["set_secret"], bank_id, party_id, SessionMethod.PASSWORD, kept, party_id
    )
    await end_other_sessions(connection, bank_id, party_id, session_id)


async def end_other_sessions(
    connection: Connection, bank_id: int, party_id: UUID, session_id: UUID | None
) -> None:
    """End all sessions of a person but this one."""
    await connection.execute(_QUERIES["revoke_other_sessions"], bank_id, party_id, session_id)
