"""Importing a rota extract: residents, activities, shifts, records and awards, all or nothing.

A rota knows the day and not the hour: its records are paper records without an interval, whose
sheet is the shift. They overlap with nothing; the rota's keeper wrote them, the importer confirms.
So nobody stands for them, and they come before a bank keeps records of its own, never beside them.
Lock order: the bank's imports (advisory), then all balances at once, then awards in slices. A
shift is imported once: its row stands in the commit of its records and awards.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from uuid import UUID

from msgspec import Struct

from timebank.db import Connection, Pool, as_struct, load_queries, repeat_on_conflict
from timebank.domain.csv_rows import refuse_if_any
from timebank.domain.errors import RowFault
from timebank.domain.ledger import AccountKind, Unit
from timebank.domain.rota import Attendance, Shift, Volunteer, draw_attendances
from timebank.domain.schedule import LocalTime, start_of
from timebank.domain.service import Category, Evidence, RecordSource, RecordStatus
from timebank.domain.service_errors import ImportTooLateError
from timebank.ledger.accounts import ensure_accounts, ensure_issuance
from timebank.ledger.banks import Bank, get_bank
from timebank.ledger.ids import derive_id, new_id
from timebank.ledger.transfers import lock_balances
from timebank.people.labels import NUMBER_FOUND, list_unfit
from timebank.people.parties import PartyKind, register_parties
from timebank.people.residents import ensure_residents
from timebank.service.activities import ensure_imported
from timebank.service.awards import confirm_records
from timebank.service.categories import ensure_category
from timebank.service.records import Entry, write_records
from timebank.service.rota_files import Rota, read_rota

_QUERIES = load_queries(__package__)

KEEPER_ID = derive_id(UUID(int=0), "timebank import rota keeper")
"""Who wrote a rota down, as far as we know: organises its events and makes its records."""

IMPORTER_ID = derive_id(UUID(int=0), "timebank import rota")
"""Who confirms imported records, and so the actor of their awards: a command, and no person."""

CATEGORY = "rota", "导入的排班"
"""Code and name of the category of what is imported; it has the bank's own rate until one of its
own takes effect."""

CHAINS_PER_CALL = 1000
SECONDS_FOR_ANOTHER_IMPORT = 3600

Progress = Callable[[int, int], None]
"""Is told how many transfers were posted, of how many."""


class RotaSummary(Struct, frozen=True, kw_only=True):
    """What the files hold, the points for all of it, and how many transfers this run posted."""

    shifts: int
    events: int
    attendances: int
    minutes: int
    points: int
    posted: int


async def import_rota(
    pool: Pool,
    bank: str,
    shifts_path: Path,
    residents_path: Path,
    *,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> RotaSummary:
    """Import the files into the bank of this code, in one commit; a repeat posts nothing.

    A dry run does the same and takes it back. Two imports into one bank wait for each other. One
    person alone imports, so ImportTooLateError for new shifts once the bank has records of its own,
    which need a maker and a checker. BankNotFoundError, InvalidInputError for a file that cannot be
    read, ImportRefusedError with all faulty rows.
    """
    rota = await asyncio.to_thread(read_rota, shifts_path, residents_path)
    drawn = await asyncio.to_thread(
        draw_attendances,
        rota.shifts.values(),
        [volunteer.volunteer_ref for volunteer in rota.confirmed],
    )

    async def work(connection: Connection) -> RotaSummary:
        savepoint = connection.transaction()
        await savepoint.start()
        found = await get_bank(connection, bank)
        summary = await _import(connection, found, rota, drawn, progress or _ignore)
        await (savepoint.rollback() if dry_run else savepoint.commit())
        return summary

    return await repeat_on_conflict(pool, work)


def _ignore(done: int, total: int) -> None:
    pass


async def _import(
    connection: Connection,
    bank: Bank,
    rota: Rota,
    drawn: Sequence[Attendance],
    progress: Progress,
) -> RotaSummary:
    await connection.execute(
        _QUERIES["lock_imports"], bank.bank_id, timeout=SECONDS_FOR_ANOTHER_IMPORT
    )
    known = await _list_known(connection, bank, rota)
    attendances = [entry for entry in drawn if entry.shift.shift_ref not in known]
    if attendances and await connection.fetchval(
        _QUERIES["has_live_records"], bank.bank_id, KEEPER_ID
    ):
        raise ImportTooLateError
    residents = await _open_wallets(connection, bank, rota.confirmed)
    await register_parties(connection, bank.bank_id, PartyKind.SYSTEM, [KEEPER_ID, IMPORTER_ID])
    category = await ensure_category(connection, bank.bank_id, *CATEGORY)
    titles = {shift.event_ref: shift.event_name for shift in rota.shifts.values()}
    activities = await ensure_imported(
        connection,
        bank.bank_id,
        titles,
        category=category,
        organiser_id=KEEPER_ID,
        actor_id=IMPORTER_ID,
    )
    shifts = await _register_shifts(connection, bank, activities, attendances)
    entries = [
        _entry(entry, bank, category, activities=activities, shifts=shifts, residents=residents)
        for entry in attendances
    ]
    await write_records(
        connection,
        bank.bank_id,
        KEEPER_ID,
        RecordSource.PAPER,
        entries,
        status=RecordStatus.SUBMITTED,
    )
    points, posted = await _confirm(connection, bank, entries, progress)
    return RotaSummary(
        shifts=len(rota.shifts),
        events=len(titles),
        attendances=len(drawn),
        minutes=sum(entry.minutes for entry in drawn),
        points=sum(known.values()) + points,
        posted=posted,
    )


async def _list_known(connection: Connection, bank: Bank, rota: Rota) -> Mapping[str, int]:
    """Return the points of each shift that was imported before.

    ImportRefusedError for shifts that contradict what was imported, or are yet to come, and for
    titles with a number of a person.
    """
    events = {shift.event_ref for shift in rota.shifts.values()}
    titles = dict(
        await connection.fetch(_QUERIES["list_titles_by_refs"], bank.bank_id, list(events))
    )
    refs = [shift.shift_ref for shift in rota.shifts.values()]
    points: dict[str, int] = {}
    shifts: dict[str, Shift] = {}
    for record in await connection.fetch(_QUERIES["list_shifts_by_refs"], bank.bank_id, refs):
        points[record["shift_ref"]] = record["points"]
        shifts[record["shift_ref"]] = as_struct(record, Shift)
    unfit = await list_unfit(connection, {shift.event_name for shift in rota.shifts.values()})
    refuse_if_any(
        [
            RowFault(rota.shifts_file, line, fault)
            for line, shift in rota.shifts.items()
            for fault in _find_faults(bank, shift, shifts.get(shift.shift_ref), titles, unfit)
        ]
    )
    return points


def _find_faults(
    bank: Bank,
    shift: Shift,
    imported: Shift | None,
    titles: Mapping[str, str],
    unfit: Collection[str],
) -> Iterator[str]:
    if shift.event_name in unfit:
        yield f"event_name {NUMBER_FOUND}"
    if shift.served_on > datetime.now(bank.zone).date():
        yield f"{shift.served_on} is yet to come"
    if imported is not None and imported != shift:
        yield f"shift {shift.shift_ref} was imported before with other content"
    elif titles.get(shift.event_ref, shift.event_name) != shift.event_name:
        yield f"event {shift.event_ref} was imported before as {titles[shift.event_ref]!r}"


async def _open_wallets(
    connection: Connection, bank: Bank, confirmed: Iterable[Volunteer]
) -> Mapping[str, UUID]:
    """Register the volunteers, open what wallets they lack, and lock them all."""
    residents = await ensure_residents(
        connection,
        bank.bank_id,
        {entry.volunteer_ref: entry.confirmed_on for entry in confirmed if entry.confirmed_on},
    )
    owners = sorted(residents.values())
    accounts = [*(await ensure_issuance(connection, bank.bank_id)).values()]
    for unit in Unit:
        wallets = await ensure_accounts(connection, bank.bank_id, unit, AccountKind.WALLET, owners)
        accounts += wallets.values()
    await lock_balances(connection, bank.bank_id, accounts)
    return residents


async def _register_shifts(
    connection: Connection,
    bank: Bank,
    activities: Mapping[str, UUID],
    attendances: Iterable[Attendance],
) -> Mapping[str, UUID]:
    """Write the shifts that are new; return the shift_id of each by its name in the rota."""
    shifts = {entry.shift.shift_ref: entry.shift for entry in attendances}
    ids = {ref: new_id() for ref in shifts}
    await connection.execute(
        _QUERIES["register_shifts"],
        bank.bank_id,
        list(ids.values()),
        [activities[shift.event_ref] for shift in shifts.values()],
        [shift.served_on for shift in shifts.values()],
        list(shifts),
    )
    return ids


def _entry(
    attendance: Attendance,
    bank: Bank,
    category: Category,
    *,
    activities: Mapping[str, UUID],
    shifts: Mapping[str, UUID],
    residents: Mapping[str, UUID],
) -> Entry:
    shift = attendance.shift
    return Entry(
        record_id=new_id(),
        person_id=residents[attendance.volunteer_ref],
        category_id=category.category_id,
        time=LocalTime(shift.served_on, attendance.minutes, 0),
        occurred_at=start_of(shift.served_on, bank.zone),
        ended_at=None,
        activity_id=activities[shift.event_ref],
        shift_id=shifts[shift.shift_ref],
        evidence=Evidence(sheet_number=shift.shift_ref),
    )


async def _confirm(
    connection: Connection, bank: Bank, entries: Sequence[Entry], progress: Progress
) -> tuple[int, int]:
    """Confirm the records in slices; return their points and the number of transfers."""
    ids = [entry.record_id for entry in entries]
    total = await connection.fetchval(_QUERIES["count_planned_transfers"], bank.bank_id, ids)
    points = posted = 0
    progress(posted, total)
    for start in range(0, len(ids), CHAINS_PER_CALL):
        awards = await confirm_records(
            connection, bank.bank_id, IMPORTER_ID, ids[start : start + CHAINS_PER_CALL]
        )
        points += sum(award.points for award in awards)
        posted += sum(1 + (award.points > 0) for award in awards)
        progress(posted, total)
    return points, posted
