"""Records: written by one, decided by another, only forwards; what the database refuses itself."""

from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from tests.service.programme import CHECKER, MAKER, OTHER_CHECKER, Programme, at, new_person
from timebank.domain.errors import InvalidInputError, NotFoundError, SecondPersonNeededError
from timebank.domain.service import (
    Caps,
    Claim,
    Evidence,
    RecordNote,
    RecordSource,
    RecordStatus,
    ServiceRecord,
)
from timebank.domain.service_errors import (
    CapExceededError,
    EvidenceMissingError,
    RecordedAlreadyError,
    RecordOverlapError,
    ServiceNotOverError,
    WrongStepError,
)
from timebank.ledger.ids import new_id
from timebank.service.rates import list_caps, set_caps
from timebank.service.records import (
    claim_service,
    get_record,
    list_records_of_person,
    list_records_of_shift,
    reject_records,
    submit_records,
)

NINE, TEN, ELEVEN = (at(f"2026-01-02 {hour}:00") for hour in ("09", "10", "11"))
PHOTO = Evidence(sha256=bytes(32))


async def claim(programme: Programme, **rest: Any) -> ServiceRecord:
    """Back-fill an hour at a new shift, with a photograph."""
    if "shift_id" not in rest:
        rest["shift_id"] = (await programme.make_shift()).shift_id
    default = {"person_id": new_person(), "started_at": NINE, "ended_at": TEN, "evidence": PHOTO}
    [record] = await programme.run(claim_service, MAKER, [Claim(**default | rest)])
    return record


# ---- Writing -----------------------------------------------------------------------------------


async def test_a_back_filled_record_keeps_where_it_comes_from(programme: Programme) -> None:
    note = Evidence(sha256=bytes(range(32)), note=RecordNote.FORGOT_TO_CHECK_IN)
    record = await claim(programme, ended_at=TEN + timedelta(seconds=59), evidence=note)
    assert (record.source, record.status) == (RecordSource.BACK_FILLED, RecordStatus.DRAFT)
    assert (record.evidence_sha256, record.note) == (note.sha256, note.note)
    assert (record.started_at, record.ended_at, record.minutes) == (NINE, TEN, 60)
    assert record.category_id == programme.category_id
    assert (record.made_by, record.decided_by) == (MAKER, None)
    assert await programme.run(list_records_of_shift, record.shift_id) == [record]
    assert await programme.run(list_records_of_person, record.person_id) == [record]


async def test_a_line_of_a_sheet_counts_once(programme: Programme) -> None:
    shift = await programme.make_shift()
    line = {
        "shift_id": shift.shift_id,
        "person_id": new_person(),
        "evidence": Evidence(sheet_number="纸-0042"),
    }
    record = await claim(programme, **line)
    assert (record.source, record.sheet_number) == (RecordSource.PAPER, "纸-0042")
    with pytest.raises(RecordedAlreadyError):
        await claim(programme, **line)
    await claim(programme, **line | {"person_id": new_person()})
    await programme.run(submit_records, [record.record_id])
    await programme.run(reject_records, CHECKER, [record.record_id])
    await claim(programme, **line)  # what was rejected may be entered anew


async def test_without_evidence_there_is_no_record(programme: Programme) -> None:
    with pytest.raises(EvidenceMissingError):
        await claim(programme, evidence=Evidence())


@pytest.mark.parametrize(
    ("start", "end"),
    [(TEN, TEN), (TEN, NINE), (NINE, NINE + timedelta(hours=24)), (at("2026-01-04 09:00"),) * 2],
)
async def test_a_time_that_cannot_be_is_refused(programme: Programme, start: Any, end: Any) -> None:
    with pytest.raises(InvalidInputError):
        await claim(programme, started_at=start, ended_at=end)


async def test_a_time_of_another_day_is_refused(programme: Programme) -> None:
    later = {"started_at": at("2026-01-04 09:00"), "ended_at": at("2026-01-04 10:00")}
    with pytest.raises(InvalidInputError):
        await claim(programme, **later)
    with pytest.raises(NotFoundError):
        await claim(programme, shift_id=new_id())


async def test_nobody_writes_down_their_own(programme: Programme) -> None:
    with pytest.raises(SecondPersonNeededError):
        await claim(programme, person_id=MAKER)


# ---- Deciding ----------------------------------------------------------------------------------


