"""Being there: checked in and out by card or code, closed when forgotten, reviewed by another."""

import asyncio
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from tests.service.programme import CHECKER, MAKER, Programme, at, new_person
from timebank.domain.attendance import CODE_DIGITS, CODE_SECONDS
from timebank.domain.errors import InvalidInputError, NotFoundError, SecondPersonNeededError
from timebank.domain.service import Attendance, CheckMeans, RecordStatus
from timebank.domain.service_errors import (
    CheckInClosedError,
    CheckOutClosedError,
    CodeWrongError,
    NotOnRosterError,
    TeamNotAttendingError,
    WrongStepError,
)
from timebank.service.attendance import (
    check_in,
    check_in_by_code,
    check_out,
    check_out_by_code,
    close_forgotten,
    get_code,
    list_attendances,
    review_attendance,
)
from timebank.service.records import record_attendances
from timebank.service.sign_ups import sign_up

NINE, TEN, ELEVEN = (at(f"2026-01-02 {hour}:00") for hour in ("09", "10", "11"))
ONE = at("2026-01-02 13:00")
SECOND = timedelta(seconds=1)


async def come(
    programme: Programme, shift_id: UUID, person: UUID, now: datetime, **rest: Any
) -> Attendance:
    return await programme.run(
        check_in, MAKER, shift_id=shift_id, person_id=person, now=now, **rest
    )


async def go(programme: Programme, shift_id: UUID, person: UUID, now: datetime) -> Attendance:
    return await programme.run(check_out, MAKER, shift_id=shift_id, person_id=person, now=now)


async def test_minutes_are_those_between_check_in_and_check_out(programme: Programme) -> None:
    shift = await programme.make_shift()
    person = new_person()
    await come(programme, shift.shift_id, person, NINE - timedelta(minutes=10))
    left = await go(programme, shift.shift_id, person, TEN + timedelta(minutes=5, seconds=59))
    assert (left.checked_in_means, left.is_pending) == (CheckMeans.CARD, False)
    [record] = await programme.run(record_attendances, MAKER, shift.shift_id)
    assert (record.started_at, record.minutes, record.status) == (NINE, 65, RecordStatus.DRAFT)
    assert record.attendance_id == left.attendance_id
    assert await programme.run(record_attendances, MAKER, shift.shift_id) == []


async def test_a_repeat_changes_nothing(programme: Programme) -> None:
    shift = await programme.make_shift()
    person = new_person()
    first = await come(programme, shift.shift_id, person, NINE)
    assert await come(programme, shift.shift_id, person, TEN) == first
    left = await go(programme, shift.shift_id, person, TEN)
    assert await go(programme, shift.shift_id, person, ELEVEN) == left


async def test_who_comes_back_is_counted_twice(programme: Programme) -> None:
    shift = await programme.make_shift()
    person = new_person()
    for hour in (NINE, TEN + timedelta(minutes=30)):
        await come(programme, shift.shift_id, person, hour)
        await go(programme, shift.shift_id, person, hour + timedelta(minutes=30))
    records = await programme.run(record_attendances, MAKER, shift.shift_id)
    assert [record.minutes for record in records] == [30, 30]


async def test_the_hours_of_the_door(programme: Programme) -> None:
    shift = await programme.make_shift()
    early, person = NINE - timedelta(minutes=30), new_person()
    for refused in (early - SECOND, ELEVEN):
        with pytest.raises(CheckInClosedError):
            await come(programme, shift.shift_id, person, refused)
    with pytest.raises(NotFoundError):
        await go(programme, shift.shift_id, person, NINE)
    await come(programme, shift.shift_id, person, early)
    with pytest.raises(CheckOutClosedError):
        await go(programme, shift.shift_id, person, ONE + SECOND)
    assert (await go(programme, shift.shift_id, person, ONE)).checked_out_at == ONE


async def test_a_thousand_check_ins_at_once_are_one(programme: Programme) -> None:
    shift = await programme.make_shift()
    person = new_person()
    coming = [come(programme, shift.shift_id, person, NINE) for _ in range(15)]
    assert len({attendance.attendance_id for attendance in await asyncio.gather(*coming)}) == 1


async def test_the_code_of_the_moment_checks_in_and_out(programme: Programme) -> None:
    shift = await programme.make_shift(capacity=1)
    person, waiting = new_person(), new_person()
    for one in (person, waiting):
        await programme.run(sign_up, one, shift_id=shift.shift_id, person_id=one, now=NINE)
    own: dict[str, Any] = {"shift_id": shift.shift_id, "person_id": person}
    code = await programme.run(get_code, shift.shift_id, NINE)
    assert len(code) == CODE_DIGITS
    stale = NINE + timedelta(seconds=2 * CODE_SECONDS)
    wrong = f"{(int(code) + 1) % 10**CODE_DIGITS:0{CODE_DIGITS}}"
    for given, now in ((code, stale), (wrong, NINE), ("", NINE)):
        with pytest.raises(CodeWrongError):
            await programme.run(check_in_by_code, code=given, now=now, **own)
    for stranger in (waiting, new_person()):
        with pytest.raises(NotOnRosterError):
            await programme.run(
                check_in_by_code, code=code, now=NINE, **own | {"person_id": stranger}
            )
    came = await programme.run(check_in_by_code, code=code, now=NINE, **own)
    assert (came.checked_in_at, came.checked_in_means) == (NINE, CheckMeans.CODE)
    with pytest.raises(CodeWrongError):
        await programme.run(check_out_by_code, code=code, now=ELEVEN, **own)
    code = await programme.run(get_code, shift.shift_id, ELEVEN)
    left = await programme.run(check_out_by_code, code=code, now=ELEVEN, **own)
    assert (left.checked_out_at, left.checked_out_means) == (ELEVEN, CheckMeans.CODE)


