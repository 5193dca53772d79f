"""What holds of a row whoever writes it: statements that the app's own role could send."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from tests.people.desk import Desk
from tests.people.test_kin import IN_A_MONTH, child_of, named
from timebank.db import Connection
from timebank.domain.errors import EnrolmentNotConfirmedError
from timebank.ledger.ids import new_id
from timebank.people.access import Action, Role, SessionMethod
from timebank.people.grants import OPERATOR_ID, get_grant, grant_role, revoke_grant
from timebank.people.kin import end_guardianship, end_helper
from timebank.people.login.api_keys import issue_key, revoke_key
from timebank.people.parties import PartyKind, register_parties
from timebank.people.sessions import open_session, revoke_token

ENDED = {
    "role_grant": "revoked_at",
    "session": "revoked_at",
    "api_key": "revoked_at",
    "guardianship": "ended_at",
    "family_helper": "ended_at",
    "family_member": "left_at",
}


async def granted(
    desk: Desk, connection: Connection, role: Role, kind: PartyKind, **rest: Any
) -> tuple[Any, Any]:
    """Register a party that has this role; its id and its grant's."""
    party_id = new_id()
    await register_parties(connection, desk.bank_id, kind, [party_id])
    return party_id, await grant_role(
        connection,
        desk.bank_id,
        party_id,
        role,
        None,
        granted_by=OPERATOR_ID,
        approved_by=OPERATOR_ID,
        **rest,
    )


async def end_everything(desk: Desk) -> None:
    """Have something of each kind, and end it."""
    guardian_id, helper_id = await desk.person(), await desk.person()
    child_id, resident_id = await child_of(desk, guardian_id), await desk.member()
    await named(desk, resident_id, helper_id, IN_A_MONTH)
    bank_id, merchant_id, family_id = desk.bank_id, new_id(), new_id()
    async with desk.at() as connection:
        await end_guardianship(connection, bank_id, child_id, guardian_id)
        await end_helper(connection, bank_id, resident_id, helper_id)
        person_id, grant_id = await granted(desk, connection, Role.COORDINATOR, PartyKind.PERSON)
        token = await open_session(
            connection, bank_id, person_id, Role.COORDINATOR, grant_id=grant_id
        )
        await revoke_token(connection, token)
        await revoke_grant(connection, bank_id, grant_id)
        at_shop: dict[str, Any] = {"merchant_id": merchant_id}
        manager_id, _ = await granted(desk, connection, Role.MERCHANT, PartyKind.PERSON, **at_shop)
        _, till = await granted(desk, connection, Role.MERCHANT, PartyKind.SYSTEM, **at_shop)
        key_id, _ = await issue_key(
            connection,
            bank_id,
            await get_grant(connection, bank_id, till),
            scopes=[Action.READ_WEBHOOKS],
            lifetime_days=1,
            issued_by=manager_id,
        )
        await revoke_key(connection, bank_id, key_id)
        await register_parties(connection, bank_id, PartyKind.FAMILY, [family_id])
        of_family = (bank_id, family_id, resident_id)
        await connection.execute("SELECT found_family($1, $2, $3)", *of_family)
        await connection.execute(
            "UPDATE family_member SET left_at = clock_timestamp() "
            "WHERE (bank_id, family_id, member_id) = ($1, $2, $3)",
            *of_family,
        )


async def test_what_ended_stays_ended(desk: Desk) -> None:
    await end_everything(desk)
    for table, column in ENDED.items():
        for value in ("NULL", f"{column} + interval '1 day'"):
            with pytest.raises(asyncpg.CheckViolationError) as caught:
                await desk.book.pool.execute(
                    f"UPDATE {table} SET {column} = {value} "
                    f"WHERE bank_id = $1 AND {column} IS NOT NULL",
                    desk.bank_id,
                )
            assert (table, caught.value.constraint_name) == (table, "what_ended_stays_ended")


FOR_LONG = ["'infinity'", "clock_timestamp() + interval '9 days'"]


