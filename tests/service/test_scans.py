"""Scan lists from devices that were offline: each scan counts once, in the order of its time."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.book import Book
from tests.service.programme import MAKER, Programme, at, new_person
from timebank.domain.errors import InvalidInputError
from timebank.domain.service import Scan, ScanOutcome
from timebank.ledger.ids import new_id
from timebank.service.attendance import close_forgotten, list_attendances
from timebank.service.scans import MOST_SCANS, upload_scans

NINE, TEN, ELEVEN = (at(f"2026-01-02 {hour}:00") for hour in ("09", "10", "11"))
NEXT_DAY = at("2026-01-03 09:00")


def scan(shift_id: UUID, person: UUID, when: datetime, *, arrival: bool = True) -> Scan:
    return Scan(
        scan_id=new_id(), shift_id=shift_id, person_id=person, is_arrival=arrival, scanned_at=when
    )


async def upload(
    programme: Programme, scans: Sequence[Scan], now: datetime = NEXT_DAY
) -> list[str]:
    return [str(one) for one in await programme.run(upload_scans, MAKER, scans, now)]


async def stays(programme: Programme, shift_id: UUID) -> list[tuple[datetime, datetime | None]]:
    attendances = await programme.run(list_attendances, shift_id)
    return [(one.checked_in_at, one.checked_out_at) for one in attendances]


async def test_a_list_is_applied_by_time_and_only_once(programme: Programme) -> None:
    shift = await programme.make_shift()
    person = new_person()
    scans = [
        scan(shift.shift_id, person, TEN, arrival=False),
        scan(shift.shift_id, person, NINE),
    ]
    assert await upload(programme, scans) == ["applied", "applied"]
    assert await upload(programme, [*scans, scans[0]]) == ["applied"] * 3
    assert await stays(programme, shift.shift_id) == [(NINE, TEN)]


async def test_what_cannot_be_is_told_and_remembered(programme: Programme) -> None:
    shift = await programme.make_shift()
    a, b = new_person(), new_person()
    own = shift.shift_id
    scans = [
        scan(new_id(), a, NINE),
        scan(own, new_id(), NINE),
        scan(own, a, NINE - timedelta(hours=1)),
        scan(own, a, ELEVEN),
        scan(own, a, ELEVEN + timedelta(hours=3), arrival=False),
        scan(own, b, TEN, arrival=False),
        scan(own, a, NINE),
        scan(own, a, NINE + timedelta(minutes=1)),
    ]
    told = [
        "shift_not_found",
        "person_not_found",
        "out_of_hours",
        "out_of_hours",
        "out_of_hours",
        "not_checked_in",
        "applied",
        "already_checked_in",
    ]
    for _ in range(2):
        assert await upload(programme, scans) == told
    future = scan(own, b, TEN)
    assert await upload(programme, [future], NINE) == ["out_of_hours"]
    assert await upload(programme, [future]) == ["out_of_hours"]


async def test_one_id_is_one_scan(programme: Programme) -> None:
    shift = await programme.make_shift()
    one = scan(shift.shift_id, new_person(), NINE)
    other = replace(one, person_id=new_person())
    with pytest.raises(InvalidInputError):
        await upload(programme, [one, other])
    await upload(programme, [one])
    with pytest.raises(InvalidInputError):
        await upload(programme, [other])
    with pytest.raises(InvalidInputError):
        await upload(programme, [one] * (MOST_SCANS + 1))


@pytest.mark.parametrize("job_first", [True, False])
async def test_a_late_list_says_better_when_they_left(
    programme: Programme, *, job_first: bool
) -> None:
    """Whether the list or the job that closes forgotten check-outs comes first."""
    shift = await programme.make_shift()
    person = new_person()
    await upload(programme, [scan(shift.shift_id, person, NINE)])
    if job_first:
        await programme.run(close_forgotten, NEXT_DAY)
    left = scan(shift.shift_id, person, TEN, arrival=False)
    assert await upload(programme, [left]) == ["applied"]
    await programme.run(close_forgotten, NEXT_DAY)
    [attendance] = await programme.run(list_attendances, shift.shift_id)
    assert (attendance.checked_out_at, attendance.is_pending) == (TEN, False)


@given(
    moves=st.lists(
        st.tuples(st.integers(0, 1), st.booleans(), st.integers(0, 119)),
        max_size=8,
        unique_by=lambda move: (move[0], move[2]),
    ),
    data=st.data(),
)
async def test_the_order_in_the_list_does_not_matter(
    worker_pool: asyncpg.Pool, moves: list[tuple[int, bool, int]], data: st.DataObject
) -> None:
    people = [new_person(), new_person()]
    found = []
    for shuffled in (moves, data.draw(st.permutations(moves))):
        programme = await Programme.open(await Book.open(worker_pool))
        shift = await programme.make_shift()
        scans = [
            scan(shift.shift_id, people[who], NINE + timedelta(minutes=minute), arrival=arrival)
            for who, arrival, minute in shuffled
        ]
        outcomes = await upload(programme, scans)
        assert await upload(programme, scans[::-1]) == outcomes[::-1]
        assert ScanOutcome.SHIFT_NOT_FOUND not in outcomes
        found.append(sorted(await stays(programme, shift.shift_id), key=str))
    assert found[0] == found[1]
