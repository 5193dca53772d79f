"""Four eyes where it is easy to slip past: chains, kin, roles that ended, scopes, branches."""

from typing import Any
from uuid import UUID

import pytest

from tests.api.client import Api, check_problem
from tests.api.test_approvals import coordinators, decided, person, proposed
from timebank.people.access import Role


async def chained(api: Api, *points: int) -> tuple[list[UUID], str]:
    """Award new wallets these points in one chain; return the wallets and one transfer."""
    wallets = [await api.book.open_account() for _ in points]
    rows = [
        {"type": "award", "account_id": str(wallet), "points": amount, "chain": "a"}
        for wallet, amount in zip(wallets, points, strict=True)
    ]
    answer = await api.system.post("/batches", {"rows": rows})
    assert answer.json()["posted"] == len(rows), answer.text
    return wallets, answer.json()["results"][-1]["transfer_id"]


@pytest.mark.parametrize(("points", "is_large"), [((60, 40), False), ((60, 41), True)])
async def test_a_chain_is_large_by_what_it_sums_up_to(
    api: Api, points: tuple[int, ...], is_large: bool
) -> None:
    maker, checker = await coordinators(api)
    wallets, transfer_id = await chained(api, *points)
    answer = await maker.caller.post(f"/transfers/{transfer_id}/reversal", {"reason": "abuse"})
    if is_large:
        check_problem(answer, "second_person_needed")
        assert [await api.book.balance(wallet) for wallet in wallets] == list(points)
        deed = {"deed": "reversal", "transfer_id": transfer_id, "reason": "abuse"}
        assert (await decided(checker, await proposed(maker, deed))).status_code == 200
    else:
        assert answer.status_code == 201, answer.text
    assert [await api.book.balance(wallet) for wallet in wallets] == [0] * len(wallets)


async def test_a_transfer_between_two_owners_counts_once(api: Api) -> None:
    coordinator = await person(api, Role.COORDINATOR)
    pool, wallet = await api.pool(points=100), await api.book.open_account()
    give: dict[str, Any] = {
        "from_account_id": str(pool),
        "to_account_id": str(wallet),
        "points": 100,
    }
    transfer_id = (await api.system.post("/transfers", give)).json()["transfer_id"]
    path = f"/transfers/{transfer_id}/reversal"
    answer = await coordinator.caller.post(path, {"reason": "duplicate"})
    assert answer.status_code == 201, answer.text
