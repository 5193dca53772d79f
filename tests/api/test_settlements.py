"""Settlements over HTTP: by which steps and whom, who reads them, and what the files say."""

import asyncio
import csv
import io
import threading
from collections import Counter as Count
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest

from tests.api.client import Caller, check_only_fault, check_problem, new_key, token_for
from tests.api.counter import Counter, clerk_of
from tests.api.test_caps import two_of
from tests.places import open_branch, place
from tests.redemption.market import open_merchant
from tests.redemption.test_settlements import clock
from tests.workbooks import find_active, read_xlsx
from timebank.api import statements
from timebank.ledger.ids import new_id
from timebank.people.access import Action, Role
from timebank.people.grants import OPERATOR_ID, grant_role
from timebank.people.kin import name_guardian


async def draft(counter: Counter, caller: Caller | None = None, **body: Any) -> httpx.Response:
    """Draft up to now."""
    cut_off = body.pop("cut_off", None) or (await clock(counter.market)).isoformat()
    key = body.pop("key", None)
    path = f"/merchants/{counter.market.merchant_id}/settlements"
    return await (caller or counter.coordinator).post(path, {"cut_off": cut_off, **body}, key=key)


async def drafted(counter: Counter, points: int = 30) -> dict[str, Any]:
    """A draft of one capture."""
    await counter.captured(await counter.api.resident(points=points), points)
    answer = await draft(counter)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def approve(caller: Caller, settlement: dict[str, Any], **body: str) -> httpx.Response:
    seen = {"content_hash": settlement["content_hash"], **body}
    return await caller.post(f"/settlements/{settlement['settlement_id']}/approvals", seen)


async def close(caller: Caller, settlement: dict[str, Any]) -> httpx.Response:
    return await caller.post(f"/settlements/{settlement['settlement_id']}/closure", {})


async def test_two_persons_approve_and_then_it_is_paid_once(counter: Counter) -> None:
    settlement = await drafted(counter)
    assert (settlement["state"], settlement["total"], settlement["payable"]) == ("draft", 30, 30)
    one, other = await two_of(counter, Role.COORDINATOR)
    check_problem(await close(one, settlement), "settlement_not_approved")
    differs = await approve(one, settlement, content_hash="0" * 64)
    check_problem(differs, "settlement_differs")
    for _ in range(2):  # one person is one, however often
        assert (await approve(one, settlement)).json()["state"] == "draft"
    approved = (await approve(other, settlement)).json()
    assert approved["state"] == "approved"
    assert len(set(approved["approved_by"])) == 2
    closings = await asyncio.gather(*(close(one, settlement) for _ in range(4)))
    assert {answer.status_code for answer in closings} == {201}
    assert {answer.json()["paid"] for answer in closings} == {30}
    assert await counter.api.book.balance(counter.market.till) == 0
    path = f"/settlements/{settlement['settlement_id']}"
    check_problem(await one.send("DELETE", path), "settlement_closed")


async def test_a_draft_is_one_under_its_key_and_can_be_taken_back(counter: Counter) -> None:
    await counter.captured(await counter.api.resident(points=10))
    key, cut_off = new_key(), (await clock(counter.market)).isoformat()
    first, again = [await draft(counter, key=key, cut_off=cut_off) for _ in range(2)]
    assert first.json() == again.json()
    assert again.headers["idempotent-replayed"] == "true"
    check_problem(await draft(counter), "settlement_open")
    path = f"/settlements/{first.json()['settlement_id']}"
    assert (await counter.coordinator.send("DELETE", path)).status_code == 204
    check_problem(await counter.coordinator.send("DELETE", path), "not_found")
    check_problem(await approve(counter.coordinator, first.json()), "not_found")
    assert (await draft(counter)).status_code == 201


async def test_what_cannot_be_drafted_says_why(counter: Counter) -> None:
    check_problem(await draft(counter), "settlement_empty")
    ahead = (await clock(counter.market) + timedelta(hours=1)).isoformat()
    check_problem(await draft(counter, cut_off=ahead), "cut_off_in_future")
    check_only_fault(await draft(counter, cut_off="1899-01-01T00:00:00Z"), "/cut_off")
    check_only_fault(await draft(counter, fen_rate=10**8 + 1), "/fen_rate")
    for at_till in (counter.clerk, counter.system, counter.api.auditor):
        check_problem(await draft(counter, at_till), "forbidden")


