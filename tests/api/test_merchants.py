"""Merchants and offers over HTTP: enrolled under an agreement, listed, restocked, withdrawn."""

from typing import Any
from uuid import UUID

from tests.api.client import Caller, check_only_fault, check_problem, new_key, token_for
from tests.api.counter import Counter, clerk_of
from tests.places import open_branch
from tests.redemption.market import open_merchant
from timebank.ledger.ids import new_id
from timebank.people.access import Action, Role

AGREED = {"reference": "涧西-2026-007", "valid_from": "2026-01-01T08:00:00+08:00"}


async def enrolled(caller: Caller, **body: Any) -> dict[str, Any]:
    answer = await caller.post("/merchants", {"name": "涧西粮油", "agreement": AGREED, **body})
    assert answer.status_code == 201, answer.text
    return answer.json()


async def test_a_merchant_is_enrolled_once_for_a_key_and_hangs_on_the_branch(
    counter: Counter,
) -> None:
    book = counter.api.book
    branch_id = await open_branch(book)
    near, far = [
        Caller(counter.api.http, await token_for(book, Role.COORDINATOR, branch_id=branch))
        for branch in (branch_id, await open_branch(book))
    ]
    key, body = new_key(), {"name": "涧西粮油", "agreement": AGREED}
    first, again = [await near.post("/merchants", body, key=key) for _ in range(2)]
    assert first.json() == again.json()
    assert again.headers["idempotent-replayed"] == "true"
    merchant = first.json()
    assert (merchant["name"], merchant["is_active"]) == ("涧西粮油", True)
    path = f"/merchants/{merchant['merchant_id']}"
    assert (await near.get(f"{path}/agreements")).json()["data"][0]["reference"] == "涧西-2026-007"
    check_problem(await far.get(f"{path}/agreements"), "not_found")
    assert (await far.get(path)).json() == merchant  # the catalogue is for all


async def test_an_agreement_ends_and_with_it_new_holds(counter: Counter) -> None:
    resident = await counter.api.resident(points=30)
    path = f"/merchants/{counter.market.merchant_id}/agreements"
    twice = await counter.coordinator.post(path, {**AGREED, "reference": "涧西-2026-001"})
    check_problem(twice, "agreement_exists")
    backwards = {**AGREED, "valid_until": "2025-01-01T00:00:00Z"}
    check_only_fault(await counter.coordinator.post(path, backwards), "/valid_until")
    assert (await counter.hold(resident)).status_code == 201
    ended = await counter.coordinator.post(f"{path}/end", {"reference": "涧西-2026-001"})
    assert (ended.status_code, bool(ended.json()["ended_at"])) == (201, True)
    check_problem(await counter.hold(resident), "merchant_not_active")


async def test_a_shop_opens_and_closes_and_its_offers_with_it(counter: Counter) -> None:
    resident = await counter.api.resident(points=30)
    path = f"/merchants/{counter.market.merchant_id}/shops"
    shop = (await counter.system.post(path, {"name": "东门店"})).json()
    stand = {"name": "摊位", "branch_id": str(await open_branch(counter.api.book))}
    check_problem(await counter.system.post(path, stand), "not_found")
    assert (await counter.coordinator.post(path, stand)).status_code == 201
    assert len((await resident.caller.get(path)).json()["data"]) == 2
    assert (await counter.hold(resident, shop_id=shop["shop_id"])).status_code == 201
    closure = f"{path}/{shop['shop_id']}/closure"
    assert (await counter.system.post(closure, {})).status_code == 201
    check_problem(await counter.system.post(closure, {}), "not_found")
    check_problem(await counter.hold(resident, shop_id=shop["shop_id"]), "place_not_valid")


