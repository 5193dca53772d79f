"""Logging in, in two halves: `begin_…` counts the attempt and finds the secret, `finish` opens.

Between them the edge compares the secret, without holding a connection. Whatever does not fit (a
card nobody has, a code that was used, a wrong PIN) is one LoginFailedError after the same time.
"""

from datetime import datetime
from hashlib import sha256
from uuid import UUID

from msgspec import Struct

from timebank.db import Connection, load_queries
from timebank.domain.errors import EnrolmentNotConfirmedError, LoginFailedError
from timebank.domain.secrets import normalise
from timebank.people.access import Role, SessionMethod
from timebank.people.cards import find_card_holder, hash_card_token, hold_card, parse_card_token
from timebank.people.grants import list_grants
from timebank.people.login.delays import Subject, charge, forget
from timebank.people.login.hashing import Hasher
from timebank.people.login.second_factor import find_step
from timebank.people.sessions import NewSession, start_session

_QUERIES = load_queries(__package__)

STAFF_ROLES = frozenset({Role.COORDINATOR, Role.AUDITOR, Role.ADMINISTRATOR})
"""Who works for the programme."""

PERSONS_ROLES = STAFF_ROLES | {Role.CLERK, Role.MERCHANT}
"""Who logs in by password; systems have keys."""


class Attempt(Struct, frozen=True, kw_only=True):
    """An attempt that was counted: whose it would be, and what their secret must fit."""

    subject: Subject
    party_id: UUID | None
    kept: bytes | None
    bound_to: str
    code_id: UUID | None = None
    sealed_factor: bytes | None = None
    at: datetime | None = None
    is_waiting: bool = False


def place_of(bank_id: int, party_id: UUID | None, what: str) -> str:
    """Return the name of the place a secret is sealed for."""
    return f"timebank login|{bank_id}|{party_id}|{what}"


def hash_staff_number(staff_number: str) -> bytes:
    """Return under what attempts with this number are counted."""
    return sha256(staff_number.encode()).digest()


async def begin_with_card(
    connection: Connection, bank_id: int, card: str, method: SessionMethod
) -> Attempt:
    """Count an attempt with a card and its PIN or a one-time code; TooManyAttemptsError."""
    token = parse_card_token(card)
    found = await find_card_holder(connection, token)
    holder = found.resident_id if found and found.bank_id == bank_id else None
    subject = Subject(bank_id, method, hash_card_token(token), holder is not None)
    await charge(connection, subject)
    kept, code_id = None, None
    if method is SessionMethod.PIN:
        kept = await connection.fetchval(_QUERIES["find_secret"], bank_id, holder, method)
    elif code := await connection.fetchrow(_QUERIES["find_one_time_code"], bank_id, holder):
        code_id, kept = code
    place = place_of(bank_id, holder, str(code_id or method))
    return Attempt(subject=subject, party_id=holder, kept=kept, bound_to=place, code_id=code_id)


async def begin_with_password(connection: Connection, bank_id: int, staff_number: str) -> Attempt:
    """Count an attempt with a staff number; TooManyAttemptsError."""
    found = await connection.fetchrow(_QUERIES["find_staff_login"], bank_id, staff_number)
    shown = hash_staff_number(staff_number)
    subject = Subject(bank_id, SessionMethod.PASSWORD, shown, found is not None)
    await charge(connection, subject)
    if found is None:
        nobodys = place_of(bank_id, None, "password")
        return Attempt(subject=subject, party_id=None, kept=None, bound_to=nobodys)
    return Attempt(
        subject=subject,
        party_id=found["party_id"],
        kept=found["sealed_hash"],
        bound_to=place_of(bank_id, found["party_id"], "password"),
        sealed_factor=found["sealed_secret"],
        at=found["now"],
        is_waiting=found["is_waiting"],
    )


async def check_fits(hasher: Hasher, attempt: Attempt, secret: str, digits: str = "") -> int:
    """Raise LoginFailedError unless secret and second factor fit; return its time step, or 0."""
    fits = await hasher.fits(attempt.kept, normalise(secret), attempt.bound_to)
    step: int | None = 0
    if attempt.subject.method is SessionMethod.PASSWORD:
        step = _find_step(hasher, attempt, digits)
    if not fits or step is None:
        raise LoginFailedError
    return step


def _find_step(hasher: Hasher, attempt: Attempt, digits: str) -> int | None:
    if attempt.sealed_factor is None or attempt.at is None:
        return None
    place = place_of(attempt.subject.bank_id, attempt.party_id, "second factor")
    secret = hasher.seal.open(attempt.sealed_factor, place).decode()
    return find_step(secret, digits, attempt.at)


async def finish(
    connection: Connection, attempt: Attempt, step: int, grant_id: UUID | None = None
) -> NewSession:
    """Spend what counts once and open a session; LoginFailedError if it was spent before.

    So too if the secret was changed or the card died meanwhile. EnrolmentNotConfirmedError before
    a second person confirmed a merchant's people, and whom another person invited. `grant_id`: in
    which of their roles staff come; the first they were granted if not said. Locks the card, the
    code or the second factor, the secret, then the attempts.
    """
    bank_id, party_id, method = attempt.subject.bank_id, attempt.party_id, attempt.subject.method
    if party_id is None:
        raise LoginFailedError
    if attempt.is_waiting:
        raise EnrolmentNotConfirmedError
    role, grant = Role.RESIDENT, None
    if method is not SessionMethod.PASSWORD:
        shown = attempt.subject.shown_hash
        if not await hold_card(connection, bank_id, party_id, shown):
            raise LoginFailedError
    if method is SessionMethod.CODE:
        spent = await connection.fetchval(
            _QUERIES["use_one_time_code"], bank_id, party_id, attempt.code_id
        )
    elif method is SessionMethod.PASSWORD:
        spent = await connection.fetchval(_QUERIES["use_time_step"], bank_id, party_id, step)
        grants = await list_grants(connection, bank_id, party_id)
        theirs = (one for one in grants if one.role in PERSONS_ROLES)
        grant = next((one for one in theirs if grant_id in (None, one.grant_id)), None)
        spent = spent and grant is not None
    else:
        spent = True
    if method is not SessionMethod.CODE:
        spent = spent and await connection.fetchval(
            _QUERIES["is_secret_in_force"], bank_id, party_id, method, attempt.kept
        )
    if not spent:
        raise LoginFailedError
    if grant:
        role, grant_id = grant.role, grant.grant_id
    await forget(connection, attempt.subject)
    return await start_session(
        connection, bank_id, party_id, role, grant_id=grant_id, method=method
    )
