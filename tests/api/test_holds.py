"""Holds over HTTP: placed, seen, released, captured and refunded; by whom, and once for a key."""

import asyncio
from datetime import UTC, datetime, timedelta

from tests.api.client import Caller, check_only_fault, check_problem, new_key, token_for
from tests.api.counter import Counter, clerk_of
from tests.api.counter_desk import CounterDesk
from tests.api.logins import Door
from tests.api.service import PUBLIC_URL
from tests.families import open_family
from tests.people.desk import person
from tests.places import open_branch, place
from tests.redemption.market import INSTANT, open_merchant
from timebank.domain.ledger import AccountKind
from timebank.domain.numbers import parse_sheet_number
from timebank.domain.redemption import CapScope
from timebank.ledger.ids import new_id
from timebank.people.access import Role
from timebank.people.kin import name_guardian, name_helper
from timebank.people.sheets import find_sheet

RETURNED = {"points": 4, "reason": "goods_returned"}


async def test_a_hold_is_placed_once_for_a_key_and_its_code_shown_once(counter: Counter) -> None:
    resident, key = await counter.api.resident(points=25), new_key()
    first = await counter.hold(resident, key=key)
    again = await counter.hold(resident, key=key)
    shown, repeated = first.json(), again.json()
    assert first.headers["cache-control"] == "no-store"
    pickup = shown.pop("pickup")
    assert (len(pickup["digits"]), pickup["token"][0]) == (6, "h")
    assert pickup["qr"] == f"{PUBLIC_URL}/pickup#{pickup['token']}"
    assert shown == repeated
    assert again.headers["idempotent-replayed"] == "true"
    assert await counter.api.book.balance(resident.wallet) == 15
    async with counter.api.book.pool.acquire() as connection:
        stored = await connection.fetchval(
            "SELECT string_agg(answer::text, ' ') FROM request WHERE bank_id = $1",
            counter.api.book.bank_id,
        )
    assert pickup["digits"] not in stored
    assert pickup["token"] not in stored
    other = await counter.hold(resident, key=key, points=11)
    check_problem(other, "idempotency_key_reused")


async def test_a_refusal_is_the_same_at_every_repeat(counter: Counter) -> None:
    resident, key = await counter.api.resident(points=5), new_key()
    check_problem(await counter.hold(resident, key=key), "insufficient_points")
    await counter.api.book.post_all(counter.api.book.award(resident.wallet, 100))
    check_problem(await counter.hold(resident, key=key), "insufficient_points")
    assert (await counter.hold(resident)).status_code == 201


async def test_a_quote_promises_nothing_and_says_what_stands_against_it(counter: Counter) -> None:
    resident, other = await counter.api.resident(points=9), await counter.api.resident()
    offer_id = await counter.market.offer(price=4)
    asked = {"merchant_id": str(counter.market.merchant_id), "account_id": str(resident.wallet)}
    for quantity, status in ((2, "done"), (3, "insufficient_points")):
        quoted = await resident.caller.get(
            "/quote", **asked, offer_id=str(offer_id), quantity=quantity
        )
        assert (quoted.json()["status"], quoted.json()["points"]) == (status, 4 * quantity)
    assert await counter.api.book.balance(resident.wallet) == 9
    check_problem(await other.caller.get("/quote", **asked), "not_found")
    check_problem(await counter.clerk.get("/quote", **asked), "forbidden")


async def test_points_or_a_quantity_of_an_offer(counter: Counter) -> None:
    resident = await counter.api.resident(points=9)
    offer_id = str(await counter.market.offer())
    check_only_fault(await counter.hold(resident, points=None), "/points")
    check_only_fault(await counter.hold(resident, quantity=2), "/points")
    check_only_fault(await counter.hold(resident, offer_id=offer_id, points=2), "/points")
    answer = await counter.hold(resident, points=10**400)
    check_problem(answer, answer.json()["code"])