async def test_neither_approver_is_of_the_merchant(counter: Counter) -> None:
    """Whatever role they come with; nor who guards somebody of it."""
    book = counter.api.book
    settlement = await drafted(counter)
    both, guardian, youth = new_id(), new_id(), new_id()
    tokens = [await token_for(book, Role.COORDINATOR, one) for one in (both, guardian)]
    for clerk in (both, youth):
        await clerk_of(counter.api, counter.market.merchant_id, clerk)
    callers = [Caller(counter.api.http, token) for token in tokens]
    async with book.pool.acquire() as connection:
        await connection.execute(
            "INSERT INTO resident (bank_id, resident_id, source_ref, confirmed_on, is_minor, "
            "minor_until) VALUES ($1, $2, 'youth', '2026-01-01', true, "
            "clock_timestamp() + interval '1 day')",
            book.bank_id,
            youth,
        )
        await name_guardian(connection, book.bank_id, youth, guardian, named_by=new_id())
    for caller in callers:
        check_problem(await approve(caller, settlement), "second_person_needed")


async def test_a_merchant_sees_its_own_and_no_other(counter: Counter) -> None:
    settlement = await drafted(counter)
    other, _ = await open_merchant(counter.api.book)
    stranger = await clerk_of(counter.api, other)
    path = f"/settlements/{settlement['settlement_id']}"
    for ending in ("", "/lines", "/statement.csv", "/statement.xlsx", "/statement.html"):
        for caller in (counter.clerk, counter.system, counter.api.auditor):
            assert (await caller.get(path + ending)).status_code == 200
        check_problem(await stranger.get(path + ending), "not_found")
    for caller, found in ((counter.clerk, 1), (counter.system, 1), (stranger, 0)):
        for asked in (None, str(counter.market.merchant_id), str(other)):
            listed = (await caller.get("/settlements", merchant_id=asked)).json()["data"]
            assert len(listed) == found
    resident = await counter.api.resident()
    check_problem(await resident.caller.get(path), "forbidden")
    listed = await counter.api.auditor.get("/settlements", merchant_id=str(other))
    assert listed.json()["data"] == []


async def test_an_api_key_reads_by_its_scope(counter: Counter) -> None:
    settlement = await drafted(counter)
    path = f"/settlements/{settlement['settlement_id']}"
    for scopes, status in (([Action.READ_SETTLEMENT], 200), ([Action.READ_TAKINGS], 403)):
        token = await token_for(
            counter.api.book, Role.MERCHANT, merchant_id=counter.market.merchant_id, scopes=scopes
        )
        assert (await Caller(counter.api.http, token).get(path)).status_code == status


async def test_staff_settle_within_their_branch(counter: Counter) -> None:
    book = counter.api.book
    here, there = await open_branch(book), await open_branch(book)
    await place(book, counter.market.merchant_id, here)
    settlement = await drafted(counter)
    path = f"/settlements/{settlement['settlement_id']}"
    for branch_id, found in ((here, 1), (there, 0)):
        [coordinator, _] = await two_of(counter, Role.COORDINATOR, branch_id)
        listed = (await coordinator.get("/settlements")).json()["data"]
        assert len(listed) == found
        answers = [await coordinator.get(path), await approve(coordinator, settlement)]
        assert [answer.is_success for answer in answers] == [bool(found)] * 2
        if not found:
            check_problem(await draft(counter, coordinator), "not_found")


async def settled(counter: Counter, two: list[Caller], points: int) -> dict[str, Any]:
    """A closed settlement of one capture."""
    settlement = await drafted(counter, points)
    for caller in two:
        await approve(caller, settlement)
    closed = await close(two[0], settlement)
    assert closed.status_code == 201, closed.text
    found: dict[str, Any] = closed.json()
    return found


async def test_lists_go_on_where_the_page_ended(counter: Counter) -> None:
    two = await two_of(counter, Role.COORDINATOR)
    made = [(await settled(counter, two, points))["settlement_id"] for points in (3, 5, 7)]
    seen, cursor = [], None
    for _ in range(3):
        page = (await counter.clerk.get("/settlements", limit=1, cursor=cursor)).json()
        seen += [one["settlement_id"] for one in page["data"]]
        cursor = page["next_cursor"]
    assert (seen, cursor) == (made[::-1], None)
    check_problem(await counter.coordinator.get("/settlements", cursor="x"), "invalid_cursor")


async def test_lines_come_page_by_page_and_add_up(counter: Counter) -> None:
    for points in (10, 20, 30):
        hold_id = await counter.captured(await counter.api.resident(points=points), points)
    await counter.clerk.post(f"/holds/{hold_id}/refunds", {"points": 7, "reason": "goods_faulty"})
    settlement = (await draft(counter)).json()
    path, lines, cursor = f"/settlements/{settlement['settlement_id']}/lines", [], None
    for _ in range(2):
        page = (await counter.clerk.get(path, limit=2, cursor=cursor)).json()
        lines += page["data"]
        cursor = page["next_cursor"]
    assert cursor is None
    assert [line["points"] for line in lines] == [10, 20, 30, -7]
    assert [line["line"] for line in lines] == [1, 2, 3, 4]
    assert Count(line["kind"] for line in lines) == {"capture": 3, "refund": 1}
    assert lines[-1]["hold_id"] == str(UUID(hold_id))
    assert settlement["total"] == sum(line["points"] for line in lines if line["counts"]) == 53


