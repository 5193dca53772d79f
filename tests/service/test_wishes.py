"""微心愿 from the wall to the hours; the person served pays nothing."""

from uuid import UUID

import pytest

from tests.service.programme import CHECKER, MAKER, Programme, at, new_person
from timebank.domain.errors import InvalidInputError, NotFoundError, SecondPersonNeededError
from timebank.domain.service import Evidence, RecordNote, RecordStatus, Wish, WishStatus
from timebank.domain.service_errors import EvidenceMissingError, WrongStepError
from timebank.service.records import get_record, reject_records
from timebank.service.wishes import (
    assign_wish,
    collect_wish,
    confirm_wish,
    finish_wish,
    get_wish,
    hand_back_wish,
    list_wishes,
)

THANKS = Evidence(note=RecordNote.THANKS_OF_THE_SERVED)
NINE, TEN = at("2026-01-02 09:00"), at("2026-01-02 10:00")


async def collect(programme: Programme, served: UUID | None = None) -> Wish:
    return await programme.run(
        collect_wish,
        MAKER,
        category_id=programme.category_id,
        title="换一盏灯",
        served_id=served or new_person(),
    )


async def finish(programme: Programme, wish_id: UUID, **rest: object) -> Wish:
    times = {"started_at": NINE, "ended_at": TEN, "evidence": THANKS}
    return await programme.run(finish_wish, MAKER, wish_id, **times | rest)


async def test_from_the_wall_to_the_hours(programme: Programme) -> None:
    served, volunteer = new_person(), new_person()
    wish = await collect(programme, served)
    assert wish.status is WishStatus.COLLECTED
    assert await programme.run(list_wishes, status=WishStatus.COLLECTED) == [wish]
    wish = await programme.run(assign_wish, MAKER, wish.wish_id, volunteer)
    assert (wish.status, wish.assigned_to) == (WishStatus.ASSIGNED, volunteer)
    wish = await finish(programme, wish.wish_id)
    assert wish.record_id
    record = await programme.run(get_record, wish.record_id)
    assert (record.status, record.wish_id, record.person_id) == (
        RecordStatus.SUBMITTED,
        wish.wish_id,
        volunteer,
    )
    awards = [await programme.run(confirm_wish, CHECKER, wish.wish_id) for _ in range(2)]
    assert awards[0] == awards[1]
    wish = await programme.run(get_wish, wish.wish_id)
    assert wish.status is WishStatus.CONFIRMED
    assert await programme.wallets(volunteer) == (60, 10)
    accounts = await programme.book.pool.fetchval(
        "SELECT count(*) FROM account WHERE bank_id = $1 AND owner_id = $2",
        programme.book.bank_id,
        served,
    )
    assert accounts == 0  # who is served needs no account at all


async def test_each_step_from_its_own(programme: Programme) -> None:
    wish_id = (await collect(programme)).wish_id
    for early in (
        finish(programme, wish_id),
        programme.run(confirm_wish, CHECKER, wish_id),
        programme.run(hand_back_wish, wish_id),
    ):
        with pytest.raises(WrongStepError):
            await early
    volunteer = new_person()
    await programme.run(assign_wish, MAKER, wish_id, volunteer)
    with pytest.raises(WrongStepError):
        await programme.run(assign_wish, MAKER, wish_id, new_person())
    await programme.run(hand_back_wish, wish_id)
    await programme.run(assign_wish, MAKER, wish_id, volunteer)
    await finish(programme, wish_id)
    with pytest.raises(WrongStepError):
        await finish(programme, wish_id)
    with pytest.raises(WrongStepError):  # while its record waits for a decision
        await programme.run(assign_wish, MAKER, wish_id, volunteer)
    with pytest.raises(NotFoundError):
        await programme.run(get_wish, new_person())
    with pytest.raises(NotFoundError):
        await programme.run(confirm_wish, CHECKER, new_person())


async def test_a_wish_whose_record_was_rejected_is_granted_anew(programme: Programme) -> None:
    volunteer = new_person()
    wish_id = (await collect(programme)).wish_id
    await programme.run(assign_wish, MAKER, wish_id, volunteer)
    wish = await finish(programme, wish_id)
    await programme.run(reject_records, CHECKER, [wish.record_id])
    with pytest.raises(WrongStepError):
        await programme.run(confirm_wish, CHECKER, wish_id)
    await programme.run(assign_wish, MAKER, wish_id, volunteer)
    await finish(programme, wish_id, ended_at=at("2026-01-02 09:30"))
    award = await programme.run(confirm_wish, CHECKER, wish_id)
    assert award.minutes == 30


async def test_three_persons_at_least(programme: Programme) -> None:
    served, volunteer = new_person(), new_person()
    wish_id = (await collect(programme, served)).wish_id
    with pytest.raises(SecondPersonNeededError):
        await programme.run(assign_wish, MAKER, wish_id, served)
    await programme.run(assign_wish, MAKER, wish_id, MAKER)
    with pytest.raises(SecondPersonNeededError):
        await finish(programme, wish_id)
    await programme.run(hand_back_wish, wish_id)
    await programme.run(assign_wish, MAKER, wish_id, volunteer)
    with pytest.raises(EvidenceMissingError):
        await finish(programme, wish_id, evidence=Evidence())
    with pytest.raises(InvalidInputError):
        await finish(programme, wish_id, ended_at=NINE)
    await finish(programme, wish_id)
    for own in (MAKER, volunteer):
        with pytest.raises(SecondPersonNeededError):
            await programme.run(confirm_wish, own, wish_id)
    wish = await programme.run(get_wish, wish_id)
    assert wish.status is WishStatus.DONE
