"""Bearer tokens: opaque, random, kept as SHA-256, revocable at once."""

import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from uuid import UUID

from timebank.db import Connection, load_queries
from timebank.people.access import Principal, Role

_QUERIES = load_queries(__package__)
_PREFIX = "tb_"


def hash_token(token: str) -> bytes:
    """Return what the database keeps of a token: 256 random bits need no salt."""
    return sha256(token.encode()).digest()


async def issue_token(
    connection: Connection, bank_id: int, role: Role, principal_id: UUID, lifetime: timedelta
) -> str:
    """Return a new token for the principal; it is shown once and cannot be read again."""
    token = _PREFIX + secrets.token_urlsafe(32)
    expires_at = datetime.now(UTC) + lifetime
    await connection.execute(
        _QUERIES["issue_token"], hash_token(token), bank_id, principal_id, role, expires_at
    )
    return token


async def revoke_token(connection: Connection, token: str) -> bool:
    """Make a token useless from now on; False if it was unknown or revoked before."""
    revoked = await connection.fetchval(_QUERIES["revoke_token"], hash_token(token))
    return revoked is not None


async def find_principals(
    connection: Connection, token_hashes: Sequence[bytes]
) -> list[Principal | None]:
    """Return whose each token is, in order; None if unknown, expired or revoked."""
    records = await connection.fetch(_QUERIES["list_principals"], list(set(token_hashes)))
    found = {
        token_hash: Principal(bank_id, principal_id, Role(role))
        for token_hash, bank_id, principal_id, role in records
    }
    return [found.get(token_hash) for token_hash in token_hashes]
