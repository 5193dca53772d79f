"""The vault: what is stored sealed, every use logged, corrections, freezes, and what is refused."""

import asyncio
from collections.abc import Callable
from dataclasses import replace as like
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import pytest
from msgspec.structs import replace

from tests.guards.test_append_only import login
from tests.people.desk import Desk, person
from timebank.db import repeat_on_conflict
from timebank.domain.errors import (
    AlreadyRegisteredError,
    NotFoundError,
    PersonFrozenError,
    PossibleDuplicateError,
    RetentionRunsError,
    SealBrokenError,
    VaultKeyMissingError,
)
from timebank.domain.personal import FIELDS, IdDocument, IdType, PersonalData, SearchField
from timebank.embedded import Server
from timebank.ledger.ids import new_id
from timebank.people.own_data import OwnData, export_own_data
from timebank.people.registration import check_not_registered, register_person
from timebank.people.vault import (
    LoggedAccess,
    Outcome,
    Purpose,
    correct_person,
    erase_person,
    find_each,
    find_persons,
    freeze_person,
    list_accesses,
    read_person,
    read_persons,
    unfreeze_person,
)
from timebank.people.vault_keys import KeyRing, ensure_key_file

LONG_AGO, FAR_OFF = date(2000, 1, 1), date(2999, 12, 31)


async def log_of(desk: Desk, person_id: Any = None) -> list[LoggedAccess]:
    async with desk.at() as connection:
        return await list_accesses(connection, desk.bank_id, person_id)


async def tamper(server: Server, desk: Desk, statement: str, *args: Any) -> None:
    """Change the vault as only a superuser can."""
    database = await desk.book.pool.fetchval("SELECT current_database()")
    async with login(server, database) as superuser:
        await superuser.execute(statement, *args)


# ---- Storing and reading -----------------------------------------------------------------------


async def test_what_was_entered_is_read(desk: Desk) -> None:
    data = person(emergency_name="李四", emergency_phone="13800138000")
    person_id = await desk.person(data)
    assert await desk.read(person_id) == data


async def test_only_the_fields_asked_for_are_read_and_logged(desk: Desk) -> None:
    data = person()
    person_id = await desk.person(data)
    access = desk.access(Purpose.CONTACT, request_id="abc")
    read = await read_person(desk.book.pool, desk.ring, access, person_id, ["phone", "address"])
    assert read == PersonalData(phone=data.phone, address=data.address)
    registered, logged = await log_of(desk, person_id)
    assert (registered.act, sorted(registered.fields)) == ("register", sorted(data.known()))
    assert (logged.act, logged.fields, logged.purpose, logged.outcome, logged.request_id) == (
        "read", ["phone", "address"], Purpose.CONTACT, Outcome.DONE, "abc",
    )  # fmt: skip
    assert (logged.reader_id, logged.person_id) == (desk.clerk, person_id)
    assert datetime.now(UTC) - logged.made_at < timedelta(minutes=1)


async def test_many_are_read_in_one_call_with_a_line_for_each(desk: Desk) -> None:
    known = {await desk.person(data): data for data in (person(), person(), person())}
    first = next(iter(known))
    async with desk.at() as connection:
        await freeze_person(connection, desk.access(Purpose.LEGAL_DUTY), first)
    asked = [*known, new_id(), first]
    read = await read_persons(desk.book.pool, desk.ring, desk.access(), asked, ["name"])
    assert read == {
        person_id: PersonalData(name=data.name)
        for person_id, data in known.items()
        if person_id != first
    }
    outcomes = [line.outcome for line in await log_of(desk) if line.act == "read"]
    assert sorted(outcomes) == [Outcome.ABSENT, Outcome.DONE, Outcome.DONE, Outcome.FROZEN]
    assert await read_persons(desk.book.pool, desk.ring, desk.access(), []) == {}


async def test_a_refused_read_is_logged_too(desk: Desk) -> None:
    person_id = new_id()
    with pytest.raises(NotFoundError):
        await desk.read(person_id)
    [line] = await log_of(desk, person_id)
    assert (line.act, line.outcome) == ("read", Outcome.ABSENT)


async def test_the_line_of_a_read_stands_whatever_the_reader_does_next(desk: Desk) -> None:
    """It is committed before anything is opened, also when the keys turn out to be missing."""
    person_id = await desk.person()
    stranger = like(desk, ring=KeyRing(await other_keys(desk)))
    with pytest.raises(VaultKeyMissingError):
        await stranger.read(person_id)
    assert [line.act for line in await log_of(desk, person_id)] == ["register", "read"]


