"""A guardian's part ends with the second in which the ward turns 18 on the bank's clocks."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from uuid import UUID
from zoneinfo import ZoneInfo

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.book import Book
from tests.people.desk import Desk, person
from tests.people.test_kin import band_on as band_of
from tests.people.test_kin import child_of, named
from timebank.domain.ages import AgeBand, band_on, known_minor_until, turns_on
from timebank.domain.errors import GuardianNeededError, NotFoundError, PersonFrozenError
from timebank.domain.personal import PersonalData
from timebank.people.access import Action, Principal, Role
from timebank.people.consents import ConsentKind, record_consents
from timebank.people.kin import (
    find_age_band,
    is_guardian,
    list_guardianships,
    list_kin,
    may_help,
)
from timebank.people.registration import (
    MembershipState,
    apply_for_membership,
    complete_correction,
    local_today,
)
from timebank.people.targets import check_reaches_party
from timebank.people.vault import correct_person, freeze_person

SECOND, DAY = timedelta(seconds=1), timedelta(days=1)
ZONES = ["Asia/Shanghai", "America/New_York", "Pacific/Apia", "Asia/Beirut", "UTC"]


def midnight(day: date, zone: str) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone)).astimezone(UTC)


def born_to_turn_18(day: date) -> date:
    """The last birthday of those who turn 18 on a day that is no 29 February."""
    days = (day - timedelta(days=back) for back in range(6570, 6580))
    return next(born_on for born_on in days if turns_on(born_on, 18) == day)


# ---- Until when it is known ----------------------------------------------------------------------


@given(st.dates(date(1990, 1, 1), date(2030, 12, 31)), st.integers(0, 7000), st.sampled_from(ZONES))
def test_what_is_known_is_true_to_the_second(born_on: date, days: int, zone: str) -> None:
    """At every instant before it they are a minor, and it never says more than it must."""
    today = min(born_on + timedelta(days=days), turns_on(born_on, 18) - DAY)
    until = known_minor_until(born_on, today, ZoneInfo(zone))
    last = (until - SECOND).astimezone(ZoneInfo(zone)).date()
    assert band_on(born_on, last) is not AgeBand.ADULT
    assert last - today <= timedelta(days=3)
    if (turns_on(born_on, 18) - today).days > 4:  # who looks learns nothing of the birthday
        assert until == known_minor_until(None, today, ZoneInfo(zone))


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize(
    ("born_on", "eighteen"),
    [
        (date(2008, 2, 29), date(2026, 3, 1)),
        (date(2008, 3, 1), date(2026, 3, 1)),
        (date(2008, 2, 28), date(2026, 2, 28)),
        (date(2010, 2, 28), date(2028, 2, 28)),
        (date(2010, 3, 1), date(2028, 3, 1)),
        (date(2007, 12, 31), date(2025, 12, 31)),
        (date(2008, 1, 1), date(2026, 1, 1)),
        (date(2008, 3, 29), date(2026, 3, 29)),  # in Beirut this day begins at one o'clock
    ],
)
def test_it_ends_at_local_midnight(born_on: date, eighteen: date, zone: str) -> None:
    for ahead in (1, 2, 3):
        until = known_minor_until(born_on, eighteen - ahead * DAY, ZoneInfo(zone))
        assert until == midnight(eighteen, zone)
        assert until.astimezone(ZoneInfo(zone)).date() == eighteen
        assert (until - SECOND).astimezone(ZoneInfo(zone)).date() == eighteen - DAY


# ---- What a guardian may then --------------------------------------------------------------------


@dataclass(frozen=True)
class Ward:
    """A minor, with a guardian and a helper whom the guardian wanted."""

    desk: Desk
    ward_id: UUID
    guardian_id: UUID
    helper_id: UUID

    @classmethod
    async def of(cls, desk: Desk, born_on: date) -> "Ward":
        guardian_id, helper_id = await desk.person(), await desk.person()
        ward_id = await desk.member(person(born_on), guardian_id=guardian_id)
        await named(desk, ward_id, helper_id, 90 * DAY, by_id=guardian_id)
        return cls(desk, ward_id, guardian_id, helper_id)

    async def look(self, day: date) -> AgeBand:
        """What the job does on a day."""
        bank = self.desk.book.bank
        pool, ring, access = self.desk.book.pool, self.desk.ring, self.desk.access()
        return await find_age_band(pool, ring, access, self.ward_id, day, zone=bank.zone)

    async def kin(self, at: datetime) -> set[str]:
        """Who is let in at an instant, by every way of asking."""
        names = {self.guardian_id: "guardian", self.helper_id: "helper"}
        bank_id = self.desk.bank_id
        async with self.desk.at() as connection:
            found = await list_kin(connection, bank_id, self.ward_id, at)
            guards = await is_guardian(connection, bank_id, self.guardian_id, self.ward_id, at)
            helps = await may_help(connection, bank_id, self.helper_id, self.ward_id, at)
        assert ((self.guardian_id in found), (self.helper_id in found)) == (guards, helps)
        return {names[one] for one in found}


BOTH = {"guardian", "helper"}
CHILD = date(2014, 1, 9)


@pytest.mark.parametrize("zone", ["Asia/Shanghai", "America/New_York"])
async def test_at_midnight_and_not_a_second_later(
    worker_pool: asyncpg.Pool, tmp_path: Path, zone: str
) -> None:
    """Though nobody has looked since the day before."""
    desk = await Desk.open(await Book.open(worker_pool, time_zone=zone), tmp_path)
    eighteen = local_today(desk.book.bank) + 5 * DAY
    ward = await Ward.of(desk, born_to_turn_18(eighteen))
    assert await ward.look(eighteen - DAY) is AgeBand.YOUTH
    begins = midnight(eighteen, zone)
    assert await ward.kin(begins - SECOND) == BOTH
    assert await ward.kin(begins - timedelta(microseconds=1)) == BOTH
    for after in (timedelta(0), SECOND, timedelta(hours=3), 400 * DAY):
        assert await ward.kin(begins + after) == set()
    assert await ward.look(eighteen) is AgeBand.ADULT
    assert await ward.kin(begins - DAY) == set()


async def test_a_helper_whom_the_guardian_wanted_goes_with_the_guardian(desk: Desk) -> None:
    eighteen = local_today(desk.book.bank) + 6 * DAY
    ward = await Ward.of(desk, born_to_turn_18(eighteen))
    assert await ward.look(eighteen - 2 * DAY) is AgeBand.YOUTH
    begins = midnight(eighteen, "Asia/Shanghai")
    assert await ward.kin(begins - SECOND) == BOTH
    assert await ward.kin(begins) == set()


async def test_the_registry_does_not_tell_a_birthday_before_it_comes(desk: Desk) -> None:
    today = local_today(desk.book.bank)
    eighteen = today + 6 * DAY
    ward, other = await Ward.of(desk, born_to_turn_18(eighteen)), await Ward.of(desk, CHILD)

    async def until(one: Ward) -> datetime:
        found: datetime = await desk.book.pool.fetchval(
            "SELECT minor_until FROM resident WHERE resident_id = $1", one.ward_id
        )
        return found

    for day in (today, today + DAY, eighteen - 4 * DAY):
        for one in (ward, other):
            await one.look(day)
        assert await until(ward) == await until(other)
    for one in (ward, other):
        await one.look(eighteen - 3 * DAY)
    assert await until(ward) == midnight(eighteen, "Asia/Shanghai") < await until(other)


async def test_where_nobody_looks_guardians_are_out(desk: Desk) -> None:
    """A service that stood still, or lost its key, lets nobody in whose part may have ended."""
    ward = await Ward.of(desk, date(2014, 1, 9))
    today = local_today(desk.book.bank)
    ends = midnight(today + 4 * DAY, "Asia/Shanghai")
    assert await ward.kin(ends - SECOND) == BOTH
    assert await ward.kin(ends) == set()
    await ward.look(today + DAY)
    assert await ward.kin(ends) == BOTH


async def test_a_helper_whom_the_ward_wants_stays(desk: Desk) -> None:
    ward = await Ward.of(desk, date(2012, 7, 15))
    await ward.look(date(2030, 7, 15))
    await named(desk, ward.ward_id, ward.helper_id, 90 * DAY)
    assert await ward.kin(datetime.now(UTC)) == {"helper"}


async def reaches(ward: Ward, who: UUID) -> bool:
    """Whether one is let in now, as every operation asks."""
    caller = Principal(bank_id=ward.desk.bank_id, principal_id=who, role=Role.RESIDENT)
    async with ward.desk.at() as connection:
        try:
            await check_reaches_party(connection, caller, Action.READ_ACCOUNT, ward.ward_id)
        except NotFoundError:
            return False
    return True


async def consents(ward: Ward, kind: ConsentKind, by_id: UUID) -> None:
    async with ward.desk.at() as connection:
        await record_consents(
            connection,
            ward.desk.bank_id,
            ward.ward_id,
            {kind: True},
            by_id=by_id,
            recorded_by=ward.desk.clerk,
        )


async def test_who_comes_back_as_an_adult_has_no_guardian(desk: Desk) -> None:
    """The job no longer finds them, so the application itself ends the guardian's part."""
    guardian_id = await desk.person()
    ward_id = await child_of(desk, guardian_id, years=17)
    await desk.move(ward_id, MembershipState.LEFT)
    async with desk.at() as connection:
        await apply_for_membership(connection, desk.bank_id, {ward_id: None}, desk.clerk)
        [guardianship] = await list_guardianships(connection, desk.bank_id, ward_id)
        behind = await connection.fetch(
            "SELECT list_persons_behind($1, $2) AS party_id", desk.bank_id, ward_id
        )
    assert guardianship.ended_at is not None
    assert [one["party_id"] for one in behind] == [ward_id]


