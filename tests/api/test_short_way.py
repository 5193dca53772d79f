"""A balance that is asked for again is answered the short way: the same answer, no less checked."""

import inspect
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
from litestar import Litestar

from tests.api.client import Api, Caller, check_problem, token_for
from tests.places import open_branch, place
from timebank.api.desk import Desk
from timebank.app import operations
from timebank.ledger.ids import new_id
from timebank.people.access import Action, Role, SessionMethod
from timebank.people.grants import list_grants, revoke_grant
from timebank.people.sessions import (
    SessionLimits,
    hash_token,
    open_session,
    revoke_sessions,
    revoke_token,
)

SAME = {"X-Request-Id": "abcdefab-cdef-abcd-efab-cdefabcdefab"}


async def ask(caller: Caller, account_id: UUID, **sent: str) -> httpx.Response:
    return await caller.get(f"/accounts/{account_id}/balance", {**SAME, **sent})


async def ask_with_a_query(caller: Caller, account_id: UUID, **sent: str) -> httpx.Response:
    """Ask the long way: a query that names nothing is a query."""
    path = f"/api/v1/accounts/{account_id}/balance?&"
    answer = await caller.http.get(path, headers={**caller.headers, **SAME, **sent})
    assert answer.request.url.query == b"&"
    return answer


async def holding(app: Litestar, caller: Caller, account_id: UUID) -> Any:
    """What the desk answers the short way, None where it asks for the long one."""
    desk: Desk = app.state.desk
    return await desk.holding_at_once(str(caller.token), account_id)


def shown(answer: httpx.Response) -> tuple[int, bytes, list[tuple[str, str]]]:
    return answer.status_code, answer.content, sorted(answer.headers.items())


async def test_both_ways_give_the_same_answer(app: Litestar, api: Api) -> None:
    resident = await api.resident(points=7)
    minutes = await api.book.open_account(unit="hours", owner_id=resident.resident_id)
    for caller in (resident.caller, api.system, api.auditor):
        for account_id in (resident.wallet, minutes):
            for tag in ("", '"0"', 'W/"1"', "*"):
                given = {"If-None-Match": tag} if tag else {}
                one = await ask_with_a_query(caller, account_id, **given)
                assert await holding(app, caller, account_id) is not None
                other = await ask(caller, account_id, **given)
                assert shown(one) == shown(other)


async def test_the_short_way_sees_what_was_just_posted(app: Litestar, api: Api) -> None:
    resident = await api.resident(points=1)
    for total in range(1, 5):
        assert (await ask(resident.caller, resident.wallet)).json()["points"] == total
        await api.book.post_all(api.book.award(resident.wallet, 1))
    assert (await holding(app, resident.caller, resident.wallet)).balance == 5


async def test_others_accounts_stay_absent_and_the_try_is_noted(api: Api) -> None:
    mine, other = await api.resident(), await api.resident(points=1)
    assert (await ask(mine.caller, mine.wallet)).status_code == 200
    seen = set()
    for account_id in (other.wallet, new_id()):
        answer = await ask(mine.caller, account_id)
        check_problem(answer, "not_found")
        seen.add(answer.text.replace(str(account_id), "…"))
    assert len(seen) == 1
    log = (await api.auditor.get("/audit-log", actor_id=mine.resident_id)).json()["data"]
    assert [entry["result"] for entry in log] == ["not_found"] * 2


async def revoke_the_token(api: Api, caller: Caller, principal_id: UUID) -> None:
    async with api.book.pool.acquire() as connection:
        assert await revoke_token(connection, str(caller.token))


async def revoke_all_sessions(api: Api, caller: Caller, principal_id: UUID) -> None:
    async with api.book.pool.acquire() as connection:
        assert await revoke_sessions(connection, api.book.bank_id, principal_id) == 1


async def revoke_the_role(api: Api, caller: Caller, principal_id: UUID) -> None:
    async with api.book.pool.acquire() as connection:
        [grant] = await list_grants(connection, api.book.bank_id, principal_id)
        await revoke_grant(connection, api.book.bank_id, grant.grant_id)


