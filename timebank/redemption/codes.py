"""Codes: what a resident shows at the counter, to pay or to fetch what is held.

Made here at random and kept as keyed hashes; nobody can read one again.
"""

import secrets
from datetime import datetime, timedelta
from hashlib import sha256
from uuid import UUID

from msgspec import Struct

from timebank.db import Connection, load_queries
from timebank.domain.errors import NotFoundError
from timebank.domain.redemption import (
    DIGITS,
    PAYMENT_CODE_LIFETIME,
    Code,
    CodeKind,
    RedemptionStatus,
    read_code,
)

_QUERIES = load_queries(__package__)


class PaymentCode(Struct, frozen=True):
    """A code that pays once, before `expires_at`."""

    code: Code
    expires_at: datetime


def new_code(kind: CodeKind) -> Code:
    """Return a random code."""
    length = DIGITS[kind]
    return Code(
        kind, f"{secrets.randbelow(10**length):0{length}}", kind + secrets.token_urlsafe(16)
    )


def digest(text: str) -> bytes:
    """Return what the database is told of a code."""
    return sha256(text.encode()).digest()


def digest_typed(text: str, kind: CodeKind) -> bytes:
    """Return what the database is told of what was typed or scanned.

    What is no code of this kind is no other one either: it counts as a wrong one.
    """
    found = read_code(text)
    return digest(found[1] if found and found[0] is kind else f"not {kind}: {text}")


async def issue_payment_code(
    connection: Connection,
    bank_id: int,
    resident_id: UUID,
    source_account_id: UUID,
    *,
    lifetime: timedelta = PAYMENT_CODE_LIFETIME,
) -> PaymentCode:
    """Return a new payment code; it ends the resident's one before. Retry on conflict."""
    code = new_code(CodeKind.PAYMENT)
    expires_at = await connection.fetchval(
        _QUERIES["issue_payment_code"],
        bank_id,
        resident_id,
        source_account_id,
        digest(code.digits),
        digest(code.token),
        lifetime,
    )
    return PaymentCode(code, expires_at)


async def renew_pickup_code(connection: Connection, bank_id: int, hold_id: UUID) -> Code:
    """Return a new pick-up code of an open hold; the one before is worth nothing now.

    NotFoundError if the hold is not open or was placed at the counter. Retry on conflict.
    """
    code = new_code(CodeKind.PICKUP)
    renewed = await connection.fetchval(
        _QUERIES["renew_pickup_code"], bank_id, hold_id, digest(code.digits), digest(code.token)
    )
    if not renewed:
        raise NotFoundError
    return code


async def find_pickup(
    connection: Connection, bank_id: int, merchant_id: UUID, text: str, *, actor_id: UUID
) -> tuple[RedemptionStatus, UUID | None]:
    """Return `done` and the hold that a code opens at this merchant, whatever became of it.

    Else code_not_valid, which counts as an attempt and must be committed, or too_many_wrong_codes.
    """
    record = await connection.fetchrow(
        _QUERIES["find_pickup"],
        bank_id,
        merchant_id,
        actor_id,
        digest_typed(text, CodeKind.PICKUP),
    )
    return RedemptionStatus(record["status"]), record["hold_id"]