async def test_a_system_lists_restocks_and_withdraws_its_own_offers(counter: Counter) -> None:
    resident = await counter.api.resident(points=30)
    answer = await counter.system.post("/offers", {"title": "大米", "price": 4, "is_stocked": True})
    offer = answer.json()
    assert (offer["merchant_id"], offer["available"]) == (str(counter.market.merchant_id), 0)
    path = f"/offers/{offer['offer_id']}"
    check_problem(await counter.hold(resident, offer_id=offer["offer_id"]), "out_of_stock")
    delivery, key = {"units": 3, "reason": "delivery"}, new_key()
    for _ in range(2):
        stocked = await counter.system.post(f"{path}/restocks", delivery, key=key)
        assert (stocked.status_code, stocked.json()["status"]) == (201, "done")
    assert (await resident.caller.get(path)).json()["available"] == 3
    lost = {"units": -4, "reason": "loss"}
    check_problem(await counter.clerk.post(f"{path}/restocks", lost), "out_of_stock")
    why = await counter.system.post(f"{path}/restocks", {"units": 1, "reason": "changed_mind"})
    check_only_fault(why, "/reason")
    await counter.held(resident, offer_id=offer["offer_id"], quantity=2)
    assert (await resident.caller.get(path)).json()["available"] == 1
    assert (await counter.system.post(f"{path}/withdrawal", {})).json()["withdrawn_at"]
    check_problem(await counter.hold(resident, offer_id=offer["offer_id"]), "offer_not_valid")


async def test_another_merchants_offers_look_absent(counter: Counter) -> None:
    other_id, _ = await open_merchant(counter.api.book)
    offer_id = await counter.market.offer(merchant_id=other_id, stock=5)
    body = {"title": "油", "price": 4, "is_stocked": False, "merchant_id": str(other_id)}
    check_problem(await counter.system.post("/offers", body), "not_found")
    for act, sent in (("withdrawal", {}), ("restocks", {"units": 1, "reason": "delivery"})):
        for absent in (offer_id, new_id()):
            answer = await counter.system.post(f"/offers/{absent}/{act}", sent)
            check_problem(answer, "not_found")
    check_problem(await counter.system.get(f"/merchants/{other_id}/takings"), "not_found")


async def test_the_catalogue_has_pages(counter: Counter) -> None:
    resident = await counter.api.resident()
    made = {str(await counter.market.offer()) for _ in range(3)}
    found: list[str] = []
    cursor = None
    while True:
        page = (await resident.caller.get("/offers", limit=2, cursor=cursor)).json()
        found += [offer["offer_id"] for offer in page["data"]]
        cursor = page["next_cursor"]
        if not page["has_more"]:
            break
    assert len(found) == 3
    assert set(found) == made
    first = (await resident.caller.get("/offers", limit=2)).json()["next_cursor"]
    check_problem(await resident.caller.get("/merchants", cursor=first), "invalid_cursor")
    await enrolled(counter.coordinator)
    merchants = (await resident.caller.get("/merchants", limit=1)).json()
    assert merchants["has_more"]


async def test_takings_are_of_today_and_a_clerk_sees_their_own(counter: Counter) -> None:
    resident = await counter.api.resident(points=100)
    other = await clerk_of(counter.api, counter.market.merchant_id)
    hold_id = await counter.captured(resident, 30)
    refund = {"points": 5, "reason": "goods_faulty"}
    assert (await other.post(f"/holds/{hold_id}/refunds", refund)).status_code == 201
    path = f"/merchants/{counter.market.merchant_id}/takings"
    whole = (await counter.system.get(path)).json()
    assert (whole["captures"], whole["points_captured"]) == (1, 30)
    assert (whole["refunds"], whole["points_refunded"]) == (1, 5)
    mine, theirs = [(await caller.get(path)).json() for caller in (counter.clerk, other)]
    assert (mine["points_captured"], mine["points_refunded"]) == (30, 0)
    assert (theirs["points_captured"], theirs["points_refunded"]) == (0, 5)


async def test_a_key_does_what_its_scopes_say_and_no_more(counter: Counter) -> None:
    party: UUID = new_id()
    token = await token_for(
        counter.api.book,
        Role.MERCHANT,
        party,
        merchant_id=counter.market.merchant_id,
        scopes=[Action.READ_CATALOGUE],
    )
    narrow = Caller(counter.api.http, token)
    assert (await narrow.get("/offers")).status_code == 200
    offered = {"title": "大米", "price": 4, "is_stocked": True}
    check_problem(await narrow.post("/offers", offered), "forbidden")
