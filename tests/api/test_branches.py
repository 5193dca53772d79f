"""The tree over HTTP: who sees what of it, who hangs what where, and what a branch holds."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from tests.api.client import Api, Caller, check_only_fault, check_problem, token_for
from tests.book import Book
from tests.places import open_branch, place
from timebank.domain.ledger import AccountKind
from timebank.ledger.ids import new_id
from timebank.people.access import Role


async def caller(api: Api, role: Role, branch_id: UUID | None = None) -> Caller:
    """Somebody with this role on a branch, else for the whole bank."""
    return Caller(api.http, await token_for(api.book, role, branch_id=branch_id))


async def line_of(book: Book) -> list[UUID]:
    """Open a branch of each level below the root."""
    line = [await open_branch(book)]
    for _ in range(2):
        line.append(await open_branch(book, line[-1]))
    return line


async def resident_on(api: Api, branch_id: UUID, points: int) -> Any:
    resident = await api.resident(points=points)
    await place(api.book, resident.resident_id, branch_id)
    return resident


async def test_the_tree_comes_in_pages_from_the_top(api: Api) -> None:
    admin = await caller(api, Role.ADMINISTRATOR)
    lines = [await line_of(api.book) for _ in range(3)]
    found: list[dict[str, Any]] = []
    cursor = None
    while cursor or not found:
        answer = (await admin.get("/branches", limit=4, cursor=cursor)).json()
        found += answer["data"]
        cursor = answer["next_cursor"]
        assert answer["has_more"] == (cursor is not None)
    assert [one["level"] for one in found] == sorted(
        (one["level"] for one in found),
        key=["district", "subdistrict", "community", "compound"].index,
    )
    parents = {one["branch_id"]: one["parent_id"] for one in found}
    assert len(parents) == len(found) == 10
    for first, second, third in lines:
        assert [parents[str(one)] for one in (third, second)] == [str(second), str(first)]
        assert parents[str(first)] == str(api.book.bank.root_id)


async def test_a_coordinator_lists_their_own_branch_and_below(api: Api) -> None:
    subdistrict, community, compound = await line_of(api.book)
    other = await open_branch(api.book, subdistrict)
    mine = await caller(api, Role.COORDINATOR, community)
    listed = (await mine.get("/branches")).json()["data"]
    assert [one["branch_id"] for one in listed] == [str(community), str(compound)]
    for branch_id in (subdistrict, other, api.book.bank.root_id, new_id()):
        for path in ("", "/totals", "/positions"):
            check_problem(await mine.get(f"/branches/{branch_id}{path}"), "not_found")
    foreign = (await mine.get("/branches", limit=1)).json()["next_cursor"]
    admin = await caller(api, Role.ADMINISTRATOR)
    check_problem(await admin.get("/branches", cursor=foreign), "invalid_cursor")


async def test_an_administrator_builds_the_tree(api: Api) -> None:
    admin = await caller(api, Role.ADMINISTRATOR)
    root = str(api.book.bank.root_id)

    async def opened(parent: str, code: str) -> dict[str, Any]:
        body = {"parent_id": parent, "code": code, "name": f"机构 {code}"}
        answer = await admin.post("/branches", body)
        assert answer.status_code == 201, answer.text
        return answer.json()

    first, second = await opened(root, "s1"), await opened(root, "s2")
    community = await opened(first["branch_id"], "c1")
    assert (community["level"], community["parent_id"]) == ("community", first["branch_id"])
    path = f"/branches/{community['branch_id']}"
    point = await admin.post(f"{path}/service-points", {"kind": "station", "name": "服务站"})
    assert point.status_code == 201
    shown = (await admin.get(path)).json()
    assert [one["name"] for one in shown["service_points"]] == ["服务站"]
    moved = await admin.post(f"{path}/moves", {"parent_id": second["branch_id"]})
    assert moved.json()["parent_id"] == second["branch_id"]
    check_problem(await admin.post(f"{path}/closure", {}), "branch_not_empty")
    closure = f"/service-points/{point.json()['service_point_id']}/closure"
    assert (await admin.post(closure, {})).json()["closed_at"]
    check_problem(await admin.post(closure, {}), "not_found")
    assert (await admin.post(f"{path}/closure", {})).json()["closed_at"]


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        (
            "/branches",
            {"parent_id": "$compound", "code": "n", "name": "n"},
            "branch_level_mismatch",
        ),
        ("/branches", {"parent_id": "$root", "code": "s1", "name": "n"}, "branch_code_taken"),
        (
            "/branches",
            {"parent_id": "$subdistrict", "code": "n", "name": "n", "community_type": "z"},
            "community_type_mismatch",
        ),
        ("/branches", {"parent_id": "$nobody", "code": "n", "name": "n"}, "branch_not_found"),
        ("/branches/$compound/moves", {"parent_id": "$root"}, "branch_level_mismatch"),
        ("/branches/$root/moves", {"parent_id": "$root"}, "branch_level_mismatch"),
        ("/branches/$community/moves", {"parent_id": "$subdistrict"}, "already_there"),
        ("/branches/$community/moves", {"parent_id": "$nobody"}, "branch_not_found"),
        ("/branches/$nobody/moves", {"parent_id": "$subdistrict"}, "not_found"),
        (
            "/branches/$community/service-points",
            {"kind": "centre", "name": "n"},
            "service_point_level_mismatch",
        ),
        ("/parties/$resident/placement", {"branch_id": "$compound"}, "already_there"),
        ("/parties/$nobody/placement", {"branch_id": "$compound"}, "not_found"),
        ("/parties/$community/placement", {"branch_id": "$compound"}, "not_found"),
        ("/parties/$resident/placement", {"branch_id": "$nobody"}, "branch_not_found"),
    ],
)
async def test_what_the_tree_does_not_allow_is_a_problem(
    api: Api, path: str, body: dict[str, str], code: str
) -> None:
    subdistrict = await open_branch(api.book, code="s1")
    community = await open_branch(api.book, subdistrict)
    compound = await open_branch(api.book, community)
    resident = await resident_on(api, compound, 0)
    things = {
        "$compound": compound,
        "$community": community,
        "$subdistrict": subdistrict,
        "$root": api.book.bank.root_id,
        "$resident": resident.resident_id,
        "$nobody": new_id(),
    }
    for name, thing in things.items():
        path = path.replace(name, str(thing))
    sent = {key: str(things.get(value, value)) for key, value in body.items()}
    admin = await caller(api, Role.ADMINISTRATOR)
    check_problem(await admin.post(path, sent), code)


@pytest.mark.parametrize(
    ("field", "value"),
    [("code", "a b"), ("code", ""), ("name", ""), ("name", "x" * 81), ("name", "a\nb")],
)
async def test_a_malformed_branch_is_refused_with_its_field(
    api: Api, field: str, value: str
) -> None:
    admin = await caller(api, Role.ADMINISTRATOR)
    body = {"parent_id": str(api.book.bank.root_id), "code": "s1", "name": "街道", field: value}
    check_only_fault(await admin.post("/branches", body), f"/{field}")


async def test_an_administrator_of_a_branch_stays_within_it(api: Api) -> None:
    (mine, community, _), (other, theirs, _) = await line_of(api.book), await line_of(api.book)
    admin = await caller(api, Role.ADMINISTRATOR, mine)
    body = {"code": "new", "name": "新社区"}
    check_problem(
        await admin.post("/branches", {**body, "parent_id": str(other)}), "branch_not_found"
    )
    away = {"parent_id": str(other)}
    check_problem(await admin.post(f"/branches/{community}/moves", away), "branch_not_found")
    here = {"parent_id": str(mine)}
    check_problem(await admin.post(f"/branches/{theirs}/moves", here), "not_found")
    assert (await admin.post("/branches", {**body, **here})).status_code == 201


async def test_a_replayed_move_is_answered_as_before(api: Api) -> None:
    admin = await caller(api, Role.ADMINISTRATOR)
    _, community, _ = await line_of(api.book)
    body = {"parent_id": str(await open_branch(api.book))}
    answers = [await admin.post(f"/branches/{community}/moves", body, key="same") for _ in range(2)]
    assert answers[0].json() == answers[1].json()
    assert answers[1].headers["idempotent-replayed"] == "true"


async def test_after_a_move_the_right_coordinator_sees_the_accounts(api: Api) -> None:
    """And nobody takes a resident from a branch that is not theirs."""
    subdistrict = await open_branch(api.book)
    first, second = [await open_branch(api.book, subdistrict) for _ in range(2)]
    compound = await open_branch(api.book, first)
    old, new = [await caller(api, Role.COORDINATOR, one) for one in (first, second)]
    above = await caller(api, Role.COORDINATOR, subdistrict)
    resident = await resident_on(api, compound, 30)
    balance = f"/accounts/{resident.wallet}/balance"

    async def seen_by(one: Caller) -> bool:
        listed = [row["account_id"] for row in (await one.get("/accounts")).json()["data"]]
        answer = await one.get(balance)
        assert answer.status_code in {200, 404}
        assert (str(resident.wallet) in listed) == (answer.status_code == 200)
        return answer.status_code == 200

    assert [await seen_by(one) for one in (old, new, above)] == [True, False, True]
    path, body = f"/parties/{resident.resident_id}/placement", {"branch_id": str(second)}
    check_problem(await new.post(path, body), "not_found")
    check_problem(await old.post(path, body), "branch_not_found")
    assert [await seen_by(one) for one in (old, new)] == [True, False]
    assert (await above.post(path, body)).status_code == 201
    assert [await seen_by(one) for one in (old, new, above)] == [False, True, True]
    admin = await caller(api, Role.ADMINISTRATOR)
    elsewhere = {"parent_id": str(await open_branch(api.book))}
    assert (await admin.post(f"/branches/{second}/moves", elsewhere)).status_code == 201
    assert [await seen_by(one) for one in (old, new, above)] == [False, True, False]


async def test_totals_and_positions_tell_who_earned_here_and_spent_there(api: Api) -> None:
    subdistrict = await open_branch(api.book)
    first, second = [await open_branch(api.book, subdistrict) for _ in range(2)]
    resident = await resident_on(api, first, 30)
    pool = await api.book.open_account(AccountKind.POOL, owner_id=second)
    before = datetime.now(UTC)
    await api.book.post_all(api.book.transfer(resident.wallet, pool, 12))

    async def read(path: str, **params: Any) -> dict[str, Any]:
        answer = await api.auditor.get(path, **params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    totals = await read(f"/branches/{subdistrict}/totals")
    assert {child["branch_id"]: child["totals"] for child in totals["children"]} == {
        str(first): [{"unit": "points", "kind": "wallet", "accounts": 1, "points": 18}],
        str(second): [{"unit": "points", "kind": "pool", "accounts": 1, "points": 12}],
    }
    assert (totals["own"], len(totals["total"]), "as_of" in totals) == ([], 2, False)
    then = await read(f"/branches/{subdistrict}/totals", as_of=before.isoformat())
    assert sum(one["points"] for one in then["total"]) == 30
    assert then["as_of"]
    assert await positions(api, second) == {(str(first), "points"): 12}
    assert await positions(api, first) == {
        (str(second), "points"): -12,
        (str(api.book.bank.root_id), "points"): 30,
    }
    await place(api.book, resident.resident_id, second)
    assert await positions(api, second) == {(str(first), "points"): 30}
    at = await read(f"/branches/{second}/positions", as_of=before.isoformat())
    assert at["positions"] == []


async def positions(api: Api, branch_id: UUID) -> dict[tuple[str, str], int]:
    listed = (await api.auditor.get(f"/branches/{branch_id}/positions")).json()["positions"]
    assert all(one["position"] == one["by_transfers"] + one["by_moves"] for one in listed)
    return {(one["branch_id"], one["unit"]): one["position"] for one in listed if one["position"]}


@pytest.mark.parametrize("path", ["totals", "positions"])
async def test_the_future_is_not_told(api: Api, path: str) -> None:
    url = f"/branches/{api.book.bank.root_id}/{path}"
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    check_problem(await api.auditor.get(url, as_of=later), "as_of_in_future")
    check_only_fault(await api.auditor.get(url, as_of="yesterday"), "as_of")


async def test_a_name_that_holds_a_telephone_is_refused(api: Api) -> None:
    """Everybody reads it; the refusal says what to do, and does not say the number again."""
    admin = await caller(api, Role.ADMINISTRATOR)
    body = {"parent_id": str(api.book.bank.root_id), "code": "new", "name": "老王 138 0013 8000"}
    answer = await admin.post("/branches", body)
    check_problem(answer, "persons_number", 422)
    assert "8000" not in answer.text
    assert (await admin.post("/branches", {**body, "name": "老城街道 2026"})).status_code == 201
