"""Importing a list of people from another programme: all of them apply for membership, or none.

Lock order: the bank's imports of people (advisory), the runs of sheets, then as registering does.
Who was imported before is found by the blind index of their `ref`; messages name lines, never what
stands in them.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence, Set
from datetime import date
from pathlib import Path
from typing import TypeVar
from uuid import UUID

from msgspec import UNSET, Struct

from timebank.db import Connection, Pool, load_queries, repeat_on_conflict
from timebank.domain.csv_rows import parse_rows, refuse_if_any
from timebank.domain.errors import RowFault
from timebank.domain.person_rows import PERSON_COLUMNS, PersonRow, find_person_faults, parse_person
from timebank.domain.personal import PersonalData, SearchField
from timebank.files import read_file
from timebank.ledger.banks import Bank, get_bank
from timebank.people.consents import ConsentKind
from timebank.people.registration import Application, local_today, register_residents
from timebank.people.sheets import SheetKind, list_fit_sheets
from timebank.people.vault import Access, Purpose, find_each, read_persons
from timebank.people.vault_keys import KeyRing

_QUERIES = load_queries(__package__)

SLICE = 200
SECONDS_FOR_ANOTHER_IMPORT = 3600

Progress = Callable[[int, int], None]
"""Is told how many people were registered, of how many."""

T = TypeVar("T")


async def _nothing(
    connection: Connection, bank: Bank, content: bytes, done: "PeopleSummary"
) -> None:
    pass


class PeopleSummary(Struct, frozen=True, kw_only=True):
    """How many rows there are, how many were known already, and who is new."""

    rows: int
    known: int
    registered: int
    minors: int


Then = Callable[[Connection, Bank, bytes, PeopleSummary], Awaitable[None]]
"""What an import ends with, given the content of the file and what it came to."""


async def import_people(
    pool: Pool,
    ring: KeyRing,
    bank_code: str,
    path: Path,
    *,
    actor_id: UUID,
    reader_id: UUID | None = None,
    request_id: str,
    dry_run: bool = False,
    progress: Progress = lambda done, total: None,
    then: Then = _nothing,
) -> PeopleSummary:
    """Register who is on the list, in one commit; a repeat registers nobody.

    They have applied when this returns: a person other than `actor_id` approves. A dry run does the
    same and takes it back; `then` is done in the same commit. `reader_id` runs it, the actor
    unless another is named: the access log says so. BankNotFoundError, InvalidInputError
    for a file that cannot be read, ImportRefusedError with all faulty rows, AlreadyRegisteredError
    when somebody is registered elsewhere meanwhile.
    """
    content = await asyncio.to_thread(read_file, path)
    rows, faults = await asyncio.to_thread(
        parse_rows, str(path), content, PERSON_COLUMNS, parse_person
    )

    async def work(connection: Connection) -> PeopleSummary:
        savepoint = connection.transaction()
        await savepoint.start()
        bank = await get_bank(connection, bank_code)
        await connection.execute(
            _QUERIES["lock_people_imports"], bank.bank_id, timeout=SECONDS_FOR_ANOTHER_IMPORT
        )
        access = Access(
            bank_id=bank.bank_id,
            reader_id=reader_id or actor_id,
            purpose=Purpose.REGISTRATION,
            request_id=request_id,
        )
        today = local_today(bank)
        known = await _find_known(pool, ring, access, rows)
        fit = await _list_fit_sheets(connection, bank, rows, known)
        found = [*find_person_faults(rows, today), *_find_contradictions(rows, known, fit)]
        refuse_if_any([*faults, *(RowFault(str(path), *fault) for fault in found)])
        summary = await _register(
            connection,
            ring,
            access,
            bank,
            rows=rows,
            known=known.ids,
            actor_id=actor_id,
            progress=progress,
        )
        await (savepoint.rollback() if dry_run else savepoint.commit())
        await then(connection, bank, content, summary)
        return summary

    return await repeat_on_conflict(pool, work)


class _Known(Struct, frozen=True):
    """Who was registered before: ids by ref, what is stored of them, whose document is taken."""

    ids: Mapping[str, UUID]
    stored: Mapping[UUID, PersonalData]
    taken: frozenset[int]


async def _find_known(
    pool: Pool, ring: KeyRing, access: Access, rows: Mapping[int, PersonRow]
) -> _Known:
    asked = [
        PersonalData(import_ref=row.data.import_ref, id_document=row.data.id_document)
        for row in rows.values()
    ]
    guardians = sorted({row.guardian_ref for row in rows.values() if row.guardian_ref})
    asked += [PersonalData(import_ref=ref) for ref in guardians]
    matches = [
        match for part in _slices(asked) for match in await find_each(pool, ring, access, part)
    ]
    ids = {
        str(data.import_ref): person_id
        for data, match in zip(asked, matches, strict=True)
        for person_id, fields in match.items()
        if SearchField.IMPORT_REF in fields
    }
    stored: dict[UUID, PersonalData] = {}
    for part in _slices([ids[row.ref] for row in rows.values() if row.ref in ids]):
        stored.update(await read_persons(pool, ring, access, part))
    taken = [line for line, match in zip(rows, matches, strict=False) if match]
    return _Known(ids, stored, frozenset(taken))


async def _list_fit_sheets(
    connection: Connection, bank: Bank, rows: Mapping[int, PersonRow], known: _Known
) -> set[int]:
    """Return which sheets of those who are new may be named."""
    sheets = [row.sheet for row in rows.values() if row.sheet and row.ref not in known.ids]
    return await list_fit_sheets(connection, bank.bank_id, sheets, SheetKind.REGISTRATION)


def _find_contradictions(
    rows: Mapping[int, PersonRow], known: _Known, fit: Set[int]
) -> Iterator[tuple[int, str]]:
    refs = {row.ref for row in rows.values()} | known.ids.keys()
    for line, row in rows.items():
        person_id = known.ids.get(row.ref)
        if person_id is None and line in known.taken:
            yield line, "somebody with this id_number is registered already"
        if person_id and known.stored.get(person_id, row.data) != row.data:
            yield line, "this ref was imported before with other content"
        if row.sheet and person_id is None and row.sheet not in fit:
            yield line, "sheet was not printed as a registration, or is used or voided already"
        if row.guardian_ref and row.guardian_ref not in refs:
            yield line, "guardian_ref is nobody's ref, here or imported before"


async def _register(
    connection: Connection,
    ring: KeyRing,
    access: Access,
    bank: Bank,
    *,
    rows: Mapping[int, PersonRow],
    known: Mapping[str, UUID],
    actor_id: UUID,
    progress: Progress,
) -> PeopleSummary:
    """Register the new, adults before the minors whose guardians they are."""
    today = local_today(bank)
    new = [row for row in rows.values() if row.ref not in known]
    new.sort(key=lambda row: row.is_minor_on(today))
    ids = dict(known)
    minors = 0
    progress(0, len(new))
    for part in _slices(new):
        adults = [row for row in part if not row.is_minor_on(today)]
        for group in (adults, part[len(adults) :]):
            registered = await register_residents(
                connection,
                ring,
                access,
                bank,
                [_apply(row, ids, today) for row in group],
                registrar_id=actor_id,
            )
            for row, one in zip(group, registered, strict=True):
                ids[row.ref] = one.resident_id
                minors += one.is_minor
        progress(len(ids) - len(known), len(new))
    return PeopleSummary(
        rows=len(rows), known=len(rows) - len(new), registered=len(new), minors=minors
    )


def _apply(row: PersonRow, ids: Mapping[str, UUID], today: date) -> Application:
    consents = [ConsentKind.MEMBERSHIP] if row.sheet else []
    if row.sheet and row.data.id_document is not UNSET:
        consents.append(ConsentKind.SENSITIVE)
    guardian_id = ids[row.guardian_ref] if row.guardian_ref and row.is_minor_on(today) else None
    return Application(data=row.data, consents=consents, sheet=row.sheet, guardian_id=guardian_id)


def _slices(rows: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(rows), SLICE):
        yield rows[start : start + SLICE]