async def other_keys(desk: Desk) -> Path:
    path = desk.ring.path.with_name("other.key")
    ensure_key_file(path)
    return path


async def test_without_the_key_nobody_is_added_either(desk: Desk) -> None:
    await desk.person()
    stranger = like(desk, ring=KeyRing(await other_keys(desk)))
    with pytest.raises(VaultKeyMissingError):
        await stranger.person()


@pytest.mark.parametrize("missing", ["reader_id", "purpose", "request_id"])
async def test_the_database_reads_nothing_without_who_why_and_where(
    desk: Desk, missing: str
) -> None:
    person_id = await desk.person()
    said = {"reader_id": desk.clerk, "purpose": "contact", "request_id": "r"} | {missing: None}
    with pytest.raises(asyncpg.NotNullViolationError):
        await desk.book.pool.fetch(
            "SELECT * FROM vault.read_fields($1, $2, $3, false, $4, $5, $6)",
            desk.bank_id, [person_id], list(FIELDS), *said.values(),
        )  # fmt: skip


async def test_fields_of_the_same_person_in_another_bank_are_not_read(desk: Desk) -> None:
    person_id = await desk.person()
    other = await Desk.open(await type(desk.book).open(desk.book.pool), desk.ring.path.parent)
    with pytest.raises(NotFoundError):
        await other.read(person_id)


# ---- Tampering ---------------------------------------------------------------------------------

FLIP = """
    UPDATE vault.{0} SET {1} = set_byte({1}, {2}, get_byte({1}, {2}) # 1)
    WHERE bank_id = $1 AND person_id = $2
"""
SWAP = """
    UPDATE vault.{0} a SET {1} = b.{1} FROM vault.{0} b
    WHERE a.bank_id = $1 AND b.bank_id = $1 AND a.person_id IN ($2, $3)
      AND b.person_id IN ($2, $3) AND a.person_id <> b.person_id {2}
"""


@pytest.mark.parametrize(
    "statement",
    [
        FLIP.format("field", "sealed", 0),
        FLIP.format("field", "sealed", 30),
        FLIP.format("person", "wrapped_key", 20),
        "UPDATE vault.field SET version = version + 1 WHERE bank_id = $1 AND person_id = $2",
        """UPDATE vault.field a SET sealed = b.sealed FROM vault.field b
           WHERE a.bank_id = $1 AND a.person_id = $2 AND a.field = 'name'
             AND b.bank_id = $1 AND b.person_id = $2 AND b.field = 'address'""",
        """UPDATE vault.field SET sealed = ''::bytea WHERE bank_id = $1 AND person_id = $2""",
    ],
)
async def test_what_was_altered_is_not_shown(server: Server, desk: Desk, statement: str) -> None:
    person_id, other = await desk.person(), await desk.person()
    await tamper(server, desk, statement, desk.bank_id, person_id)
    with pytest.raises(SealBrokenError):
        await desk.read(person_id)
    assert await desk.read(other)


@pytest.mark.parametrize(
    "statement",
    [
        SWAP.format("field", "sealed", "AND a.field = b.field"),
        SWAP.format("person", "wrapped_key", ""),
    ],
)
async def test_the_data_of_two_people_cannot_be_swapped(
    server: Server, desk: Desk, statement: str
) -> None:
    ann, bo = await desk.person(), await desk.person()
    await tamper(server, desk, statement, desk.bank_id, ann, bo)
    for person_id in (ann, bo):
        with pytest.raises(SealBrokenError):
            await desk.read(person_id)


async def test_not_even_with_key_and_fields_together(server: Server, desk: Desk) -> None:
    ann, bo = await desk.person(), await desk.person()
    for statement in (
        SWAP.format("field", "sealed", "AND a.field = b.field"),
        SWAP.format("person", "wrapped_key", ""),
    ):
        await tamper(server, desk, statement, desk.bank_id, ann, bo)
    with pytest.raises(SealBrokenError):
        await desk.read(ann)


# ---- Looking up --------------------------------------------------------------------------------


