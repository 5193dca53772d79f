"""Accounts over HTTP: opening, listing, balances now and as of an instant."""

from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest

from tests.api.client import Api, check_only_fault, check_problem, register
from timebank.domain.ledger import AccountKind, Unit
from timebank.ledger.ids import new_id

SHANGHAI = timezone(timedelta(hours=8))


@pytest.mark.parametrize("unit", Unit)
async def test_staff_open_a_wallet_for_a_registered_resident(api: Api, unit: Unit) -> None:
    owner_id = await register(api.book)
    answer = await api.system.post("/accounts", {"unit": unit, "owner_id": str(owner_id)})
    opened = answer.json()
    assert answer.status_code == 201
    assert (opened["unit"], opened["kind"], opened["owner_id"]) == (unit, "wallet", str(owner_id))
    assert (await api.system.get(f"/accounts/{opened['account_id']}")).json() == opened
    balance = (await api.system.get(f"/accounts/{opened['account_id']}/balance")).json()
    assert balance["seq"] == 0
    assert balance["minutes" if unit is Unit.HOURS else "points"] == 0


async def test_a_pool_has_no_owner_and_there_is_one_of_each_unit(api: Api) -> None:
    for unit in Unit:
        answer = await api.system.post("/accounts", {"unit": unit, "kind": "pool"})
        assert (answer.status_code, answer.json()["owner_id"]) == (201, None)
        again = await api.system.post("/accounts", {"unit": unit, "kind": "pool"})
        check_problem(again, "account_exists", 409)


async def test_a_second_wallet_of_one_unit_is_refused(api: Api) -> None:
    body = {"unit": "points", "owner_id": str((await api.resident()).resident_id)}
    check_problem(await api.system.post("/accounts", body), "account_exists", 409)


async def test_the_owner_of_a_wallet_must_be_registered(api: Api) -> None:
    body = {"unit": "points", "owner_id": str(new_id())}
    check_problem(await api.system.post("/accounts", body), "owner_not_found", 422)


@pytest.mark.parametrize(
    ("kind", "owned"), [("wallet", False), ("pool", True), ("issuance", False), ("debt", True)]
)
async def test_what_cannot_be_opened(api: Api, kind: str, owned: bool) -> None:
    body = {"unit": "points", "kind": kind, "owner_id": str(new_id()) if owned else None}
    pointer = "/owner_id" if kind in {"wallet", "pool"} else "/kind"
    check_only_fault(await api.system.post("/accounts", body), pointer)


@pytest.mark.parametrize("limit", [1, 2, 7, 200])
async def test_the_pages_of_a_list_are_the_whole_list(api: Api, limit: int) -> None:
    opened = {await api.book.open_account() for _ in range(6)} | set(api.book.issuance.values())
    found: list[UUID] = []
    cursor, more = None, True
    while more:
        page = (await api.auditor.get("/accounts", limit=limit, cursor=cursor)).json()
        assert len(page["data"]) <= limit
        found += [UUID(account["account_id"]) for account in page["data"]]
        cursor, more = page["next_cursor"], page["has_more"]
        assert more == (cursor is not None)
    assert found == sorted(opened)


async def test_staff_list_the_accounts_of_one_owner(api: Api) -> None:
    resident = await api.resident()
    hours = await api.book.open_account(unit=Unit.HOURS, owner_id=resident.resident_id)
    listed = (await api.system.get("/accounts", owner_id=resident.resident_id)).json()
    assert {account["account_id"] for account in listed["data"]} == {
        str(resident.wallet),
        str(hours),
    }
    assert (await api.system.get("/accounts", owner_id=new_id())).json()["data"] == []


async def test_the_balance_now_follows_every_posting(api: Api) -> None:
    wallet = await api.book.open_account()
    for times in range(1, 4):
        await api.system.post("/awards", {"account_id": str(wallet), "points": 7})
        balance = (await api.system.get(f"/accounts/{wallet}/balance")).json()
        assert (balance["points"], balance["seq"]) == (7 * times, times)


