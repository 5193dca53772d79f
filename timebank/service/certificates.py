"""Certificates: issued from confirmed records, revoked, superseded by a reversal (schema.sql).

Lock order: the records by their ids, then certificates. The vault is read before, in a commit of
its own, so that its log stands whatever happens then.
"""

import secrets
from collections.abc import Mapping
from datetime import date
from typing import Any
from uuid import UUID

from msgspec import UNSET, Struct

from timebank.db import Connection, Pool, load_queries, repeat_on_conflict
from timebank.domain.certificates import (
    CODE_BYTES,
    Certificate,
    CertificateLine,
    CertificateStatus,
    Document,
    Printed,
    RevocationReason,
    Statement,
    canonical,
    hash_printed,
    make_number,
    mask_document,
    parse_number,
    spell_code,
    total,
)
from timebank.domain.errors import InvalidInputError, NotFoundError, SecondPersonNeededError
from timebank.domain.names import drop_unseen
from timebank.domain.personal import PersonalData
from timebank.domain.service_errors import NothingToCertifyError
from timebank.ledger.banks import Bank
from timebank.ledger.ids import new_id
from timebank.people.seals import Seals
from timebank.people.vault import Access, Purpose, read_person
from timebank.people.vault_keys import KeyRing
from timebank.service.signing import open_signing_key

_QUERIES = load_queries(__package__)


class Order(Struct, frozen=True, kw_only=True):
    """What is to be certified, and who stands for it on paper."""

    person_id: UUID
    from_on: date
    until_on: date
    issued_on: date
    in_charge: str
    handler: str
    contact: str
    notes: str = ""


class Issued(Struct, frozen=True, kw_only=True):
    """A new certificate and its document, which is told once."""

    certificate: Certificate
    document: Document


class Signed(Struct, frozen=True, kw_only=True):
    """What the bank keeps of a document: all but what is printed beside it."""

    statement: str
    signature: str


async def issue_certificate(
    pool: Pool,
    ring: KeyRing,
    bank: Bank,
    order: Order,
    *,
    actor_id: UUID,
    request_id: str,
) -> Issued:
    """Read who it is and certify, each in a commit of its own; as the two that it calls."""
    access = Access(
        bank_id=bank.bank_id,
        reader_id=actor_id,
        purpose=Purpose.CERTIFICATE,
        request_id=request_id,
    )
    person = await read_volunteer(pool, ring, access, order)

    async def issue(connection: Connection) -> Issued:
        return await certify(connection, Seals(ring), bank, order, person=person, actor_id=actor_id)

    return await repeat_on_conflict(pool, issue)


async def read_volunteer(pool: Pool, ring: KeyRing, access: Access, order: Order) -> PersonalData:
    """Return what is printed of whom the certificate is for.

    InvalidInputError for a period that is none or has not ended, SecondPersonNeededError for
    oneself; as `read_person` for who is unknown, frozen or erased.
    """
    if not order.from_on <= order.until_on <= order.issued_on:
        raise InvalidInputError(
            "The period ends before it begins, or later than today.", pointer="/until_on"
        )
    if order.person_id == access.reader_id:
        raise SecondPersonNeededError
    person = await read_person(pool, ring, access, order.person_id, ["name", "id_document"])
    if person.name is UNSET:
        raise NotFoundError
    return person


async def certify(
    connection: Connection,
    seals: Seals,
    bank: Bank,
    order: Order,
    *,
    person: PersonalData,
    actor_id: UUID,
) -> Issued:
    """Certify what a person served between two local days, both included.

    NothingToCertifyError, SigningKeyMissingError. The document is not kept: one that is lost is
    issued anew.
    """
    printed = Printed(
        name=drop_unseen(person.name or ""),
        id_type=person.id_document.type if person.id_document else "",
        id_number=mask_document(person.id_document.number) if person.id_document else "",
        volunteer_number=await _find_number(connection, bank.bank_id, order.person_id),
        in_charge=order.in_charge,
        handler=order.handler,
        contact=order.contact,
        notes=order.notes,
        salt=secrets.token_hex(16),
    )
    return await _issue(connection, seals, bank, order, printed=printed, actor_id=actor_id)


