"""Importing people: all or nothing, once, by line, and nothing of a line is told to anybody."""

import asyncio
import csv
import secrets
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.people.desk import Desk, person, resident_id_number
from timebank.domain.errors import (
    AlreadyRegisteredError,
    BankNotFoundError,
    ImportRefusedError,
    InvalidInputError,
)
from timebank.domain.numbers import add_check
from timebank.domain.person_rows import PERSON_COLUMNS
from timebank.domain.personal import IdDocument, PersonalData
from timebank.people import person_import
from timebank.people.consents import ConsentKind, list_consents
from timebank.people.kin import list_guardianships
from timebank.people.person_import import PeopleSummary, import_people
from timebank.people.registration import MembershipState, list_memberships, move_memberships
from timebank.people.sheets import VoidReason, list_missing, void_sheets
from timebank.people.vault import Purpose, correct_person, find_persons, list_accesses

OLD, YOUNG = date(1950, 5, 5), date.today() - timedelta(days=3650)  # noqa: DTZ011 - ten years ago

Row = dict[str, str]


def row(ref: str, born_on: date = OLD, **cells: str) -> Row:
    filled = {
        "ref": ref,
        "name": f"李{chr(0x4E00 + secrets.randbelow(20000))}",
        "phone": f"138{secrets.randbelow(10**8):08}",
        "id_number": resident_id_number(born_on),
    }
    return dict.fromkeys(PERSON_COLUMNS, "") | filled | cells


def write(folder: Path, rows: Sequence[Row], name: str = "people.csv") -> Path:
    path = folder / name
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, PERSON_COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return path


async def load(desk: Desk, path: Path, **options: Any) -> PeopleSummary:
    said = {"actor_id": desk.clerk, "request_id": "import"} | options
    return await import_people(desk.book.pool, desk.ring, desk.book.bank.code, path, **said)


async def faults(desk: Desk, path: Path) -> list[tuple[int, str]]:
    with pytest.raises(ImportRefusedError) as caught:
        await load(desk, path)
    return [(fault.line, fault.message) for fault in caught.value.rows]


async def count(desk: Desk) -> int:
    """Everything an import may write, but for the log of what was looked up."""
    number: int = await desk.book.pool.fetchval(
        """
        SELECT (SELECT count(*) FROM resident WHERE bank_id = $1)
             + (SELECT count(*) FROM membership WHERE bank_id = $1)
             + (SELECT count(*) FROM consent WHERE bank_id = $1)
             + (SELECT count(*) FROM guardianship WHERE bank_id = $1)
             + (SELECT count(*) FROM party WHERE bank_id = $1)
             + (SELECT persons FROM vault.count_persons($1))
        """,
        desk.bank_id,
    )
    return number


async def ids(desk: Desk, *refs: str) -> list[Any]:
    access = desk.access(Purpose.REGISTRATION)
    found = [
        await find_persons(desk.book.pool, desk.ring, access, PersonalData(import_ref=ref))
        for ref in refs
    ]
    return [next(iter(match)) for match in found]


async def test_who_is_on_the_list_has_applied_and_is_read_back(desk: Desk, tmp_path: Path) -> None:
    sheet = await desk.sheet()
    rows = [row("a", sheet=add_check(sheet)), row("b", address="长安路, “1”号"), row("c")]
    told: list[tuple[int, int]] = []
    summary = await load(desk, write(tmp_path, rows), progress=lambda *p: told.append(p))
    assert summary == PeopleSummary(rows=3, known=0, registered=3, minors=0)
    assert told == [(0, 3), (3, 3)]
    for entry, resident_id in zip(rows, await ids(desk, "a", "b", "c"), strict=True):
        data = await desk.read(resident_id)
        document = data.id_document
        assert isinstance(document, IdDocument)
        assert (data.name, data.phone, document.number) == (
            entry["name"], entry["phone"], entry["id_number"],
        )  # fmt: skip
        assert data.born_on == OLD
    [first, *_] = await ids(desk, "a")
    async with desk.at() as connection:
        applied = await list_memberships(connection, desk.bank_id, MembershipState.APPLIED)
        consents = await list_consents(connection, desk.bank_id, first)
        assert len(applied) == 3
        await move_memberships(
            connection, desk.bank_id, [first], MembershipState.APPROVED, desk.checker
        )
    assert {(one.kind, one.sheet) for one in consents} == {
        (ConsentKind.MEMBERSHIP, sheet),
        (ConsentKind.SENSITIVE, sheet),
    }


