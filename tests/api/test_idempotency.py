"""Every write under its Idempotency-Key: once, with the same answer, whatever is repeated."""

import asyncio
from typing import Any
from uuid import UUID

import httpx
import pytest

from tests.api.client import Api, Caller, check_only_fault, check_problem, new_key, token_for
from tests.places import open_branch, place
from timebank.domain.ledger import AccountKind
from timebank.ledger.ids import new_id
from timebank.people.access import Role

WRITES = ["account", "award", "transfer", "batch", "reversal"]


async def a_write(api: Api, write: str) -> tuple[str, dict[str, Any]]:
    """Return path and body of a write that succeeds once."""
    wallet = await api.book.open_account(balance=5)
    award = {"account_id": str(wallet), "points": 1}
    if write == "account":
        return "/accounts", {"kind": "pool", "unit": "hours"}
    if write == "award":
        return "/awards", award
    if write == "transfer":
        pool = await api.book.open_account(AccountKind.POOL, balance=10)
        return "/transfers", {
            "from_account_id": str(pool),
            "to_account_id": str(wallet),
            "points": 2,
        }
    if write == "batch":
        return "/batches", {"rows": [{"type": "award", **award}] * 3}
    posted = (await api.system.post("/awards", award)).json()
    return f"/transfers/{posted['transfer_id']}/reversal", {"reason": "duplicate"}


@pytest.mark.parametrize("write", WRITES)
async def test_a_key_is_needed(api: Api, write: str) -> None:
    path, body = await a_write(api, write)
    before = await api.trial_balance()
    for key in ("", None):
        headers = api.system.headers | ({} if key is None else {"Idempotency-Key": key})
        answer = await api.http.post(f"/api/v1{path}", json=body, headers=headers)
        check_problem(answer, "idempotency_key_missing", 400)
    assert await api.trial_balance() == before


@pytest.mark.parametrize("key", ["x" * 256, "a b", "a\tb", "键".encode(), b"\xff", b"a\x7f"])
async def test_a_key_is_visible_ascii_of_at_most_255(api: Api, key: str | bytes) -> None:
    answer = await api.system.post_raw("/awards", b"{}", {"Idempotency-Key": key})
    check_only_fault(answer, "Idempotency-Key")


@pytest.mark.parametrize("key", ["x", "x" * 255, '"quoted"', "~!/?%&"])
async def test_every_fit_key_is_taken(api: Api, key: str) -> None:
    path, body = await a_write(api, "award")
    first, again = [await api.system.post(path, body, key=key) for _ in range(2)]
    assert (first.status_code, again.content) == (201, first.content)


@pytest.mark.parametrize("write", WRITES)
async def test_a_repeat_gets_the_same_bytes_and_does_nothing(api: Api, write: str) -> None:
    path, body = await a_write(api, write)
    key = new_key()
    first = await api.system.post(path, body, key=key)
    assert first.status_code in {200, 201}
    assert "idempotent-replayed" not in first.headers
    done = await api.trial_balance()
    for _ in range(2):
        again = await api.system.post(path, body, key=key)
        assert (again.status_code, again.content) == (first.status_code, first.content)
        assert again.headers["idempotent-replayed"] == "true"
    assert await api.trial_balance() == done


@pytest.mark.parametrize("write", WRITES)
async def test_a_key_cannot_be_used_for_another_request(api: Api, write: str) -> None:
    path, body = await a_write(api, write)
    key = new_key()
    first = await api.system.post(path, body, key=key)
    done = await api.trial_balance()
    for other_path, other_body in [await a_write(api, other) for other in WRITES]:
        done = await api.trial_balance()
        if (other_path, other_body) != (path, body):
            answer = await api.system.post(other_path, other_body, key=key)
            check_problem(answer, "idempotency_key_reused", 422)
            assert await api.trial_balance() == done
    query = await api.system.post(f"{path}?again=1", body, key=key)
    check_only_fault(query, "again")
    assert (await api.system.post(path, body, key=key)).content == first.content


@pytest.mark.parametrize("write", WRITES)
async def test_the_key_of_another_caller_is_another_key(api: Api, write: str) -> None:
    key = new_key()
    second = Caller(api.http, await token_for(api.book, Role.INTEGRATOR))
    path, body = await a_write(api, write)
    assert (await api.system.post(path, body, key=key)).status_code in {200, 201}
    answer = await second.post(path, body, key=key)
    assert "idempotent-replayed" not in answer.headers
    assert answer.status_code in ({409} if write in {"account", "reversal"} else {200, 201})


async def test_another_token_of_the_same_person_is_the_same_caller(api: Api) -> None:
    person, key = new_id(), new_key()
    path, body = await a_write(api, "award")
    answers = [
        await Caller(api.http, await token_for(api.book, Role.INTEGRATOR, person)).post(
            path, body, key=key
        )
        for _ in range(2)
    ]
    assert answers[0].content == answers[1].content


