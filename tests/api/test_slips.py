"""Slips over HTTP: issued once for a key, shown to whose they are, told of once by any till."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from tests.api.client import Caller, Resident, check_only_fault, check_problem, new_key, token_for
from tests.api.counter import Counter, clerk_of
from tests.api.counter_desk import CounterDesk
from tests.api.logins import Door
from tests.api.service import key_file
from tests.api.test_minor_cap import Youth
from tests.places import open_branch, place
from tests.redemption.market import open_merchant
from tests.redemption.slip_desk import SlipDesk
from timebank.domain.redemption import CapScope
from timebank.people.access import Role
from timebank.people.seals import Seals
from timebank.people.vault_keys import KeyRing
from timebank.redemption.slip_checker import read_keys, verify

ADMIN = Role.ADMINISTRATOR


@dataclass(frozen=True)
class Office:
    """A counter whose bank signs slips of 100 points at most."""

    counter: Counter

    @classmethod
    async def open(cls, counter: Counter) -> "Office":
        """Make a key and set the cap."""
        await SlipDesk(counter.market, Seals(KeyRing(key_file()))).make_key()
        await counter.market.cap(CapScope.SLIP, 100)
        return cls(counter)

    async def ask(
        self, resident: Resident, caller: Caller | None = None, **body: Any
    ) -> httpx.Response:
        """Ask for a slip of 10 points."""
        key = body.pop("key", None)
        given = {
            "merchant_id": str(self.counter.market.merchant_id),
            "account_id": str(resident.wallet),
            "points": 10,
            **body,
        }
        return await (caller or resident.caller).post("/slips", given, key=key)

    async def issued(self, resident: Resident, **body: Any) -> Any:
        """A slip that was issued, as it was answered."""
        answer = await self.ask(resident, **body)
        assert answer.status_code == 201, answer.text
        return answer.json()

    async def tell(self, till: Caller, *texts: str, acceptance_id: UUID | None = None) -> list[Any]:
        """Tell of acceptances; the rows."""
        slips = [{"slip": text, "acceptance_id": str(acceptance_id or uuid4())} for text in texts]
        answer = await till.post("/slips/syncs", {"slips": slips})
        assert answer.status_code == 200, answer.text
        rows: list[Any] = answer.json()["data"]
        assert [row["acceptance_id"] for row in rows] == [one["acceptance_id"] for one in slips]
        return rows


@pytest.fixture
async def office(counter: Counter) -> Office:
    return await Office.open(counter)


async def test_a_slip_is_issued_once_for_a_key_and_no_answer_keeps_it(office: Office) -> None:
    api = office.counter.api
    resident, key = await api.resident(points=25), new_key()
    first = await office.ask(resident, key=key)
    again = await office.ask(resident, key=key)
    assert first.json() == again.json()
    assert first.headers["cache-control"] == again.headers["cache-control"] == "no-store"
    assert again.headers["idempotent-replayed"] == "true"
    assert await api.book.balance(resident.wallet) == 15
    text = first.json()["text"]
    published = await api.anybody.get(f"/slip-keys/{api.book.bank.code}")
    facts = verify(text, read_keys(published.text))
    assert (facts.number, facts.points) == (first.json()["number"], 10)
    assert facts.merchant_id == office.counter.market.merchant_id
    async with api.book.pool.acquire() as connection:
        noted = await connection.fetch(
            "SELECT action FROM audit_log WHERE bank_id = $1 AND object_id = $2 AND result = 'done'"
            " ORDER BY recorded_at",
            api.book.bank_id,
            UUID(first.json()["slip_id"]),
        )
        assert [line["action"] for line in noted] == ["issue_slip", "print_slip"]
        for table in ("request", "slip", "hold", "redemption_act", "audit_log"):
            kept = await connection.fetchval(
                f"SELECT string_agg(t::text, ' ') FROM {table} t WHERE bank_id = $1",
                api.book.bank_id,
            )
            assert text not in (kept or "")
    check_problem(await office.ask(resident, key=key, points=11), "idempotency_key_reused")
    check_problem(await office.ask(resident, points=16), "insufficient_points")
    check_problem(await office.ask(resident, points=101), "cap_exceeded")
    check_only_fault(await office.ask(resident, days=15), "/days")


async def test_whose_slip_it_is_sees_and_prints_it(office: Office) -> None:
    counter = office.counter
    resident, other = await counter.api.resident(points=25), await counter.api.resident()
    slip = await office.issued(resident)
    path = f"/slips/{slip['slip_id']}"
    assert (await resident.caller.get(path)).json() == slip
    page = await resident.caller.get(f"{path}/paper")
    assert page.headers["content-type"].startswith("text/html")
    assert page.headers["cache-control"] == "no-store"
    assert "<svg" in page.text
    assert slip["text"] in page.text.replace(" ", "")
    assert str(resident.resident_id) not in page.text
    listed = (await resident.caller.get("/slips")).json()
    assert [one["slip_id"] for one in listed["data"]] == [slip["slip_id"]]
    assert "text" not in listed["data"][0]
    for caller in (other.caller, counter.clerk, counter.system, counter.coordinator):
        for way in (path, f"{path}/paper"):
            answer = await caller.get(way)
            assert answer.status_code in {403, 404}
            assert slip["text"] not in answer.text
    check_problem(await other.caller.get("/slips", resident_id=resident.resident_id), "not_found")
    seen = await counter.clerk.get(f"/holds/{slip['slip_id']}")
    assert (seen.json()["channel"], str(slip["number"]) in seen.text) == ("slip", False)


async def test_slips_are_listed_in_pages(office: Office) -> None:
    resident = await office.counter.api.resident(points=30)
    ids = [(await office.issued(resident))["slip_id"] for _ in range(3)]
    first = (await resident.caller.get("/slips", limit=2)).json()
    assert ([one["slip_id"] for one in first["data"]], first["has_more"]) == (ids[:0:-1], True)
    rest = (await resident.caller.get("/slips", limit=2, cursor=first["next_cursor"])).json()
    assert ([one["slip_id"] for one in rest["data"]], rest["has_more"]) == (ids[:1], False)


async def test_two_tills_tell_and_one_is_paid(office: Office) -> None:
    counter = office.counter
    resident = await counter.api.resident(points=25)
    slip, first = await office.issued(resident), uuid4()
    [row] = await office.tell(counter.clerk, slip["text"], acceptance_id=first)
    assert (row["result"], row["number"], row["points"]) == ("captured", slip["number"], 10)
    assert "已入账" in row["words"]
    [row] = await office.tell(counter.system, slip["text"], acceptance_id=first)
    assert row["result"] == "captured_before"
    rows = await office.tell(counter.system, slip["text"], "x", slip["text"].lower())
    results = [row["result"] for row in rows]
    assert results == ["captured_by_another", "forged", "captured_by_another"]
    seen = (await resident.caller.get(f"/slips/{slip['slip_id']}")).json()
    assert (seen["state"], "text" in seen) == ("captured", False)
    paper = await resident.caller.get(f"/slips/{slip['slip_id']}/paper")
    check_problem(paper, "hold_already_captured")
    taken = await counter.clerk.get(f"/merchants/{counter.market.merchant_id}/takings")
    assert taken.json()["points_captured"] == 10
    refund = {"points": 4, "reason": "goods_returned"}
    answer = await counter.clerk.post(f"/holds/{slip['slip_id']}/refunds", refund)
    assert answer.status_code == 201
    assert await counter.api.book.balance(resident.wallet) == 19


async def test_a_till_refunds_by_what_it_was_answered(office: Office) -> None:
    """Two slips alike: the number on the paper says which, and the answer what refunds name."""
    counter = office.counter
    resident, other = [await counter.api.resident(points=10) for _ in range(2)]
    papers = [await office.issued(one) for one in (resident, other)]
    rows = await office.tell(counter.clerk, *(paper["text"] for paper in papers))
    [hold_id] = [row["hold_id"] for row in rows if row["number"] == papers[1]["number"]]
    refund = {"points": 4, "reason": "goods_returned"}
    assert (await counter.clerk.post(f"/holds/{hold_id}/refunds", refund)).status_code == 201
    wallets = [await counter.api.book.balance(one.wallet) for one in (resident, other)]
    assert wallets == [0, 4]


async def test_no_other_way_to_the_points_of_a_slip(office: Office) -> None:
    counter = office.counter
    resident = await counter.api.resident(points=25)
    slip = await office.issued(resident)
    path = f"/holds/{slip['slip_id']}"
    check_problem(await counter.clerk.post(f"{path}/captures", {}), "code_not_valid")
    for caller in (resident.caller, counter.clerk, counter.coordinator):
        check_problem(await caller.post(f"{path}/release", {}), "slip_outstanding")
    check_problem(await resident.caller.post(f"{path}/pickup-codes", {}), "not_found")
    other_id, _ = await open_merchant(counter.api.book)
    other = await clerk_of(counter.api, other_id)
    [row] = await office.tell(other, slip["text"])
    assert (row["result"], row["hold_id"]) == ("unknown", None)
    check_problem(await resident.caller.post("/slips/syncs", {"slips": []}), "forbidden")
    check_only_fault(await counter.clerk.post("/slips/syncs", {"slips": []}), "/slips")
    assert (await office.tell(counter.clerk, slip["text"]))[0]["result"] == "captured"


async def test_a_coordinator_issues_by_a_sheet_and_prints_what_they_issued(office: Office) -> None:
    api, branch_id = office.counter.api, await open_branch(office.counter.api.book)
    resident = await api.resident(points=30)
    await place(api.book, resident.resident_id, branch_id)
    desk = await CounterDesk.open(api, branch_id)
    check_only_fault(await office.ask(resident, desk.operator), "/paper")
    paper = await desk.paper("redemption")
    check_only_fault(await office.ask(resident, paper=paper), "/paper")
    short = await office.ask(resident, desk.operator, paper=paper, points=31)
    check_problem(short, "insufficient_points")  # and the sheet stays good
    issued = await office.ask(resident, desk.operator, paper=paper)
    assert issued.status_code == 201, issued.text
    check_problem(await office.ask(resident, desk.operator, paper=paper), "sheet_used")
    path = f"/slips/{issued.json()['slip_id']}/paper"
    assert "<svg" in (await desk.operator.get(path)).text
    check_problem(await desk.checker.get(path), "not_found")
    own = await office.issued(resident)
    check_problem(await desk.operator.get(f"/slips/{own['slip_id']}"), "not_found")
    async with api.book.pool.acquire() as connection:
        noted = await connection.fetchval(
            "SELECT count(*) FROM audit_log WHERE bank_id = $1 AND action = 'print_slip' "
            "AND result = 'done'",
            api.book.bank_id,
        )
    assert noted == 1


async def test_a_pin_issues_no_slip(door: Door) -> None:
    holder = await door.card_holder()
    office = await Office.open(await Counter.open(door.api))
    wallet = await door.api.book.open_account(owner_id=holder.resident_id, balance=50)
    by_pin = door.caller(await holder.log_in())
    resident = Resident(by_pin, holder.resident_id, wallet)
    check_problem(await office.ask(resident), "stronger_login_needed")
    for path in ("/slips", f"/slips/{uuid4()}/paper"):
        check_problem(await by_pin.get(path), "stronger_login_needed")


async def test_a_minors_slip_counts_as_what_they_redeem(door: Door) -> None:
    youth = await Youth.at(door)
    office = await Office.open(youth.counter)
    await youth.cap(20, 30)
    minor = Resident(youth.minor, youth.minor_id, youth.wallet)
    check_problem(await office.ask(minor, points=21), "guardian_needed")
    assert (await office.ask(minor, points=20)).status_code == 201
    check_problem(await office.ask(minor, points=11), "guardian_needed")
    assert (await office.ask(minor, youth.guardian, points=50)).status_code == 201


async def test_without_a_key_or_a_bank(counter: Counter) -> None:
    await counter.market.cap(CapScope.SLIP, 100)
    resident = await counter.api.resident(points=25)
    check_problem(await Office(counter).ask(resident), "signing_key_missing")
    code = counter.api.book.bank.code
    answer = await counter.api.anybody.get(f"/slip-keys/{code}")
    assert answer.json() == {"bank": code, "keys": []}
    admin, key = Caller(counter.api.http, await token_for(counter.api.book, ADMIN)), new_key()
    made = [await admin.post("/slip-keys", {}, key=key) for _ in range(2)]
    assert made[0].json() == made[1].json()
    answer = await counter.api.anybody.get(f"/slip-keys/{code}")
    assert answer.json() == {"bank": code, "keys": [made[0].json()]}
    certificates = await counter.api.anybody.get(f"/certificate-keys/{code}")
    assert certificates.json()["keys"] == []
    assert (await Office(counter).ask(resident)).status_code == 201
    check_problem(await counter.api.anybody.get("/slip-keys/nowhere"), "not_found")
    auditor = Caller(counter.api.http, await token_for(counter.api.book, Role.AUDITOR))
    check_only_fault(await auditor.get("/slips"), "resident_id")
