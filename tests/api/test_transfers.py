"""Awards, transfers from pools and the journal over HTTP."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.api.client import Api, check_only_fault, check_problem
from timebank.domain.ledger import LARGEST_AMOUNT, AccountKind, Unit
from timebank.ledger.ids import new_id


@pytest.mark.parametrize(("unit", "name"), [(Unit.POINTS, "points"), (Unit.HOURS, "minutes")])
async def test_an_award_comes_from_issuance(api: Api, unit: Unit, name: str) -> None:
    wallet = await api.book.open_account(unit=unit)
    answer = await api.system.post("/awards", {"account_id": str(wallet), name: 90})
    posted = answer.json()
    assert (answer.status_code, posted["status"]) == (201, "posted")
    assert await api.book.balance(wallet) == 90
    assert await api.book.balance(api.book.issuance[unit]) == -90
    entry = (await api.auditor.get(f"/transfers/{posted['transfer_id']}")).json()
    assert entry["from_account_id"] == str(api.book.issuance[unit])
    assert (entry["to_account_id"], entry["amount"], entry["kind"]) == (str(wallet), 90, "award")
    assert entry["occurred_at"] == entry["recorded_at"] == posted["recorded_at"]


async def test_an_award_says_when_the_help_was_given(api: Api) -> None:
    wallet = await api.book.open_account()
    body = {"account_id": str(wallet), "points": 1, "occurred_at": "2026-05-01T08:00:00+08:00"}
    posted = (await api.system.post("/awards", body)).json()
    entry = (await api.system.get(f"/transfers/{posted['transfer_id']}")).json()
    assert entry["occurred_at"] == "2026-05-01T00:00:00Z"
    assert entry["recorded_at"] > entry["occurred_at"]


async def test_a_pool_gives_to_wallets_and_other_pools(api: Api) -> None:
    pool = await api.pool(points=10)
    wallet, other = await api.book.open_account(), await api.book.open_account(AccountKind.POOL)
    for account_id in (wallet, other):
        body = {"from_account_id": str(pool), "to_account_id": str(account_id), "points": 4}
        answer = await api.system.post("/transfers", body)
        assert (answer.status_code, answer.json()["status"]) == (201, "posted")
        assert await api.book.balance(account_id) == 4
    assert await api.book.balance(pool) == 2


@pytest.mark.parametrize("kind", [AccountKind.WALLET, AccountKind.DEBT, AccountKind.ISSUANCE])
async def test_staff_take_from_pools_only(api: Api, kind: AccountKind) -> None:
    source = (
        api.book.issuance[Unit.POINTS]
        if kind is AccountKind.ISSUANCE
        else await api.book.open_account(kind)
    )
    before = await api.trial_balance()
    body = {"from_account_id": str(source), "to_account_id": str(await api.pool()), "points": 1}
    check_only_fault(await api.system.post("/transfers", body), "/from_account_id")
    rows = [{"type": "award", "account_id": str(new_id()), "points": 1}]
    batch = await api.system.post("/batches", {"rows": [*rows, {"type": "transfer", **body}]})
    check_only_fault(batch, "/rows/1/from_account_id")
    after = await api.trial_balance()
    assert [row["debit"] for row in before["rows"] if row["debit"]] == [
        row["debit"] for row in after["rows"] if row["debit"]
    ]


async def test_what_the_ledger_refuses_is_answered_by_its_code(api: Api) -> None:
    pool = await api.pool(points=10)
    wallet = str(await api.book.open_account())
    hours = str(await api.book.open_account(unit=Unit.HOURS))
    debt = str(await api.book.open_account(AccountKind.DEBT))
    issuance = str(api.book.issuance[Unit.POINTS])
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    award = {"account_id": wallet, "points": 1}
    give = {"from_account_id": str(pool), "to_account_id": wallet, "points": 1}
    cases: list[tuple[str, int, str, dict[str, Any]]] = [
        ("insufficient_balance", 409, "/transfers", {**give, "points": 11}),
        ("insufficient_balance", 409, "/awards", {**award, "points": LARGEST_AMOUNT}),
        ("account_not_found", 422, "/awards", {**award, "account_id": str(new_id())}),
        ("account_not_found", 422, "/transfers", {**give, "from_account_id": str(new_id())}),
        ("same_account", 422, "/transfers", {**give, "to_account_id": str(pool)}),
        ("unit_mismatch", 422, "/awards", {**award, "account_id": hours}),
        ("unit_mismatch", 422, "/transfers", {**give, "to_account_id": hours}),
        ("account_kind_mismatch", 422, "/awards", {**award, "account_id": debt}),
        ("account_kind_mismatch", 422, "/transfers", {**give, "to_account_id": issuance}),
        ("occurred_in_future", 422, "/awards", {**award, "occurred_at": tomorrow}),
        ("occurred_in_future", 422, "/transfers", {**give, "occurred_at": "9999-12-31T00:00:00Z"}),
    ]
    for code, status, path, body in cases:
        problem = check_problem(await api.system.post(path, body), code, status)
        assert problem["detail"].endswith("was refused; nothing moved.")
    assert await api.book.balance(pool) == 10


async def test_the_unit_named_must_be_the_pools(api: Api) -> None:
    body = {"from_account_id": str(await api.pool(points=10)), "to_account_id": str(new_id())}
    answer = await api.system.post("/transfers", {**body, "minutes": 1})
    check_problem(answer, "unit_mismatch", 422)


@pytest.mark.parametrize("amounts", [{}, {"minutes": 1, "points": 1}, {"hours": 1}])
async def test_exactly_one_amount_is_given(api: Api, amounts: dict[str, int]) -> None:
    wallet = await api.book.open_account()
    pointer = "/hours" if "hours" in amounts else "/points"
    check_only_fault(
        await api.system.post("/awards", {"account_id": str(wallet)} | amounts), pointer
    )


async def test_the_largest_amount_is_exact(api: Api) -> None:
    hours = await api.book.open_account(unit=Unit.HOURS)
    answer = await api.system.post("/awards", {"account_id": str(hours), "minutes": LARGEST_AMOUNT})
    assert answer.status_code == 201
    balance = (await api.system.get(f"/accounts/{hours}/balance")).json()
    assert balance["minutes"] == 2**53 - 1


async def test_a_refused_transfer_stands_in_the_journal(api: Api) -> None:
    pool, wallet = await api.pool(), await api.book.open_account()
    body = {"from_account_id": str(pool), "to_account_id": str(wallet), "points": 3}
    problem = check_problem(await api.system.post("/transfers", body), "insufficient_balance")
    transfer_id = problem["detail"].split()[1]
    entry = (await api.auditor.get(f"/transfers/{transfer_id}")).json()
    assert (entry["status"], entry["amount"]) == ("insufficient_balance", 3)


async def test_the_trial_balance_is_balanced(api: Api) -> None:
    assert (await api.trial_balance())["balanced"]
    await api.book.open_account(balance=10)
    await api.pool(points=5)
    books = await api.trial_balance()
    assert books["balanced"]
    assert {(row["unit"], row["kind"], row["debit"], row["credit"]) for row in books["rows"]} == {
        ("hours", "issuance", 0, 0),
        ("points", "issuance", 15, 0),
        ("points", "wallet", 0, 10),
        ("points", "pool", 0, 5),
    }
