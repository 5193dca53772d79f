"""Kin: guardians who act for minors, and family helpers who look and reserve for residents.

A guardian is named at registration and acts once another person has approved the membership; until
then they only consent to it. They stay one until the minor is 18: until the local midnight of that
day, to the second. A family helper (亲情代办) is named by the resident for a year at most, may
see the passbook and reserve, and never gives; one whom a guardian wanted goes with the guardian.
The birthday stays in the vault: the registry knows until when somebody is surely a minor, a few
days on from the last look, and the vault is asked only about those. Where nobody looks, guardians
are out.
"""

from datetime import date, datetime
from uuid import UUID
from zoneinfo import ZoneInfo

from msgspec import UNSET, Struct
from msgspec.structs import replace

from timebank.db import Connection, Pool, as_struct, load_queries, transaction
from timebank.domain.ages import AgeBand, MinorCap, band_on, known_minor_until, needs_guardian
from timebank.domain.errors import GuardianNeededError, NotFoundError
from timebank.people.consents import ConsentKind, record_consents
from timebank.people.vault import Access, Purpose, read_person
from timebank.people.vault_keys import KeyRing

_QUERIES = load_queries(__package__)


class Guardianship(Struct, frozen=True, kw_only=True):
    """Who acts for whom, from `let_in_at` on; `ended_at` None is in force."""

    minor_id: UUID
    guardian_id: UUID
    sheet: int | None
    named_by: UUID
    named_at: datetime
    let_in_at: datetime | None
    ended_at: datetime | None


class FamilyHelper(Struct, frozen=True, kw_only=True):
    """Who helps whom; it counts until `expires_at` or `ended_at`, and while there is consent."""

    resident_id: UUID
    helper_id: UUID
    named_by: UUID
    named_at: datetime
    expires_at: datetime
    ended_at: datetime | None


# ---- Guardians ---------------------------------------------------------------------------------


async def name_guardian(
    connection: Connection,
    bank_id: int,
    minor_id: UUID,
    guardian_id: UUID,
    *,
    named_by: UUID,
    sheet: int | None = None,
) -> None:
    """Name a guardian; nothing happens if they are one.

    They act at once for a member, else when another person has approved the membership.
    GuardianNeededError, NotFoundError; SecondPersonNeededError for oneself or the sheet's witness.
    """
    await connection.execute(
        _QUERIES["name_guardian"], bank_id, minor_id, guardian_id, sheet, named_by
    )


async def end_guardianship(
    connection: Connection, bank_id: int, minor_id: UUID, guardian_id: UUID
) -> None:
    """End one; NotFoundError if there is none."""
    ended = await connection.fetchval(_QUERIES["end_guardianship"], bank_id, minor_id, guardian_id)
    if ended is None:
        raise NotFoundError


async def list_guardianships(
    connection: Connection, bank_id: int, party_id: UUID
) -> list[Guardianship]:
    """Return those of a minor or of a guardian, oldest first, ended ones too."""
    records = await connection.fetch(_QUERIES["list_guardianships"], bank_id, party_id)
    return [as_struct(record, Guardianship) for record in records]


async def is_guardian(
    connection: Connection,
    bank_id: int,
    guardian_id: UUID,
    minor_id: UUID,
    at: datetime | None = None,
) -> bool:
    """Return whether a guardian acts for a minor now, or at an instant if nothing ends it."""
    found: bool = await connection.fetchval(
        _QUERIES["is_guardian"], bank_id, guardian_id, minor_id, at
    )
    return found


# ---- Minors ------------------------------------------------------------------------------------


async def is_minor(connection: Connection, bank_id: int, resident_id: UUID) -> bool:
    """Return whether a resident was a minor when last looked at: then ask `find_age_band`."""
    return bool(await connection.fetchval(_QUERIES["is_minor"], bank_id, resident_id))


async def lock_resident(connection: Connection, bank_id: int, resident_id: UUID) -> None:
    """Let others who lock them wait until the commit: what is counted until then stays true."""
    await connection.execute(_QUERIES["lock_resident"], bank_id, resident_id)


async def find_age_band(
    pool: Pool, ring: KeyRing, access: Access, resident_id: UUID, today: date, *, zone: ZoneInfo
) -> AgeBand:
    """Return what a resident may do for themselves on this day of the bank, in its time zone.

    The vault is asked about minors only. Who has turned 18 is none from now on; of who has not it
    is known for some days more. One whose birthday is not known counts as a child. NotFoundError,
    PersonErasedError, PersonFrozenError.
    """
    async with transaction(pool) as connection:
        minor = await connection.fetchval(_QUERIES["is_minor"], access.bank_id, resident_id)
    if minor is None:
        raise NotFoundError
    if not minor:
        return AgeBand.ADULT
    asked = replace(access, purpose=Purpose.AGE_RULE)
    data = await read_person(pool, ring, asked, resident_id, ["born_on"])
    born_on = None if data.born_on is UNSET else data.born_on
    async with transaction(pool) as connection:
        return await note_age(
            connection, access.bank_id, resident_id, born_on, today=today, zone=zone
        )


