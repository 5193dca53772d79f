"""Certificates over HTTP: issued and printed by coordinators, checked by anybody by the number.

A number holds 80 random bits: who was not shown one finds none by trying. The document, with the
name, is in one answer only and never stored.
"""

import asyncio
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

from litestar import MediaType, Response, Router
from litestar.params import FromPath, JSONBody
from msgspec import structs

from timebank.api.call import Call, IdempotencyKey
from timebank.api.login_wire import NothingBody
from timebank.api.logins import NO_STORE
from timebank.api.once import Deed, do_once, note_deed, once, was_answered
from timebank.api.operations import find_in_public, get, get_personal, post
from timebank.api.paper import access_of
from timebank.api.reaching import check_reach
from timebank.api.records import check_resident
from timebank.api.wire_certificates import (
    CertificateList,
    CertificateView,
    IssuedView,
    OrderBody,
    PrintBody,
    RevocationBody,
    SignedView,
)
from timebank.db import Connection, transaction
from timebank.domain.certificates import (
    Certificate,
    CertificateStatus,
    PublicKey,
    PublicKeys,
    read_statement,
)
from timebank.domain.errors import BankNotFoundError, IdempotencyKeyInUseError, NotFoundError
from timebank.domain.personal import PersonalData
from timebank.domain.service_errors import CertificateEndedError, PublicUrlMissingError
from timebank.ledger.banks import Bank, get_bank
from timebank.people.access import Action
from timebank.people.seals import Seals
from timebank.people.vault import Purpose
from timebank.service import certificates
from timebank.service.certificate_pdf import make_pdf
from timebank.service.certificate_print import render
from timebank.service.signing import make_signing_key, publish_keys, verify

KEYS_CACHED = {"Cache-Control": "public, max-age=300"}
"""A new key is known to all who cache within five minutes; an old one stays good."""


@post(
    "/residents/{resident_id:uuid}/certificates",
    opt={"action": Action.ISSUE_CERTIFICATE, "personal": True},
    operation_id="issue_certificate",
)
async def issue_certificate(
    request: Call,
    resident_id: FromPath[UUID],
    data: JSONBody[OrderBody],
    idempotency_key: IdempotencyKey,
) -> Response[IssuedView]:
    """Certify what a resident served in a period; the document with the name is told once.

    A repeat of the request is answered with the certificate alone.
    """
    desk, principal = request.desk, request.user
    bank = await desk.bank(principal.bank_id)
    order = data.order(resident_id, _today(bank))
    async with transaction(desk.pool) as connection:
        await check_resident(connection, request, resident_id)
    person: PersonalData | None = None
    if not await was_answered(request):
        access = access_of(request, Purpose.CERTIFICATE)
        person = await certificates.read_volunteer(desk.pool, desk.ring, access, order)
    issued: certificates.Issued | None = None

    async def work(connection: Connection) -> Deed[IssuedView]:
        nonlocal issued
        await check_resident(connection, request, resident_id)
        if person is None:  # the key was answered a moment ago, and no longer
            raise IdempotencyKeyInUseError
        issued = await certificates.certify(
            connection,
            Seals(desk.ring),
            bank,
            order,
            person=person,
            actor_id=principal.principal_id,
        )
        view = IssuedView(certificate=issued.certificate)
        return Deed(view, issued.certificate.certificate_id, Purpose.CERTIFICATE)

    view, headers = await once(request, IssuedView, work)
    if issued and issued.certificate == view.certificate:
        view = structs.replace(view, document=issued.document)
    return Response(view, status_code=201, headers={**headers, **NO_STORE})


@post(
    "/certificates/prints",
    opt={"action": Action.ISSUE_CERTIFICATE, "keyless": True},
    status_code=200,
    operation_id="print_certificate",
)
async def print_certificate(request: Call, data: JSONBody[PrintBody]) -> Response[Any]:
    """Return a document that was handed out as PDF or as a page to print; nothing of it is kept.

    What is not, to the letter, what this bank signed is refused, and what does not stand now.
    """
    desk, document = request.desk, data.document()
    base_url = desk.settings.public_url
    if base_url is None:
        raise PublicUrlMissingError
    bank = await desk.bank(request.user.bank_id)
    if read_statement(document).bank != bank.code:
        raise NotFoundError
    async with transaction(desk.pool) as connection:
        statement = verify(document, await publish_keys(connection, bank))
        certificate = await certificates.check_number(connection, statement.number)
        await check_resident(connection, request, certificate.person_id)
        if certificate.status is not CertificateStatus.VALID:
            raise CertificateEndedError
        await note_deed(connection, request, certificate.certificate_id)
    if data.form == "html":
        page = render(document, base_url)
        return Response(page, status_code=200, media_type=MediaType.HTML, headers=NO_STORE)
    pdf = await asyncio.to_thread(make_pdf, document, base_url, desk.settings.font_dir)
    return Response(pdf, status_code=200, media_type="application/pdf", headers=NO_STORE)


