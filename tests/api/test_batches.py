"""Batches over HTTP: a result for each row, chains all or nothing, up to 5,000 rows."""

from typing import Any
from uuid import UUID

import pytest

from tests.api.client import Api, check_only_fault
from timebank.ledger.ids import new_id


def award(account_id: UUID, points: int, chain: str | None = None) -> dict[str, Any]:
    return {"type": "award", "account_id": str(account_id), "points": points, "chain": chain}


def give(pool: UUID, account_id: UUID, points: int, chain: str | None = None) -> dict[str, Any]:
    accounts = {"from_account_id": str(pool), "to_account_id": str(account_id)}
    return {"type": "transfer", **accounts, "points": points, "chain": chain}


async def statuses(api: Api, *rows: dict[str, Any]) -> list[str]:
    """Post the rows as one batch and return what became of each."""
    answer = await api.system.post("/batches", {"rows": rows})
    assert answer.status_code == 200, answer.text
    batch = answer.json()
    found = [result["status"] for result in batch["results"]]
    assert [result["row"] for result in batch["results"]] == list(range(len(rows)))
    assert batch["posted"] == found.count("posted")
    assert batch["refused"] == len(rows) - batch["posted"]
    return found


async def test_every_row_has_a_result_and_a_refusal_spoils_no_neighbour(api: Api) -> None:
    pool, wallet = await api.pool(points=10), await api.book.open_account()
    found = await statuses(
        api,
        award(wallet, 3),
        give(pool, wallet, 11),
        award(new_id(), 1),
        give(new_id(), wallet, 1),
        give(pool, wallet, 10),
        give(pool, wallet, 1),
    )
    assert found == [
        "posted",
        "insufficient_balance",
        "account_not_found",
        "account_not_found",
        "posted",
        "insufficient_balance",
    ]
    assert await api.book.balance(wallet) == 13


async def test_what_a_row_brings_the_next_may_spend(api: Api) -> None:
    pool, wallet = await api.pool(), await api.book.open_account()
    rows = (give(pool, wallet, 5), award(pool, 5), give(pool, wallet, 5))
    assert await statuses(api, *rows) == ["insufficient_balance", "posted", "posted"]


async def test_a_chain_is_all_or_nothing(api: Api) -> None:
    pool, wallet = await api.pool(points=10), await api.book.open_account()
    found = await statuses(
        api,
        give(pool, wallet, 6, "a"),
        give(pool, wallet, 6, "a"),
        award(wallet, 1, "a"),
        award(wallet, 2, "b"),
        give(pool, wallet, 10, "b"),
    )
    broken = ["chain_broken", "insufficient_balance", "chain_broken"]
    assert found == [*broken, "posted", "posted"]
    assert await api.book.balance(wallet) == 12


async def test_only_neighbours_of_one_label_are_a_chain(api: Api) -> None:
    wallet = await api.book.open_account()
    found = await statuses(
        api,
        award(wallet, 1, "a"),
        award(wallet, 2),
        award(wallet, 4, "a"),
        award(new_id(), 8, "a"),
        award(wallet, 16),
        award(wallet, 32),
    )
    assert found == ["posted", "posted", "chain_broken", "account_not_found", "posted", "posted"]
    assert await api.book.balance(wallet) == 1 + 2 + 16 + 32


@pytest.mark.parametrize("label", ["0", "1", "甲班", "x" * 64])
async def test_a_label_is_any_text(api: Api, label: str) -> None:
    wallet = await api.book.open_account()
    rows = (award(wallet, 1, label), award(new_id(), 1, label), award(wallet, 1))
    assert await statuses(api, *rows) == ["chain_broken", "account_not_found", "posted"]


async def test_five_thousand_rows_are_one_commit(api: Api) -> None:
    wallets = [await api.book.open_account() for _ in range(10)]
    rows = [award(wallets[n % 10], 1 + n % 7) for n in range(5000)]
    compact = [{name: value for name, value in row.items() if value} for row in rows]
    answer = await api.system.post("/batches", {"rows": compact})
    batch = answer.json()
    assert (answer.status_code, batch["posted"], batch["refused"]) == (200, 5000, 0)
    assert len({result["transfer_id"] for result in batch["results"]}) == 5000
    assert len({result["recorded_at"] for result in batch["results"]}) == 1
    total = sum([await api.book.balance(wallet) for wallet in wallets])
    assert total == sum(row["points"] for row in rows)


@pytest.mark.parametrize("number", [0, 5001])
async def test_no_row_and_too_many_are_refused(api: Api, number: int) -> None:
    wallet = await api.book.open_account()
    row = {"type": "award", "account_id": str(wallet), "points": 1}
    check_only_fault(await api.system.post("/batches", {"rows": [row] * number}), "/rows")
    assert await api.book.balance(wallet) == 0


@pytest.mark.parametrize(
    ("row", "pointer"),
    [
        ({"type": "award"}, "/account_id"),
        ({"type": "reversal"}, "/type"),
        ({}, "/type"),
        ({"type": "award", "account_id": "0198f0c2-0000-7000-8000-000000000000"}, "/points"),
        ({"type": "award", "account_id": 5}, "/account_id"),
        ({"type": "award", "chain": ""}, "/chain"),
        ({"type": "award", "chain": "x" * 65}, "/chain"),
        ({"type": "transfer", "occurred_at": "2026-05-01"}, "/occurred_at"),
        (5, ""),
    ],
)
async def test_the_fault_of_a_row_is_pointed_at(api: Api, row: Any, pointer: str) -> None:
    wallet = await api.book.open_account()
    answer = await api.system.post("/batches", {"rows": [award(wallet, 1), row]})
    check_only_fault(answer, f"/rows/1{pointer}")
    assert await api.book.balance(wallet) == 0