async def test_the_clock_of_the_database_decides(desk: Desk) -> None:
    """No job ran, nobody asked: the second passes, and every decision is another."""
    ward = await Ward.of(desk, date(2014, 1, 9))
    ends = datetime.now(UTC) + timedelta(seconds=2)
    await desk.book.pool.execute(
        "SELECT prolong_minority($1, $2, $3)", desk.bank_id, ward.ward_id, ends
    )
    assert await reaches(ward, ward.guardian_id)
    assert await reaches(ward, ward.helper_id)
    await consents(ward, ConsentKind.PUBLICATION, ward.guardian_id)
    await asyncio.sleep((ends - datetime.now(UTC)).total_seconds() + 0.05)
    assert not await reaches(ward, ward.guardian_id)
    assert not await reaches(ward, ward.helper_id)
    assert await reaches(ward, ward.ward_id)
    with pytest.raises(GuardianNeededError):
        await consents(ward, ConsentKind.PUBLICATION, ward.guardian_id)


async def test_a_birthday_put_right_moves_the_midnight(desk: Desk) -> None:
    today = local_today(desk.book.bank)
    ward = await Ward.of(desk, date(2014, 1, 9))
    tomorrow = today + DAY
    born_on = born_to_turn_18(tomorrow)
    async with desk.at() as connection:
        checked = await complete_correction(
            connection, desk.book.bank, ward.ward_id, PersonalData(born_on=born_on)
        )
        await correct_person(connection, desk.ring, desk.access(), ward.ward_id, checked)
    assert await ward.kin(midnight(tomorrow, "Asia/Shanghai") - SECOND) == BOTH
    assert await ward.kin(midnight(tomorrow, "Asia/Shanghai")) == set()


