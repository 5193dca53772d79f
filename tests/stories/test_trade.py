"""A month of a shop, and points that are given, all over HTTP; then the books agree."""

import asyncio
import csv
import io
import zipfile
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID
from xml.etree import ElementTree

import pytest

from tests.api.client import Api, Caller, Resident, check_problem
from tests.api.conftest import client_of
from tests.api.service import key_file
from tests.book import Book
from tests.redemption.market import noon_zone
from tests.stories.test_redemption import agreed, asked, clerk_by_grant, two_of
from timebank.app import create_app
from timebank.audit.reconcile import reconcile
from timebank.audit.snapshot import open_snapshot
from timebank.config import Settings
from timebank.db import open_pool
from timebank.embedded import Server
from timebank.people.access import Role

SHEET = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"


@pytest.fixture
async def api(server: Server, own_database: str) -> AsyncIterator[Api]:
    """The service on a database of its own, so that all of it can be reconciled."""
    dsn = server.dsn(own_database, "timebank_app")
    settings = Settings(database_url=dsn, master_key_file=key_file(), argon2_memory_kib=64)
    async with open_pool(dsn) as pool, client_of(create_app(settings)) as http:
        yield await Api.open(http, await Book.open(pool, time_zone=noon_zone()))


async def check_books(api: Api) -> None:
    async with open_snapshot(api.book.pool) as connection:
        report = await reconcile(connection)
    assert (report.ok, report.findings) == (True, [])


@dataclass(frozen=True)
class Shop:
    """A shop of a merchant, its clerk, and two coordinators who settle with it."""

    api: Api
    administrators: list[Caller]
    coordinators: list[Caller]
    clerk: Caller
    merchant_id: str

    @classmethod
    async def open(cls, api: Api) -> "Shop":
        """Enrol the merchant; two administrators make a person its clerk."""
        administrators = await two_of(api, Role.ADMINISTRATOR)
        coordinators = await two_of(api, Role.COORDINATOR)
        agreement = {"reference": "涧西-2026-001", "valid_from": "2026-01-01T00:00:00+08:00"}
        made = await asked(
            coordinators[0], "/merchants", {"name": "涧西粮油", "agreement": agreement}
        )
        clerk = await clerk_by_grant(api, administrators, made["merchant_id"])
        return cls(api, administrators, coordinators, clerk, made["merchant_id"])

    async def charge(self, resident: Resident, points: int) -> str:
        """Take points by a payment code; return the hold."""
        code = await asked(resident.caller, "/payment-codes", {})
        charged = await asked(self.clerk, "/charges", {"code": code["digits"], "points": points})
        hold_id: str = charged["hold"]["hold_id"]
        return hold_id

    async def fetched(self, resident: Resident, held: int, taken: int) -> None:
        """Hold from home, and take only a part of it at the counter."""
        body = {
            "merchant_id": self.merchant_id,
            "account_id": str(resident.wallet),
            "points": held,
        }
        placed = await asked(resident.caller, "/holds", body)
        capture = {"code": placed["pickup"]["digits"], "quantity": taken}
        await asked(self.clerk, f"/holds/{placed['hold']['hold_id']}/captures", capture)

    async def draft(self, cut_off: str | None = None) -> dict[str, Any]:
        """Draft up to a cut-off, now unless it is said."""
        body = {"cut_off": cut_off or datetime.now(UTC).isoformat(), "fen_rate": 15_000}
        path = f"/merchants/{self.merchant_id}/settlements"
        drafted: dict[str, Any] = await asked(self.coordinators[0], path, body)
        return drafted

    async def close(self, drafted: dict[str, Any]) -> dict[str, Any]:
        """Both approve what they see, and one closes it."""
        path = f"/settlements/{drafted['settlement_id']}"
        for coordinator in self.coordinators:
            seen = (await coordinator.get(path)).json()
            await asked(coordinator, f"{path}/approvals", {"content_hash": seen["content_hash"]})
        closed: dict[str, Any] = await asked(self.coordinators[0], f"{path}/closure", {})
        return closed

    async def rows(self, settlement: dict[str, Any]) -> list[int]:
        """Return the points of the lines that count, read page by page."""
        path, cursor, rows = f"/settlements/{settlement['settlement_id']}/lines", None, []
        while True:
            page = (await self.clerk.get(path, limit=2, cursor=cursor)).json()
            rows += [line["points"] for line in page["data"] if line["counts"]]
            cursor = page["next_cursor"]
            if cursor is None:
                return rows


def read_csv(content: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(content.decode("utf-8-sig"))))


def read_xlsx(content: bytes, sheet: int) -> list[list[str]]:
    """Return the cells of a sheet as text, row by row."""
    with zipfile.ZipFile(io.BytesIO(content)) as book:
        strings = ElementTree.fromstring(book.read("xl/sharedStrings.xml"))  # noqa: S314 - ours
        texts = ["".join(one.itertext()) for one in strings]
        cells = ElementTree.fromstring(book.read(f"xl/worksheets/sheet{sheet}.xml"))  # noqa: S314
    rows = []
    for row in cells.iter(f"{SHEET}row"):
        found = {}  # an empty cell is not written
        for cell in row:
            value = cell.findtext(f"{SHEET}v", "")
            column = ord(cell.get("r", "A")[0]) - ord("A")
            found[column] = texts[int(value)] if cell.get("t") == "s" else value
        rows.append([found.get(column, "") for column in range(max(found) + 1)])
    return rows


