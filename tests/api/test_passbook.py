"""The passbook over HTTP: pages, cursors, links and CSV, every line's balance right."""

import base64
import csv
import io
from datetime import UTC, datetime
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import httpx
import pytest

from tests.api.client import Api, check_problem
from timebank.domain.ledger import Unit

HEADERS = {
    (None, Unit.POINTS): "序号,发生日期,入账时间,摘要,存入(分),支出(分),结余(分),编号",
    ("zh-CN,en;q=0.5", Unit.HOURS): (
        "序号,发生日期,入账时间,摘要,存入(分钟),支出(分钟),结余(分钟),编号"
    ),
    ("fr", Unit.POINTS): "序号,发生日期,入账时间,摘要,存入(分),支出(分),结余(分),编号",
    ("en-GB", Unit.POINTS): (
        "no,occurred on,recorded at,what,in (points),out (points),balance (points),transfer"
    ),
    ("fr, en;q=0.7, zh;q=0.2", Unit.HOURS): (
        "no,occurred on,recorded at,what,in (minutes),out (minutes),balance (minutes),transfer"
    ),
}


async def written(api: Api, number: int = 23) -> UUID:
    """Open a wallet and post `number` lines in and out."""
    wallet, friend = [await api.book.open_account() for _ in range(2)]
    lines = [
        api.book.award(wallet, n + 5) if n % 3 < 2 else api.book.transfer(wallet, friend, n)
        for n in range(number)
    ]
    await api.book.post_all(*lines)
    return wallet


async def whole(api: Api, wallet: UUID, limit: int = 200) -> list[dict[str, Any]]:
    """Walk all pages and return their lines."""
    lines: list[dict[str, Any]] = []
    cursor, more = None, True
    while more:
        answer = await api.system.get(f"/accounts/{wallet}/passbook", cursor=cursor, limit=limit)
        page = answer.json()
        assert len(page["data"]) == limit or not page["has_more"]
        lines += page["data"]
        cursor, more = page["next_cursor"], page["has_more"]
        assert ("link" in answer.headers) == more == (cursor is not None)
    return lines


@pytest.mark.parametrize("limit", [1, 5, 22, 23, 24, 200])
async def test_all_pages_are_the_whole_passbook(api: Api, limit: int) -> None:
    lines = await whole(api, await written(api), limit)
    assert [line["seq"] for line in lines] == list(range(23, 0, -1))
    balance = 0
    for line in reversed(lines):
        balance += line["points"]
        assert line["balance_after"] == balance
        assert line["kind"] == ("award" if line["points"] > 0 else "transfer")


async def test_a_new_line_moves_no_page(api: Api) -> None:
    wallet = await written(api)
    first = (await api.system.get(f"/accounts/{wallet}/passbook", limit=10)).json()
    await api.book.post_all(api.book.award(wallet, 1))
    second = await api.system.get(
        f"/accounts/{wallet}/passbook", limit=10, cursor=first["next_cursor"]
    )
    assert [line["seq"] for line in second.json()["data"]] == list(range(13, 3, -1))


async def test_links_lead_through_the_pages(api: Api) -> None:
    wallet = await written(api)
    path: str | None = f"/api/v1/accounts/{wallet}/passbook?limit=9"
    seen: list[int] = []
    while path:
        answer = await api.http.get(path, headers=api.system.headers)
        seen += [line["seq"] for line in answer.json()["data"]]
        path = answer.links.get("next", {}).get("url")
    assert seen == list(range(23, 0, -1))


async def test_an_empty_passbook_has_no_lines(api: Api) -> None:
    wallet = await api.book.open_account()
    assert await whole(api, wallet) == []
    answer = await api.system.get(f"/accounts/{wallet}/passbook.csv")
    assert len(answer.content.splitlines()) == 1


async def test_a_reversal_is_a_line_that_names_its_original(api: Api) -> None:
    wallet = await api.book.open_account()
    award = api.book.award(wallet, 5)
    await api.book.post_all(award)
    await api.system.post(f"/transfers/{award.transfer_id}/reversal", {"reason": "duplicate"})
    lines = await whole(api, wallet)
    assert [line["points"] for line in lines] == [-5, 5]
    assert lines[0]["reverses_id"] == str(award.transfer_id)


async def a_cursor(api: Api, path: str) -> str:
    """Return the cursor that leads to a list's second page."""
    return str((await api.system.get(path, limit=1)).json()["next_cursor"])


