"""Seeded frauds are all found, an honest month gives none, and a held activity earns nothing."""

import asyncio
import json
from datetime import date, datetime, timedelta
from uuid import UUID

import pytest

from tests.cli.test_cli import run
from tests.places import open_branch
from tests.service.programme import (
    CHECKER,
    MAKER,
    OTHER_CHECKER,
    PEOPLE,
    THIRD_CHECKER,
    Programme,
    at,
    new_person,
)
from timebank.db import Connection
from timebank.domain.errors import NotFoundError, SecondPersonNeededError
from timebank.domain.languages import Language
from timebank.domain.service import Claim, Evidence, RecordNote, Shift
from timebank.domain.service_errors import ActivityHeldError
from timebank.domain.suspicions import Bounds, Reason, Suspicion, describe
from timebank.embedded import Server
from timebank.ledger.ids import new_id
from timebank.service.anomalies import (
    hold_activity,
    list_held,
    list_suspicions,
    release_activity,
)
from timebank.service.attendance import check_in, check_out
from timebank.service.records import claim_service, record_attendances, submit_records
from timebank.service.wishes import collect_wish

SINCE = date(2026, 1, 1)
PLANNED = at("2025-12-20 10:00")
NOON = at("2026-01-31 12:00")
NIGHT = at("2026-01-31 02:30")


class Month:
    """A month of one bank, or branch, with the hands of those who write and approve."""

    def __init__(
        self, programme: Programme, superuser: Connection, branch_id: UUID | None = None
    ) -> None:
        self.programme = programme
        self.branch_id = branch_id
        self.bank_id = programme.book.bank_id
        self._superuser = superuser

    async def fridays(self, made_at: datetime = PLANNED) -> list[Shift]:
        """Five Fridays of an activity that was made at that instant."""
        activity = await self.programme.make_activity(
            rule="FREQ=WEEKLY;COUNT=5", branch_id=self.branch_id
        )
        await self._superuser.execute(
            "UPDATE activity SET made_at = $2 WHERE activity_id = $1", activity.activity_id, made_at
        )
        return await self.programme.shifts(activity.activity_id)

    async def attend(self, shift: Shift, persons: list[UUID], apart: timedelta) -> list[UUID]:
        """Check persons in and out, so far apart, and hand their records in."""
        assert shift.starts_at and shift.ends_at
        for place, person in enumerate(persons):
            for act, start in ((check_in, shift.starts_at), (check_out, shift.ends_at)):
                now = start + place * apart
                await self.programme.run(
                    act, MAKER, shift_id=shift.shift_id, person_id=person, now=now
                )
        made = await self.programme.run(record_attendances, MAKER, shift.shift_id)
        return await self._submit([one.record_id for one in made])

    async def claim(self, shift: Shift, persons: list[UUID], minutes: int = 120) -> list[UUID]:
        """Type in what nobody checked in, and hand it in."""
        assert shift.starts_at
        claims = [
            Claim(
                person_id=person,
                shift_id=shift.shift_id,
                started_at=shift.starts_at,
                ended_at=shift.starts_at + timedelta(minutes=minutes),
                evidence=Evidence(note=RecordNote.DEVICE_FAILED),
            )
            for person in persons
        ]
        made = await self.programme.run(claim_service, MAKER, claims)
        return await self._submit([one.record_id for one in made])

    async def _submit(self, ids: list[UUID]) -> list[UUID]:
        await self.programme.run(submit_records, ids)
        return ids

    async def confirm(self, ids: list[UUID], made_at: datetime, decided_at: datetime) -> None:
        """Confirm records, as if at that instant."""
        await self.programme.confirm(*ids)
        await self._superuser.execute(
            "UPDATE service_record SET made_at = $2, decided_at = $3 WHERE record_id = ANY ($1)",
            ids,
            made_at,
            decided_at,
        )

    async def honest(self) -> None:
        """Four Fridays as they should be, with some that were back-filled."""
        for week, shift in enumerate((await self.fridays())[:4]):
            persons = [PEOPLE[(week * 3 + n) % 20] for n in range(8)]
            ids = await self.attend(shift, persons, timedelta(seconds=7))
            await self.confirm(ids, NOON, NOON + timedelta(minutes=3))
            late = await self.claim(shift, [PEOPLE[30 + week], PEOPLE[40 + week]])
            day = NOON + timedelta(days=week)
            await self.confirm(late, day, day + timedelta(hours=1))

    async def grant_wishes(self, count: int) -> list[UUID]:
        """Type in two hours at each of so many wishes, and hand them in."""
        start, ids = at("2026-01-02 09:00"), []
        for _ in range(count):
            wish = await self.programme.run(
                collect_wish,
                MAKER,
                category_id=self.programme.category_id,
                title="修窗",
                served_id=PEOPLE[0],
                branch_id=self.branch_id,
            )
            about = {"wish_id": wish.wish_id}
            ids.append(await self.programme.record(new_person(), start, 120, **about))
        return ids

    async def found(self, **bounds: int) -> list[tuple[Reason, UUID, UUID | None, int]]:
        listed = await self.programme.run(list_suspicions, SINCE, bounds=Bounds(**bounds))
        return [(one.reason, one.subject_id, one.other_id, one.times) for one in listed]