async def test_a_month_of_a_shop(api: Api) -> None:
    shop = await Shop.open(api)
    residents = [await api.resident(points=100) for _ in range(3)]
    hold_id = await shop.charge(residents[0], 30)
    await shop.charge(residents[1], 12)
    await shop.fetched(residents[2], held=40, taken=25)
    await asked(shop.clerk, f"/holds/{hold_id}/refunds", {"points": 4, "reason": "goods_faulty"})
    cut_off = datetime.now(UTC).isoformat()
    late = {"points": 9, "reason": "goods_returned"}
    await asked(shop.clerk, f"/holds/{hold_id}/refunds", late)  # of this month's, after its end

    november = await shop.draft(cut_off)
    assert (november["captured"], november["refunded"], november["total"]) == (67, 4, 63)
    assert await shop.rows(november) == [30, 12, 25, -4]
    check_problem(
        await shop.coordinators[0].post(f"/settlements/{november['settlement_id']}/closure", {}),
        "settlement_not_approved",
    )
    november = await shop.close(november)
    assert (november["paid"], november["carried_out"]) == (54, 9)  # what was given back is not paid
    assert (november["fen"], november["remainder"]) == (81, 0)

    await shop.charge(residents[1], 20)
    december = await shop.close(await shop.draft())
    assert await shop.rows(december) == [-9, 20]
    assert (december["carried_in"], december["total"], december["paid"]) == (9, 11, 20)
    assert await api.book.balance(residents[2].wallet) == 75
    listed = (await shop.clerk.get("/settlements")).json()["data"]
    assert listed == [december, november]

    for settlement in listed:
        path = f"/settlements/{settlement['settlement_id']}"
        rows = await shop.rows(settlement)
        assert sum(rows) == settlement["total"]
        sheet = read_csv((await shop.clerk.get(f"{path}/statement.csv")).content)
        book = (await shop.clerk.get(f"{path}/statement.xlsx")).content
        assert read_xlsx(book, 2) == sheet[:-1]
        assert sum(int(row[5]) for row in sheet[1:-1]) == settlement["total"]
        assert sheet[-1][5] == str(settlement["total"])
        summary = dict(row[:2] for row in read_xlsx(book, 1))
        assert summary["本期合计 total"] == str(settlement["total"])
        assert summary["实付 paid"] == str(settlement["paid"])
        page = (await api.auditor.get(f"{path}/statement.html")).text
        assert "涧西粮油 · 结算单" in page
    await check_books(api)


async def test_a_family_gift_and_a_bag_of_rice(api: Api) -> None:
    """A daughter joins her mother's family and gives; the mother spends from the pool."""
    shop = await Shop.open(api)
    mother, daughter = await api.resident(points=10), await api.resident(points=100)
    family = await asked(mother.caller, "/families", {})
    path = f"/families/{family['family_id']}/invitations"
    invitation = await asked(mother.caller, path, {})
    await asked(daughter.caller, "/family-memberships", {"token": invitation["token"]})
    gift = {"family_id": family["family_id"], "points": 30}
    check_problem(await daughter.caller.post("/gifts", gift), "cap_exceeded")  # none was set
    cap = {"deed": "cap_rule", "scope": "gift_day", "points": 60}
    await agreed(shop.administrators, cap)
    await asked(daughter.caller, "/gifts", gift)
    await asked(daughter.caller, "/gifts", {"resident_id": str(mother.resident_id), "points": 30})
    check_problem(await daughter.caller.post("/gifts", {**gift, "points": 1}), "cap_exceeded")
    await shop.fetched(
        Resident(mother.caller, mother.resident_id, UUID(family["account_id"])), held=30, taken=22
    )
    path = f"/residents/{daughter.resident_id}/families"
    [seen] = (await daughter.caller.get(path)).json()["data"]
    assert seen["points"] == 8
    assert await api.book.balance(mother.wallet) == 40
    assert await api.book.balance(daughter.wallet) == 40
    await check_books(api)


async def test_twenty_gifts_at_once_of_the_same_hundred_points(api: Api) -> None:
    administrators = await two_of(api, Role.ADMINISTRATOR)
    await agreed(administrators, {"deed": "cap_rule", "scope": "gift_day", "points": None})
    giver, receiver = await api.resident(points=100), await api.resident()
    family = await asked(giver.caller, "/families", {})
    path = f"/families/{family['family_id']}/invitations"
    token = (await asked(giver.caller, path, {}))["token"]
    await asked(receiver.caller, "/family-memberships", {"token": token})
    gift = {"resident_id": str(receiver.resident_id), "points": 100}
    answers = await asyncio.gather(*(giver.caller.post("/gifts", gift) for _ in range(20)))
    codes = Counter(answer.json().get("code", "done") for answer in answers)
    assert codes == {"done": 1, "insufficient_points": 19}
    assert await api.book.balance(giver.wallet) == 0
    assert await api.book.balance(receiver.wallet) == 100
    await check_books(api)