@pytest.mark.parametrize(
    ("tags", "status"),
    [
        ('W/"1"', 304),
        ('"1"', 304),
        ('"7", W/"1"', 304),
        ("*", 304),
        ('W/"0"', 200),
        ("1", 200),
        ("", 200),
        ('"*"', 200),
        ("é", 200),
    ],
)
async def test_a_known_balance_is_not_sent_again(api: Api, tags: str, status: int) -> None:
    wallet = await api.book.open_account(balance=3)
    answer = await api.http.get(
        f"/api/v1/accounts/{wallet}/balance",
        headers=[*api.system.headers.items(), ("If-None-Match", tags.encode())],
    )
    assert answer.status_code == status
    assert answer.headers["etag"] == 'W/"1"'
    assert answer.headers["cache-control"] == "private, no-cache"
    assert bool(answer.content) == (status == 200)


async def test_an_old_tag_shows_the_new_balance(api: Api) -> None:
    resident = await api.resident(points=3)
    first = await resident.caller.get(f"/accounts/{resident.wallet}/balance")
    await api.book.post_all(api.book.award(resident.wallet, 1))
    again = await resident.caller.get(
        f"/accounts/{resident.wallet}/balance", {"If-None-Match": first.headers["etag"]}
    )
    assert (again.status_code, again.json()["points"]) == (200, 4)


async def test_the_balance_as_of_every_recorded_instant(api: Api) -> None:
    wallet = await api.book.open_account()
    total = 0
    for amount in (5, 1, 8):
        answer = await api.system.post("/awards", {"account_id": str(wallet), "points": amount})
        recorded_at = datetime.fromisoformat(answer.json()["recorded_at"])
        before = recorded_at - timedelta(microseconds=1)
        for instant, expected in ((before, total), (recorded_at, total + amount)):
            for given in (instant, instant.astimezone(SHANGHAI)):
                at = await api.system.get(f"/accounts/{wallet}/balance", as_of=given.isoformat())
                assert (at.status_code, at.json()["points"]) == (200, expected)
                assert datetime.fromisoformat(at.json()["as_of"]) == instant
                assert "seq" not in at.json()
        total += amount


async def test_what_had_occurred_by_an_instant(api: Api) -> None:
    wallet = await api.book.open_account()
    days = [datetime(2026, 5, day, tzinfo=UTC) for day in (1, 3, 2)]
    for day, amount in zip(days, (1, 10, 100), strict=True):
        await api.book.post_all(api.book.award(wallet, amount, occurred_at=day))
    for day, expected in zip(days, (1, 111, 101), strict=True):
        answer = await api.system.get(
            f"/accounts/{wallet}/balance", occurred_by=day.isoformat(), as_of=None
        )
        assert answer.json()["points"] == expected
        assert {"as_of", "occurred_by"} < answer.json().keys()


async def test_an_unescaped_plus_is_understood(api: Api) -> None:
    wallet = await api.book.open_account(balance=2)
    answer = await api.http.get(
        f"/api/v1/accounts/{wallet}/balance?as_of=2026-05-01T00:00:00+08:00",
        headers=api.system.headers,
    )
    assert answer.json()["as_of"] == "2026-04-30T16:00:00Z"


async def test_the_future_is_not_known(api: Api) -> None:
    wallet = await api.book.open_account()
    for instant in (datetime.now(UTC) + timedelta(minutes=1), datetime.max.replace(tzinfo=UTC)):
        answer = await api.system.get(f"/accounts/{wallet}/balance", as_of=instant.isoformat())
        check_problem(answer, "as_of_in_future", 422)


@pytest.mark.parametrize("name", ["as_of", "occurred_by"])
@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "0",
        "1777593600",
        "2026-05-01",
        "2026-05-01T00:00:00",
        "2026-05-01T00:00:00+25:00",
        "2026-13-01T00:00:00Z",
        "2026-05-01T25:00:00Z",
        "0001-01-01T00:00:00Z",
        "0001-01-01T00:00:00+14:00",
        "1899-12-31T23:59:59Z",
        "9999-12-31T23:59:59-12:00",
        "10000-01-01T00:00:00Z",
        "infinity",
        "now",
        "昨天",
        "2026-05-01T00:00:00Z\x00",
    ],
)
async def test_an_instant_is_rfc_3339_with_an_offset(api: Api, name: str, text: str) -> None:
    wallet = await api.book.open_account()
    answer = await api.system.get(f"/accounts/{wallet}/balance", **{name: text})
    check_only_fault(answer, name)


async def test_every_kind_of_account_can_be_read_by_staff(api: Api) -> None:
    for kind in (AccountKind.POOL, AccountKind.DEBT):
        account_id = await api.book.open_account(kind)
        assert (await api.system.get(f"/accounts/{account_id}")).json()["kind"] == kind