async def test_of_the_frozen_nobody_learns_more(desk: Desk) -> None:
    """Their birthday cannot be looked at, so nobody guards them when the days are over."""
    ward = await Ward.of(desk, date(2014, 1, 9))
    async with desk.at() as connection:
        await freeze_person(connection, desk.access(), ward.ward_id, None)
    today = local_today(desk.book.bank)
    with pytest.raises(PersonFrozenError):
        await ward.look(today + DAY)
    assert await ward.kin(midnight(today + 4 * DAY, "Asia/Shanghai")) == set()


async def test_the_day_is_the_banks(desk: Desk) -> None:
    """One minute before and after midnight in Shanghai, which is 16:00 UTC."""
    zone = desk.book.bank.zone
    guardian_id = await desk.person()
    minor_id = await desk.member(person(date(2012, 11, 26)), guardian_id=guardian_id)
    midnight = datetime(2026, 11, 25, 16, tzinfo=UTC)
    for instant, band in (
        (midnight - timedelta(minutes=1), AgeBand.CHILD),
        (midnight, AgeBand.YOUTH),
    ):
        assert await band_of(desk, minor_id, instant.astimezone(zone).date()) is band


async def test_a_minor_is_looked_at(desk: Desk) -> None:
    """Whoever writes: there is no minor of whom it is known for ever."""
    ward_id = await child_of(desk, await desk.person())
    with pytest.raises(asyncpg.CheckViolationError, match="resident_minor_until_known"):
        await desk.book.pool.execute("SELECT prolong_minority($1, $2, NULL)", desk.bank_id, ward_id)
