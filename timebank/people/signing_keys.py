"""Keys that a bank signs with (Ed25519): each is for one purpose, and the latest of it signs.

The private half is sealed under the master key, and sealed anew when that one is changed.
"""

from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec import Struct

from timebank.db import Connection, as_struct, load_queries
from timebank.domain.certificates import PublicKey, PublicKeys
from timebank.domain.service_errors import SigningKeyMissingError
from timebank.ledger.banks import Bank
from timebank.people.seals import Seals

_QUERIES = load_queries(__package__)


class SigningPurpose(StrEnum):
    """What a key signs; a key that leaks from one is worth nothing for the other."""

    CERTIFICATE = "certificate"
    SLIP = "slip"


class SigningKey(Struct, frozen=True, kw_only=True):
    """The public half, to be published."""

    key_id: str
    public_key: bytes
    made_at: datetime


async def make_key(
    connection: Connection, seals: Seals, bank_id: int, purpose: SigningPurpose, actor_id: UUID
) -> SigningKey:
    """Make a key that signs from now on; what the keys before signed stays good."""
    private = Ed25519PrivateKey.generate()
    public = private.public_key().public_bytes_raw()
    key_id = sha256(public).hexdigest()[:16]
    sealed = seals.close(private.private_bytes_raw(), _place(bank_id, key_id))
    await connection.execute(
        _QUERIES["add_signing_key"], bank_id, key_id, purpose, public, actor_id
    )
    await connection.execute(_QUERIES["add_signing_secret"], bank_id, key_id, sealed)
    return (await list_keys(connection, bank_id, purpose))[0]


async def list_keys(
    connection: Connection, bank_id: int, purpose: SigningPurpose
) -> list[SigningKey]:
    """Return the keys of a bank for a purpose, the one that signs now first."""
    rows = await connection.fetch(_QUERIES["list_signing_keys"], bank_id, purpose)
    return [as_struct(row, SigningKey) for row in rows]


async def publish_keys(connection: Connection, bank: Bank, purpose: SigningPurpose) -> PublicKeys:
    """Return what everybody may have who verifies without us."""
    return PublicKeys(
        bank=bank.code,
        keys=tuple(
            PublicKey(key_id=key.key_id, public_key=key.public_key.hex(), made_at=key.made_at)
            for key in await list_keys(connection, bank.bank_id, purpose)
        ),
    )


async def open_key(
    connection: Connection,
    seals: Seals,
    bank_id: int,
    purpose: SigningPurpose,
    key_id: str | None = None,
) -> tuple[str, Ed25519PrivateKey]:
    """Return this key, or the one that signs now; SigningKeyMissingError, VaultKeyMissingError."""
    row = await connection.fetchrow(_QUERIES["find_signing_secret"], bank_id, purpose, key_id)
    if row is None:
        raise SigningKeyMissingError
    raw = seals.open(row["sealed"], _place(bank_id, row["key_id"]))
    return row["key_id"], Ed25519PrivateKey.from_private_bytes(raw)


def _place(bank_id: int, key_id: str) -> str:
    return f"timebank signing key|{bank_id}|{key_id}"
