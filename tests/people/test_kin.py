"""Guardians and minors, birthdays at the bank's midnight, and family helpers who never give."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from tests.people.desk import Desk, person
from timebank.domain.ages import AgeBand, MinorCap, turns_on
from timebank.domain.errors import (
    ConsentMissingError,
    GuardianNeededError,
    HelperRefusedError,
    NotFoundError,
    SecondPersonNeededError,
)
from timebank.ledger.ids import new_id
from timebank.people.access import Action, Principal, Role
from timebank.people.consents import ConsentKind, record_consents
from timebank.people.kin import (
    check_may_redeem,
    end_guardianship,
    end_helper,
    find_age_band,
    find_minor_cap,
    is_guardian,
    list_guardianships,
    list_helpers,
    list_kin,
    may_help,
    name_guardian,
    name_helper,
    set_minor_cap,
)
from timebank.people.registration import MembershipState, get_membership, local_today
from timebank.people.sheets import SheetKind, enter_sheet, issue_sheets
from timebank.people.targets import check_reaches_party
from timebank.people.vault import Purpose, list_accesses

DAY = timedelta(days=1)
IN_A_MONTH = 30 * DAY


def born_years_ago(desk: Desk, years: int) -> date:
    return local_today(desk.book.bank) - timedelta(days=366 * years)


async def child_of(desk: Desk, guardian_id: Any, years: int = 10) -> Any:
    """An approved minor of this guardian."""
    born_on = born_years_ago(desk, years)
    return await desk.member(person(born_on), guardian_id=guardian_id)


async def band_on(desk: Desk, resident_id: Any, day: date) -> AgeBand:
    zone = desk.book.bank.zone
    return await find_age_band(
        desk.book.pool, desk.ring, desk.access(), resident_id, day, zone=zone
    )


async def named(desk: Desk, resident_id: Any, helper_id: Any, lasts: timedelta, **by: Any) -> None:
    async with desk.at() as connection:
        await name_helper(
            connection,
            desk.bank_id,
            resident_id,
            helper_id,
            expires_at=datetime.now(UTC) + lasts,
            by_id=by.get("by_id", resident_id),
            named_by=by.get("named_by", desk.clerk),
            sheet=by.get("sheet"),
        )


async def helps(desk: Desk, helper_id: Any, resident_id: Any) -> bool:
    async with desk.at() as connection:
        found = await may_help(connection, desk.bank_id, helper_id, resident_id)
        assert (helper_id in await list_kin(connection, desk.bank_id, resident_id)) is found
    return found


# ---- Guardians ---------------------------------------------------------------------------------


async def test_the_guardian_of_a_minor_consents_for_them(desk: Desk) -> None:
    guardian_id = await desk.person()
    minor_id = await child_of(desk, guardian_id)
    async with desk.at() as connection:
        assert await is_guardian(connection, desk.bank_id, guardian_id, minor_id)
        assert await list_kin(connection, desk.bank_id, minor_id) == {guardian_id}
        assert (await get_membership(connection, desk.bank_id, minor_id)).is_minor
        [guardianship] = await list_guardianships(connection, desk.bank_id, guardian_id)
    assert (guardianship.minor_id, guardianship.named_by) == (minor_id, desk.clerk)


async def test_a_minor_does_not_consent_alone_but_may_withdraw(desk: Desk) -> None:
    guardian_id = await desk.person()
    minor_id = await child_of(desk, guardian_id, 16)

    async def say(given: bool, by_id: Any) -> None:
        async with desk.at() as connection:
            said = {ConsentKind.PUBLICATION: given}
            await record_consents(
                connection, desk.bank_id, minor_id, said, by_id=by_id, recorded_by=desk.clerk
            )

    with pytest.raises(GuardianNeededError):
        await say(True, minor_id)
    await say(True, guardian_id)
    await say(False, minor_id)


async def test_a_minor_is_not_approved_without_a_guardian(desk: Desk) -> None:
    with pytest.raises(GuardianNeededError):
        await desk.apply(person(born_years_ago(desk, 10)))
    guardian_id = await desk.person()
    registered = await desk.apply(person(born_years_ago(desk, 10)), guardian_id=guardian_id)
    async with desk.at() as connection:
        await end_guardianship(connection, desk.bank_id, registered.resident_id, guardian_id)
    with pytest.raises(GuardianNeededError):
        await desk.move(registered.resident_id, MembershipState.APPROVED)


async def test_a_guardian_is_a_registered_adult_of_a_minor(desk: Desk) -> None:
    guardian_id, adult_id = await desk.person(), await desk.member()
    minor_id, other_id = await child_of(desk, guardian_id), await child_of(desk, guardian_id)
    for guarded, guarding, error in (
        (minor_id, other_id, GuardianNeededError),
        (adult_id, guardian_id, GuardianNeededError),
        (minor_id, minor_id, GuardianNeededError),
        (minor_id, new_id(), NotFoundError),
        (new_id(), guardian_id, GuardianNeededError),
    ):
        with pytest.raises(error):
            async with desk.at() as connection:
                await name_guardian(
                    connection, desk.bank_id, guarded, guarding, named_by=desk.clerk
                )
    async with desk.at() as connection:
        await name_guardian(connection, desk.bank_id, minor_id, guardian_id, named_by=desk.clerk)
        assert len(await list_guardianships(connection, desk.bank_id, minor_id)) == 1
        with pytest.raises(NotFoundError):
            await end_guardianship(connection, desk.bank_id, minor_id, adult_id)


async def signed(desk: Desk, member_id: Any) -> int:
    """A sheet of this member, typed in by the clerk before the checker."""
    async with desk.at() as connection:
        run = await issue_sheets(
            connection, desk.bank_id, 1, SheetKind.CONSENT,
            issued_to=desk.clerk, issued_by=desk.clerk,
        )  # fmt: skip
        await enter_sheet(
            connection, desk.bank_id, run.first_number, SheetKind.CONSENT,
            member_id=member_id, operator_id=desk.clerk, witness_id=desk.checker,
        )  # fmt: skip
    return run.first_number


async def test_nobody_makes_themselves_a_guardian(desk: Desk) -> None:
    minor_id, other_id = await child_of(desk, await desk.person()), await desk.person()
    sheet = await signed(desk, minor_id)
    for guardian_id, named_by in (
        (desk.clerk, desk.clerk),
        (desk.clerk, other_id),
        (desk.checker, other_id),
    ):
        with pytest.raises(SecondPersonNeededError):
            async with desk.at() as connection:
                await name_guardian(
                    connection, desk.bank_id, minor_id, guardian_id, named_by=named_by, sheet=sheet
                )
    async with desk.at() as connection:
        await name_guardian(
            connection, desk.bank_id, minor_id, other_id, named_by=desk.clerk, sheet=sheet
        )


async def test_nobody_witnesses_a_registration_that_makes_them_a_guardian(desk: Desk) -> None:
    async with desk.at() as connection:
        run = await issue_sheets(
            connection, desk.bank_id, 1, SheetKind.REGISTRATION,
            issued_to=desk.clerk, issued_by=desk.clerk,
        )  # fmt: skip
    child = await desk.apply(
        person(born_years_ago(desk, 10)), guardian_id=desk.checker, sheet=run.first_number
    )
    with pytest.raises(SecondPersonNeededError):
        async with desk.at() as connection:
            await enter_sheet(
                connection, desk.bank_id, run.first_number, SheetKind.REGISTRATION,
                member_id=child.resident_id, operator_id=desk.clerk, witness_id=desk.checker,
            )  # fmt: skip


# ---- Birthdays ---------------------------------------------------------------------------------


@pytest.mark.parametrize("birthday", [(6, 29), (2, 29), (2, 28), (3, 1), (12, 31), (1, 1)])
async def test_the_rules_change_on_birthdays(desk: Desk, birthday: tuple[int, int]) -> None:
    guardian_id = await desk.person()
    born_on = date(2016, *birthday)
    minor_id = await desk.member(person(born_on), guardian_id=guardian_id)
    fourteen, eighteen = turns_on(born_on, 14), turns_on(born_on, 18)
    for day, band in (
        (fourteen - DAY, AgeBand.CHILD),
        (fourteen, AgeBand.YOUTH),
        (eighteen - DAY, AgeBand.YOUTH),
        (eighteen, AgeBand.ADULT),
    ):
        assert await band_on(desk, minor_id, day) is band
    async with desk.at() as connection:
        assert not await is_guardian(connection, desk.bank_id, guardian_id, minor_id)
        assert not (await get_membership(connection, desk.bank_id, minor_id)).is_minor
        reads = [
            line
            for line in await list_accesses(connection, desk.bank_id, minor_id)
            if line.act == "read"
        ]
    assert [(line.purpose, line.fields) for line in reads] == [(Purpose.AGE_RULE, ["born_on"])] * 4
    assert await band_on(desk, minor_id, eighteen) is AgeBand.ADULT


async def test_the_vault_is_not_asked_about_adults(desk: Desk) -> None:
    resident_id = await desk.member()
    assert await band_on(desk, resident_id, date(2026, 1, 1)) is AgeBand.ADULT
    async with desk.at() as connection:
        acts = [line.act for line in await list_accesses(connection, desk.bank_id, resident_id)]
    assert acts == ["register"]
    with pytest.raises(NotFoundError):
        await band_on(desk, new_id(), date(2026, 1, 1))


# ---- What minors redeem ------------------------------------------------------------------------


async def test_minors_redeem_within_the_cap_and_guardians_beyond(desk: Desk) -> None:
    guardian_id = await desk.person()
    minor_id = await child_of(desk, guardian_id)

    async def check(band: AgeBand, actor_id: Any, points: int, today: int = 0) -> None:
        async with desk.at() as connection:
            await check_may_redeem(
                connection,
                desk.bank_id,
                minor_id,
                band,
                actor_id=actor_id,
                points=points,
                redeemed_today=today,
            )

    with pytest.raises(GuardianNeededError):  # no cap was set: nothing is free
        await check(AgeBand.YOUTH, minor_id, 1)
    async with desk.at() as connection:
        await set_minor_cap(connection, desk.bank_id, MinorCap(10, 30), set_by=desk.checker)
    async with desk.at() as connection:
        await set_minor_cap(connection, desk.bank_id, MinorCap(20, 30), set_by=desk.checker)
        assert await find_minor_cap(connection, desk.bank_id) == MinorCap(20, 30)
    await check(AgeBand.YOUTH, minor_id, 20, 10)
    await check(AgeBand.ADULT, minor_id, 10**6)
    for band, points, today in (
        (AgeBand.YOUTH, 21, 0),
        (AgeBand.YOUTH, 20, 11),
        (AgeBand.CHILD, 1, 0),
    ):
        for actor_id in (minor_id, desk.clerk):
            with pytest.raises(GuardianNeededError):
                await check(band, actor_id, points, today)
        await check(band, guardian_id, points, today)


async def test_a_cap_for_once_is_not_above_that_for_a_day(desk: Desk) -> None:
    with pytest.raises(asyncpg.CheckViolationError, match="minor_cap_in_order"):
        async with desk.book.pool.acquire() as connection:
            await set_minor_cap(connection, desk.bank_id, MinorCap(31, 30), set_by=desk.checker)


# ---- Family helpers ----------------------------------------------------------------------------


async def test_a_helper_helps_until_it_ends(desk: Desk) -> None:
    resident_id, helper_id = await desk.member(), await desk.person()
    assert not await helps(desk, helper_id, resident_id)
    await named(desk, resident_id, helper_id, IN_A_MONTH)
    assert await helps(desk, helper_id, resident_id)
    assert not await helps(desk, resident_id, helper_id)
    async with desk.at() as connection:
        await end_helper(connection, desk.bank_id, resident_id, helper_id)
        with pytest.raises(NotFoundError):
            await end_helper(connection, desk.bank_id, resident_id, helper_id)
    assert not await helps(desk, helper_id, resident_id)
    await named(desk, resident_id, helper_id, IN_A_MONTH)
    await named(desk, resident_id, helper_id, 2 * IN_A_MONTH)
    async with desk.at() as connection:
        naming = await list_helpers(connection, desk.bank_id, helper_id)
    assert [one.ended_at is None for one in naming] == [False, False, True]


async def test_kin_see_what_is_a_residents_and_others_see_nothing(desk: Desk) -> None:
    guardian_id, helper_id = await desk.person(), await desk.person()
    minor_id = await child_of(desk, guardian_id)
    await named(desk, minor_id, helper_id, IN_A_MONTH, by_id=guardian_id)

    async def sees(party_id: Any) -> bool:
        caller = Principal(bank_id=desk.bank_id, principal_id=party_id, role=Role.RESIDENT)
        async with desk.at() as connection:
            try:
                await check_reaches_party(connection, caller, Action.READ_ACCOUNT, minor_id)
            except NotFoundError:
                return False
        return True

    assert [await sees(party) for party in (minor_id, guardian_id, helper_id)] == [True] * 3
    assert not await sees(await desk.member())
    async with desk.at() as connection:
        await end_helper(connection, desk.bank_id, minor_id, helper_id)
        await end_guardianship(connection, desk.bank_id, minor_id, guardian_id)
    assert [await sees(party) for party in (guardian_id, helper_id)] == [False] * 2


async def test_a_helper_is_none_after_the_day_that_was_named(desk: Desk) -> None:
    resident_id, helper_id = await desk.member(), await desk.person()
    await named(desk, resident_id, helper_id, timedelta(milliseconds=400))
    assert await helps(desk, helper_id, resident_id)
    await desk.book.pool.execute("SELECT pg_sleep(0.5)")
    assert not await helps(desk, helper_id, resident_id)


async def test_withdrawing_the_consent_ends_it_at_once(desk: Desk) -> None:
    resident_id, helper_id = await desk.member(), await desk.person()
    await named(desk, resident_id, helper_id, IN_A_MONTH)
    async with desk.at() as connection:
        await record_consents(
            connection,
            desk.bank_id,
            resident_id,
            {ConsentKind.HELPER: False},
            by_id=resident_id,
            recorded_by=desk.clerk,
        )
    assert not await helps(desk, helper_id, resident_id)
    with pytest.raises(ConsentMissingError):
        async with desk.at() as connection:
            await connection.execute(
                "INSERT INTO family_helper (bank_id, resident_id, helper_id, named_by, expires_at) "
                "VALUES ($1, $2, $3, $3, clock_timestamp() + interval '1 day')",
                desk.bank_id,
                resident_id,
                await desk.person(),
            )


@pytest.mark.parametrize("lasts", [timedelta(0), -DAY, 367 * DAY])
async def test_a_helper_is_named_for_a_year_at_most(desk: Desk, lasts: timedelta) -> None:
    resident_id, helper_id = await desk.member(), await desk.person()
    with pytest.raises(HelperRefusedError):
        await named(desk, resident_id, helper_id, lasts)
    assert not await helps(desk, helper_id, resident_id)


async def test_who_cannot_be_a_helper(desk: Desk) -> None:
    resident_id = await desk.member()
    with pytest.raises(HelperRefusedError):
        await named(desk, resident_id, resident_id, IN_A_MONTH)
    with pytest.raises(NotFoundError):
        await named(desk, resident_id, new_id(), IN_A_MONTH)
    with pytest.raises(GuardianNeededError):
        await named(desk, resident_id, await desk.person(), IN_A_MONTH, by_id=desk.clerk)
    sheet, other_id = await signed(desk, resident_id), await desk.person()
    for helper_id, named_by in (
        (desk.clerk, desk.clerk),
        (desk.clerk, other_id),
        (desk.checker, other_id),
    ):
        with pytest.raises(SecondPersonNeededError):
            await named(desk, resident_id, helper_id, IN_A_MONTH, named_by=named_by, sheet=sheet)
    await named(desk, resident_id, other_id, IN_A_MONTH, named_by=desk.clerk, sheet=sheet)
    await named(desk, resident_id, desk.checker, IN_A_MONTH, named_by=resident_id)


async def test_the_guardian_names_a_minors_helper(desk: Desk) -> None:
    guardian_id, helper_id = await desk.person(), await desk.person()
    minor_id = await child_of(desk, guardian_id)
    with pytest.raises(GuardianNeededError):
        await named(desk, minor_id, helper_id, IN_A_MONTH)
    await named(desk, minor_id, helper_id, IN_A_MONTH, by_id=guardian_id)
    assert await helps(desk, helper_id, minor_id)
