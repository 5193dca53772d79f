"""Certificates: exact, signed, nothing personal in the database, and ended by any reversal."""

import asyncio
import secrets
from datetime import date, timedelta
from pathlib import Path
from uuid import UUID

import asyncpg
import msgspec
import pytest

from tests.book import Book
from tests.people.desk import Desk
from tests.people.desk import person as someone
from tests.service.programme import CHECKER, MAKER, Programme, at, new_person
from timebank.domain.certificates import (
    Certificate,
    CertificateStatus,
    Document,
    PublicKeys,
    RevocationReason,
    Statement,
    canonical,
    hash_printed,
    parse_number,
    spell_code,
)
from timebank.domain.errors import (
    InvalidInputError,
    NotFoundError,
    SecondPersonNeededError,
)
from timebank.domain.ledger import SpentPolicy
from timebank.domain.service_errors import (
    CertificateForgedError,
    NothingToCertifyError,
    SigningKeyMissingError,
    WrongStepError,
)
from timebank.ledger.ids import new_id
from timebank.people.seals import Seals
from timebank.people.vault import Purpose, list_accesses
from timebank.people.vault_rotation import rotate_keys
from timebank.service.certificates import (
    Issued,
    Order,
    check_number,
    issue_certificate,
    list_certificates,
    revoke_certificate,
)
from timebank.service.signing import make_signing_key, publish_keys, verify

NINE = at("2026-01-02 09:00")
ORDER = Order(
    person_id=CHECKER,
    from_on=date(2026, 1, 1),
    until_on=date(2026, 12, 31),
    issued_on=date(2027, 1, 4),
    in_charge="负责人甲",
    handler="经办人乙",
    contact="0379-12345678",
)


class Office:
    """Who issues certificates of a bank."""

    def __init__(self, programme: Programme, desk: Desk) -> None:
        self.programme = programme
        self.desk = desk
        self.seals = Seals(desk.ring)

    async def issue(self, person_id: UUID, **changed: object) -> Issued:
        order = msgspec.structs.replace(ORDER, person_id=person_id, **changed)
        return await issue_certificate(
            self.desk.book.pool,
            self.desk.ring,
            self.desk.book.bank,
            order,
            actor_id=MAKER,
            request_id="r1",
        )

    async def keys(self) -> PublicKeys:
        async with self.desk.at() as connection:
            return await publish_keys(connection, self.desk.book.bank)

    async def revoke(
        self, certificate_id: UUID, reason: RevocationReason = RevocationReason.LOST
    ) -> Certificate:
        return await self.programme.run(revoke_certificate, MAKER, certificate_id, reason)

    async def status(self, issued: Issued) -> CertificateStatus:
        async with self.desk.at() as connection:
            return (await check_number(connection, issued.certificate.number)).status


@pytest.fixture
async def office(programme: Programme, tmp_path: Path) -> Office:
    office = Office(programme, await Desk.open(programme.book, tmp_path))
    async with office.desk.at() as connection:
        await make_signing_key(connection, office.seals, programme.book.bank_id, MAKER)
    return office


async def served(office: Office, *minutes: int) -> tuple[UUID, list[UUID]]:
    """A member with confirmed records of so many minutes, a day apart."""
    person = await office.desk.member()
    ids = [
        await office.programme.record(person, NINE + timedelta(days=day), length)
        for day, length in enumerate(minutes)
    ]
    await office.programme.confirm(*ids)
    return person, ids


async def test_the_parts_add_up_and_it_verifies_offline(office: Office) -> None:
    person, _ = await served(office, 59, 120, 1)
    issued = await office.issue(person)
    statement = verify(issued.document, await office.keys())
    assert statement.minutes == issued.certificate.minutes == 180
    assert [line.minutes for line in statement.lines] == [59, 120, 1]
    assert statement.number == issued.certificate.number
    data = await office.desk.read(person)
    assert issued.document.printed.name == data.name
    assert data.id_document
    masked = issued.document.printed.id_number
    assert len(masked) == len(data.id_document.number)
    assert masked.count("*") == 11
    assert issued.document.printed.volunteer_number
    assert await office.programme.run(list_certificates, person) == [issued.certificate]


