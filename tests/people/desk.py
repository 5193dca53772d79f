"""A registration desk for tests: people with plausible data, keys in a file, and who sits there."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any
from uuid import UUID

from msgspec.structs import replace

from tests.book import Book
from timebank.db import Connection, transaction
from timebank.domain.personal import IdDocument, IdType, PersonalData
from timebank.ledger.ids import new_id
from timebank.people.consents import ConsentKind
from timebank.people.grants import OPERATOR_ID
from timebank.people.login.enrolments import (
    Invitation,
    complete,
    confirm,
    get_invitation,
    hash_code,
    invite,
)
from timebank.people.login.logins import place_of
from timebank.people.parties import PartyKind, register_parties
from timebank.people.registration import (
    Application,
    MembershipState,
    Registered,
    move_memberships,
    register_person,
    register_resident,
)
from timebank.people.seals import Seals
from timebank.people.sheets import SheetKind, issue_sheets
from timebank.people.vault import Access, Purpose, read_person
from timebank.people.vault_keys import KeyRing, ensure_key_file

ADULT = date(1953, 6, 29)

_WEIGHTS = [pow(2, 17 - place, 11) for place in range(17)]


def resident_id_number(born_on: date, serial: int | None = None) -> str:
    """A number that no real person has: the area code 000000 does not exist … nor does 990000."""
    serial = secrets.randbelow(1000) if serial is None else serial
    area = 990000 + secrets.randbelow(10000)
    body = f"{area}{born_on:%Y%m%d}{serial:03}"
    total = sum(int(digit) * weight for digit, weight in zip(body, _WEIGHTS, strict=True))
    return body + "10X98765432"[total % 11]


def person(born_on: date = ADULT, **fields: Any) -> PersonalData:
    """Somebody new, with every field of the counter's form."""
    data = PersonalData(
        name=f"王小{chr(0x4E00 + secrets.randbelow(20000))}",
        phone=f"139{secrets.randbelow(10**8):08}",
        id_document=IdDocument(IdType.RESIDENT_ID, resident_id_number(born_on)),
        born_on=born_on,
        address=f"涧西区长安路街道{secrets.randbelow(10**6)}号",
    )
    return replace(data, **fields)


@dataclass(frozen=True)
class Desk:
    """Who registers (`clerk`), who approves (`checker`), and the keys of the vault."""

    book: Book
    ring: KeyRing
    clerk: UUID = field(default_factory=new_id)
    checker: UUID = field(default_factory=new_id)

    @classmethod
    async def open(cls, book: Book, folder: Path) -> "Desk":
        path = folder / "master.key"
        ensure_key_file(path)
        desk = cls(book, KeyRing(path))
        async with transaction(book.pool) as connection:
            await register_parties(
                connection, book.bank_id, PartyKind.PERSON, [desk.clerk, desk.checker]
            )
        return desk

    @property
    def bank_id(self) -> int:
        return self.book.bank_id

    def access(self, purpose: Purpose = Purpose.IDENTIFICATION, **rest: Any) -> Access:
        """The clerk's, for this purpose."""
        said: dict[str, Any] = {"reader_id": self.clerk, "request_id": "r1"} | rest
        return Access(bank_id=self.bank_id, purpose=purpose, **said)

    @asynccontextmanager
    async def at(self) -> AsyncIterator[Connection]:
        """A transaction, as the edge opens it."""
        async with transaction(self.book.pool) as connection:
            yield connection

    async def person(self, data: PersonalData | None = None) -> UUID:
        """Register somebody who is no resident."""
        async with self.at() as connection:
            return await register_person(
                connection,
                self.ring,
                self.access(Purpose.REGISTRATION),
                self.book.bank,
                data or person(),
            )

    async def apply(self, data: PersonalData | None = None, **rest: Any) -> Registered:
        """Register a resident who applies, with the consents a member needs."""
        given: dict[str, Any] = {"consents": [ConsentKind.MEMBERSHIP]} | rest
        async with self.at() as connection:
            return await register_resident(
                connection,
                self.ring,
                self.access(Purpose.REGISTRATION),
                self.book.bank,
                Application(data=data or person(), **given),
            )

    async def move(self, resident_id: UUID, state: MembershipState, by: UUID | None = None) -> None:
        """Decide as the checker, or as somebody else."""
        async with self.at() as connection:
            await move_memberships(
                connection, self.bank_id, [resident_id], state, by or self.checker
            )

    async def member(self, data: PersonalData | None = None, **rest: Any) -> UUID:
        """An approved member."""
        registered = await self.apply(data, **rest)
        await self.move(registered.resident_id, MembershipState.APPROVED)
        return registered.resident_id

    def seal(self, party_id: UUID, what: str) -> bytes:
        """Something sealed as a secret of this person."""
        return Seals(self.ring).close(b"of tests", place_of(self.bank_id, party_id, what))

    async def invite(self, party_id: UUID) -> Invitation:
        """Let the operator invite somebody, to whom a second factor is shown."""
        async with self.at() as connection:
            code = await invite(connection, self.bank_id, party_id, OPERATOR_ID)
            await connection.execute(
                "UPDATE enrolment SET sealed_secret = $3 WHERE bank_id = $1 AND code_hash = $2",
                self.bank_id,
                hash_code(code),
                self.seal(party_id, "second factor"),
            )
            return await get_invitation(connection, self.bank_id, code)

    async def enrol(self, party_id: UUID) -> None:
        """Give somebody a login by password, in force: the operator invites, another confirms."""
        invitation = await self.invite(party_id)
        kept = self.seal(party_id, "password")
        async with self.at() as connection:
            number = await complete(connection, self.bank_id, invitation, 1, kept)
            await confirm(connection, self.bank_id, number, self.checker)

    async def sheet(self) -> int:
        """A printed form of registration that nobody has signed."""
        async with self.at() as connection:
            run = await issue_sheets(
                connection,
                self.bank_id,
                1,
                SheetKind.REGISTRATION,
                issued_to=self.clerk,
                issued_by=self.clerk,
            )
        return run.first_number

    async def read(
        self, person_id: UUID, purpose: Purpose = Purpose.IDENTIFICATION
    ) -> PersonalData:
        """All of a person's fields."""
        return await read_person(self.book.pool, self.ring, self.access(purpose), person_id)