async def test_from_draft_to_confirmed(programme: Programme) -> None:
    record = await claim(programme)
    with pytest.raises(WrongStepError):
        await programme.confirm(record.record_id)
    for _ in range(2):
        [submitted] = await programme.run(submit_records, [record.record_id])
        assert submitted.status is RecordStatus.SUBMITTED
    await programme.confirm(record.record_id)
    confirmed = await programme.run(get_record, record.record_id)
    assert (confirmed.status, confirmed.decided_by) == (RecordStatus.CONFIRMED, CHECKER)
    for late in ((submit_records,), (reject_records, CHECKER)):
        with pytest.raises(WrongStepError):
            await programme.run(*late, [record.record_id])


async def test_what_is_rejected_never_counts(programme: Programme) -> None:
    record = await claim(programme)
    with pytest.raises(WrongStepError):
        await programme.run(reject_records, CHECKER, [record.record_id])
    await programme.run(submit_records, [record.record_id])
    for _ in range(2):
        [rejected] = await programme.run(reject_records, CHECKER, [record.record_id])
        assert rejected.status is RecordStatus.REJECTED
    with pytest.raises(WrongStepError):
        await programme.confirm(record.record_id)
    assert await programme.totals(record.person_id) == (0, 0)


async def test_a_list_is_decided_whole_or_not_at_all(programme: Programme) -> None:
    draft = await claim(programme)
    submitted = await programme.record(new_person(), NINE, 60)
    for deciding in ((submit_records,), (reject_records, CHECKER)):
        with pytest.raises((WrongStepError, NotFoundError)):
            await programme.run(*deciding, [submitted, draft.record_id, new_person()])
    with pytest.raises(WrongStepError):
        await programme.run(reject_records, CHECKER, [submitted, draft.record_id])
    record = await programme.run(get_record, submitted)
    assert record.status is RecordStatus.SUBMITTED


async def test_who_made_it_or_served_does_not_decide_it(programme: Programme) -> None:
    person = new_person()
    record_id = await programme.record(person, NINE, 60)
    for own in (MAKER, person):
        with pytest.raises(SecondPersonNeededError):
            await programme.confirm(record_id, by=own)
        with pytest.raises(SecondPersonNeededError):
            await programme.run(reject_records, own, [record_id])
    assert await programme.wallets(person) == (0, 0)
    await programme.confirm(record_id, by=OTHER_CHECKER)
    assert await programme.wallets(person) == (60, 10)


async def test_what_is_not_over_is_not_confirmed(programme: Programme) -> None:
    record_id = await programme.record(new_person(), datetime.now(UTC) - timedelta(minutes=30), 60)
    with pytest.raises(ServiceNotOverError):
        await programme.confirm(record_id)


# ---- Overlap and caps --------------------------------------------------------------------------


async def test_a_person_is_never_at_two_places(programme: Programme) -> None:
    person, other = new_person(), new_person()
    await programme.confirm(await programme.record(person, NINE, 60))
    overlapping = await programme.record(person, TEN - timedelta(minutes=1), 60)
    with pytest.raises(RecordOverlapError):
        await programme.confirm(overlapping)
    with pytest.raises(RecordOverlapError):  # nor are two of one list
        pair = await programme.record_all([(other, NINE, 60), (other, NINE, 30)])
        await programme.confirm(*pair)
    await programme.confirm(await programme.record(person, TEN, 60))
    await programme.confirm(await programme.record(other, NINE, 60))
    assert await programme.totals(person) == (120, 20)
    assert await programme.totals(other) == (60, 10)


async def test_time_is_free_again_after_a_reversal(programme: Programme) -> None:
    person = new_person()
    mistaken = await programme.record(person, NINE, 60)
    await programme.confirm(mistaken)
    right = await programme.record(person, NINE, 90)
    with pytest.raises(RecordOverlapError):
        await programme.confirm(right)
    await programme.reverse(mistaken)
    await programme.confirm(right)
    assert await programme.totals(person) == (90, 15)


async def test_the_cap_of_a_day_is_exact(programme: Programme) -> None:
    caps = Caps(effective_on=at("2026-01-02").date(), minutes_per_activity=None, minutes_per_day=90)
    await programme.run(set_caps, MAKER, caps)
    assert await programme.run(list_caps) == [caps]
    person = new_person()
    before = await programme.record(person, at("2026-01-01 09:00"), 300)  # before it took effect
    await programme.confirm(before, await programme.record(person, NINE, 60))
    too_much = await programme.record(person, ELEVEN, 31)
    with pytest.raises(CapExceededError):
        await programme.confirm(too_much)
    just_enough = await programme.record(person, ELEVEN, 30)
    await programme.confirm(just_enough)
    # Over midnight each day counts its own minutes.
    night = await programme.record(person, at("2026-01-03 23:00"), 150)
    await programme.confirm(night)
    with pytest.raises(CapExceededError):
        await programme.confirm(await programme.record(person, at("2026-01-04 09:00"), 1))
    await programme.reverse(just_enough)
    await programme.confirm(await programme.record(person, ELEVEN, 30))


