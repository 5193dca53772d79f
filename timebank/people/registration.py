"""Registering people, and the way of a membership: applied, approved or rejected, left.

Nobody decides on what they entered themselves, nor on themselves; the database refuses it.
Lock order: the bank's master keys (shared), new rows, then residents by their ids.
"""

import secrets
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from enum import StrEnum
from uuid import UUID

from msgspec import UNSET, Struct
from msgspec.structs import replace

from timebank.db import Connection, Pool, as_struct, load_queries
from timebank.domain.ages import AgeBand, band_on, known_minor_until
from timebank.domain.errors import (
    GuardianNeededError,
    InvalidInputError,
    NotFoundError,
    PossibleDuplicateError,
)
from timebank.domain.numbers import MEMBER_BODIES, add_check
from timebank.domain.personal import PersonalData, SearchField, born_on_of, find_faults
from timebank.ledger.banks import Bank
from timebank.ledger.ids import new_id
from timebank.people.consents import ConsentKind, record_consents
from timebank.people.kin import name_guardian, note_age
from timebank.people.parties import PartyKind, list_path_of, place_party, register_parties
from timebank.people.vault import Access, add_persons, find_persons
from timebank.people.vault_keys import KeyRing

_QUERIES = load_queries(__package__)


class MembershipState(StrEnum):
    """Where a membership stands (schema.sql says what follows what)."""

    APPLIED = "applied"
    APPROVED = "approved"
    REJECTED = "rejected"
    LEFT = "left"


class Application(Struct, frozen=True, kw_only=True):
    """What somebody applies with; `sheet` is the signed paper, `branch_id` where they will hang.

    A minor needs `guardian_id`, a registered adult, who is the one to consent. `resident_id` is
    that of a pseudonym imported from a rota who turns out to be this person.
    """

    data: PersonalData
    consents: Sequence[ConsentKind] = ()
    sheet: int | None = None
    guardian_id: UUID | None = None
    branch_id: UUID | None = None
    resident_id: UUID | None = None


class Registered(Struct, frozen=True):
    """Who applied now."""

    resident_id: UUID
    member_number: str
    is_minor: bool


class Membership(Struct, frozen=True, kw_only=True):
    """A resident and the last step of their membership; None for a pseudonym."""

    resident_id: UUID
    member_number: str | None
    is_minor: bool
    state: MembershipState | None
    actor_id: UUID | None
    made_at: datetime | None


def local_today(bank: Bank) -> date:
    """Return the day it is where the bank is."""
    return datetime.now(bank.zone).date()


def complete(data: PersonalData, today: date) -> PersonalData:
    """Return checked data, with the birthday that an id number holds.

    InvalidInputError names the first field that is not in order, and no value.
    """
    if data.born_on is UNSET and data.id_document is not UNSET:
        data = replace(data, born_on=born_on_of(data.id_document) or UNSET)
    for field, fault in find_faults(data, today):
        raise InvalidInputError(f"{field} {fault}", pointer=f"/{field}")
    if data.name is UNSET:
        raise InvalidInputError("A name is needed.", pointer="/name")
    return data


async def check_not_registered(
    pool: Pool, ring: KeyRing, access: Access, data: PersonalData
) -> None:
    """Raise PossibleDuplicateError if somebody has this name and this telephone, both.

    To be asked before registering, unless the operator has compared the two. Who shares a document
    is refused by the database in any case.
    """
    asked = PersonalData(name=data.name, phone=data.phone)
    found = await find_persons(pool, ring, access, asked)
    if any({SearchField.NAME, SearchField.PHONE} <= set(fields) for fields in found.values()):
        raise PossibleDuplicateError


async def register_person(
    connection: Connection, ring: KeyRing, access: Access, bank: Bank, data: PersonalData
) -> UUID:
    """Register a person who is no resident (a guardian, a coordinator); return their party_id.

    InvalidInputError, AlreadyRegisteredError.
    """
    person_id = new_id()
    await register_parties(connection, bank.bank_id, PartyKind.PERSON, [person_id])
    checked = complete(data, local_today(bank))
    await add_persons(connection, ring, access, {person_id: checked})
    return person_id