async def test_a_sheet_on_the_list_was_printed_and_is_nobody_elses(
    desk: Desk, tmp_path: Path
) -> None:
    good, taken, voided = [await desk.sheet() for _ in range(3)]
    await desk.apply(sheet=taken)
    async with desk.at() as connection:
        await void_sheets(
            connection, desk.bank_id, [voided], VoidReason.LOST, operator_id=desk.clerk
        )
    rows = [
        row(str(place), sheet=add_check(sheet))
        for place, sheet in enumerate((good, taken, voided, good, voided + 1))
    ]
    unfit = "sheet was not printed as a registration, or is used or voided already"
    told = await faults(desk, write(tmp_path, rows))
    assert told == [(3, unfit), (4, unfit), (5, "sheet stands in line 2 already"), (6, unfit)]
    path = write(tmp_path, rows[:1])
    await load(desk, path)
    await load(desk, path)  # whom it registered before
    async with desk.at() as connection:
        assert await list_missing(connection, desk.bank_id, good) == []


async def test_the_same_file_again_registers_nobody(desk: Desk, tmp_path: Path) -> None:
    rows = [row("a"), row("b")]
    await load(desk, write(tmp_path, rows))
    before = await count(desk)
    again = await load(desk, write(tmp_path, rows))
    assert again == PeopleSummary(rows=2, known=2, registered=0, minors=0)
    more = await load(desk, write(tmp_path, [*rows, row("c")]))
    assert (more.known, more.registered) == (2, 1)
    assert await count(desk) > before


async def test_a_dry_run_leaves_nothing(desk: Desk, tmp_path: Path) -> None:
    path = write(tmp_path, [row("a"), row("kid", YOUNG, guardian_ref="a")])
    before = await count(desk)
    dry = await load(desk, path, dry_run=True)
    assert await count(desk) == before
    assert await load(desk, path) == dry == PeopleSummary(rows=2, known=0, registered=2, minors=1)