async def test_part_is_captured_the_rest_is_back_and_part_is_refunded(counter: Counter) -> None:
    resident, market = await counter.api.resident(points=20), counter.market
    offer_id = await market.offer(price=4, stock=5)
    hold_id, code = await counter.held(resident, offer_id=str(offer_id), quantity=3)
    assert await market.available(offer_id) == 2
    found = (await counter.clerk.post("/pickups", {"code": code})).json()
    assert (found["hold_id"], found["quantity"], found["points"]) == (hold_id, 3, 12)
    body, key = {"code": code, "quantity": 2}, new_key()
    for _ in range(2):
        captured = await counter.clerk.post(f"/holds/{hold_id}/captures", body, key=key)
        assert captured.status_code == 201, captured.text
        assert captured.json()["hold"]["points_captured"] == 8
    again = await counter.clerk.post(f"/holds/{hold_id}/captures", body)
    check_problem(again, "hold_already_captured")
    assert await counter.api.book.balance(resident.wallet) == 12
    assert await market.available(offer_id) == 3
    path = f"/holds/{hold_id}/refunds"
    for refund, code in (
        ({**RETURNED, "returned": 1}, None),
        ({**RETURNED, "points": 5}, "refund_exceeds_captured"),
        (RETURNED, None),
        ({**RETURNED, "points": 1}, "refund_exceeds_captured"),
    ):
        answer = await counter.clerk.post(path, refund)
        if code:
            check_problem(answer, code)
        else:
            assert answer.status_code == 201
    assert await counter.api.book.balance(resident.wallet) == 20
    assert await market.available(offer_id) == 4
    why = await counter.clerk.post(path, {**RETURNED, "reason": "delivery"})
    check_only_fault(why, "/reason")


async def test_one_of_many_captures_wins(counter: Counter) -> None:
    resident = await counter.api.resident(points=20)
    hold_id, code = await counter.held(resident)
    path = f"/holds/{hold_id}/captures"
    answers = await asyncio.gather(
        *(counter.clerk.post(path, {"code": code}) for _ in range(4)),
        resident.caller.post(f"/holds/{hold_id}/release", {}),
    )
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409, 409]


async def test_a_till_sees_no_person_and_no_account(counter: Counter) -> None:
    resident = await counter.api.resident(points=20)
    hold_id, _ = await counter.held(resident)
    secrets = {str(resident.resident_id), str(resident.wallet)}
    for till in (counter.clerk, counter.system):
        for path in (f"/holds/{hold_id}", "/holds"):
            answer = await till.get(path)
            assert answer.status_code == 200
            assert hold_id in answer.text
            assert not any(secret in answer.text for secret in secrets)
            assert "balance" not in answer.text
    seen = (await resident.caller.get(f"/holds/{hold_id}")).json()
    assert {seen["resident_id"], seen["account_id"]} == secrets


async def test_a_till_sees_the_masked_name(door: Door) -> None:
    resident_id = await door.desk.member(person(name="王小英"))
    api = door.api
    wallet = await api.book.open_account(owner_id=resident_id, balance=20)
    merchant_id, _ = await open_merchant(api.book)
    caller = Caller(api.http, await token_for(api.book, Role.RESIDENT, resident_id))
    body = {"merchant_id": str(merchant_id), "account_id": str(wallet), "points": 3}
    hold_id = (await caller.post("/holds", body)).json()["hold"]["hold_id"]
    clerk = await clerk_of(api, merchant_id)
    answer = await clerk.get(f"/holds/{hold_id}")
    assert answer.json()["resident_name"] == "王*英"
    assert "王小英" not in answer.text


async def test_a_clerk_of_another_merchant_finds_nothing(counter: Counter) -> None:
    resident = await counter.api.resident(points=50)
    hold_id, code = await counter.held(resident)
    paid = await counter.captured(resident)
    other_id, _ = await open_merchant(counter.api.book)
    other = await clerk_of(counter.api, other_id)
    for path, body in (
        (f"/holds/{hold_id}/captures", {"code": code}),
        (f"/holds/{hold_id}/release", {}),
        (f"/holds/{paid}/refunds", RETURNED),
        (f"/holds/{new_id()}/refunds", RETURNED),
    ):
        check_problem(await other.post(path, body), "not_found")
    check_problem(await other.get(f"/holds/{hold_id}"), "not_found")
    assert (await other.get("/holds")).json()["data"] == []
    assert (await counter.clerk.post("/pickups", {"code": code})).status_code == 200