async def register_residents(
    connection: Connection,
    ring: KeyRing,
    access: Access,
    bank: Bank,
    applications: Sequence[Application],
    *,
    registrar_id: UUID | None = None,
) -> list[Registered]:
    """Register who applies, in order; the reader of `access` is the registrar, or who is named.

    InvalidInputError, GuardianNeededError, AlreadyRegisteredError, NotFoundError.
    """
    today = local_today(bank)
    people: dict[UUID, PersonalData] = {}
    minor_until: dict[UUID, datetime | None] = {}
    owners: list[tuple[UUID, Application]] = []
    for application in applications:
        data = complete(application.data, today)
        resident_id = application.resident_id or new_id()
        people[resident_id] = data
        minor_until[resident_id] = _minor_until(data, bank, application.guardian_id)
        owners.append((resident_id, application))
    await register_parties(connection, bank.bank_id, PartyKind.PERSON, list(people))
    await add_persons(connection, ring, access, people)
    actor_id = registrar_id or access.reader_id
    numbers = await apply_for_membership(connection, bank.bank_id, minor_until, actor_id)
    for resident_id, application in owners:
        by_id = application.guardian_id if minor_until[resident_id] else None
        await _note(connection, bank.bank_id, resident_id, application, by_id, actor_id=actor_id)
    return [
        Registered(resident_id, numbers[resident_id], minor_until[resident_id] is not None)
        for resident_id, _ in owners
    ]


async def register_resident(
    connection: Connection, ring: KeyRing, access: Access, bank: Bank, application: Application
) -> Registered:
    """Register one who applies; raises as `register_residents`."""
    [registered] = await register_residents(connection, ring, access, bank, [application])
    return registered


async def apply_again(
    connection: Connection, bank: Bank, person_id: UUID, application: Application, actor_id: UUID
) -> Registered:
    """Let a person apply of whom the vault knows the birthday, which stands in the application.

    MembershipRefusedError for who is a member or has applied; else as `register_residents`.
    """
    until = _minor_until(application.data, bank, application.guardian_id)
    numbers = await apply_for_membership(connection, bank.bank_id, {person_id: until}, actor_id)
    guardian_id = application.guardian_id if until else None
    await _note(connection, bank.bank_id, person_id, application, guardian_id, actor_id=actor_id)
    return Registered(person_id, numbers[person_id], until is not None)


def _minor_until(data: PersonalData, bank: Bank, guardian_id: UUID | None) -> datetime | None:
    """Return until when somebody is known to be a minor, None for an adult; GuardianNeededError."""
    today = local_today(bank)
    if data.born_on is UNSET:
        raise InvalidInputError("A birthday is needed.", pointer="/born_on")
    if band_on(data.born_on, today) is AgeBand.ADULT:
        return None
    if guardian_id is None:
        raise GuardianNeededError
    return known_minor_until(data.born_on, today, bank.zone)


async def _note(
    connection: Connection,
    bank_id: int,
    resident_id: UUID,
    application: Application,
    guardian_id: UUID | None,
    *,
    actor_id: UUID,
) -> None:
    """Note what goes with an application: the guardian, the consents, the place."""
    if guardian_id:
        await name_guardian(
            connection,
            bank_id,
            resident_id,
            guardian_id,
            named_by=actor_id,
            sheet=application.sheet,
        )
    if application.consents:
        await record_consents(
            connection,
            bank_id,
            resident_id,
            dict.fromkeys(application.consents, True),
            by_id=guardian_id or resident_id,
            recorded_by=actor_id,
            sheet=application.sheet,
        )
    if application.branch_id:
        here, *_ = await list_path_of(connection, bank_id, resident_id)
        if here != application.branch_id:
            await place_party(connection, bank_id, resident_id, application.branch_id)


