"""Seeded frauds over HTTP: each is found, held and released; the honest month is not told of."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from tests.api.client import Api, Caller, Resident, check_only_fault, check_problem, token_for
from tests.api.counter import Counter
from tests.places import open_branch
from tests.service.programme import PEOPLE, Programme, new_person
from tests.service.test_anomalies import NIGHT, NOON, SINCE, Month
from timebank.db import Connection
from timebank.domain.languages import Language
from timebank.domain.service import Shift
from timebank.domain.suspicions import Reason, Suspicion, describe
from timebank.people.access import Role

Seed = Callable[[Month, list[UUID]], Awaitable[Shift]]


async def made_after_its_end(month: Month, gang: list[UUID]) -> Shift:
    shift = (await month.fridays(made_at=NOON))[0]
    await month.confirm(await month.claim(shift, gang[:1]), NOON, NOON + timedelta(hours=1))
    return shift


async def approved_in_haste(month: Month, gang: list[UUID]) -> Shift:
    shift = (await month.fridays())[4]
    await month.confirm(await month.claim(shift, gang[:3], 300), NOON, NOON + timedelta(minutes=2))
    return shift


async def checked_in_at_once(month: Month, gang: list[UUID]) -> Shift:
    shift = (await month.fridays())[4]
    await month.confirm(await month.attend(shift, gang[:5], timedelta()), NOON, NOON)
    return shift


async def written_too_fast(month: Month, gang: list[UUID]) -> Shift:
    shift = (await month.fridays())[4]
    day = NOON + timedelta(days=9)
    ids = await month.claim(shift, [*gang, *(new_person() for _ in range(15 - len(gang)))])
    await month.confirm(ids, day, day + timedelta(hours=1))
    return shift


async def approved_at_night(month: Month, gang: list[UUID]) -> Shift:
    shift = (await month.fridays())[4]
    ids = await month.attend(shift, gang[:3], timedelta(seconds=9))
    await month.confirm(ids, NOON - timedelta(days=5), NIGHT)
    return shift


async def the_same_names(month: Month, gang: list[UUID]) -> Shift:
    for week, shift in enumerate((await month.fridays())[:4]):
        day = NOON + timedelta(days=10 + week)
        await month.confirm(await month.claim(shift, gang[:3]), day, day + timedelta(hours=2))
    return shift


FRAUDS: Mapping[Reason, Seed] = {
    Reason.MADE_AFTER_ITS_END: made_after_its_end,
    Reason.APPROVED_IN_HASTE: approved_in_haste,
    Reason.NO_SPREAD: checked_in_at_once,
    Reason.TOO_FAST: written_too_fast,
    Reason.AT_NIGHT: approved_at_night,
    Reason.SAME_NAMES: the_same_names,
}


@pytest.fixture
async def month(api: Api, worker_superuser: Connection) -> Month:
    """An honest month in the bank of these callers."""
    month = Month(await Programme.open(api.book), worker_superuser)
    await month.honest()
    return month


async def coordinators(api: Api, branch_id: UUID | None = None) -> list[Caller]:
    return [
        Caller(api.http, await token_for(api.book, Role.COORDINATOR, branch_id=branch_id))
        for _ in range(3)
    ]


async def listed(caller: Caller, language: str = "en") -> list[dict[str, Any]]:
    answer = await caller.get("/service-anomalies", {"Accept-Language": language}, since=SINCE)
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


async def points_of(who: Resident) -> tuple[int, int]:
    told = (await who.caller.get(f"/residents/{who.resident_id}/summary")).json()
    return told["points"], told["points_available"]


@pytest.mark.parametrize("reason", Reason)
async def test_a_seeded_fraud_is_found_held_and_released(
    api: Api, month: Month, reason: Reason
) -> None:
    counter, honest = await Counter.open(api), await api.resident(points=10)
    holder, first, second = await coordinators(api)
    assert await listed(api.auditor) == []  # the control: a month as it should be
    gang = [await api.resident() for _ in range(5)]
    shift = await FRAUDS[reason](month, [one.resident_id for one in gang])
    assert {one["reason"] for one in await listed(api.auditor)} == {reason.value}

    path, thief = f"/activities/{shift.activity_id}", gang[0]
    stand, free = await points_of(thief)
    assert stand == free > 0
    held = await holder.post(f"{path}/hold", {"reason": reason.value})
    assert (held.status_code, held.json()["released_at"]) == (201, None)
    assert await points_of(thief) == (stand, 0)
    check_problem(await counter.hold(thief, points=1), "points_blocked")
    assert (await counter.hold(honest)).status_code == 201
    await api.book.post_all(api.book.award(thief.wallet, 3))
    assert await points_of(thief) == (stand + 3, 3)
    check_problem(await counter.hold(thief, points=4), "points_blocked")
    assert (await counter.hold(thief, points=3)).status_code == 201

    [shown] = (await api.auditor.get("/held-activities")).json()["data"]
    assert (shown["activity_id"], shown["reason"]) == (str(shift.activity_id), reason.value)
    proposed = (await first.post(f"{path}/release", {})).json()
    assert (proposed["proposed_by"] is None, proposed["released_at"]) == (False, None)
    check_problem(await first.post(f"{path}/release", {}), "second_person_needed")
    assert await points_of(thief) == (stand, 0)
    released = (await second.post(f"{path}/release", {})).json()
    assert released["released_at"] is not None
    assert (await api.auditor.get("/held-activities")).json()["data"] == []
    assert await points_of(thief) == (stand, stand)
    assert (await counter.hold(thief, points=stand)).status_code == 201
    check_problem(await second.post(f"{path}/release", {}), "not_found")


@pytest.mark.parametrize("reason", Reason)
async def test_a_branch_is_told_of_every_fraud_of_its_own(
    api: Api, worker_superuser: Connection, reason: Reason
) -> None:
    here, there = await open_branch(api.book), await open_branch(api.book)
    [own, *_], [foreign, *_] = await coordinators(api, here), await coordinators(api, there)
    month = Month(await Programme.open(api.book), worker_superuser, here)
    await month.honest()
    assert await listed(own) == []
    await FRAUDS[reason](month, PEOPLE[50:55])
    assert [one["reason"] for one in await listed(own)] == [reason.value]
    assert await listed(foreign) == []


async def test_a_branch_sees_and_holds_what_is_its_own(
    api: Api, worker_superuser: Connection
) -> None:
    here, there = await open_branch(api.book), await open_branch(api.book)
    [own, *_], [foreign, *_] = await coordinators(api, here), await coordinators(api, there)
    month = Month(await Programme.open(api.book), worker_superuser)
    activity = await month.programme.make_activity(branch_id=here)
    [shift] = await month.programme.shifts(activity.activity_id)
    ids = await month.attend(shift, [new_person() for _ in range(5)], timedelta())
    await month.confirm(ids, NOON, NOON)
    about = {str(shift.shift_id), str(shift.activity_id)}  # at once, and made after its end
    assert {one["subject_id"] for one in await listed(own)} == about
    assert await listed(foreign) == []
    path, body = f"/activities/{shift.activity_id}", {"reason": "check_ins_without_spread"}
    check_problem(await foreign.post(f"{path}/hold", body), "not_found")
    assert (await own.post(f"{path}/hold", body)).status_code == 201
    assert len((await own.get("/held-activities")).json()["data"]) == 1
    assert (await foreign.get("/held-activities")).json()["data"] == []


async def test_words_are_in_the_readers_language(api: Api, month: Month) -> None:
    shift = (await month.fridays(made_at=NOON))[0]
    await month.claim(shift, [new_person()])
    for asked, language in (
        ("zh-CN", Language.ZH_HANS),
        ("zh-TW", Language.ZH_HANT),
        ("en", Language.EN),
    ):
        [found] = await listed(api.auditor, asked)
        assert found["words"] == describe(
            Suspicion(
                reason=Reason.MADE_AFTER_ITS_END,
                subject_id=shift.activity_id,
                other_id=None,
                times=1,
                minutes=120,
                bound=1,
            ),
            language,
        )
    check_only_fault(await api.auditor.get("/service-anomalies", since="1066-10-14"), "since")


async def test_whoever_wrote_a_record_does_not_release(api: Api) -> None:
    programme, person = await Programme.open(api.book), await api.resident()
    shift = await programme.make_shift()
    writer, *_ = callers = await coordinators(api)
    claim = {
        "resident_id": str(person.resident_id),
        "shift_id": str(shift.shift_id),
        "started_at": "2026-01-02T09:00:00+08:00",
        "ended_at": "2026-01-02T10:00:00+08:00",
        "evidence": {"note": "device_failed"},
    }
    assert (await writer.post("/service-records", {"claims": [claim]})).status_code == 201
    path = f"/activities/{shift.activity_id}"
    assert (await writer.post(f"{path}/hold", {"reason": "same_names_every_time"})).is_success
    check_problem(await writer.post(f"{path}/release", {}), "second_person_needed")
    for caller in callers[1:]:
        assert (await caller.post(f"{path}/release", {})).is_success
