"""志愿服务记录证明: what is certified, what is printed, and the number. Pure.

The statement is signed and holds nothing personal; what is printed beside it (name, masked
document) is tied to it by a salted hash, whose salt stands only on the print.
"""

import re
import unicodedata
from collections.abc import Sequence
from datetime import date, datetime
from enum import StrEnum
from hashlib import sha256
from uuid import UUID

import msgspec
from msgspec import Struct

from timebank.domain.errors import NotFoundError
from timebank.domain.names import drop_unseen
from timebank.domain.service_errors import CertificateForgedError

CODE_BYTES = 10
_SYMBOLS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_NUMBER = re.compile(r"([a-z][a-z0-9-]{0,31})-(\w{4})-(\w{4})-(\w{4})-(\w{4})", re.ASCII)
_BETWEEN = re.compile(r"[\s\u2010-\u2015\u2212-]+")
_LIKE = str.maketrans("OIL", "011")


class CertificateStatus(StrEnum):
    """valid -> revoked, or superseded when a record it adds up is reversed."""

    VALID = "valid"
    REVOKED = "revoked"
    SUPERSEDED = "superseded"


class RevocationReason(StrEnum):
    """Why a certificate is ended (schema.sql says each in a line)."""

    WRONG_DATA = "wrong_data"
    LOST = "lost"
    FRAUD = "fraud"
    ASKED_FOR = "asked_for"


class Certificate(Struct, frozen=True, kw_only=True):
    """A certificate as the bank keeps it."""

    certificate_id: UUID
    number: str
    person_id: UUID
    from_on: date
    until_on: date
    minutes: int
    issued_by: UUID
    issued_at: datetime
    status: CertificateStatus
    revoked_for: RevocationReason | None


class CertificateLine(Struct, frozen=True):
    """A record of the breakdown; `content` is the title of the activity or the kind of service."""

    served_on: date
    content: str
    minutes: int


class Printed(Struct, frozen=True, kw_only=True):
    """What stands on paper only; the service does not keep it. `salt` is random hex."""

    name: str
    id_type: str
    id_number: str
    volunteer_number: str
    in_charge: str
    handler: str
    contact: str
    notes: str
    salt: str

    def __repr__(self) -> str:
        """Tell nothing that is personal."""
        return "Printed(…)"


class Statement(Struct, frozen=True, kw_only=True):
    """What the bank signs: the parts add up to the total."""

    bank: str
    issuer: str
    number: str
    printed_sha256: str
    from_on: date
    until_on: date
    minutes: int
    lines: tuple[CertificateLine, ...]
    issued_on: date
    key_id: str


class Document(Struct, frozen=True, kw_only=True):
    """The certificate as a file: the signed text, the signature (hex), and what is printed."""

    statement: str
    signature: str
    printed: Printed


class PublicKey(Struct, frozen=True, kw_only=True):
    """What signatures are verified with; `public_key` is the raw Ed25519 key as hex."""

    key_id: str
    public_key: str
    made_at: datetime


class PublicKeys(Struct, frozen=True, kw_only=True):
    """All keys that a bank ever signed with, the one that signs now first: to be published."""

    bank: str
    keys: tuple[PublicKey, ...]


def read_statement(document: Document) -> Statement:
    """Return what a document says, true or not; CertificateForgedError if it is no statement."""
    try:
        return msgspec.json.decode(document.statement, type=Statement)
    except (msgspec.MsgspecError, ValueError):
        raise CertificateForgedError from None


def canonical(thing: Struct) -> bytes:
    """Return the one JSON text of a thing: names sorted, no spaces, UTF-8."""
    return msgspec.json.encode(thing, order="sorted")


def hash_printed(printed: Printed) -> str:
    """Return what the statement says of it: without the salt nobody finds the name by trying."""
    return sha256(canonical(printed)).hexdigest()


def is_coherent(statement: Statement, printed: Printed) -> bool:
    """Return whether the lines add up, in the period, and the print is the one that was signed."""
    return (
        statement.minutes == sum(line.minutes for line in statement.lines)
        and all(
            line.minutes > 0 and statement.from_on <= line.served_on <= statement.until_on
            for line in statement.lines
        )
        and statement.printed_sha256 == hash_printed(printed)
    )


def spell_code(random: bytes) -> str:
    """Return ten random bytes as sixteen symbols that nobody takes for another."""
    value = int.from_bytes(random, "big")
    return "".join(_SYMBOLS[value >> shift & 31] for shift in range(75, -1, -5))


def make_number(bank: str, code: str) -> str:
    """Return the number that is printed: jianxi-7KQ2-M9XD-0A1B-C2D3."""
    return "-".join([bank, *(code[place : place + 4] for place in range(0, 16, 4))])


def parse_number(number: str) -> tuple[str, str]:
    """Return the code of the bank and the certificate's own, however people type it.

    NotFoundError if it is no number.
    """
    plain = drop_unseen(unicodedata.normalize("NFKC", number)).lower()
    parts = _NUMBER.fullmatch(plain.strip())
    parts = parts or _NUMBER.fullmatch(_BETWEEN.sub("-", plain).strip("-"))
    if parts is None:
        raise NotFoundError
    return parts[1], "".join(parts.groups()[1:]).upper().translate(_LIKE)


def mask_document(number: str) -> str:
    """Return a document's number with the middle hidden, so that no birthday is told."""
    shown = (3, 4) if len(number) >= 11 else (0, 2)
    hidden = "*" * (len(number) - sum(shown))
    return number[: shown[0]] + hidden + number[len(number) - shown[1] :]


def say_time(minutes: int) -> str:
    """Return minutes as hours and minutes: 3 小时 05 分."""
    return f"{minutes // 60} 小时 {minutes % 60:02} 分"


def total(lines: Sequence[CertificateLine]) -> int:
    """Return what the lines add up to."""
    return sum(line.minutes for line in lines)
