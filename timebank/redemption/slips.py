"""Slips: points held for one merchant's till without a network, signed, and captured afterwards.

Issuing and capturing are acts as those of `holds`: one function, one transaction each, committed
whatever is answered. The lock order is in schema.sql.
"""

import secrets
from collections.abc import Mapping
from datetime import timedelta
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec import Struct

from timebank.db import Connection, as_struct, load_queries
from timebank.domain.errors import NotFoundError, RedemptionRefusedError
from timebank.domain.numbers import add_check
from timebank.domain.redemption import Answer, RedemptionStatus
from timebank.domain.slips import (
    SLIP_BODIES,
    SYNC_GRACE,
    Slip,
    SlipOrder,
    SlipResult,
    check_order,
)
from timebank.ledger.banks import Bank
from timebank.ledger.ids import derive_id
from timebank.people.seals import Seals
from timebank.people.signing_keys import SigningPurpose, list_keys, open_key
from timebank.redemption.slip_checker import (
    SIGNED_AS,
    SYMBOLS,
    VERSION,
    WIDTHS,
    Facts,
    Key,
    Reason,
    RefusedError,
    verify,
)

_QUERIES = load_queries(__package__)
_AFTER_ALL = UUID(int=2**128 - 1)

_RESULTS: Mapping[RedemptionStatus, SlipResult] = {
    RedemptionStatus.HOLD_ALREADY_CAPTURED: SlipResult.CAPTURED_BY_ANOTHER,
    RedemptionStatus.HOLD_EXPIRED: SlipResult.EXPIRED,
    RedemptionStatus.HOLD_NOT_FOUND: SlipResult.UNKNOWN,
}


class Told(Struct, frozen=True, kw_only=True):
    """What an acceptance was answered; `number` and `points` are of a slip that our key signed.

    `slip_id` is the hold, where this merchant has it.
    """

    result: SlipResult
    number: int | None = None
    points: int | None = None
    slip_id: UUID | None = None


# ---- The text ----------------------------------------------------------------------------------


def pack(facts: Facts) -> bytes:
    """Return the one encoding of what is signed: fixed widths, big-endian, the bank last."""
    number, points, issued, expires = facts[2:6]
    parts = (VERSION, int(facts.key_id, 16), facts.merchant_id.int, number, points, issued, expires)
    widths = zip(parts, WIDTHS, strict=True)
    return b"".join(part.to_bytes(width, "big") for part, width in widths) + facts.bank.encode()


def sign(facts: Facts, private: Ed25519PrivateKey) -> str:
    """Return the text of a slip, which holds nothing of a person. The same at every call."""
    payload = pack(facts)
    return spell(payload + private.sign(SIGNED_AS + payload))


