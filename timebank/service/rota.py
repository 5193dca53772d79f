"""Importing a rota extract: residents, activities, shifts and their awards, all or nothing.

Lock order: the bank's imports (advisory), then all balances at once, then postings in slices.
A shift is awarded once: the row in table `shift` is written in the commit of its awards.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from uuid import UUID

from msgspec import Struct

from timebank.db import Connection, Pool, as_struct, load_queries, repeat_on_conflict
from timebank.domain.csv_rows import refuse_if_any
from timebank.domain.errors import RowFault, TransferRefusedError
from timebank.domain.ledger import AccountKind, Chain, Transfer, TransferKind, TransferStatus, Unit
from timebank.domain.rota import (
    Attendance,
    Shift,
    Volunteer,
    draw_attendances,
    earn_points,
    start_of,
)
from timebank.ledger.accounts import ensure_accounts, ensure_issuance
from timebank.ledger.banks import Bank, get_bank
from timebank.ledger.ids import derive_id, new_id
from timebank.ledger.transfers import lock_balances, post
from timebank.people.residents import ensure_residents
from timebank.service.activities import ensure_activities, list_activities
from timebank.service.rota_files import Rota, read_rota

_QUERIES = load_queries(__package__)

IMPORTER_ID = derive_id(UUID(int=0), "timebank import rota")
"""The actor of imported awards: a command, and no person."""

CHAINS_PER_CALL = 1000
SECONDS_FOR_ANOTHER_IMPORT = 3600

Progress = Callable[[int, int], None]
"""Is told how many transfers were posted, of how many."""

Wallets = Mapping[str, Mapping[Unit, UUID]]
"""The accounts of each volunteer."""


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

    A dry run does the same and takes it back. Two imports into one bank wait for each other.
    BankNotFoundError, InvalidInputError for a file that cannot be read, ImportRefusedError with
    all faulty rows.
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
    wallets = await _open_wallets(connection, bank, rota.confirmed)
    titles = {shift.event_ref: shift.event_name for shift in rota.shifts.values()}
    activities = await ensure_activities(connection, bank.bank_id, titles)
    issuance = await ensure_issuance(connection, bank.bank_id)
    accounts = [*issuance.values(), *(id_ for own in wallets.values() for id_ in own.values())]
    balances = await lock_balances(connection, bank.bank_id, accounts)
    minutes_before = {ref: balances[own[Unit.HOURS]] for ref, own in wallets.items()}
    points = earn_points(attendances, minutes_before, bank.points_per_hour)
    await _record_shifts(connection, bank, activities, attendances, points)
    chains = [
        _award(
            entry,
            earned,
            bank=bank,
            activity_id=activities[entry.shift.event_ref],
            issuance=issuance,
            wallets=wallets,
        )
        for entry, earned in zip(attendances, points, strict=True)
    ]
    return RotaSummary(
        shifts=len(rota.shifts),
        events=len(titles),
        attendances=len(drawn),
        minutes=sum(entry.minutes for entry in drawn),
        points=sum(known.values()) + sum(points),
        posted=await _post(connection, bank, chains, progress),
    )


async def _list_known(connection: Connection, bank: Bank, rota: Rota) -> Mapping[str, int]:
    """Return the points of each shift that was imported before.

    ImportRefusedError for shifts that contradict what was imported, or are yet to come.
    """
    events = {shift.event_ref for shift in rota.shifts.values()}
    titles = {
        activity.source_ref: activity.title
        for activity in await list_activities(connection, bank.bank_id, events)
    }
    refs = [shift.shift_ref for shift in rota.shifts.values()]
    points: dict[str, int] = {}
    shifts: dict[str, Shift] = {}
    for record in await connection.fetch(_QUERIES["list_shifts_by_refs"], bank.bank_id, refs):
        points[record["shift_ref"]] = record["points"]
        shifts[record["shift_ref"]] = as_struct(record, Shift)
    refuse_if_any(
        [
            RowFault(rota.shifts_file, line, fault)
            for line, shift in rota.shifts.items()
            for fault in _find_faults(bank, shift, shifts.get(shift.shift_ref), titles)
        ]
    )
    return points


def _find_faults(
    bank: Bank, shift: Shift, imported: Shift | None, titles: Mapping[str, str]
) -> Iterator[str]:
    if shift.served_on > datetime.now(bank.zone).date():
        yield f"{shift.served_on} is yet to come"
    if imported is not None and imported != shift:
        yield f"shift {shift.shift_ref} was imported before with other content"
    elif titles.get(shift.event_ref, shift.event_name) != shift.event_name:
        yield f"event {shift.event_ref} was imported before as {titles[shift.event_ref]!r}"


async def _open_wallets(
    connection: Connection, bank: Bank, confirmed: Iterable[Volunteer]
) -> Wallets:
    """Register the volunteers and open what wallets they lack."""
    residents = await ensure_residents(
        connection,
        bank.bank_id,
        {entry.volunteer_ref: entry.confirmed_on for entry in confirmed if entry.confirmed_on},
    )
    owners = sorted(residents.values())
    wallets = {
        unit: await ensure_accounts(connection, bank.bank_id, unit, AccountKind.WALLET, owners)
        for unit in Unit
    }
    return {
        ref: {unit: wallets[unit][resident_id] for unit in Unit}
        for ref, resident_id in residents.items()
    }


async def _record_shifts(
    connection: Connection,
    bank: Bank,
    activities: Mapping[str, UUID],
    attendances: Sequence[Attendance],
    points: Sequence[int],
) -> None:
    shifts = {entry.shift.shift_ref: entry.shift for entry in attendances}
    earned: Counter[str] = Counter()
    for entry, part in zip(attendances, points, strict=True):
        earned[entry.shift.shift_ref] += part
    await connection.execute(
        _QUERIES["record_shifts"],
        bank.bank_id,
        list(shifts),
        [activities[shift.event_ref] for shift in shifts.values()],
        [shift.served_on for shift in shifts.values()],
        [shift.minutes for shift in shifts.values()],
        [shift.attended for shift in shifts.values()],
        [earned[ref] for ref in shifts],
    )


def _award(
    attendance: Attendance,
    points: int,
    *,
    bank: Bank,
    activity_id: UUID,
    issuance: Mapping[Unit, UUID],
    wallets: Wallets,
) -> Chain:
    """Return the hours and the points of one attendance; no transfer for no points."""
    amounts = {Unit.HOURS: attendance.minutes, Unit.POINTS: points}
    return [
        Transfer(
            transfer_id=new_id(),
            kind=TransferKind.AWARD,
            debit_account_id=issuance[unit],
            credit_account_id=wallets[attendance.volunteer_ref][unit],
            amount=amount,
            actor_id=IMPORTER_ID,
            occurred_at=start_of(attendance.shift.served_on, bank.zone),
            subject_id=activity_id,
        )
        for unit, amount in amounts.items()
        if amount
    ]


async def _post(
    connection: Connection, bank: Bank, chains: Sequence[Chain], progress: Progress
) -> int:
    """Post the chains in slices; return the number of transfers, or refuse them all."""
    total = sum(len(chain) for chain in chains)
    posted = 0
    progress(posted, total)
    for start in range(0, len(chains), CHAINS_PER_CALL):
        outcomes = await post(connection, bank.bank_id, chains[start : start + CHAINS_PER_CALL])
        for outcome in outcomes:
            if outcome.status is not TransferStatus.POSTED:
                raise TransferRefusedError(outcome.status)
        posted += len(outcomes)
        progress(posted, total)
    return posted