async def test_a_cursor_is_good_for_its_own_list_only(api: Api) -> None:
    wallet, other = await written(api), await written(api)
    owner = await api.resident()
    await api.book.open_account(unit=Unit.HOURS, owner_id=owner.resident_id)
    mine, theirs = f"/accounts/{wallet}/passbook", f"/accounts/{other}/passbook"
    cursor, accounts = await a_cursor(api, mine), await a_cursor(api, "/accounts")
    check_problem(await api.system.get(theirs, cursor=cursor), "invalid_cursor", 400)
    check_problem(await api.system.get("/accounts", cursor=cursor), "invalid_cursor", 400)
    check_problem(await api.system.get(mine, cursor=accounts), "invalid_cursor", 400)
    check_problem(await owner.caller.get("/accounts", cursor=accounts), "invalid_cursor", 400)
    assert (await api.system.get(mine, cursor=cursor)).status_code == 200


async def test_a_cursor_cannot_be_made_or_changed(api: Api) -> None:
    path = f"/accounts/{await written(api)}/passbook"
    cursor = await a_cursor(api, path)
    raw = base64.urlsafe_b64decode(cursor)
    forged = [base64.urlsafe_b64encode(raw[:12] + place).decode() for place in (b"1", b"x", b"")]
    flipped = [
        base64.urlsafe_b64encode(bytes([raw[0] ^ 1, *raw[1:]])).decode(),
        base64.urlsafe_b64encode(raw[12:]).decode(),
    ]
    odd = ["x", "=", "é", "\x00", "王", "a" * 200, cursor + cursor, cursor + "=", " " + cursor]
    for given in (*forged, *flipped, *odd, *(cursor[:n] for n in range(1, len(cursor)))):
        check_problem(await api.system.get(path, cursor=given), "invalid_cursor", 400)


async def exported(api: Api, wallet: UUID, language: str | None = None) -> httpx.Response:
    """Fetch the passbook as CSV."""
    headers = {"Accept-Language": language} if language else {}
    return await api.system.get(f"/accounts/{wallet}/passbook.csv", headers)


@pytest.mark.parametrize(("language", "unit"), HEADERS)
async def test_the_csv_is_headed_in_the_readers_language(
    api: Api, language: str | None, unit: Unit
) -> None:
    answer = await exported(api, await api.book.open_account(unit=unit), language)
    assert answer.content == b"\xef\xbb\xbf" + f"{HEADERS[language, unit]}\r\n".encode()
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"].startswith('attachment; filename="passbook-')


async def test_every_line_of_the_csv_has_its_balance(api: Api) -> None:
    wallet = await written(api)
    rows = list(csv.reader(io.StringIO((await exported(api, wallet)).text.lstrip("\ufeff"))))
    lines = await whole(api, wallet)
    assert len(rows) == 1 + len(lines)
    balance = 0
    for row, line in zip(reversed(rows[1:]), reversed(lines), strict=True):
        balance += int(row[4] or 0) - int(row[5] or 0)
        assert balance == int(row[6]) == line["balance_after"]
        assert [row[0], row[7]] == [str(line["seq"]), line["transfer_id"]]
        assert (row[4] == "") != (row[5] == "")
        assert row[3] == {"award": "服务奖励", "transfer": "转账"}[line["kind"]]


async def test_the_csv_is_whole_however_long(api: Api) -> None:
    wallet = await api.book.open_account()
    for _ in range(2):
        await api.book.post_all(*(api.book.award(wallet, 1) for _ in range(1000)))
    for _ in range(2):
        text = (await exported(api, wallet)).text
        rows = list(csv.reader(io.StringIO(text)))[1:]
        assert [int(row[0]) for row in rows] == list(range(len(rows), 0, -1))
        assert int(rows[0][6]) == len(rows)
        await api.book.post_all(api.book.award(wallet, 1))
    assert len(rows) == 2001


async def test_days_are_those_of_the_bank(api: Api) -> None:
    wallet = await api.book.open_account()
    late = datetime(2026, 4, 30, 16, 30, tzinfo=UTC)
    await api.book.post_all(api.book.award(wallet, 1, occurred_at=late))
    row = list(csv.reader(io.StringIO((await exported(api, wallet)).text)))[1]
    assert row[1] == "2026-05-01"
    recorded_at = datetime.fromisoformat(row[2])
    assert recorded_at.utcoffset() == ZoneInfo("Asia/Shanghai").utcoffset(recorded_at)


async def test_the_earliest_day_can_be_written(api: Api) -> None:
    wallet = await api.book.open_account()
    body = {"account_id": str(wallet), "points": 1, "occurred_at": "1900-01-01T00:00:00Z"}
    assert (await api.system.post("/awards", body)).status_code == 201
    assert ",1900-01-01," in (await exported(api, wallet)).text
