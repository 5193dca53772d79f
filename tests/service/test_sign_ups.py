"""Signing up: first come, first served, whoever else is at it."""

import asyncio
from datetime import timedelta
from uuid import UUID

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.book import Book
from tests.service.programme import MAKER, Programme, at, new_person
from timebank.domain.errors import NotFoundError
from timebank.domain.service import CancelReason, RosterEntry
from timebank.domain.service_errors import ShiftClosedError, TeamNotAttendingError
from timebank.ledger.ids import new_id
from timebank.service.activities import cancel_activity
from timebank.service.sign_ups import leave, list_roster, sign_up

BEFORE = at("2026-01-01 12:00")


async def join(programme: Programme, shift_id: UUID, person_id: UUID) -> RosterEntry:
    return await programme.run(
        sign_up, person_id, shift_id=shift_id, person_id=person_id, now=BEFORE
    )


async def places(programme: Programme, shift_id: UUID) -> list[tuple[UUID, bool]]:
    roster = await programme.run(list_roster, shift_id)
    return [(entry.person_id, entry.has_place) for entry in roster]


async def test_a_place_given_up_goes_to_the_first_who_waits(programme: Programme) -> None:
    shift = await programme.make_shift(capacity=2)
    a, b, c, d = people = [new_person() for _ in range(4)]
    entries = [await join(programme, shift.shift_id, person) for person in people]
    assert [entry.has_place for entry in entries] == [True, True, False, False]
    leaving = {"shift_id": shift.shift_id, "now": BEFORE}
    assert await programme.run(leave, person_id=d, **leaving) == []
    assert await programme.run(leave, person_id=a, **leaving) == [c]
    assert await programme.run(leave, person_id=a, **leaving) == []
    assert await join(programme, shift.shift_id, a) != entries[0]
    assert await places(programme, shift.shift_id) == [(b, True), (c, True), (a, False)]


async def test_signing_up_again_changes_nothing(programme: Programme) -> None:
    shift = await programme.make_shift(capacity=1)
    person = new_person()
    first = await join(programme, shift.shift_id, person)
    assert await join(programme, shift.shift_id, person) == first
    assert len(await places(programme, shift.shift_id)) == 1


async def test_no_capacity_is_no_limit(programme: Programme) -> None:
    shift = await programme.make_shift()
    assert all([(await join(programme, shift.shift_id, new_person())).has_place for _ in range(3)])


async def test_what_is_over_or_cancelled_is_closed(programme: Programme) -> None:
    activity = await programme.make_activity(
        first_start=at("2026-01-02 09:00").replace(tzinfo=None, year=2098)
    )
    [shift] = await programme.shifts(activity.activity_id)
    assert shift.ends_at
    person = new_person()
    joining = {"shift_id": shift.shift_id, "person_id": person}
    with pytest.raises(ShiftClosedError):
        await programme.run(sign_up, person, now=shift.ends_at, **joining)
    just_before = shift.ends_at - timedelta(seconds=1)
    await programme.run(sign_up, person, now=just_before, **joining)
    await programme.run(cancel_activity, MAKER, activity.activity_id, CancelReason.WEATHER)
    with pytest.raises(ShiftClosedError):
        await programme.run(sign_up, person, now=BEFORE, **joining)
    with pytest.raises(ShiftClosedError):
        await programme.run(leave, now=BEFORE, **joining)
    with pytest.raises(NotFoundError):
        await programme.run(sign_up, person, shift_id=new_id(), person_id=person, now=BEFORE)


async def test_only_a_team_that_attends_may_be_named(programme: Programme) -> None:
    team, person = new_person(), new_person()
    shift = await programme.make_shift(team_ids=(team,))
    joining = {"shift_id": shift.shift_id, "person_id": person, "now": BEFORE}
    with pytest.raises(TeamNotAttendingError):
        await programme.run(sign_up, person, team_id=new_person(), **joining)
    assert (await programme.run(sign_up, person, team_id=team, **joining)).team_id == team


async def test_a_crowd_at_once_gets_as_many_places_as_there_are(programme: Programme) -> None:
    shift = await programme.make_shift(capacity=5)
    people = [new_person() for _ in range(20)]
    entries = await asyncio.gather(*(join(programme, shift.shift_id, person) for person in people))
    assert sum(entry.has_place for entry in entries) == 5
    assert sorted(entry.place for entry in entries) == list(range(1, 21))
    kept = {entry.person_id for entry in entries if entry.has_place}
    assert {person for person, has in await places(programme, shift.shift_id) if has} == kept


@given(
    capacity=st.integers(1, 3),
    acts=st.lists(st.tuples(st.booleans(), st.integers(0, 4)), max_size=12),
)
async def test_places_are_those_of_a_plain_queue(
    worker_pool: asyncpg.Pool, capacity: int, acts: list[tuple[bool, int]]
) -> None:
    programme = await Programme.open(await Book.open(worker_pool))
    shift = await programme.make_shift(capacity=capacity)
    people = [new_person() for _ in range(5)]
    queue: list[UUID] = []
    for joins, number in acts:
        person = people[number]
        if joins:
            queue += [person] if person not in queue else []
            entry = await join(programme, shift.shift_id, person)
            assert entry.has_place == (queue.index(person) < capacity)
        else:
            before = set(queue[:capacity])
            queue = [one for one in queue if one != person]
            promoted = await programme.run(
                leave, shift_id=shift.shift_id, person_id=person, now=BEFORE
            )
            assert set(promoted) == set(queue[:capacity]) - before
    expected = [(person, place < capacity) for place, person in enumerate(queue)]
    assert await places(programme, shift.shift_id) == expected