async def _issue(
    connection: Connection,
    seals: Seals,
    bank: Bank,
    order: Order,
    *,
    printed: Printed,
    actor_id: UUID,
) -> Issued:
    key_id, private = await open_signing_key(connection, seals, bank.bank_id)
    period = order.person_id, order.from_on, order.until_on
    rows = await connection.fetch(_QUERIES["open_certificate"], bank.bank_id, *period)
    if not rows:
        raise NothingToCertifyError
    rows = sorted(rows, key=lambda row: (row["served_on"], row["record_id"]))
    lines = tuple(CertificateLine(row["served_on"], row["content"], row["minutes"]) for row in rows)
    code = spell_code(secrets.token_bytes(CODE_BYTES))
    statement = Statement(
        bank=bank.code,
        issuer=bank.name,
        number=make_number(bank.code, code),
        printed_sha256=hash_printed(printed),
        from_on=order.from_on,
        until_on=order.until_on,
        minutes=total(lines),
        lines=lines,
        issued_on=order.issued_on,
        key_id=key_id,
    )
    text = canonical(statement)
    signature = private.sign(text)
    certificate_id = new_id()
    await connection.execute(
        _QUERIES["close_certificate"],
        bank.bank_id,
        certificate_id,
        code,
        *period,
        [row["record_id"] for row in rows],
        text.decode(),
        key_id,
        signature,
        actor_id,
    )
    return Issued(
        certificate=await get_certificate(connection, bank.bank_id, certificate_id),
        document=Document(statement=text.decode(), signature=signature.hex(), printed=printed),
    )


async def _find_number(connection: Connection, bank_id: int, person_id: UUID) -> str:
    number = await connection.fetchval(_QUERIES["find_volunteer_number"], bank_id, person_id)
    return str(number or "")


async def revoke_certificate(
    connection: Connection,
    bank_id: int,
    actor_id: UUID,
    certificate_id: UUID,
    reason: RevocationReason,
) -> Certificate:
    """End a certificate for good; again is harmless, and the first reason stands.

    NotFoundError, WrongStepError if it is superseded already.
    """
    await connection.execute(
        _QUERIES["revoke_certificate"], bank_id, certificate_id, actor_id, reason
    )
    return await get_certificate(connection, bank_id, certificate_id)


async def get_certificate(
    connection: Connection, bank_id: int, certificate_id: UUID
) -> Certificate:
    """Return the certificate; NotFoundError if there is none."""
    row = await connection.fetchrow(_QUERIES["find_certificate"], bank_id, certificate_id)
    return _as_certificate(row)


async def get_signed(connection: Connection, bank_id: int, certificate_id: UUID) -> Signed:
    """Return what the bank signed and its signature; NotFoundError if there is none."""
    row = await connection.fetchrow(_QUERIES["find_signed"], bank_id, certificate_id)
    if row is None:
        raise NotFoundError
    return Signed(statement=row["statement"], signature=row["signature"].hex())


async def list_certificates(
    connection: Connection, bank_id: int, person_id: UUID
) -> list[Certificate]:
    """Return a person's certificates, newest first."""
    rows = await connection.fetch(_QUERIES["list_certificates"], bank_id, person_id)
    return [_as_certificate(row) for row in rows]


async def check_number(connection: Connection, number: str) -> Certificate:
    """Return the certificate of this number, of whichever bank; NotFoundError if there is none."""
    bank_code, code = parse_number(number)
    row = await connection.fetchrow(_QUERIES["find_certificate_by_number"], bank_code, code)
    return _as_certificate(row)


def _as_certificate(row: Mapping[str, Any] | None) -> Certificate:
    if row is None:
        raise NotFoundError
    fields = dict(row)
    number = make_number(fields.pop("bank"), fields.pop("code"))
    status, reason = CertificateStatus(fields.pop("status")), fields.pop("revoked_for")
    revoked_for = reason and RevocationReason(reason)
    return Certificate(number=number, status=status, revoked_for=revoked_for, **fields)