async def test_an_expired_hold_is_captured_no_more(counter: Counter) -> None:
    resident, market = await counter.api.resident(points=20), counter.market
    wish = market.wish((resident.resident_id, resident.wallet), 10, lifetime=INSTANT)
    hold_id = (await market.place(wish)).hold_id
    code = market.pickups[hold_id]
    for path, body in (("captures", {"code": code}), ("release", {})):
        caller = counter.clerk if path == "captures" else resident.caller
        check_problem(await caller.post(f"/holds/{hold_id}/{path}", body), "hold_expired")
    renewed = await resident.caller.post(f"/holds/{hold_id}/pickup-codes", {})
    assert renewed.status_code in {201, 404}  # open until it is swept, and worth nothing


async def test_holds_are_listed_newest_first_and_in_pages(counter: Counter) -> None:
    resident, other = await counter.api.resident(points=50), await counter.api.resident()
    placed = [(await counter.held(resident))[0] for _ in range(3)]
    first = (await resident.caller.get("/holds", limit=2)).json()
    rest = (await resident.caller.get("/holds", limit=2, cursor=first["next_cursor"])).json()
    assert [hold["hold_id"] for hold in first["data"] + rest["data"]] == placed[::-1]
    asked = str(resident.resident_id)
    check_problem(await other.caller.get("/holds", resident_id=asked), "not_found")
    assert len((await counter.coordinator.get("/holds", resident_id=asked)).json()["data"]) == 3
    check_only_fault(await counter.coordinator.get("/holds"), "resident_id")


# ---- For others --------------------------------------------------------------------------------


async def test_a_helper_reserves_and_never_gives(counter: Counter) -> None:
    resident, helper = [await counter.api.resident(points=points) for points in (30, 0)]
    stranger = await counter.api.resident()
    async with counter.api.book.pool.acquire() as connection, connection.transaction():
        await name_helper(
            connection,
            counter.api.book.bank_id,
            resident.resident_id,
            helper.resident_id,
            expires_at=datetime.now(UTC) + timedelta(days=30),
            by_id=resident.resident_id,
            named_by=new_id(),
        )
    check_problem(await counter.hold(resident, stranger.caller), "not_found")
    answer = await counter.hold(resident, helper.caller)
    assert (answer.status_code, answer.json()["pickup"]["token"][0]) == (201, "h")
    hold_id = answer.json()["hold"]["hold_id"]
    asked = str(resident.resident_id)
    assert len((await helper.caller.get("/holds", resident_id=asked)).json()["data"]) == 1
    released = await helper.caller.post(f"/holds/{hold_id}/release", {})
    assert released.status_code == 201
    assert await counter.api.book.balance(resident.wallet) == 30
    assert await counter.api.book.balance(helper.wallet) == 0
    give = {"from_account_id": str(resident.wallet), "to_account_id": str(helper.wallet)}
    check_problem(await helper.caller.post("/transfers", {**give, "points": 1}), "forbidden")
    check_problem(await stranger.caller.post(f"/holds/{hold_id}/release", {}), "not_found")


async def test_a_coordinator_reserves_for_residents_of_the_branch(counter: Counter) -> None:
    api = counter.api
    resident, elsewhere = await api.resident(points=30), await api.resident(points=30)
    branch_id = await open_branch(api.book)
    await place(api.book, resident.resident_id, branch_id)
    desk = await CounterDesk.open(api, branch_id)
    paper = await desk.paper("redemption")
    check_only_fault(await counter.hold(resident, desk.operator), "/paper")
    check_problem(await counter.hold(elsewhere, desk.operator, paper=paper), "not_found")
    check_only_fault(await counter.hold(resident, paper=paper), "/paper")
    check_problem(
        await counter.hold(resident, desk.operator, paper=await desk.paper()), "sheet_not_issued"
    )
    short = await counter.hold(resident, desk.operator, paper=paper, points=31)
    check_problem(short, "insufficient_points")  # nothing came of it: the sheet is good still
    placed = await counter.hold(resident, desk.operator, paper=paper)
    assert placed.status_code == 201, placed.text
    check_problem(await counter.hold(resident, desk.operator, paper=paper), "sheet_used")
    assert await api.book.balance(resident.wallet) == 20
    async with api.book.pool.acquire() as connection:
        sheet = await find_sheet(connection, api.book.bank_id, parse_sheet_number(paper["sheet"]))
    assert sheet is not None
    assert (sheet.member_id, sheet.witness_id) == (resident.resident_id, desk.witness_id)
    assert str(sheet.subject_id) == placed.json()["hold"]["hold_id"]