@pytest.mark.parametrize("end", [revoke_the_token, revoke_all_sessions, revoke_the_role])
async def test_who_was_known_and_is_no_more_is_refused_at_once(
    api: Api, app: Litestar, end: Callable[[Api, Caller, UUID], Awaitable[None]]
) -> None:
    wallet, auditor = await api.book.open_account(balance=1), new_id()
    caller = Caller(api.http, await token_for(api.book, Role.AUDITOR, auditor))
    for _ in range(2):
        assert (await ask(caller, wallet)).status_code == 200
    assert await holding(app, caller, wallet) is not None
    await end(api, caller, auditor)
    assert await holding(app, caller, wallet) is None
    check_problem(await ask(caller, wallet), "unauthenticated")


async def test_a_session_out_of_use_ends_and_use_keeps_it(app: Litestar, api: Api) -> None:
    resident = await api.resident(points=1)
    async with api.book.pool.acquire() as connection:
        token = await open_session(
            connection,
            api.book.bank_id,
            resident.resident_id,
            Role.RESIDENT,
            method=SessionMethod.PIN,
            limits=SessionLimits(timedelta(days=1), timedelta(minutes=30)),
        )
    caller = Caller(api.http, token)

    async def age(minutes: int) -> None:
        async with api.book.pool.acquire() as connection:
            await connection.execute(
                "UPDATE session SET last_used_at = last_used_at - $2::interval "
                "WHERE token_hash = $1",
                hash_token(token),
                timedelta(minutes=minutes),
            )

    assert (await ask(caller, resident.wallet)).status_code == 200
    for _ in range(3):
        await age(20)
        assert await holding(app, caller, resident.wallet) is not None
    await age(31)
    check_problem(await ask(caller, resident.wallet), "unauthenticated")


async def test_a_session_for_other_things_is_refused_both_ways(api: Api) -> None:
    resident = await api.resident(points=1)
    async with api.book.pool.acquire() as connection:
        token = await open_session(
            connection,
            api.book.bank_id,
            resident.resident_id,
            Role.RESIDENT,
            scopes=[Action.READ_JOURNAL],
        )
    for _ in range(2):
        check_problem(await ask(Caller(api.http, token), resident.wallet), "forbidden")


async def test_who_is_of_a_branch_is_looked_up_each_time(app: Litestar, api: Api) -> None:
    here, there = await open_branch(api.book), await open_branch(api.book)
    resident = await api.resident(points=1)
    await place(api.book, resident.resident_id, here)
    caller = Caller(api.http, await token_for(api.book, Role.COORDINATOR, branch_id=here))
    for _ in range(2):
        assert (await ask(caller, resident.wallet)).status_code == 200
        assert await holding(app, caller, resident.wallet) is None
    await place(api.book, resident.resident_id, there)
    check_problem(await ask(caller, resident.wallet), "not_found")


def test_what_is_answered_directly_has_nothing_that_litestar_would_have_read(app: Litestar) -> None:
    direct = [(path, handler) for path, handler in operations(app) if handler.opt.get("direct")]
    assert direct
    for path, handler in direct:
        assert "{" not in path
        parameters = set(inspect.signature(handler.fn).parameters)
        assert parameters == {"request", "data", "idempotency_key"}


async def test_a_direct_answer_looks_as_any_other(api: Api) -> None:
    wallet = await api.book.open_account()
    body = {"account_id": str(wallet), "points": 3}
    first, again = [await api.system.post("/awards", body, key="k", headers=SAME) for _ in range(2)]
    assert (first.status_code, first.json()) == (201, again.json())
    usual = {
        "cache-control": "private, no-store",
        "content-type": "application/json",
        "x-request-id": SAME["X-Request-Id"],
    }
    assert dict(first.headers) == {**usual, "content-length": str(len(first.content))}
    assert dict(again.headers) == {**dict(first.headers), "idempotent-replayed": "true"}
    check_problem(await api.system.post("/awards?points=1", {}, headers=SAME), "invalid_input")
    check_problem(await api.auditor.post("/awards", body, headers=SAME), "forbidden")