async def test_files_say_what_they_are(counter: Counter) -> None:
    settlement = await drafted(counter)
    path = f"/settlements/{settlement['settlement_id']}/statement"
    name = f"settlement-1-{settlement['settlement_id']}"
    sheet = await counter.clerk.get(f"{path}.csv")
    assert sheet.headers["content-type"] == "text/csv; charset=utf-8"
    assert sheet.headers["content-disposition"] == f'attachment; filename="{name}.csv"'
    rows = list(csv.reader(io.StringIO(sheet.content.decode("utf-8-sig"))))
    assert [row[5] for row in rows[1:]] == ["30", "30"]
    book = await counter.clerk.get(f"{path}.xlsx")
    assert book.content.startswith(b"PK")
    assert book.headers["content-disposition"] == f'attachment; filename="{name}.xlsx"'
    page = await counter.clerk.get(f"{path}.html")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "爱心小店 · 结算单 Settlement 1" in page.text
    for answer in (sheet, book, page):
        assert answer.headers["cache-control"] == "private, no-store"


async def test_no_file_holds_others_up(counter: Counter, monkeypatch: pytest.MonkeyPatch) -> None:
    """A CSV of any length comes in parts; what is made as a whole is bounded, and in a thread."""
    resident = await counter.api.resident(points=60)
    for points in (10, 20, 30):
        await counter.captured(resident, points)
    settlement = (await draft(counter)).json()
    path = f"/settlements/{settlement['settlement_id']}/statement"
    whole = await counter.clerk.get(f"{path}.csv")
    monkeypatch.setattr(statements, "LINES_AT_ONCE", 2)
    assert (await counter.clerk.get(f"{path}.csv")).content == whole.content
    threads = []
    for name in ("statement_html", "statement_xlsx"):
        writes = getattr(statements, name)

        def noted(*terms: object, writes: Callable[..., object] = writes) -> object:
            threads.append(threading.current_thread())
            return writes(*terms)

        monkeypatch.setattr(statements, name, noted)
    for most, status in ((3, 200), (2, 409)):
        monkeypatch.setattr(statements, "MOST_LINES", most)
        for ending in ("html", "xlsx"):
            answer = await counter.clerk.get(f"{path}.{ending}")
            assert answer.status_code == status, answer.text
        assert (await counter.clerk.get(f"{path}.csv")).content == whole.content
    check_problem(answer, "statement_too_long")
    assert len(threads) == 2
    assert threading.current_thread() not in threads


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", "=HYPERLINK(1)", "&amp;$title", "https://x.example/"]
)
async def test_a_merchants_name_is_only_text(counter: Counter, name: str) -> None:
    agreement = {"reference": "A1", "valid_from": "2020-01-01T00:00:00Z"}
    body = {"name": name, "agreement": agreement}
    made = (await counter.coordinator.post("/merchants", body)).json()
    merchant_id = UUID(made["merchant_id"])
    clerk = await clerk_of(counter.api, merchant_id)
    resident = await counter.api.resident(points=5)
    code = await counter.payment_code(resident)
    charged = await clerk.post("/charges", {"code": code, "points": 5})
    assert charged.status_code == 201, charged.text
    cut_off = (await clock(counter.market)).isoformat()
    path = f"/merchants/{merchant_id}/settlements"
    settlement = (await counter.coordinator.post(path, {"cut_off": cut_off})).json()
    page = (await clerk.get(f"/settlements/{settlement['settlement_id']}/statement.html")).text
    assert "<script>" not in page
    assert "&amp;amp;$title" in page or name[0] != "&"
    book = await clerk.get(f"/settlements/{settlement['settlement_id']}/statement.xlsx")
    assert read_xlsx(book.content, 1)[0] == ["商家 merchant", name]
    assert find_active(book.content) == []


async def test_a_role_given_later_counts_when_one_approves(counter: Counter) -> None:
    settlement = await drafted(counter)
    person = new_id()
    caller = Caller(counter.api.http, await token_for(counter.api.book, Role.COORDINATOR, person))
    async with counter.api.book.pool.acquire() as connection:
        await grant_role(
            connection,
            counter.api.book.bank_id,
            person,
            Role.CLERK,
            counter.api.book.bank.root_id,
            merchant_id=counter.market.merchant_id,
            granted_by=OPERATOR_ID,
            approved_by=OPERATOR_ID,
        )
    check_problem(await approve(caller, settlement), "second_person_needed")
