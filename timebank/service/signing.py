"""Keys that a bank signs certificates with (Ed25519), and verifying what was signed.

The private half is sealed under the master key, and sealed anew when that one is changed.
"""

from datetime import datetime
from hashlib import sha256
from uuid import UUID

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from msgspec import Struct

from timebank.db import Connection, as_struct, load_queries
from timebank.domain.certificates import (
    Document,
    PublicKey,
    PublicKeys,
    Statement,
    is_coherent,
    read_statement,
)
from timebank.domain.service_errors import CertificateForgedError, SigningKeyMissingError
from timebank.ledger.banks import Bank
from timebank.people.seals import Seals

_QUERIES = load_queries(__package__)


class SigningKey(Struct, frozen=True, kw_only=True):
    """The public half, to be published."""

    key_id: str
    public_key: bytes
    made_at: datetime


async def make_signing_key(
    connection: Connection, seals: Seals, bank_id: int, actor_id: UUID
) -> SigningKey:
    """Make a key that signs from now on; certificates of the keys before stay good."""
    private = Ed25519PrivateKey.generate()
    public = private.public_key().public_bytes_raw()
    key_id = sha256(public).hexdigest()[:16]
    sealed = seals.close(private.private_bytes_raw(), _place(bank_id, key_id))
    await connection.execute(_QUERIES["add_signing_key"], bank_id, key_id, public, actor_id)
    await connection.execute(_QUERIES["add_signing_secret"], bank_id, key_id, sealed)
    return (await list_signing_keys(connection, bank_id))[0]


async def list_signing_keys(connection: Connection, bank_id: int) -> list[SigningKey]:
    """Return the keys of a bank, the one that signs now first."""
    rows = await connection.fetch(_QUERIES["list_signing_keys"], bank_id)
    return [as_struct(row, SigningKey) for row in rows]


async def publish_keys(connection: Connection, bank: Bank) -> PublicKeys:
    """Return what everybody may have who verifies without us."""
    return PublicKeys(
        bank=bank.code,
        keys=tuple(
            PublicKey(key_id=key.key_id, public_key=key.public_key.hex(), made_at=key.made_at)
            for key in await list_signing_keys(connection, bank.bank_id)
        ),
    )


async def open_signing_key(
    connection: Connection, seals: Seals, bank_id: int
) -> tuple[str, Ed25519PrivateKey]:
    """Return the key that signs now; SigningKeyMissingError, VaultKeyMissingError."""
    row = await connection.fetchrow(_QUERIES["find_signing_secret"], bank_id)
    if row is None:
        raise SigningKeyMissingError
    raw = seals.open(row["sealed"], _place(bank_id, row["key_id"]))
    return row["key_id"], Ed25519PrivateKey.from_private_bytes(raw)


def verify(document: Document, published: PublicKeys) -> Statement:
    """Return what was certified; CertificateForgedError unless this bank signed just this.

    It asks nobody: whether it was revoked since only the public check tells.
    """
    keys = {key.key_id: key.public_key for key in published.keys}
    statement = read_statement(document)
    try:
        public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(keys[statement.key_id]))
        signature = bytes.fromhex(document.signature)
        public.verify(signature, document.statement.encode())
    except (InvalidSignature, KeyError, ValueError):
        raise CertificateForgedError from None
    is_whole = signature.hex() == document.signature and statement.bank == published.bank
    if not is_whole or not is_coherent(statement, document.printed):
        raise CertificateForgedError
    return statement


def _place(bank_id: int, key_id: str) -> str:
    return f"timebank signing key|{bank_id}|{key_id}"