async def test_what_cannot_be_seen_in_a_name_is_not_printed(office: Office) -> None:
    person = await office.desk.member(someone(name="\ufeff王\u200b小英 J. K."))
    await office.programme.confirm(await office.programme.record(person, NINE, 60))
    assert (await office.issue(person)).document.printed.name == "王小英 J. K."


async def test_only_confirmed_records_of_the_period_count(office: Office) -> None:
    person, ids = await served(office, 60, 30, 10)
    await office.programme.record(person, NINE + timedelta(days=9), 600)
    await office.programme.reverse(ids[0])
    issued = await office.issue(person, until_on=date(2026, 1, 3))
    assert issued.certificate.minutes == 30
    with pytest.raises(NothingToCertifyError):
        await office.issue(person, until_on=date(2026, 1, 2))
    for until_on in (date(2025, 1, 2), ORDER.issued_on + timedelta(days=1)):
        with pytest.raises(InvalidInputError):
            await office.issue(person, until_on=until_on)


async def test_any_changed_character_is_found(office: Office) -> None:
    person, _ = await served(office, 60)
    issued = await office.issue(person)
    keys, document = await office.keys(), issued.document
    forged = [
        {"statement": document.statement.replace('"minutes":60', '"minutes":61')},
        {"signature": "00" * 64},
        {"signature": "no hex"},
        {"statement": "{}"},
        *(
            {"printed": msgspec.structs.replace(document.printed, **{field: "x"})}
            for field in document.printed.__struct_fields__
        ),
    ]
    for change in forged:
        with pytest.raises(CertificateForgedError):
            verify(msgspec.structs.replace(document, **change), keys)
    replace = msgspec.structs.replace
    strangers = tuple(replace(key, public_key=secrets.token_hex(32)) for key in keys.keys)
    for others in (replace(keys, keys=()), replace(keys, keys=strangers), replace(keys, bank="x")):
        with pytest.raises(CertificateForgedError):
            verify(document, others)
    again = msgspec.json.decode(msgspec.json.encode(document), type=Document)
    assert verify(again, keys).minutes == 60


async def test_keys_change_and_old_certificates_stay_good(office: Office) -> None:
    person, _ = await served(office, 60)
    first = await office.issue(person)
    async with office.desk.at() as connection:
        newer = await make_signing_key(connection, office.seals, office.desk.bank_id, MAKER)
    second = await office.issue(person)
    assert verify(second.document, await office.keys()).key_id == newer.key_id
    assert verify(first.document, await office.keys()).key_id != newer.key_id


async def test_the_key_follows_the_master_key(own_book: Book, tmp_path: Path) -> None:
    office = Office(await Programme.open(own_book), await Desk.open(own_book, tmp_path))
    async with office.desk.at() as connection:
        await make_signing_key(connection, office.seals, own_book.bank_id, MAKER)
    person, _ = await served(office, 60)
    rotated = await rotate_keys(
        office.desk.book.pool,
        office.desk.ring,
        reader_id=MAKER,
        request_id="rotation",
        forget=True,
    )
    assert rotated.sealed == 1
    assert verify((await office.issue(person)).document, await office.keys()).minutes == 60


async def test_the_database_keeps_nothing_personal(office: Office) -> None:
    person, _ = await served(office, 60)
    issued = await office.issue(person)
    printed = issued.document.printed
    row = await office.desk.book.pool.fetchrow(
        "SELECT * FROM certificate WHERE certificate_id = $1", issued.certificate.certificate_id
    )
    kept = str(dict(row))
    for text in (printed.name, printed.id_number, printed.salt, printed.in_charge, printed.contact):
        assert text not in kept
    assert hash_printed(printed) in kept
    assert printed.name not in repr(issued)
    async with office.desk.at() as connection:
        log = await list_accesses(connection, office.desk.bank_id, person)
    used = [one for one in log if one.purpose is Purpose.CERTIFICATE]
    assert [(one.reader_id, sorted(one.fields)) for one in used] == [
        (MAKER, ["id_document", "name"])
    ]


