"""Sessions: an opaque random token, kept as SHA-256, that says who calls; revocable at once."""

import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from uuid import UUID

from msgspec import Struct

from timebank.db import Connection, as_struct, load_queries
from timebank.domain.errors import NotFoundError
from timebank.domain.ledger import Unit
from timebank.ledger.ids import new_id
from timebank.people.access import Action, Principal, Role, SessionMethod

_QUERIES = load_queries(__package__)
_PREFIX = "tb_"
_UNITS = {str(unit): unit for unit in Unit}


class SessionLimits(Struct, frozen=True):
    """How long a session lasts in all, and unused (None: as long as it lasts)."""

    lifetime: timedelta
    idle: timedelta | None = None


LIMITS: dict[tuple[Role, SessionMethod], SessionLimits] = {
    # At a counter or on a borrowed telephone: over soon, and sooner when left lying.
    (Role.RESIDENT, SessionMethod.PIN): SessionLimits(timedelta(hours=1), timedelta(minutes=10)),
    # On a telephone of one's own, after a walk to a service point.
    (Role.RESIDENT, SessionMethod.CODE): SessionLimits(timedelta(days=30), timedelta(days=7)),
    # A shop's day is long, and its till is used all day.
    (Role.CLERK, SessionMethod.PASSWORD): SessionLimits(timedelta(hours=12), timedelta(hours=1)),
    (Role.ADMINISTRATOR, SessionMethod.PASSWORD): SessionLimits(
        timedelta(hours=10), timedelta(minutes=15)
    ),
}
"""For who logs in; everybody else at most as long as a working day."""

WORKING_DAY = SessionLimits(timedelta(hours=10), timedelta(minutes=30))


def hash_token(token: str) -> bytes:
    """Return what the database keeps of a token: 256 random bits need no salt."""
    return sha256(token.encode()).digest()


class SessionSpan(Struct, frozen=True):
    """Until when a session counts; `idle_seconds` unused end it sooner."""

    session_id: UUID
    expires_at: datetime
    idle_seconds: int | None


class NewSession(Struct, frozen=True, kw_only=True):
    """A session that was just opened; its token is shown once and cannot be read again."""

    token: str
    party_id: UUID
    role: Role
    method: SessionMethod
    span: SessionSpan


async def start_session(
    connection: Connection,
    bank_id: int,
    party_id: UUID,
    role: Role,
    *,
    grant_id: UUID | None = None,
    method: SessionMethod = SessionMethod.TOKEN,
    limits: SessionLimits | None = None,
    scopes: Sequence[Action] | None = None,
) -> NewSession:
    """Open a session for the party in this role.

    A resident acts by being one; everybody else by a grant of the role.
    """
    limits = limits or LIMITS.get((role, method), WORKING_DAY)
    span = SessionSpan(
        new_id(),
        datetime.now(UTC) + limits.lifetime,
        int(limits.idle.total_seconds()) if limits.idle else None,
    )
    token = _PREFIX + secrets.token_urlsafe(32)
    session = NewSession(token=token, party_id=party_id, role=role, method=method, span=span)
    await connection.execute(
        _QUERIES["open_session"],
        hash_token(token),
        bank_id,
        span.session_id,
        party_id,
        role,
        grant_id,
        method,
        scopes,
        span.idle_seconds,
        span.expires_at,
    )
    return session


async def open_session(
    connection: Connection,
    bank_id: int,
    party_id: UUID,
    role: Role,
    *,
    grant_id: UUID | None = None,
    method: SessionMethod = SessionMethod.TOKEN,
    limits: SessionLimits | None = None,
    scopes: Sequence[Action] | None = None,
) -> str:
    """Return the token of a new session, as `start_session` opens it."""
    session = await start_session(
        connection,
        bank_id,
        party_id,
        role,
        grant_id=grant_id,
        method=method,
        limits=limits,
        scopes=scopes,
    )
    return session.token


async def revoke_token(connection: Connection, token: str) -> bool:
    """Make a token useless from now on; False if it was unknown or revoked before."""
    revoked = await connection.fetchval(_QUERIES["revoke_token"], hash_token(token))
    return revoked is not None


async def revoke_session(connection: Connection, bank_id: int, session_id: UUID | None) -> None:
    """End one session, if it has not ended."""
    await connection.execute(_QUERIES["revoke_session"], bank_id, session_id)


async def get_span(connection: Connection, bank_id: int, session_id: UUID | None) -> SessionSpan:
    """Return until when a session counts; NotFoundError if there is none."""
    record = await connection.fetchrow(_QUERIES["find_span"], bank_id, session_id)
    if record is None:
        raise NotFoundError
    return as_struct(record, SessionSpan)


async def revoke_sessions(connection: Connection, bank_id: int, party_id: UUID) -> int:
    """End all sessions of a party; return how many."""
    return len(await connection.fetch(_QUERIES["revoke_sessions"], bank_id, party_id))


async def find_principals(
    connection: Connection, token_hashes: Sequence[bytes]
) -> list[Principal | None]:
    """Return whose each token is, in order; None if unknown, expired, idle too long or revoked."""
    asked = list(set(token_hashes))
    records = await connection.fetch(_QUERIES["list_principals"], asked)
    found = {
        token_hash: Principal(
            bank_id=bank_id,
            principal_id=party_id,
            role=Role(role),
            branch_id=branch_id,
            merchant_id=merchant_id,
            method=SessionMethod(method),
            scopes=None if scopes is None else frozenset(scopes),
            session_id=session_id,
        )
        for (
            token_hash,
            bank_id,
            party_id,
            role,
            branch_id,
            merchant_id,
            method,
            scopes,
            session_id,
            _,
        ) in records
    }
    if any(is_stale for *_, is_stale in records):
        await connection.execute(_QUERIES["touch_sessions"], asked)
    return [found.get(token_hash) for token_hash in token_hashes]


class Holding(Struct, frozen=True):
    """An account as its balance is shown: whose it is, what it counts, and how much.

    `blocked` of the balance cannot be spent now.
    """

    account_id: UUID
    owner_id: UUID | None
    unit: Unit
    balance: int
    seq: int
    blocked: int


async def list_holdings_of_callers(
    connection: Connection, asked: Sequence[tuple[bytes, UUID]]
) -> list[Holding | None]:
    """Return for each token's hash and account what the account holds now, in order.

    None where the session does not count, or its bank has no such account. Whether the caller may
    see it is not asked here.
    """
    tokens = [token_hash for token_hash, _ in asked]
    records = await connection.fetch(
        _QUERIES["list_holdings_of_callers"], tokens, [account_id for _, account_id in asked]
    )
    found: list[Holding | None] = [None] * len(asked)
    stale = False
    for place, account_id, owner_id, unit, balance, seq, blocked, is_stale in records:
        found[place - 1] = Holding(account_id, owner_id, _UNITS[unit], balance, seq, blocked)
        stale |= is_stale
    if stale:
        await connection.execute(_QUERIES["touch_sessions"], list(set(tokens)))
    return found