@pytest.fixture
async def month(programme: Programme, worker_superuser: Connection) -> Month:
    """An honest month, to which a test adds its fraud."""
    month = Month(programme, worker_superuser)
    await month.honest()
    return month


async def test_an_honest_month_gives_none(month: Month) -> None:
    assert await month.found() == []


async def test_an_activity_made_after_its_end(month: Month) -> None:
    shift = (await month.fridays(made_at=NOON))[0]
    ids = await month.claim(shift, [PEOPLE[50]])
    await month.confirm(ids, NOON, NOON + timedelta(hours=1))
    activity = (Reason.MADE_AFTER_ITS_END, shift.activity_id, MAKER, 1)
    assert await month.found() == [activity]


@pytest.mark.parametrize(("minutes", "records", "found"), [(4, 3, 3), (5, 3, 0), (4, 2, 0)])
async def test_five_hours_in_two_minutes(
    month: Month, minutes: int, records: int, found: int
) -> None:
    shift = (await month.fridays())[4]
    ids = await month.claim(shift, PEOPLE[50 : 50 + records], 300)
    await month.confirm(ids, NOON + timedelta(days=9), NOON + timedelta(days=9, minutes=minutes))
    expected = [(Reason.APPROVED_IN_HASTE, shift.activity_id, CHECKER, found)] if found else []
    assert await month.found() == expected


@pytest.mark.parametrize(("apart", "found"), [(1, True), (2, False)])
async def test_everybody_checked_in_at_once(month: Month, apart: int, found: bool) -> None:
    shift = (await month.fridays())[4]
    ids = await month.attend(shift, PEOPLE[50:55], timedelta(seconds=apart))
    await month.confirm(ids, NOON, NOON)
    assert await month.found() == ([(Reason.NO_SPREAD, shift.shift_id, MAKER, 5)] if found else [])


@pytest.mark.parametrize(("persons", "found"), [(15, True), (14, False)])
async def test_one_who_writes_too_much_in_a_day(month: Month, persons: int, found: bool) -> None:
    shift = (await month.fridays())[4]
    ids = await month.claim(shift, PEOPLE[45 : 45 + persons])
    day = NOON + timedelta(days=9)
    await month.confirm(ids, day, day + timedelta(hours=1))
    assert await month.found() == ([(Reason.TOO_FAST, MAKER, None, 15)] if found else [])


@pytest.mark.parametrize(("at_hour", "found"), [(-3, False), (0, True), (2, True), (3, False)])
async def test_a_burst_at_night(month: Month, at_hour: int, found: bool) -> None:
    shift = (await month.fridays())[4]
    ids = await month.attend(shift, PEOPLE[50:53], timedelta(seconds=9))
    await month.confirm(ids, NOON - timedelta(days=5), NIGHT + timedelta(hours=at_hour))
    assert await month.found() == ([(Reason.AT_NIGHT, CHECKER, None, 3)] if found else [])