async def test_people_are_found_by_what_they_say_however_it_is_written(desk: Desk) -> None:
    data = person(
        name="王小英", phone="13800138000", id_document=IdDocument(IdType.PASSPORT, "e12345678")
    )
    person_id = await desk.person(data)
    await desk.person()
    for asked, fields in (
        (PersonalData(phone="+86 138 0013 8000"), [SearchField.PHONE]),
        (PersonalData(name=" 王 小英"), [SearchField.NAME]),
        (
            PersonalData(id_document=IdDocument(IdType.PASSPORT, "Ｅ 1234 5678")),
            [SearchField.ID_DOCUMENT],
        ),
        (data, [SearchField.NAME, SearchField.PHONE, SearchField.ID_DOCUMENT]),
    ):
        found = await find_persons(desk.book.pool, desk.ring, desk.access(), asked)
        assert {key: sorted(value) for key, value in found.items()} == {person_id: sorted(fields)}
    other_type = PersonalData(id_document=IdDocument(IdType.OTHER, "E12345678"))
    assert await find_persons(desk.book.pool, desk.ring, desk.access(), other_type) == {}


async def test_looking_up_is_logged_found_or_not(desk: Desk) -> None:
    data = person()
    person_id = await desk.person(data)
    asked = [PersonalData(phone=data.phone), PersonalData(phone="13800138000"), PersonalData()]
    found = await find_each(desk.book.pool, desk.ring, desk.access(), asked)
    assert found == [{person_id: [SearchField.PHONE]}, {}, {}]
    await find_persons(desk.book.pool, desk.ring, desk.access(), asked[1])
    lines = [line for line in await log_of(desk) if line.act == "look_up"]
    assert [(line.person_id, line.fields, line.outcome) for line in lines] == [
        (person_id, ["phone"], Outcome.DONE),
        (None, ["phone"], Outcome.ABSENT),
    ]


async def test_one_document_is_registered_once(desk: Desk) -> None:
    data = person()
    await desk.person(data)
    with pytest.raises(AlreadyRegisteredError):
        await desk.person(replace(person(), id_document=data.id_document))

    async def again(connection: Any) -> Any:
        access = desk.access(Purpose.REGISTRATION)
        return await register_person(connection, desk.ring, access, desk.book.bank, data)

    with pytest.raises(AlreadyRegisteredError):
        await repeat_on_conflict(desk.book.pool, again)


async def test_a_family_may_share_a_telephone_or_a_name_but_hardly_both(desk: Desk) -> None:
    data = person()
    await desk.person(data)
    access = desk.access(Purpose.REGISTRATION)
    for other in (replace(person(), phone=data.phone), replace(person(), name=data.name)):
        await check_not_registered(desk.book.pool, desk.ring, access, other)
    twin = replace(person(), phone=data.phone, name=data.name)
    with pytest.raises(PossibleDuplicateError):
        await check_not_registered(desk.book.pool, desk.ring, access, twin)
    await desk.person(twin)  # the operator has compared them


# ---- Correcting --------------------------------------------------------------------------------


async def test_a_correction_replaces_what_was_there(server: Server, desk: Desk) -> None:
    data = person()
    person_id = await desk.person(data)
    before = await sealed(server, desk)
    new = PersonalData(phone="13800138000", emergency_name="李四")
    async with desk.at() as connection:
        await correct_person(connection, desk.ring, desk.access(Purpose.CORRECTION), person_id, new)
    assert await desk.read(person_id) == replace(data, phone=new.phone, emergency_name="李四")
    after = await sealed(server, desk)
    assert before["phone"] not in after.values()
    assert {field for field in before if before[field] == after[field]} == set(before) - {"phone"}
    line = (await log_of(desk, person_id))[1]
    assert (line.act, line.fields) == ("correct", ["phone", "emergency_name"])
    pool, ring = desk.book.pool, desk.ring
    assert await find_persons(pool, ring, desk.access(), PersonalData(phone=data.phone)) == {}
    assert person_id in await find_persons(pool, ring, desk.access(), new)


async def sealed(server: Server, desk: Desk) -> dict[str, bytes]:
    database = await desk.book.pool.fetchval("SELECT current_database()")
    async with login(server, database) as superuser:
        query = "SELECT field, sealed FROM vault.field WHERE bank_id = $1"
        return dict(list(await superuser.fetch(query, desk.bank_id)))