async def note_age(
    connection: Connection,
    bank_id: int,
    resident_id: UUID,
    born_on: date | None,
    *,
    today: date,
    zone: ZoneInfo,
) -> AgeBand:
    """Note what a look at a minor's birthday told, and return it: so long, or no longer."""
    band = AgeBand.CHILD if born_on is None else band_on(born_on, today)
    if band is AgeBand.ADULT:
        await connection.execute(_QUERIES["end_minority"], bank_id, resident_id)
    else:
        until = known_minor_until(born_on, today, zone)
        await connection.execute(_QUERIES["prolong_minority"], bank_id, resident_id, until)
    return band


async def claim_minors(connection: Connection, bank_id: int, today: date, limit: int) -> list[UUID]:
    """Return minors whose age nobody has looked at on this day, for `find_age_band`; once a day."""
    records = await connection.fetch(_QUERIES["claim_minors"], bank_id, today, limit)
    return [record["resident_id"] for record in records]


async def check_may_redeem(
    connection: Connection,
    bank_id: int,
    resident_id: UUID,
    band: AgeBand,
    *,
    actor_id: UUID,
    points: int,
    redeemed_today: int,
) -> None:
    """Raise GuardianNeededError for points that a minor's guardian has to redeem.

    `redeemed_today` are the points that the minor redeemed alone on this local day already, counted
    after `lock_resident` in the transaction that redeems more.
    """
    cap = await find_minor_cap(connection, bank_id)
    if not needs_guardian(band, points, redeemed_today, cap):
        return
    if not await is_guardian(connection, bank_id, actor_id, resident_id):
        raise GuardianNeededError


async def set_minor_cap(
    connection: Connection, bank_id: int, cap: MinorCap, *, set_by: UUID
) -> None:
    """Say what residents from 14 to 17 may redeem alone from now on."""
    await connection.execute(
        _QUERIES["set_minor_cap"], bank_id, cap.points_at_once, cap.points_a_day, set_by
    )


async def find_minor_cap(connection: Connection, bank_id: int) -> MinorCap:
    """Return what they may redeem alone now; nothing while the bank has not said it."""
    record = await connection.fetchrow(_QUERIES["find_minor_cap"], bank_id)
    return MinorCap() if record is None else as_struct(record, MinorCap)


# ---- Family helpers ----------------------------------------------------------------------------


async def name_helper(
    connection: Connection,
    bank_id: int,
    resident_id: UUID,
    helper_id: UUID,
    *,
    expires_at: datetime,
    by_id: UUID,
    named_by: UUID,
    sheet: int | None = None,
) -> None:
    """Name a family helper, and record the consent to it: the resident's, or a guardian's.

    Replaces an earlier naming of the same helper. HelperRefusedError, GuardianNeededError,
    NotFoundError; SecondPersonNeededError for oneself or the sheet's witness.
    """
    await record_consents(
        connection,
        bank_id,
        resident_id,
        {ConsentKind.HELPER: True},
        by_id=by_id,
        recorded_by=named_by,
        sheet=sheet,
    )
    await connection.fetchval(_QUERIES["end_helper"], bank_id, resident_id, helper_id)
    await connection.execute(
        _QUERIES["name_helper"], bank_id, resident_id, helper_id, named_by, expires_at
    )


async def end_helper(
    connection: Connection, bank_id: int, resident_id: UUID, helper_id: UUID
) -> None:
    """End it at once; NotFoundError if they are not named."""
    if await connection.fetchval(_QUERIES["end_helper"], bank_id, resident_id, helper_id) is None:
        raise NotFoundError


async def list_helpers(connection: Connection, bank_id: int, party_id: UUID) -> list[FamilyHelper]:
    """Return those of a resident, or for whom somebody helps, oldest first, ended ones too."""
    records = await connection.fetch(_QUERIES["list_helpers"], bank_id, party_id)
    return [as_struct(record, FamilyHelper) for record in records]


async def may_help(
    connection: Connection,
    bank_id: int,
    helper_id: UUID,
    resident_id: UUID,
    at: datetime | None = None,
) -> bool:
    """Return whether somebody may look and reserve for a resident as a helper now, or then."""
    found: bool = await connection.fetchval(
        _QUERIES["may_help"], bank_id, helper_id, resident_id, at
    )
    return found


async def list_kin(
    connection: Connection, bank_id: int, resident_id: UUID, at: datetime | None = None
) -> frozenset[UUID]:
    """Return who guards or helps a resident now, or then if nothing ends it."""
    records = await connection.fetch(_QUERIES["list_kin"], bank_id, resident_id, at)
    return frozenset(record["party_id"] for record in records)