async def apply_for_membership(
    connection: Connection,
    bank_id: int,
    minor_until: Mapping[UUID, datetime | None],
    actor_id: UUID,
) -> Mapping[UUID, str]:
    """Let persons apply, saying who is a minor and until when that is known; return their numbers.

    Also for a guardian who becomes a resident, and for one who comes back: they keep their number.
    MembershipRefusedError for who is a member or has applied.
    """
    numbers = await _draw_numbers(connection, bank_id, len(minor_until))
    await connection.execute(
        _QUERIES["apply_for_membership"],
        bank_id,
        list(minor_until),
        numbers,
        list(minor_until.values()),
        actor_id,
    )
    records = await connection.fetch(_QUERIES["list_member_numbers"], bank_id, list(minor_until))
    return {record["resident_id"]: record["member_number"] for record in records}


async def move_memberships(
    connection: Connection,
    bank_id: int,
    resident_ids: Iterable[UUID],
    state: MembershipState,
    actor_id: UUID,
) -> None:
    """Approve, reject or end memberships, all or none.

    MembershipRefusedError where that does not follow, SecondPersonNeededError for who entered the
    application or is its resident, ConsentMissingError and GuardianNeededError before approval.
    """
    await connection.execute(
        _QUERIES["move_memberships"], bank_id, sorted(set(resident_ids)), state, actor_id
    )


async def get_membership(connection: Connection, bank_id: int, resident_id: UUID) -> Membership:
    """Return where a resident's membership stands; NotFoundError."""
    record = await connection.fetchrow(_QUERIES["find_membership"], bank_id, resident_id)
    if record is None:
        raise NotFoundError
    return as_struct(record, Membership)


async def is_member(connection: Connection, bank_id: int, person_id: UUID) -> bool:
    """Return whether somebody's membership is approved now."""
    found: bool = await connection.fetchval(_QUERIES["is_member"], bank_id, person_id)
    return found


async def complete_correction(
    connection: Connection, bank: Bank, person_id: UUID, correct: PersonalData
) -> PersonalData:
    """Return a checked correction, with the birthday that an id number holds.

    Who turns out to be 18 acts alone from now on. InvalidInputError; GuardianNeededError for a
    birthday that makes a minor of a member, who has to be registered anew with a guardian.
    """
    today = local_today(bank)
    if correct.born_on is UNSET and correct.id_document is not UNSET:
        correct = replace(correct, born_on=born_on_of(correct.id_document) or UNSET)
    for field, fault in find_faults(correct, today):
        raise InvalidInputError(f"{field} {fault}", pointer=f"/{field}")
    if not correct.known():
        raise InvalidInputError("Say what is to be corrected.")
    if correct.born_on is not UNSET:
        was_minor = await connection.fetchval(_QUERIES["is_minor"], bank.bank_id, person_id)
        if was_minor:
            await note_age(
                connection, bank.bank_id, person_id, correct.born_on, today=today, zone=bank.zone
            )
        elif was_minor is False and band_on(correct.born_on, today) is not AgeBand.ADULT:
            raise GuardianNeededError
    return correct


async def find_resident_by_number(
    connection: Connection, bank_id: int, member_number: str
) -> UUID | None:
    """Return whose number this is (as `parse_member_number` returns it)."""
    found: UUID | None = await connection.fetchval(
        _QUERIES["find_resident_by_number"], bank_id, member_number
    )
    return found


async def list_memberships(
    connection: Connection,
    bank_id: int,
    state: MembershipState,
    *,
    within: UUID | None = None,
    after: UUID | None = None,
    limit: int = 50,
) -> list[Membership]:
    """Return the memberships in this state, by resident_id, those within a branch if given."""
    records = await connection.fetch(
        _QUERIES["list_memberships"], bank_id, state, within, after, limit
    )
    return [as_struct(record, Membership) for record in records]


async def _draw_numbers(connection: Connection, bank_id: int, count: int) -> list[str]:
    """Return random member numbers that nobody has; two callers at once may draw the same one."""
    drawn: dict[str, None] = {}
    while len(drawn) < count:
        bodies = [MEMBER_BODIES.start + secrets.randbelow(len(MEMBER_BODIES)) for _ in range(count)]
        numbers = [add_check(body) for body in bodies]
        free = await connection.fetch(_QUERIES["list_free_numbers"], bank_id, numbers)
        drawn.update(dict.fromkeys(record["number"] for record in free))
    return list(drawn)[:count]
