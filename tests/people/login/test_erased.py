"""Who is erased while they enrol, or get a PIN or a code, has nothing left to log in with."""

import asyncio
from collections.abc import Awaitable, Callable
from uuid import UUID

import asyncpg
import pytest

from tests.people.desk import Desk
from tests.races.checks import hold_up
from timebank.db import Connection
from timebank.domain.errors import LoginFailedError
from timebank.ledger.ids import new_id
from timebank.people.grants import OPERATOR_ID
from timebank.people.login.credentials import NewCode, issue_code, set_password, set_pin
from timebank.people.login.enrolments import complete, invite
from timebank.people.vault import Purpose, erase_person

Way = Callable[[Connection], Awaitable[object]]


async def ways(desk: Desk, person_id: UUID) -> dict[str, Way]:
    """What gives somebody something to log in with."""
    bank_id, invitation = desk.bank_id, await desk.invite(person_id)
    kept = desk.seal(person_id, "password")
    pin, code_id = desk.seal(person_id, "pin"), new_id()
    code = NewCode("12345678", code_id, desk.seal(person_id, str(code_id)))
    return {
        "complete": lambda c: complete(c, bank_id, invitation, 1, kept),
        "invite": lambda c: invite(c, bank_id, person_id, OPERATOR_ID),
        "password": lambda c: set_password(c, bank_id, person_id, kept, None),
        "pin": lambda c: set_pin(c, bank_id, person_id, pin, None, set_by=desk.clerk),
        "code": lambda c: issue_code(c, bank_id, person_id, code, desk.clerk),
    }


@pytest.mark.parametrize("erased_first", [False, True])
@pytest.mark.parametrize("way", ["complete", "invite", "password", "pin", "code"])
async def test_nothing_to_log_in_with_is_left(desk: Desk, way: str, erased_first: bool) -> None:
    person_id = await desk.person()
    give = (await ways(desk, person_id))[way]

    async def erase(connection: Connection) -> None:
        await erase_person(connection, desk.access(Purpose.SUBJECT_ACCESS), person_id)

    first, second = (erase, give) if erased_first else (give, erase)
    async with desk.book.pool.acquire() as holder, desk.book.pool.acquire() as other:
        async with holder.transaction():
            await first(holder)
            waiting = await hold_up(desk.book, other, second(other))
        [error] = await asyncio.gather(waiting, return_exceptions=True)
    if erased_first and way == "complete":
        assert isinstance(error, LoginFailedError)
    elif erased_first:
        assert isinstance(error, asyncpg.CheckViolationError)
        assert error.constraint_name == "person_is_registered"
    else:
        assert error is None
    for table in ("enrolment", "staff_login", "login_secret", "one_time_code"):
        left = f"SELECT count(*) FROM {table} WHERE bank_id = $1 AND party_id = $2"
        assert (table, await desk.book.pool.fetchval(left, desk.bank_id, person_id)) == (table, 0)