async def test_a_reversal_ends_every_certificate_of_the_record(office: Office) -> None:
    person, ids = await served(office, 60, 30)
    whole, later = await office.issue(person), await office.issue(person, from_on=date(2026, 1, 3))
    await office.programme.reverse(ids[0], SpentPolicy.REFUSE)
    assert await office.status(whole) is CertificateStatus.SUPERSEDED
    assert await office.status(later) is CertificateStatus.VALID
    with pytest.raises(WrongStepError):
        await office.revoke(whole.certificate.certificate_id)
    anew = await office.issue(person)
    assert (anew.certificate.minutes, await office.status(anew)) == (30, CertificateStatus.VALID)


async def test_revoked_stays_revoked(office: Office) -> None:
    person, ids = await served(office, 60)
    issued = await office.issue(person)
    for _ in range(2):
        await office.revoke(issued.certificate.certificate_id)
    await office.programme.reverse(ids[0])
    assert await office.status(issued) is CertificateStatus.REVOKED
    with pytest.raises(NotFoundError):
        await office.revoke(new_id())


async def test_issue_and_reversal_at_once_leave_no_valid_one(office: Office) -> None:
    for _ in range(5):
        person, ids = await served(office, 60)
        issued, _ = await asyncio.gather(
            office.issue(person),
            office.programme.reverse(ids[0]),
            return_exceptions=True,
        )
        if isinstance(issued, Issued):
            assert await office.status(issued) is CertificateStatus.SUPERSEDED
        else:
            assert isinstance(issued, NothingToCertifyError)


async def test_who_may_not(office: Office) -> None:
    with pytest.raises(SecondPersonNeededError):
        await office.issue(MAKER)
    with pytest.raises(NotFoundError):
        await office.issue(new_person())


async def test_a_bank_without_a_key_is_told(programme: Programme, tmp_path: Path) -> None:
    office = Office(programme, await Desk.open(programme.book, tmp_path))
    person, _ = await served(office, 60)
    with pytest.raises(SigningKeyMissingError):
        await office.issue(person)


async def test_the_database_refuses_what_does_not_add_up(office: Office) -> None:
    """Whoever calls: a total that is not the records', a record that is not confirmed."""
    person, ids = await served(office, 60)
    other, others = await served(office, 60)
    issued = await office.issue(person)
    statement = msgspec.json.decode(issued.document.statement, type=Statement)
    more = canonical(msgspec.structs.replace(statement, minutes=61)).decode()
    for records, text in (
        (ids, more),
        ([*ids, *others], issued.document.statement),
        ([], issued.document.statement),
    ):
        with pytest.raises(asyncpg.CheckViolationError):
            await office.desk.book.pool.execute(
                "SELECT close_certificate($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
                office.desk.bank_id,
                new_id(),
                spell_code(secrets.token_bytes(10)),
                person,
                ORDER.from_on,
                ORDER.until_on,
                records,
                text,
                statement.key_id,
                bytes.fromhex(issued.document.signature),
                MAKER,
            )
    assert other != person


def test_numbers_are_read_as_people_type_them() -> None:
    code = spell_code(bytes(range(10)))
    assert len(code) == 16
    spelt = "-".join(code[n : n + 4] for n in range(0, 16, 4))
    typed = spelt.lower().replace("0", "o").replace("1", "l")
    assert parse_number(f" jianxi-old-{typed} ") == ("jianxi-old", code)
    wide = "".join(chr(ord(sign) + 0xFEE0) for sign in f"JIANXI-{spelt}")
    for number in (
        f"Jianxi-{spelt}",
        f"JIANXI-{spelt}",
        f"jianxi {spelt.replace('-', ' ')}",
        f"jianxi - {spelt.replace('-', ' - ')}",
        f"jianxi——{spelt.replace('-', chr(0x2212))}",
        f"jianxi\u2011{spelt.replace('-', chr(0xFE63))}",
        f"\ufeffjianxi-{spelt}\u200b",
        f"jianxi\u3000{spelt}\n",
        wide,
    ):
        assert parse_number(number) == ("jianxi", code), number
    assert parse_number(f"a--b--{spelt}") == ("a--b-", code)  # such codes may exist
    for wrong in ("", "jianxi", f"jianxi-{code}", spelt, f"jianxi-{spelt}-1' OR 1=1", "数" * 20):
        with pytest.raises(NotFoundError):
            parse_number(wrong)
