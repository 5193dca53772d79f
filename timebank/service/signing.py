"""Signing certificates with the bank's keys for it, and verifying what was signed."""

from collections.abc import Mapping
from uuid import UUID

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from timebank.db import Connection
from timebank.domain.certificates import Document, Statement, is_coherent
from timebank.domain.service_errors import CertificateForgedError
from timebank.people.seals import Seals
from timebank.people.signing_keys import SigningKey, SigningPurpose, list_keys, make_key, open_key


async def make_signing_key(
    connection: Connection, seals: Seals, bank_id: int, actor_id: UUID
) -> SigningKey:
    """Make a key that signs from now on; certificates of the keys before stay good."""
    return await make_key(connection, seals, bank_id, SigningPurpose.CERTIFICATE, actor_id)


async def list_signing_keys(connection: Connection, bank_id: int) -> list[SigningKey]:
    """Return the keys of a bank, the one that signs now first."""
    return await list_keys(connection, bank_id, SigningPurpose.CERTIFICATE)


async def open_signing_key(
    connection: Connection, seals: Seals, bank_id: int
) -> tuple[str, Ed25519PrivateKey]:
    """Return the key that signs now; SigningKeyMissingError, VaultKeyMissingError."""
    return await open_key(connection, seals, bank_id, SigningPurpose.CERTIFICATE)


def verify(document: Document, keys: Mapping[str, bytes]) -> Statement:
    """Return what was certified; CertificateForgedError unless one of the keys signed just this.

    It asks nobody: whether it was revoked since only the public check tells.
    """
    try:
        statement = msgspec.json.decode(document.statement, type=Statement)
        public = Ed25519PublicKey.from_public_bytes(keys[statement.key_id])
        public.verify(bytes.fromhex(document.signature), document.statement.encode())
    except (InvalidSignature, KeyError, ValueError, msgspec.MsgspecError):
        raise CertificateForgedError from None
    if not is_coherent(statement, document.printed):
        raise CertificateForgedError
    return statement