@pytest.mark.parametrize(("weeks", "found"), [(4, True), (3, False)])
async def test_the_same_names_every_time(month: Month, weeks: int, found: bool) -> None:
    for week, shift in enumerate((await month.fridays())[:weeks]):
        ids = await month.claim(shift, PEOPLE[50:53])
        day = NOON + timedelta(days=10 + week)
        await month.confirm(ids, day, day + timedelta(hours=2))
    assert await month.found() == ([(Reason.SAME_NAMES, MAKER, None, 4)] if found else [])


async def test_all_frauds_together_are_all_found(month: Month) -> None:
    shifts = await month.fridays(made_at=NOON)
    for shift in shifts[:4]:
        await month.confirm(await month.claim(shift, PEOPLE[50:55]), NIGHT, NIGHT)
    at_once = (await month.fridays())[4]
    await month.confirm(await month.attend(at_once, PEOPLE[56:62], timedelta()), NOON, NOON)
    assert {reason for reason, *_ in await month.found()} == set(Reason)


async def test_of_a_branch_only_what_was_served_there_counts(
    programme: Programme, worker_superuser: Connection
) -> None:
    """Also at wishes; and what is below the bound in each of two branches is none of either."""
    above, there = await open_branch(programme.book), await open_branch(programme.book)
    here = await open_branch(programme.book, above)

    async def found(branch_id: UUID) -> list[tuple[Reason, int]]:
        listed = await programme.run(list_suspicions, SINCE, within=branch_id)
        return [(one.reason, one.times) for one in listed]

    for branch_id in (here, there):
        month = Month(programme, worker_superuser, branch_id)
        await month.confirm(await month.grant_wishes(2), NOON - timedelta(days=1), NIGHT)
    assert await month.found() == [(Reason.AT_NIGHT, CHECKER, None, 4)]
    assert [await found(one) for one in (above, here, there)] == [[], [], []]
    month = Month(programme, worker_superuser, here)
    await month.confirm(await month.grant_wishes(13), NOON - timedelta(days=9), NIGHT)
    expected = [(Reason.AT_NIGHT, 15)]
    assert [await found(one) for one in (above, here, there)] == [expected, expected, []]
    fast = await month.grant_wishes(15)
    await month.confirm(fast, NOON - timedelta(days=2), NOON)
    expected.insert(0, (Reason.TOO_FAST, 15))
    assert [await found(one) for one in (above, here, there)] == [expected, expected, []]


async def test_the_bounds_are_arguments(month: Month) -> None:
    found = await month.found(fast_minutes_a_day=240)
    assert {(reason, who) for reason, who, *_ in found} == {(Reason.TOO_FAST, MAKER)}


@pytest.mark.parametrize("language", Language)
@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_words(reason: Reason, language: Language) -> None:
    one = Suspicion(reason=reason, subject_id=MAKER, other_id=None, times=71, minutes=8300, bound=5)
    told = describe(one, language)
    assert "71" in told
    assert "{" not in told
    assert str(MAKER) not in told


async def test_the_command_exits_with_1_when_it_finds_something(
    month: Month, server: Server, worker_database: str
) -> None:
    url = server.dsn(worker_database, "timebank_app")
    words = ("anomalies", "--bank", month.programme.book.bank.code, "--since", str(SINCE))
    quiet = await asyncio.to_thread(run, *words, DATABASE_URL=url)
    assert quiet.exit_code == 0, quiet.output
    shift = (await month.fridays(made_at=NOON))[0]
    await month.claim(shift, [PEOPLE[50]])
    found = await asyncio.to_thread(run, *words, "--json", DATABASE_URL=url)
    assert found.exit_code == 1
    [one] = json.loads(found.stdout)
    assert (one["reason"], one["subject_id"]) == (
        "activities_made_after_their_end",
        str(shift.activity_id),
    )
    assert "结束之后" in one["why"]