@pytest.mark.parametrize("until", FOR_LONG)
async def test_nobody_is_known_to_be_a_minor_for_long(desk: Desk, until: str) -> None:
    child_id = await child_of(desk, await desk.person())
    await desk.book.pool.execute(
        f"SELECT prolong_minority($1, $2, {until})", desk.bank_id, child_id
    )
    believed = await desk.book.pool.fetchval(
        "SELECT minor_until FROM resident WHERE resident_id = $1", child_id
    )
    assert believed < datetime.now(UTC) + timedelta(days=8, minutes=1)
    for statement in (
        "INSERT INTO resident (bank_id, resident_id, is_minor, minor_until) "
        f"VALUES ($1, $2, true, {until})",
        "SELECT register_residents($1, ARRAY[$2::uuid], ARRAY[NULL], "
        f"ARRAY[({until})::timestamptz], $2)",
    ):
        with pytest.raises(asyncpg.CheckViolationError) as caught:
            await desk.book.pool.execute(statement, desk.bank_id, new_id())
        assert caught.value.constraint_name == "minor_is_looked_at_again"


ANOTHER: dict[str, Callable[[dict[str, Any], UUID], dict[str, Any]]] = {
    "party": lambda said, other_id: said | {"party_id": other_id},
    "role": lambda said, _: said | {"role": Role.AUDITOR},
    "grant": lambda said, _: said | {"grant_id": new_id()},
}


@pytest.mark.parametrize("what", ANOTHER)
@pytest.mark.parametrize("method", [SessionMethod.TOKEN, SessionMethod.PASSWORD])
async def test_a_session_is_of_its_grant(desk: Desk, what: str, method: SessionMethod) -> None:
    async with desk.at() as connection:
        person_id, grant_id = await granted(
            desk, connection, Role.CLERK, PartyKind.PERSON, merchant_id=new_id()
        )
    other_id = await desk.person()
    for party_id in (person_id, other_id):
        await desk.enrol(party_id)
    said = {"party_id": person_id, "role": Role.CLERK, "grant_id": grant_id, "method": method}
    async with desk.at() as connection:
        await open_session(connection, desk.bank_id, **said)
    with pytest.raises(asyncpg.CheckViolationError) as caught:
        async with desk.book.pool.acquire() as connection:
            await open_session(connection, desk.bank_id, **ANOTHER[what](said, other_id))
    assert caught.value.constraint_name == "session_is_of_its_grant"


async def test_a_revoked_grant_opens_no_session(desk: Desk) -> None:
    async with desk.at() as connection:
        person_id, grant_id = await granted(desk, connection, Role.COORDINATOR, PartyKind.PERSON)
        await revoke_grant(connection, desk.bank_id, grant_id)
    with pytest.raises(asyncpg.CheckViolationError):
        async with desk.book.pool.acquire() as connection:
            await open_session(
                connection, desk.bank_id, person_id, Role.COORDINATOR, grant_id=grant_id
            )


REFUSED_TO_SYSTEMS = {
    SessionMethod.TOKEN: "systems_token_is_a_key",
    SessionMethod.PIN: "session_by_card_is_residents",
    SessionMethod.CODE: "session_by_card_is_residents",
    SessionMethod.PASSWORD: "systems_token_is_a_key",
}


@pytest.mark.parametrize("method", SessionMethod)
@pytest.mark.parametrize("role", [Role.MERCHANT, Role.CLERK])
async def test_a_merchants_system_has_no_token_that_is_no_key(
    desk: Desk, role: Role, method: SessionMethod
) -> None:
    """Not even if somebody enrolled for it."""
    async with desk.at() as connection:
        system_id, grant_id = await granted(
            desk, connection, role, PartyKind.SYSTEM, merchant_id=new_id()
        )
    await desk.enrol(system_id)
    with pytest.raises(asyncpg.CheckViolationError) as caught:
        async with desk.book.pool.acquire() as connection:
            await open_session(
                connection, desk.bank_id, system_id, role, grant_id=grant_id, method=method
            )
    assert caught.value.constraint_name == REFUSED_TO_SYSTEMS[method]


async def test_by_password_comes_who_has_a_login_in_force(desk: Desk) -> None:
    async with desk.at() as connection:
        person_id, grant_id = await granted(desk, connection, Role.COORDINATOR, PartyKind.PERSON)
    said = {"role": Role.COORDINATOR, "grant_id": grant_id, "method": SessionMethod.PASSWORD}

    async def log_in(**more: Any) -> None:
        async with desk.at() as connection:
            await open_session(connection, desk.bank_id, person_id, **said | more)

    with pytest.raises(EnrolmentNotConfirmedError):
        await log_in()
    await desk.enrol(person_id)
    await log_in()
    with pytest.raises(asyncpg.CheckViolationError) as caught:
        await log_in(role=Role.RESIDENT, grant_id=None)
    assert caught.value.constraint_name == "session_by_card_is_residents"
