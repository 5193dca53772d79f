"""Reversals over HTTP: once, whole chains, with a reason, and a policy for points already spent."""

import asyncio
from uuid import UUID

import pytest

from tests.api.client import Api, check_only_fault, check_problem
from timebank.domain.ledger import AccountKind, ReversalReason
from timebank.ledger.ids import new_id


async def awarded(api: Api, wallet: UUID, points: int) -> str:
    """Award points and return the id of the transfer."""
    answer = await api.system.post("/awards", {"account_id": str(wallet), "points": points})
    return str(answer.json()["transfer_id"])


@pytest.mark.parametrize("reason", ReversalReason)
async def test_a_reversal_mirrors_its_original(api: Api, reason: ReversalReason) -> None:
    wallet = await api.book.open_account()
    original = await awarded(api, wallet, 7)
    answer = await api.system.post(f"/transfers/{original}/reversal", {"reason": reason})
    assert answer.status_code == 201
    [reversal] = answer.json()["transfers"]
    entry = (await api.auditor.get(f"/transfers/{reversal['transfer_id']}")).json()
    first = (await api.auditor.get(f"/transfers/{original}")).json()
    assert (entry["kind"], entry["reason"], entry["reverses_id"]) == ("reversal", reason, original)
    assert (entry["from_account_id"], entry["to_account_id"]) == (
        first["to_account_id"],
        first["from_account_id"],
    )
    assert (entry["amount"], entry["occurred_at"]) == (first["amount"], first["occurred_at"])
    assert await api.book.balance(wallet) == 0


async def test_a_second_reversal_is_refused(api: Api) -> None:
    wallet = await api.book.open_account()
    path = f"/transfers/{await awarded(api, wallet, 7)}/reversal"
    await awarded(api, wallet, 7)
    assert (await api.system.post(path, {"reason": "duplicate"})).status_code == 201
    for reason in ("duplicate", "abuse"):
        check_problem(await api.system.post(path, {"reason": reason}), "already_reversed", 409)
    assert await api.book.balance(wallet) == 7


async def test_of_many_reversals_at_once_one_is_done(api: Api) -> None:
    wallet = await api.book.open_account(balance=100)
    path = f"/transfers/{await awarded(api, wallet, 7)}/reversal"
    answers = await asyncio.gather(
        *(api.system.post(path, {"reason": "duplicate"}) for _ in range(12))
    )
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 11
    for answer in answers:
        if answer.status_code == 409:
            check_problem(answer, "already_reversed")
    assert await api.book.balance(wallet) == 100


async def test_a_reversal_is_never_reversed(api: Api) -> None:
    wallet = await api.book.open_account()
    path = f"/transfers/{await awarded(api, wallet, 7)}/reversal"
    [reversal] = (await api.system.post(path, {"reason": "duplicate"})).json()["transfers"]
    again = f"/transfers/{reversal['transfer_id']}/reversal"
    answer = await api.system.post(again, {"reason": "recorded_in_error"})
    check_problem(answer, "original_is_reversal", 409)


async def test_a_refused_transfer_has_nothing_to_reverse(api: Api) -> None:
    pool, wallet = await api.pool(), await api.book.open_account()
    body = {"from_account_id": str(pool), "to_account_id": str(wallet), "points": 3}
    refused = (await api.system.post("/transfers", body)).json()["detail"].split()[1]
    answer = await api.system.post(f"/transfers/{refused}/reversal", {"reason": "duplicate"})
    check_problem(answer, "original_not_found", 409)


async def test_an_unknown_transfer_is_not_found(api: Api) -> None:
    answer = await api.system.post(f"/transfers/{new_id()}/reversal", {"reason": "duplicate"})
    check_problem(answer, "not_found", 404)


async def test_any_member_of_a_chain_reverses_the_whole_chain(api: Api) -> None:
    pool, wallet = await api.pool(), await api.book.open_account()
    rows = [
        {"type": "award", "account_id": str(pool), "points": 10, "chain": "a"},
        {
            "type": "transfer",
            "from_account_id": str(pool),
            "to_account_id": str(wallet),
            "points": 4,
            "chain": "a",
        },
    ]
    results = (await api.system.post("/batches", {"rows": rows})).json()["results"]
    ids = [result["transfer_id"] for result in results]
    # The award is taken back first while the pool lacks 4, so its mirror alone would be refused.
    await api.book.post_all(api.book.award(pool, 4))
    answer = await api.system.post(f"/transfers/{ids[1]}/reversal", {"reason": "wrong_person"})
    assert answer.status_code == 201
    mirrors = [
        (await api.auditor.get(f"/transfers/{mirror['transfer_id']}")).json()["reverses_id"]
        for mirror in answer.json()["transfers"]
    ]
    assert sorted(mirrors) == sorted(ids)
    assert (await api.book.balance(pool), await api.book.balance(wallet)) == (4, 0)
    other = await api.system.post(f"/transfers/{ids[0]}/reversal", {"reason": "wrong_person"})
    check_problem(other, "already_reversed", 409)


@pytest.mark.parametrize("policy", [None, "refuse"])
async def test_points_already_spent_are_not_taken_silently(api: Api, policy: str | None) -> None:
    wallet, friend = [await api.book.open_account() for _ in range(2)]
    path = f"/transfers/{await awarded(api, wallet, 7)}/reversal"
    await api.book.post_all(api.book.transfer(wallet, friend, 5))
    body = {"reason": "abuse"} | ({"when_spent": policy} if policy else {})
    check_problem(await api.system.post(path, body), "insufficient_balance", 409)
    assert await api.book.balance(wallet) == 2


async def test_points_already_spent_become_a_named_debt(api: Api) -> None:
    resident, friend = await api.resident(), await api.book.open_account()
    path = f"/transfers/{await awarded(api, resident.wallet, 7)}/reversal"
    await api.book.post_all(api.book.transfer(resident.wallet, friend, 5))
    answer = await api.system.post(path, {"reason": "abuse", "when_spent": "debt"})
    assert [transfer["status"] for transfer in answer.json()["transfers"]] == ["posted"] * 2
    assert await api.book.balance(resident.wallet) == 0
    listed = (await resident.caller.get("/accounts")).json()["data"]
    [debt] = [account for account in listed if account["kind"] == AccountKind.DEBT]
    assert await api.book.balance(UUID(debt["account_id"])) == -5
    assert (await api.trial_balance())["balanced"]


async def test_a_pool_has_no_debts(api: Api) -> None:
    pool, wallet = await api.pool(), await api.book.open_account()
    path = f"/transfers/{await awarded(api, pool, 7)}/reversal"
    await api.book.post_all(api.book.transfer(pool, wallet, 7))
    answer = await api.system.post(path, {"reason": "abuse", "when_spent": "debt"})
    check_problem(answer, "insufficient_balance", 409)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/reason"),
        ({"reason": None}, "/reason"),
        ({"reason": "王小明 asked for it"}, "/reason"),
        ({"reason": "abuse", "when_spent": "forgive"}, "/when_spent"),
        ({"reason": "abuse", "note": "x"}, "/note"),
    ],
)
async def test_a_reason_is_a_code(api: Api, body: dict[str, str], pointer: str) -> None:
    wallet = await api.book.open_account()
    path = f"/transfers/{await awarded(api, wallet, 7)}/reversal"
    check_only_fault(await api.system.post(path, body), pointer)
    assert await api.book.balance(wallet) == 7