async def test_a_refusal_is_remembered(api: Api) -> None:
    pool = await api.pool(points=1)
    wallet = await api.book.open_account()
    body = {"from_account_id": str(pool), "to_account_id": str(wallet), "points": 5}
    key = new_key()
    first = await api.system.post("/transfers", body, key=key)
    check_problem(first, "insufficient_balance", 409)
    await api.book.post_all(api.book.award(pool, 100))
    again = await api.system.post("/transfers", body, key=key)
    assert again.content == first.content
    assert (await api.system.post("/transfers", body)).status_code == 201


@pytest.mark.parametrize("unknown", ["from_account_id", "to_account_id"])
async def test_the_refusal_of_an_unknown_account_is_remembered(api: Api, unknown: str) -> None:
    pool, wallet = await api.pool(points=9), await api.book.open_account()
    body = {"from_account_id": str(pool), "to_account_id": str(wallet), "points": 5}
    body[unknown] = str(new_id())
    key = new_key()
    first = await api.system.post("/transfers", body, key=key)
    check_problem(first, "account_not_found", 422)
    assert (await api.system.post("/transfers", body, key=key)).content == first.content
    other = await api.system.post("/transfers", {**body, "points": 6}, key=key)
    check_problem(other, "idempotency_key_reused", 422)


async def test_a_refused_reversal_is_remembered(api: Api) -> None:
    wallet = await api.book.open_account()
    award = api.book.award(wallet, 5)
    await api.book.post_all(award)
    path, key = f"/transfers/{award.transfer_id}/reversal", new_key()
    await api.book.post_all(api.book.transfer(wallet, await api.book.open_account(), 5))
    first = await api.system.post(path, {"reason": "abuse"}, key=key)
    check_problem(first, "insufficient_balance", 409)
    await api.book.post_all(api.book.award(wallet, 5))
    again = await api.system.post(path, {"reason": "abuse"}, key=key)
    assert again.content == first.content
    assert await api.book.balance(wallet) == 5
    assert await results_of("reverse", api, award.transfer_id) == ["insufficient_balance"] * 2


async def test_a_reversal_is_answered_again_out_of_reach(api: Api) -> None:
    here, elsewhere = [await open_branch(api.book) for _ in range(2)]
    token = await token_for(api.book, Role.COORDINATOR, new_id(), branch_id=here)
    coordinator, resident = Caller(api.http, token), await api.resident()
    await place(api.book, resident.resident_id, here)
    award = api.book.award(resident.wallet, 5)
    await api.book.post_all(award)
    path, key = f"/transfers/{award.transfer_id}/reversal", new_key()
    first = await coordinator.post(path, {"reason": "abuse"}, key=key)
    assert first.status_code == 201, first.text
    await place(api.book, resident.resident_id, elsewhere)
    again = await coordinator.post(path, {"reason": "abuse"}, key=key)
    assert (again.status_code, again.content) == (201, first.content)
    assert again.headers["idempotent-replayed"] == "true"
    check_problem(await coordinator.post(path, {"reason": "abuse"}), "not_found", 404)


async def results_of(action: str, api: Api, object_id: UUID) -> list[str]:
    """Return what the audit log says came of the action on the object, first to last."""
    rows = await api.book.pool.fetch(
        "SELECT result FROM audit_log WHERE bank_id = $1 AND action = $2 AND object_id = $3"
        " ORDER BY recorded_at",
        api.book.bank_id,
        action,
        object_id,
    )
    return [row["result"] for row in rows]


@pytest.mark.parametrize("write", WRITES)
async def test_fifty_at_once_have_one_effect(api: Api, write: str) -> None:
    path, body = await a_write(api, write)
    before = await api.trial_balance()
    key = new_key()
    answers = await asyncio.gather(*(api.system.post(path, body, key=key) for _ in range(50)))
    done = [answer for answer in answers if answer.status_code < 400]
    for answer in answers:
        if answer not in done:
            check_problem(answer, "idempotency_key_in_use", 409)
    assert len({answer.content for answer in done}) == 1
    assert sum("idempotent-replayed" not in answer.headers for answer in done) == 1
    moved = {"account": 0, "award": 1, "transfer": 0, "batch": 3, "reversal": -1}[write]
    assert issued(await api.trial_balance()) - issued(before) == moved
    again = await api.system.post(path, body, key=key)
    assert again.content == done[0].content


def issued(trial_balance: dict[str, Any]) -> int:
    assert trial_balance["balanced"]
    return sum(row["debit"] for row in trial_balance["rows"] if row["kind"] == "issuance")


async def test_a_request_that_was_not_understood_uses_up_no_key(api: Api) -> None:
    path, body = await a_write(api, "award")
    key = new_key()
    faulty: httpx.Response = await api.system.post(path, {**body, "points": -1}, key=key)
    check_only_fault(faulty, "/points")
    assert (await api.system.post(path, body, key=key)).status_code == 201