# ---- Holding -----------------------------------------------------------------------------------


async def test_a_held_activity_earns_nothing_until_two_release_it(programme: Programme) -> None:
    shift = await programme.make_shift()
    activity_id, person = shift.activity_id, new_person()
    about = {"activity_id": activity_id, "shift_id": shift.shift_id, "wish_id": None}
    record_id = await programme.record(person, at("2026-01-02 09:00"), 60, **about)
    held = await programme.run(hold_activity, CHECKER, activity_id, Reason.NO_SPREAD)
    again = await programme.run(hold_activity, MAKER, activity_id, Reason.AT_NIGHT)
    assert again == held
    for _ in range(2):
        with pytest.raises(ActivityHeldError):
            await programme.confirm(record_id)
    assert await programme.wallets(person) == (0, 0)
    for own in (MAKER, person):
        with pytest.raises(SecondPersonNeededError):
            await programme.run(release_activity, own, activity_id)
    proposed = await programme.run(release_activity, CHECKER, activity_id)
    assert proposed.released_at is None
    with pytest.raises(SecondPersonNeededError):
        await programme.run(release_activity, CHECKER, activity_id)
    with pytest.raises(ActivityHeldError):
        await programme.confirm(record_id)
    assert [one.activity_id for one in await programme.run(list_held)] == [activity_id]
    await programme.run(release_activity, OTHER_CHECKER, activity_id)
    await programme.confirm(record_id)
    assert (await programme.wallets(person))[0] == 60
    assert await programme.run(list_held) == []
    with pytest.raises(NotFoundError):
        await programme.run(release_activity, THIRD_CHECKER, activity_id)
    with pytest.raises(NotFoundError):
        await programme.run(hold_activity, CHECKER, new_id(), Reason.NO_SPREAD)


async def test_whoever_had_a_hand_in_it_does_not_release_it(programme: Programme) -> None:
    """Who confirmed a record, and who let somebody in or out, though no record came of it yet."""
    shift, guest, gate, door = (
        await programme.make_shift(),
        new_person(),
        new_person(),
        new_person(),
    )
    activity_id, about = shift.activity_id, {"shift_id": shift.shift_id, "person_id": guest}
    await programme.run(check_in, gate, **about, now=shift.starts_at)
    await programme.run(check_out, door, **about, now=shift.ends_at)
    of_it = {"activity_id": activity_id, "shift_id": shift.shift_id, "wish_id": None}
    record_id = await programme.record(new_person(), at("2026-01-02 09:00"), 60, **of_it)
    await programme.confirm(record_id)
    await programme.run(hold_activity, CHECKER, activity_id, Reason.NO_SPREAD)
    for involved in (CHECKER, gate, door, guest):
        with pytest.raises(SecondPersonNeededError):
            await programme.run(release_activity, involved, activity_id)
    await programme.run(release_activity, OTHER_CHECKER, activity_id)
    with pytest.raises(SecondPersonNeededError):
        await programme.run(release_activity, CHECKER, activity_id)
    released = await programme.run(release_activity, THIRD_CHECKER, activity_id)
    assert (released.proposed_by, released.released_by) == (OTHER_CHECKER, THIRD_CHECKER)


async def test_holding_waits_for_an_award_under_way(programme: Programme) -> None:
    """Whoever is first is whole: an award does not slip through beside a hold."""
    shift = await programme.make_shift()
    about = {"activity_id": shift.activity_id, "shift_id": shift.shift_id, "wish_id": None}
    record_id = await programme.record(new_person(), at("2026-01-02 09:00"), 60, **about)
    pool, bank_id = programme.book.pool, programme.book.bank_id
    async with pool.acquire() as connection, connection.transaction():
        await hold_activity(connection, bank_id, CHECKER, shift.activity_id, Reason.NO_SPREAD)
        confirming = asyncio.create_task(programme.confirm(record_id))
        await asyncio.sleep(0.2)
        assert not confirming.done()
    with pytest.raises(ActivityHeldError):
        await confirming