async def test_a_coordinator_alone_spends_nobodys_points(counter: Counter) -> None:
    """Operator, witness and member are three, and a resident's code is for the resident."""
    api = counter.api
    resident, desk = await api.resident(points=30), await CounterDesk.open(api)
    for witness_id in (resident.resident_id, await desk.operator_id()):
        paper = {**await desk.paper("redemption"), "witness_id": str(witness_id)}
        answer = await counter.hold(resident, desk.operator, paper=paper)
        check_problem(answer, "second_person_needed")
    assert await api.book.balance(resident.wallet) == 30
    hold_id, _ = await counter.held(resident)
    path = f"/holds/{hold_id}/pickup-codes"
    check_problem(await desk.operator.post(path, {}), "forbidden")
    assert (await resident.caller.post(path, {})).status_code == 201


async def test_a_pool_is_no_source_of_a_hold_but_for_its_family(counter: Counter) -> None:
    book, resident = counter.api.book, await counter.api.resident()
    community = await book.open_account(AccountKind.POOL, balance=9, owner_id=book.bank.root_id)
    async with book.pool.acquire() as connection, connection.transaction():
        members = {resident.resident_id: False}
        pool = await open_family(connection, book.bank_id, new_id(), members)
    for account_id in (pool, community, await counter.api.pool(points=9)):
        answer = await counter.hold(resident, points=1, account_id=str(account_id))
        check_problem(answer, "not_found")
    desk = await CounterDesk.open(counter.api)
    paper = await desk.paper("redemption")
    answer = await counter.hold(
        resident, desk.operator, points=1, account_id=str(pool), paper=paper
    )
    check_only_fault(answer, "/account_id")


async def test_a_card_and_its_pin_redeem_under_the_cap_of_a_card(door: Door) -> None:
    api, holder = door.api, await door.card_holder()
    counter = await Counter.open(api)
    wallet = str(await api.book.open_account(owner_id=holder.resident_id, balance=50))
    by_pin = door.caller(await holder.log_in())
    body = {"merchant_id": str(counter.market.merchant_id), "account_id": wallet, "points": 10}
    check_problem(await by_pin.post("/holds", body), "cap_exceeded")  # the bank has set none
    await counter.market.cap(CapScope.CARD_DAY, 15)
    placed = await by_pin.post("/holds", body)
    assert placed.status_code == 201, placed.text
    assert (placed.json()["hold"]["channel"], "pickup" in placed.json()) == ("card", False)
    check_problem(await by_pin.post("/holds", body), "cap_exceeded")
    hold_id = placed.json()["hold"]["hold_id"]
    for path in (f"/holds/{hold_id}/pickup-codes", "/payment-codes"):
        check_problem(await by_pin.post(path, {}), "stronger_login_needed")
    assert (await counter.clerk.post(f"/holds/{hold_id}/captures", {})).status_code == 201
    by_code = door.caller(await holder.log_in_by_code())
    assert (await by_code.post("/holds", body)).status_code == 201


async def test_who_has_come_of_age_has_no_guardian_any_more(door: Door) -> None:
    """Though nobody asked for the birthday since: it is looked at before anything is held."""
    api, desk = door.api, door.desk
    counter = await Counter.open(api)
    guardian_id = await desk.person()
    born_on = datetime.now(UTC).date() - timedelta(days=366 * 19)
    grown_id = await desk.member(person(born_on))
    async with desk.at() as connection:
        await door.admin.execute(
            "UPDATE resident SET is_minor = true, minor_until = $2 WHERE resident_id = $1",
            grown_id,
            datetime.now(UTC) + timedelta(days=1),
        )
        await name_guardian(connection, desk.bank_id, grown_id, guardian_id, named_by=desk.clerk)
    guardian = Caller(api.http, await token_for(api.book, Role.RESIDENT, guardian_id))
    wallet = str(await api.book.open_account(owner_id=grown_id, balance=100))
    assert (await guardian.get(f"/accounts/{wallet}")).status_code == 200
    body = {"merchant_id": str(counter.market.merchant_id), "account_id": wallet, "points": 10}
    check_problem(await guardian.post("/holds", body), "not_found")
    check_problem(await guardian.get(f"/accounts/{wallet}"), "not_found")