async def test_a_forgotten_check_out_closes_at_the_planned_end(programme: Programme) -> None:
    shift = await programme.make_shift()
    forgetful, diligent = new_person(), new_person()
    for person in (forgetful, diligent):
        await come(programme, shift.shift_id, person, NINE)
    await go(programme, shift.shift_id, diligent, TEN)
    assert await programme.run(close_forgotten, ONE) == []
    [closed] = await programme.run(close_forgotten, ONE + SECOND)
    for later in (timedelta(0), timedelta(days=9)):
        assert await programme.run(close_forgotten, ONE + SECOND + later) == []
    pending = [one for one in await attendances(programme, shift.shift_id) if one.is_pending]
    assert [(one.attendance_id, one.checked_out_at) for one in pending] == [(closed, ELEVEN)]
    assert pending[0].checked_out_means is CheckMeans.PLANNED_END
    # 待核 makes no record until somebody else has looked.
    [record] = await programme.run(record_attendances, MAKER, shift.shift_id)
    assert record.person_id == diligent
    await programme.run(review_attendance, CHECKER, closed)
    [record] = await programme.run(record_attendances, MAKER, shift.shift_id)
    assert (record.person_id, record.minutes) == (forgetful, 120)


async def attendances(programme: Programme, shift_id: UUID) -> list[Attendance]:
    return await programme.run(list_attendances, shift_id)


async def test_two_jobs_at_once_close_once(programme: Programme) -> None:
    shift = await programme.make_shift()
    for _ in range(5):
        await come(programme, shift.shift_id, new_person(), NINE)
    closed = await asyncio.gather(
        *(programme.run(close_forgotten, at("2026-01-03 00:00")) for _ in range(4))
    )
    assert sorted(len(ids) for ids in closed) == [0, 0, 0, 5]


async def test_a_reviewer_may_say_when_they_left(programme: Programme) -> None:
    shift = await programme.make_shift()
    person = new_person()
    came = await come(programme, shift.shift_id, person, NINE)
    review = (review_attendance, CHECKER, came.attendance_id)
    with pytest.raises(WrongStepError):
        await programme.run(*review)
    await programme.run(close_forgotten, ONE + SECOND)
    with pytest.raises(SecondPersonNeededError):
        await programme.run(review_attendance, person, came.attendance_id)
    for never in (NINE - SECOND, ELEVEN + SECOND):
        with pytest.raises(InvalidInputError):
            await programme.run(*review, never)
    left = await programme.run(*review, TEN)
    assert (left.checked_out_at, left.checked_out_means) == (TEN, CheckMeans.REVIEW)
    with pytest.raises(WrongStepError):
        await programme.run(*review, ELEVEN)


async def test_several_teams_attend_one_activity(programme: Programme) -> None:
    party_unit, society = new_person(), new_person()
    shift = await programme.make_shift(team_ids=(party_unit, society))
    for team in (party_unit, party_unit, society, None):
        await come(programme, shift.shift_id, new_person(), NINE, team_id=team)
    came = await attendances(programme, shift.shift_id)
    assert [one.team_id for one in came].count(party_unit) == 2
    with pytest.raises(TeamNotAttendingError):
        await come(programme, shift.shift_id, new_person(), NINE, team_id=new_person())


async def test_over_midnight_and_the_lost_hour_of_1986(programme: Programme) -> None:
    shift = await programme.make_shift(first_start=datetime(1986, 5, 3, 22), wall_minutes=360)
    assert shift.starts_at
    assert shift.ends_at
    person = new_person()
    await come(programme, shift.shift_id, person, shift.starts_at)
    await programme.run(close_forgotten, shift.ends_at + timedelta(hours=3))
    [closed] = await attendances(programme, shift.shift_id)
    await programme.run(review_attendance, CHECKER, closed.attendance_id)
    [record] = await programme.run(record_attendances, MAKER, shift.shift_id)
    assert (record.minutes, record.next_day_minutes) == (300, 180)


async def test_nobody_records_their_own_attendance(programme: Programme) -> None:
    shift = await programme.make_shift()
    await come(programme, shift.shift_id, MAKER, NINE)
    await go(programme, shift.shift_id, MAKER, TEN)
    with pytest.raises(SecondPersonNeededError):
        await programme.run(record_attendances, MAKER, shift.shift_id)
    assert len(await programme.run(record_attendances, CHECKER, shift.shift_id)) == 1


async def test_the_secret_of_the_codes_is_hidden_from_auditors(programme: Programme) -> None:
    await programme.make_shift()
    query = "SELECT has_table_privilege('timebank_auditor', 'timebank.code_secret', 'SELECT')"
    assert await programme.book.pool.fetchval(query) is False