def spell(data: bytes) -> str:
    """Return bytes in symbols that a QR code holds as letters, five bits each."""
    count = -(-len(data) * 8 // 5)
    value = int.from_bytes(data, "big") << (count * 5 - len(data) * 8)
    return "".join(SYMBOLS[value >> 5 * place & 31] for place in reversed(range(count)))


# ---- Issuing -----------------------------------------------------------------------------------


async def issue_slip(
    connection: Connection,
    seals: Seals,
    bank_id: int,
    slip_id: UUID,
    order: SlipOrder,
    *,
    actor_id: UUID,
    grace: timedelta = SYNC_GRACE,
) -> Answer:
    """Hold points for a slip; `read_slip` has its text, now and later.

    The same slip_id with the same order is answered as it was. SigningKeyMissingError,
    VaultKeyMissingError, InvalidInputError; SlipTooShortError near the end of an agreement.
    """
    check_order(order)
    key_id, _ = await open_key(connection, seals, bank_id, SigningPurpose.SLIP)
    number = add_check(SLIP_BODIES.start + secrets.randbelow(len(SLIP_BODIES)))
    record = await connection.fetchrow(
        _QUERIES["place_slip"],
        bank_id,
        slip_id,
        order.resident_id,
        order.source_account_id,
        order.merchant_id,
        order.points,
        order.lifetime,
        grace,
        order.override_id,
        actor_id,
        int(number),
        key_id,
    )
    return as_struct(record, Answer)


async def get_slip(connection: Connection, bank_id: int, slip_id: UUID) -> Slip:
    """Return the slip; NotFoundError."""
    row = await connection.fetchrow(_QUERIES["find_slip"], bank_id, slip_id)
    if row is None:
        raise NotFoundError
    return as_struct(row, Slip)


async def list_slips(
    connection: Connection,
    bank_id: int,
    resident_id: UUID,
    *,
    before: UUID = _AFTER_ALL,
    limit: int = 50,
) -> list[Slip]:
    """Return the slips of a resident, the newest first."""
    rows = await connection.fetch(_QUERIES["list_slips"], bank_id, resident_id, before, limit)
    return [as_struct(row, Slip) for row in rows]


async def write_slip(connection: Connection, seals: Seals, bank: Bank, slip: Slip) -> str:
    """Return the text that is printed; it is signed anew and comes out as it did before."""
    _, private = await open_key(
        connection, seals, bank.bank_id, SigningPurpose.SLIP, key_id=slip.key_id
    )
    return sign(facts_of(bank, slip), private)


def facts_of(bank: Bank, slip: Slip) -> Facts:
    """Return what is signed of a slip."""
    return Facts(
        key_id=slip.key_id,
        merchant_id=slip.merchant_id,
        number=slip.number,
        points=slip.points,
        issued_at=int(slip.issued_at.timestamp()),
        expires_at=int(slip.expires_at.timestamp()),
        bank=bank.code,
    )


# ---- Telling of it -----------------------------------------------------------------------------


async def list_slip_keys(connection: Connection, bank: Bank) -> dict[str, Key]:
    """Return what `capture_slip` verifies slips with."""
    keys = await list_keys(connection, bank.bank_id, SigningPurpose.SLIP)
    return {key.key_id: Key(bank.code, key.public_key) for key in keys}


async def capture_slip(
    connection: Connection,
    bank_id: int,
    keys: Mapping[str, Key],
    text: str,
    acceptance_id: UUID,
    *,
    merchant_id: UUID,
    actor_id: UUID,
) -> Told:
    """Give the merchant the points of a slip that a till took; the first acceptance has them.

    Told again, an acceptance is answered as before. A slip of another merchant is unknown, and so
    is one by a key that is not ours: another bank may know it. One that we did not issue just so
    is forged, even by a key of ours. Retry on conflict and commit whatever is answered.
    RedemptionRefusedError: id_conflict, which only who made a transfer of just this id can bring
    about.
    """
    try:
        facts = verify(text, keys)
    except RefusedError as refused:
        foreign = refused.reason is Reason.UNKNOWN_KEY
        return Told(result=SlipResult.UNKNOWN if foreign else SlipResult.FORGED)
    told = Told(result=SlipResult.UNKNOWN, number=facts.number, points=facts.points)
    issued = await connection.fetchrow(_QUERIES["find_signed_facts"], bank_id, facts.number)
    if facts.merchant_id != merchant_id or issued is None:
        return told
    if Facts(**issued, bank=facts.bank) != facts:  # whoever signed it had a key of ours, no more
        return Told(result=SlipResult.FORGED)
    record = await connection.fetchrow(
        _QUERIES["capture_slip"],
        bank_id,
        derive_id(acceptance_id, f"slip {facts.number}"),
        facts.number,
        merchant_id,
        actor_id,
    )
    status = RedemptionStatus(record["status"])
    if status is RedemptionStatus.DONE:
        result = SlipResult.CAPTURED if record["is_new"] else SlipResult.CAPTURED_BEFORE
    elif status in _RESULTS:
        result = _RESULTS[status]
    else:
        raise RedemptionRefusedError(status)
    slip_id = None if result is SlipResult.UNKNOWN else record["hold_id"]
    return Told(result=result, number=facts.number, points=facts.points, slip_id=slip_id)