async def test_the_cap_of_an_activity_is_for_a_person_and_a_day(programme: Programme) -> None:
    caps = Caps(effective_on=at("2026-01-02").date(), minutes_per_activity=60, minutes_per_day=None)
    await programme.run(set_caps, MAKER, caps)
    shift = await programme.make_shift()
    person = new_person()
    own = {
        "wish_id": None,
        "activity_id": shift.activity_id,
        "shift_id": shift.shift_id,
    }
    await programme.confirm(await programme.record(person, NINE, 60, **own))
    with pytest.raises(CapExceededError):
        await programme.confirm(await programme.record(person, TEN, 1, **own))
    await programme.confirm(await programme.record(person, TEN, 300))  # a wish is no activity
    await programme.confirm(await programme.record(new_person(), TEN, 60, **own))


# ---- What the database refuses, whoever writes --------------------------------------------------


async def refused(programme: Programme, statement: str, *args: Any) -> str:
    """Return the constraint that refuses a statement of the application's own login."""
    with pytest.raises(asyncpg.IntegrityConstraintViolationError) as error:
        await programme.book.pool.execute(statement, *args)
    return str(error.value.constraint_name)


RECORD = """
    INSERT INTO service_record (bank_id, record_id, person_id, category_id, wish_id, served_on,
        during, minutes, next_day_minutes, occurred_at, source, note, made_by{columns})
    VALUES ({bank}, gen_random_uuid(), '{person}', gen_random_uuid(), gen_random_uuid(),
        '2026-01-02', '{during}', {minutes}, {next_day}, '2026-01-02 09:00+08', 'back_filled',
        'device_failed', '{maker}'{values})
"""


@pytest.mark.parametrize(
    ("change", "constraint"),
    [
        ({"maker": "person"}, "record_maker_is_another"),
        ({"columns": ", status", "values": ", 'confirmed'"}, "record_step"),
        ({"columns": ", status", "values": ", 'rejected'"}, "record_step"),
        ({"minutes": 61}, "record_minutes_from_instants"),
        ({"minutes": 0}, "record_minutes_from_instants"),
        ({"during": "[2026-01-02 09:00+08,2026-01-02 10:00+08]"}, "record_minutes_from_instants"),
        (
            {"during": "[2026-01-02 09:00:01+08,2026-01-02 10:00:01+08)"},
            "record_minutes_from_instants",
        ),
        ({"next_day": 60}, "record_minutes_of_next_day"),
        ({"next_day": -1}, "record_minutes_of_next_day"),
        (
            {"columns": ", activity_id", "values": ", gen_random_uuid()"},
            "record_of_activity_or_wish",
        ),
        ({"columns": ", evidence_sha256", "values": ", '\\x00'"}, "record_evidence_is_sha256"),
    ],
)
async def test_no_record_of_a_wrong_form_is_written(
    programme: Programme, change: dict[str, Any], constraint: str
) -> None:
    person = new_person()
    parts: dict[str, Any] = {
        "bank": programme.book.bank_id,
        "person": person,
        "maker": MAKER,
        "during": "[2026-01-02 09:00+08,2026-01-02 10:00+08)",
        "minutes": 60,
        "next_day": 0,
        "columns": "",
        "values": "",
    }
    await programme.book.pool.execute(RECORD.format(**parts))
    if change.get("maker"):
        change = {"maker": person}
    assert await refused(programme, RECORD.format(**parts | change)) == constraint


async def test_the_application_cannot_write_a_decision(programme: Programme) -> None:
    record_id = await programme.record(new_person(), NINE, 60)
    for statement in (
        "UPDATE service_record SET status = 'confirmed' WHERE record_id = $1",
        "UPDATE service_record SET minutes = 600 WHERE record_id = $1",
        "DELETE FROM service_record WHERE record_id = $1",
        "INSERT INTO service_award (bank_id, record_id) VALUES (1, $1)",
        "UPDATE carry SET remainder = 0 WHERE person_id = $1",
        "UPDATE rate SET approved_by = $1",
        "UPDATE scan SET uploaded_by = $1",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await programme.book.pool.execute(statement, record_id)
