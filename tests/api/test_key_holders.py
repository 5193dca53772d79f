"""Who holds a key: whoever issued or changed it last, and only as long as they might issue one."""

import asyncio
from uuid import UUID

import asyncpg
import pytest

from tests.api.client import Caller, check_problem, token_for
from tests.api.logins import Door
from tests.api.test_api_keys import (
    SCOPES,
    Merchant,
    counts,
    merchant,
    pass_a_day,
    raw_rotation,
    rotated,
)
from tests.places import open_branch
from timebank.ledger.ids import new_id
from timebank.people.access import Role
from timebank.people.grants import OPERATOR_ID, grant_role, list_grants, revoke_grant

__all__ = ["merchant"]


async def end_right(door: Door, merchant: Merchant, how: str) -> None:
    """Let who runs the merchant no more hold a key of it."""
    if how == "staff":
        await token_for(door.book, Role.COORDINATOR, merchant.party_id)
    elif how == "erased":
        await door.admin.execute(
            "SELECT erase_party($1, $2, $3)", door.book.bank_id, merchant.party_id, OPERATOR_ID
        )
    else:
        async with door.book.pool.acquire() as connection:
            [grant] = await list_grants(connection, door.book.bank_id, merchant.party_id)
            await revoke_grant(connection, door.book.bank_id, grant.grant_id)


@pytest.mark.parametrize("how", ["grant", "staff", "erased"])
async def test_a_key_outlives_the_right_of_its_holder_by_a_day(
    merchant: Merchant, door: Door, how: str
) -> None:
    """They have seen it; meanwhile another of the merchant's people changes it for a new one."""
    other = await merchant.another()
    key, first = await merchant.new_key()
    left, second = await merchant.new_key()
    kept, theirs = await other.new_key()
    changed, before = await merchant.new_key()
    after = await rotated(other.caller, changed)
    itself, own = await merchant.new_key()
    own = await rotated(own, itself)  # whoever had the token before may have made this one
    await end_right(door, merchant, how)
    assert [await counts(one) for one in (first, second, theirs, before, after, own)] == [True] * 6
    for caller, held in ((first, key), (own, itself)):
        check_problem(await caller.post(f"/api-keys/{held}/rotation", {}), "forbidden", 403)
    third = await rotated(other.caller, key)
    await pass_a_day(door)
    assert [await counts(one) for one in (first, second, before, own)] == [False] * 4
    assert [await counts(one) for one in (third, theirs, after)] == [True] * 3
    listed = (await other.caller.get("/api-keys")).json()["data"]
    holders = {one["api_key_id"]: one["rotated_by"] for one in listed}
    new = str(other.party_id)
    assert holders == {str(key): new, str(kept): None, str(changed): new}
    for gone in (left, itself):
        check_problem(await other.caller.post(f"/api-keys/{gone}/rotation", {}), "not_found", 404)


async def test_a_key_stays_while_its_holder_has_another_grant_at_the_merchant(
    merchant: Merchant, door: Door
) -> None:
    _, system = await merchant.new_key()
    async with door.book.pool.acquire() as connection:
        branch_id = await open_branch(door.book)
        again = await grant_role(
            connection,
            door.book.bank_id,
            merchant.party_id,
            Role.MERCHANT,
            branch_id,
            granted_by=OPERATOR_ID,
            approved_by=OPERATOR_ID,
            merchant_id=merchant.merchant_id,
        )
        await revoke_grant(connection, door.book.bank_id, again)
    await pass_a_day(door)
    assert await counts(system)


async def test_of_a_new_key_and_the_end_of_its_issuer_at_once_none_lasts(
    merchant: Merchant, door: Door
) -> None:
    """Whichever comes first: the key is refused, or it ends with the right of who issued it."""
    other = await merchant.another()
    key, _ = await other.new_key()
    body = {"grant_id": str(merchant.grant_id), "scopes": SCOPES, "days": 30}
    *answers, _ = await asyncio.gather(
        merchant.caller.post("/api-keys", body),
        merchant.caller.post(f"/api-keys/{key}/rotation", {}),
        end_right(door, merchant, "staff"),
    )
    await pass_a_day(door)
    for answer in answers:
        assert answer.status_code in {201, 403}
        if answer.status_code == 201:
            assert not await counts(Caller(door.api.http, answer.json()["token"]))


async def test_the_database_hands_no_key_to_whom_it_would_not_issue_one(
    merchant: Merchant, door: Door
) -> None:
    key, system = await merchant.new_key()
    clerk, stranger = new_id(), new_id()
    await token_for(door.book, Role.CLERK, clerk, merchant_id=merchant.merchant_id)
    await token_for(door.book, Role.MERCHANT, stranger, merchant_id=new_id())
    session_id = UUID((await system.get("/sessions/me")).json()["session_id"])
    for by in (OPERATOR_ID, clerk, stranger, new_id()):
        with pytest.raises(asyncpg.CheckViolationError, match="whoever issues a key has seen it"):
            await raw_rotation(door, key, session_id, by)
    system_id = UUID((await system.get("/sessions/me")).json()["party_id"])
    assert not await raw_rotation(door, key, new_id(), system_id)
    assert not await raw_rotation(door, key, None, system_id)
    assert not await raw_rotation(door, new_id(), session_id, merchant.party_id)
    assert await raw_rotation(door, key, session_id, system_id)