async def test_guardians_stand_before_or_after_or_were_imported_before(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(person_import, "SLICE", 2)
    await load(desk, write(tmp_path, [row("granny")]))
    rows = [
        row("kid", YOUNG, guardian_ref="mum"),
        row("mum"),
        row("dad"),
        row("baby", YOUNG, guardian_ref="granny", sheet=add_check(await desk.sheet())),
        row("uncle", guardian_ref="mum"),  # an adult has no guardian, whatever the list says
    ]
    told: list[tuple[int, int]] = []
    summary = await load(desk, write(tmp_path, rows), progress=lambda *p: told.append(p))
    assert (summary.registered, summary.minors) == (5, 2)
    assert told == [(0, 5), (2, 5), (4, 5), (5, 5)]
    kid, mum, baby, granny, uncle = await ids(desk, "kid", "mum", "baby", "granny", "uncle")
    async with desk.at() as connection:
        pairs = [
            (one.minor_id, one.guardian_id)
            for guardian_id in (mum, granny)
            for one in await list_guardianships(connection, desk.bank_id, guardian_id)
        ]
        assert pairs == [(kid, mum), (baby, granny)]
        assert await list_guardianships(connection, desk.bank_id, uncle) == []
        [consent, _] = await list_consents(connection, desk.bank_id, baby)
    assert consent.by_id == granny


async def test_every_faulty_row_is_told_by_line_and_nothing_is_imported(
    desk: Desk, tmp_path: Path
) -> None:
    known = person()
    await desk.person(known)
    assert isinstance(known.id_document, IdDocument)
    taken = row("taken", id_number=known.id_document.number, birth_date="")
    rows = [
        row("good"),
        row("phone", phone="12"),
        row("kid", YOUNG),
        row("orphan", YOUNG, guardian_ref="nobody"),
        row("good"),
        taken,
        row("date", id_number="", birth_date="1.1.1950"),
    ]
    before = await count(desk)
    path = write(tmp_path, rows)
    assert await faults(desk, path) == [
        (3, "phone must be a mobile number of 11 digits, or a number with its area code"),
        (4, "guardian_ref is empty, and this is a minor"),
        (5, "guardian_ref is nobody's ref, here or imported before"),
        (6, "ref stands in line 2 already"),
        (7, "somebody with this id_number is registered already"),
        (8, "birth_date must be a date such as 1953-06-29"),
    ]
    assert await count(desk) == before


async def test_a_ref_that_comes_with_other_content_is_a_fault(desk: Desk, tmp_path: Path) -> None:
    first = row("a")
    await load(desk, write(tmp_path, [first, row("b")]))
    changed = first | {"phone": "13800138000"}
    assert await faults(desk, write(tmp_path, [changed])) == [
        (2, "this ref was imported before with other content")
    ]
    [resident_id] = await ids(desk, "a")
    async with desk.at() as connection:
        corrected = PersonalData(phone="13800138000")
        await correct_person(connection, desk.ring, desk.access(), resident_id, corrected)
    assert (await load(desk, write(tmp_path, [changed]))).known == 1


async def test_two_imports_of_one_file_at_once_register_everybody_once(
    desk: Desk, tmp_path: Path
) -> None:
    path = write(tmp_path, [row(f"r{n}") for n in range(20)])
    summaries = await asyncio.gather(*(load(desk, path) for _ in range(3)))
    assert sorted(summary.registered for summary in summaries) == [0, 0, 20]


async def test_somebody_registered_at_the_counter_meanwhile_undoes_the_import(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They were not there when the list was compared, and the document is theirs now."""
    data = person()
    assert isinstance(data.id_document, IdDocument)
    compare = person_import._find_known

    async def compare_slowly(*args: Any) -> Any:
        known = await compare(*args)
        await desk.person(data)
        return known

    monkeypatch.setattr(person_import, "_find_known", compare_slowly)
    rows = [row("a"), row("b", id_number=data.id_document.number)]
    before = await count(desk)
    with pytest.raises(AlreadyRegisteredError):
        await load(desk, write(tmp_path, rows))
    assert await count(desk) == before + 2


async def test_every_look_and_every_entry_is_in_the_access_log(desk: Desk, tmp_path: Path) -> None:
    path = write(tmp_path, [row("a")])
    await load(desk, path)
    await load(desk, path)
    async with desk.at() as connection:
        lines = await list_accesses(connection, desk.bank_id)
    assert [line.act for line in lines] == ["look_up", "register", "look_up", "read"]
    assert {line.request_id for line in lines} == {"import"}
    assert {line.purpose for line in lines} == {Purpose.REGISTRATION}


async def test_a_file_that_is_no_list(desk: Desk, tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    path.write_text("ref,name\nA,王\n", "utf-8")
    assert [line for line, _ in await faults(desk, path)] == [1]
    path.write_bytes("ref,name\nA,王\n".encode("gb18030"))
    assert [line for line, _ in await faults(desk, path)] == [2]
    with pytest.raises(InvalidInputError):
        await load(desk, tmp_path / "absent.csv")
    with pytest.raises(BankNotFoundError):
        await import_people(
            desk.book.pool,
            desk.ring,
            "nowhere",
            write(tmp_path, []),
            actor_id=desk.clerk,
            request_id="r",
        )
