"""Signing certificates with the bank's keys for it, and verifying what was signed."""

from uuid import UUID

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from timebank.db import Connection
from timebank.domain.certificates import (
    Document,
    PublicKeys,
    Statement,
    is_coherent,
    read_statement,
)
from timebank.domain.service_errors import CertificateForgedError
from timebank.ledger.banks import Bank
from timebank.people import signing_keys
from timebank.people.seals import Seals
from timebank.people.signing_keys import SigningKey, SigningPurpose


async def make_signing_key(
    connection: Connection, seals: Seals, bank_id: int, actor_id: UUID
) -> SigningKey:
    """Make a key that signs from now on; certificates of the keys before stay good."""
    purpose = SigningPurpose.CERTIFICATE
    return await signing_keys.make_key(connection, seals, bank_id, purpose, actor_id)


async def publish_keys(connection: Connection, bank: Bank) -> PublicKeys:
    """Return what everybody may have who verifies without us."""
    return await signing_keys.publish_keys(connection, bank, SigningPurpose.CERTIFICATE)


async def open_signing_key(
    connection: Connection, seals: Seals, bank_id: int
) -> tuple[str, Ed25519PrivateKey]:
    """Return the key that signs now; SigningKeyMissingError, VaultKeyMissingError."""
    return await signing_keys.open_key(connection, seals, bank_id, SigningPurpose.CERTIFICATE)


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
