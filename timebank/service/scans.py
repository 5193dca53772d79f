"""Scan lists: what a device read from cards while it was offline, uploaded later.

Each scan counts once, by the id that the device gave it. Its time is the device's: it is believed
within the hours in which one may check in or out, and never for the future.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from timebank.db import Connection, load_queries
from timebank.domain.attendance import may_check_in, may_check_out
from timebank.domain.errors import InvalidInputError, NotFoundError
from timebank.domain.service import CheckMeans, Scan, ScanOutcome
from timebank.ledger.ids import new_id
from timebank.people.parties import PartyKind, is_party
from timebank.service.activities import get_planned_shift

_QUERIES = load_queries(__package__)

MOST_SCANS = 1000


async def upload_scans(
    connection: Connection, bank_id: int, actor_id: UUID, scans: Sequence[Scan], now: datetime
) -> list[ScanOutcome]:
    """Apply the scans that are new, in the order of their times; return what became of each.

    In the order in which they are given. One that is known is answered as it was.
    InvalidInputError for an id that is used for two different scans, or for too many at once.
    """
    if len(scans) > MOST_SCANS:
        raise InvalidInputError(f"Send {MOST_SCANS:,} scans at a time at most.")
    by_id = {scan.scan_id: scan for scan in scans}
    for place, scan in enumerate(scans):
        if by_id[scan.scan_id] != scan:
            raise InvalidInputError("Two scans have one id.", pointer=f"/{place}/scan_id")
    outcomes = dict(await _list_known(connection, bank_id, list(by_id.values())))
    fresh = [scan for scan in by_id.values() if scan.scan_id not in outcomes]
    for scan in sorted(fresh, key=lambda scan: (scan.scanned_at, scan.scan_id)):
        outcomes[scan.scan_id] = await _apply(connection, bank_id, actor_id, scan, now)
    await connection.execute(
        _QUERIES["keep_scans"],
        bank_id,
        *_columns(fresh),
        [outcomes[scan.scan_id] for scan in fresh],
        actor_id,
    )
    return [outcomes[scan.scan_id] for scan in scans]


async def _list_known(
    connection: Connection, bank_id: int, scans: Sequence[Scan]
) -> Mapping[UUID, ScanOutcome]:
    records = await connection.fetch(_QUERIES["list_scan_outcomes"], bank_id, *_columns(scans))
    for scan_id, _, is_same in records:
        if not is_same:
            raise InvalidInputError(f"Scan {scan_id} was uploaded before with other content.")
    return {scan_id: ScanOutcome(outcome) for scan_id, outcome, _ in records}


def _columns(scans: Sequence[Scan]) -> tuple[list[object], ...]:
    return (
        [scan.scan_id for scan in scans],
        [scan.shift_id for scan in scans],
        [scan.person_id for scan in scans],
        [scan.is_arrival for scan in scans],
        [scan.scanned_at for scan in scans],
    )


async def _apply(
    connection: Connection, bank_id: int, actor_id: UUID, scan: Scan, now: datetime
) -> ScanOutcome:
    if fault := await _find_fault(connection, bank_id, scan, now):
        return fault
    if scan.is_arrival:
        done = await connection.fetchval(
            _QUERIES["check_in"],
            bank_id,
            new_id(),
            scan.shift_id,
            scan.person_id,
            None,
            scan.scanned_at,
            actor_id,
            CheckMeans.SCAN_LIST,
        )
        return ScanOutcome.APPLIED if done else ScanOutcome.ALREADY_CHECKED_IN
    done = await connection.fetchval(
        _QUERIES["check_out"],
        bank_id,
        scan.shift_id,
        scan.person_id,
        scan.scanned_at,
        actor_id,
        CheckMeans.SCAN_LIST,
    )
    return ScanOutcome.APPLIED if done else ScanOutcome.NOT_CHECKED_IN


async def _find_fault(
    connection: Connection, bank_id: int, scan: Scan, now: datetime
) -> ScanOutcome | None:
    """Return what is wrong with a scan, whoever is checked in."""
    try:
        shift, starts_at, ends_at = await get_planned_shift(connection, bank_id, scan.shift_id)
    except NotFoundError:
        return ScanOutcome.SHIFT_NOT_FOUND
    if shift.cancelled_at is not None:
        return ScanOutcome.SHIFT_CANCELLED
    if not await is_party(connection, bank_id, scan.person_id, PartyKind.PERSON):
        return ScanOutcome.PERSON_NOT_FOUND
    at = scan.scanned_at
    if scan.is_arrival:
        is_in_hours = may_check_in(at, starts_at, ends_at)
    else:
        is_in_hours = starts_at <= at and may_check_out(at, ends_at)
    return None if is_in_hours and at <= now else ScanOutcome.OUT_OF_HOURS