@post(
    "/issued-certificates/{certificate_id:uuid}/revocation",
    opt={"action": Action.REVOKE_CERTIFICATE},
    operation_id="revoke_certificate",
)
async def revoke_certificate(
    request: Call,
    certificate_id: FromPath[UUID],
    data: JSONBody[RevocationBody],
    idempotency_key: IdempotencyKey,
) -> Response[Certificate]:
    """End a certificate for good: whoever checks its number sees that it is revoked."""
    bank_id, actor_id = request.user.bank_id, request.user.principal_id

    async def work(connection: Connection) -> Deed[Certificate]:
        await _reached(connection, request, certificate_id)
        revoked = await certificates.revoke_certificate(
            connection, bank_id, actor_id, certificate_id, data.reason
        )
        return Deed(revoked, certificate_id)

    return await do_once(request, Certificate, work)


@get_personal(
    "/residents/{resident_id:uuid}/certificates",
    opt={"action": Action.READ_CERTIFICATE},
    operation_id="list_certificates",
)
async def list_certificates(request: Call, resident_id: FromPath[UUID]) -> CertificateList:
    """List a resident's certificates, the newest first; none of them names anybody."""
    async with transaction(request.desk.pool) as connection:
        await check_resident(connection, request, resident_id)
        found = await certificates.list_certificates(connection, request.user.bank_id, resident_id)
    return CertificateList(found)


@get(
    "/issued-certificates/{certificate_id:uuid}",
    opt={"action": Action.READ_CERTIFICATE},
    operation_id="get_certificate",
)
async def read_certificate(request: Call, certificate_id: FromPath[UUID]) -> SignedView:
    """Return a certificate and what was signed: the breakdown, without the name."""
    async with transaction(request.desk.pool) as connection:
        certificate = await _reached(connection, request, certificate_id)
        signed = await certificates.get_signed(connection, request.user.bank_id, certificate_id)
    return SignedView(
        certificate=certificate, statement=signed.statement, signature=signed.signature
    )


async def _reached(connection: Connection, request: Call, certificate_id: UUID) -> Certificate:
    """Return the certificate; NotFoundError if it is absent or out of the caller's reach."""
    found = await certificates.get_certificate(connection, request.user.bank_id, certificate_id)
    await check_reach(connection, request, found.person_id)
    return found


@find_in_public(
    "/certificates/{number:str}",
    opt={"action": Action.PUBLIC},
    operation_id="check_certificate",
)
async def check_certificate(request: Call, number: FromPath[str]) -> CertificateView:
    """Check a certificate by its number, without a token: does it stand, and for how much."""
    async with transaction(request.desk.pool) as connection:
        found = await certificates.check_number(connection, number)
    return CertificateView(
        number=found.number,
        from_on=found.from_on,
        until_on=found.until_on,
        minutes=found.minutes,
        status=found.status,
    )


@find_in_public(
    "/certificate-keys/{bank:str}",
    opt={"action": Action.PUBLIC},
    operation_id="list_certificate_keys",
)
async def list_keys(request: Call, bank: FromPath[str]) -> Response[PublicKeys]:
    """Return the keys of a bank, by its code, to verify certificates with and without us."""
    try:
        async with transaction(request.desk.pool) as connection:
            found = await publish_keys(connection, await get_bank(connection, bank))
    except BankNotFoundError as error:
        raise NotFoundError from error
    return Response(found, headers=KEYS_CACHED)


@post(
    "/certificate-keys",
    opt={"action": Action.MAKE_SIGNING_KEY},
    operation_id="make_signing_key",
)
async def make_key(
    request: Call, data: JSONBody[NothingBody], idempotency_key: IdempotencyKey
) -> Response[PublicKey]:
    """Make a key that signs from now on; certificates of the keys before stay good."""
    principal = request.user

    async def work(connection: Connection) -> Deed[PublicKey]:
        made = await make_signing_key(
            connection, Seals(request.desk.ring), principal.bank_id, principal.principal_id
        )
        key = PublicKey(key_id=made.key_id, public_key=made.public_key.hex(), made_at=made.made_at)
        return Deed(key, None)

    return await do_once(request, PublicKey, work)


def _today(bank: Bank) -> date:
    return datetime.now(UTC).astimezone(bank.zone).date()


router = Router(
    "/",
    route_handlers=[
        issue_certificate,
        print_certificate,
        revoke_certificate,
        list_certificates,
        read_certificate,
        check_certificate,
        list_keys,
        make_key,
    ],
)
