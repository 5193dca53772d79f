"""People for the access matrix: members with personal data, kin, cards, sheets of paper."""

from collections.abc import Mapping
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Any
from uuid import UUID

from tests.api.service import key_file
from tests.api.things import Maker, Things
from tests.people.desk import person
from timebank.db import transaction
from timebank.domain.numbers import add_check
from timebank.ledger.ids import new_id
from timebank.people.cards import issue_card
from timebank.people.consents import ConsentKind
from timebank.people.kin import name_helper
from timebank.people.parties import PartyKind, place_party, register_parties
from timebank.people.registration import (
    Application,
    MembershipState,
    get_membership,
    move_memberships,
    register_resident,
)
from timebank.people.sheets import SheetKind, issue_sheets
from timebank.people.vault import Access, Purpose
from timebank.people.vault_keys import KeyRing


@cache
def ring() -> KeyRing:
    """The keys of the app under test."""
    return KeyRing(key_file())


@asynccontextmanager
async def _at(things: Things):  # type: ignore[no-untyped-def]
    async with transaction(things.book.pool) as connection:
        yield connection


async def _apply(things: Things, resident_id: UUID, **said: Any) -> UUID:
    """Let somebody apply, entered by a person who is nobody else here."""
    access = Access(
        bank_id=things.book.bank_id,
        reader_id=new_id(),
        purpose=Purpose.REGISTRATION,
        request_id="matrix",
    )
    given: dict[str, Any] = {"data": person(), "consents": [ConsentKind.MEMBERSHIP]} | said
    async with _at(things) as connection:
        await register_resident(
            connection,
            ring(),
            access,
            things.book.bank,
            Application(branch_id=things.branch_id, resident_id=resident_id, **given),
        )
    return resident_id


async def _admit(things: Things, resident_id: UUID) -> UUID:
    async with _at(things) as connection:
        await move_memberships(
            connection, things.book.bank_id, [resident_id], MembershipState.APPROVED, new_id()
        )
    return resident_id


async def _person(things: Things) -> UUID:
    """Somebody who was only put into the registry."""
    person_id = new_id()
    async with _at(things) as connection:
        await register_parties(connection, things.book.bank_id, PartyKind.PERSON, [person_id])
    return person_id


async def _guardian(things: Things) -> UUID:
    """Somebody who was registered at the same branch."""
    person_id = await _person(things)
    async with _at(things) as connection:
        await place_party(connection, things.book.bank_id, person_id, things.branch_id)
    return person_id


async def _applicant(things: Things) -> UUID:
    return await _apply(things, things.owner_id)


async def _resident(things: Things) -> UUID:
    return await _admit(things, await things.get("applicant_id"))


async def _former(things: Things) -> UUID:
    """Who was a member."""
    resident_id = await _admit(things, await _apply(things, new_id()))
    async with _at(things) as connection:
        await move_memberships(
            connection, things.book.bank_id, [resident_id], MembershipState.LEFT, new_id()
        )
    return resident_id


async def _minor(things: Things) -> UUID:
    young = person(date(datetime.now(UTC).year - 10, 1, 1))
    return await _apply(things, new_id(), data=young, guardian_id=await things.get("guardian_id"))


async def _helper(things: Things) -> UUID:
    """One who was named by the resident."""
    resident_id = await things.get("resident_id")
    helper_id = await _admit(things, await _apply(things, new_id()))
    async with _at(things) as connection:
        await name_helper(
            connection,
            things.book.bank_id,
            resident_id,
            helper_id,
            expires_at=datetime.now(UTC) + timedelta(days=9),
            by_id=resident_id,
            named_by=resident_id,
        )
    return helper_id


async def _number_of(things: Things, resident_id: UUID) -> str:
    async with _at(things) as connection:
        membership = await get_membership(connection, things.book.bank_id, resident_id)
    return str(membership.member_number)


async def _member_number(things: Things) -> str:
    return await _number_of(things, await things.get("resident_id"))


async def _helper_number(things: Things) -> str:
    return await _number_of(things, await _admit(things, await _apply(things, new_id())))


async def _card(things: Things) -> str:
    resident_id = await things.get("resident_id")
    async with _at(things) as connection:
        return await issue_card(connection, things.book.bank_id, resident_id, issued_by=new_id())


async def _sheet(things: Things, kind: SheetKind) -> str:
    async with _at(things) as connection:
        run = await issue_sheets(
            connection,
            things.book.bank_id,
            3,
            kind,
            issued_to=things.branch_id,
            issued_by=new_id(),
        )
    return add_check(run.first_number)


def _paper(kind: SheetKind) -> Maker:
    async def make(things: Things) -> dict[str, str]:
        return {
            "sheet": await _sheet(things, kind),
            "witness_id": str(await _person(things)),
        }

    return make


async def _first_number(things: Things) -> str:
    return await _sheet(things, SheetKind.ATTENDANCE)


PEOPLE_MAKERS: Mapping[str, Maker] = {
    "applicant_id": _applicant,
    "card": _card,
    "consent_paper": _paper(SheetKind.CONSENT),
    "first_number": _first_number,
    "former_id": _former,
    "guardian_id": _guardian,
    "helper_id": _helper,
    "helper_number": _helper_number,
    "member_number": _member_number,
    "minor_id": _minor,
    "person_id": _resident,
    "redemption_paper": _paper(SheetKind.REDEMPTION),
    "registration_paper": _paper(SheetKind.REGISTRATION),
    "resident_id": _resident,
}