async def test_a_document_is_not_corrected_into_somebody_elses(desk: Desk) -> None:
    data = person()
    await desk.person(data)
    person_id = await desk.person()
    taken = PersonalData(id_document=data.id_document)
    with pytest.raises(AlreadyRegisteredError):
        async with desk.at() as connection:
            await correct_person(connection, desk.ring, desk.access(), person_id, taken)
    with pytest.raises(NotFoundError):
        async with desk.at() as connection:
            await correct_person(connection, desk.ring, desk.access(), new_id(), taken)


async def test_corrections_at_once_leave_one_of_them_whole(desk: Desk) -> None:
    person_id = await desk.person()

    async def correct(n: int) -> None:
        async with desk.at() as connection:
            fixed = PersonalData(phone=f"1380013800{n}", address=f"{n}号")
            await correct_person(connection, desk.ring, desk.access(), person_id, fixed)

    await asyncio.gather(*(correct(n) for n in range(8)))
    read = await desk.read(person_id)
    assert str(read.address) == f"{str(read.phone)[-1]}号"


# ---- Freezing ----------------------------------------------------------------------------------


async def test_frozen_data_is_for_legal_duties_and_the_persons_own_wishes(desk: Desk) -> None:
    data = person()
    person_id = await desk.person(data)
    async with desk.at() as connection:
        await freeze_person(connection, desk.access(Purpose.LEGAL_DUTY), person_id)
    allowed = set()
    for purpose in Purpose:
        try:
            assert await desk.read(person_id, purpose) == data
            allowed.add(purpose)
        except PersonFrozenError:
            pass
    assert allowed == {Purpose.LEGAL_DUTY, Purpose.SUBJECT_ACCESS, Purpose.KEY_ROTATION}
    with pytest.raises(PersonFrozenError):
        async with desk.at() as connection:
            await correct_person(connection, desk.ring, desk.access(), person_id, person())
    pool, ring, asked = desk.book.pool, desk.ring, PersonalData(phone=data.phone)
    assert await find_persons(pool, ring, desk.access(Purpose.CONTACT), asked) == {}
    assert await find_persons(pool, ring, desk.access(Purpose.REGISTRATION), asked)
    async with desk.at() as connection:
        await unfreeze_person(connection, desk.access(Purpose.LEGAL_DUTY), person_id)
    assert await desk.read(person_id) == data


async def test_while_a_law_asks_to_keep_it_nothing_is_erased(desk: Desk) -> None:
    person_id = await desk.person()
    for until in (FAR_OFF, LONG_AGO):  # an earlier day does not shorten it
        async with desk.at() as connection:
            await freeze_person(connection, desk.access(Purpose.LEGAL_DUTY), person_id, until)
    with pytest.raises(RetentionRunsError):
        async with desk.at() as connection:
            await erase_person(connection, desk.access(Purpose.SUBJECT_ACCESS), person_id)
    assert await desk.read(person_id, Purpose.LEGAL_DUTY)
    other = await desk.person()
    async with desk.at() as connection:
        await freeze_person(connection, desk.access(Purpose.LEGAL_DUTY), other, LONG_AGO)
        await erase_person(connection, desk.access(Purpose.SUBJECT_ACCESS), other)


@pytest.mark.parametrize("act", [freeze_person, unfreeze_person, erase_person])
async def test_nobody_there_is_frozen_or_erased(desk: Desk, act: Callable[..., Any]) -> None:
    async with desk.at() as connection:
        with pytest.raises(NotFoundError):
            await act(connection, desk.access(Purpose.LEGAL_DUTY), new_id())


# ---- Export ------------------------------------------------------------------------------------


async def test_a_person_gets_a_copy_of_everything_and_the_copy_is_logged(desk: Desk) -> None:
    data = person()
    person_id = await desk.member(data)
    await desk.read(person_id, Purpose.CONTACT)
    access = desk.access(Purpose.SUBJECT_ACCESS, reader_id=person_id)
    copy = await export_own_data(desk.book.pool, desk.ring, access, person_id)
    own = msgspec.json.decode(copy, type=OwnData)
    assert own.personal == data
    assert [step.state for step in own.membership] == ["applied", "approved"]
    assert [(one.kind, one.given) for one in own.consents] == [("membership", True)]
    assert [line.act for line in own.accesses] == ["register", "read", "export"]
    assert own.accesses[-1].reader_id == person_id
    assert str(data.name) in copy.decode()
