"""From an award to a bag of rice and half of it back, all over HTTP; then the books agree."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest

from tests.api.client import Api, Caller, token_for
from tests.api.conftest import client_of
from tests.api.service import key_file
from tests.book import Book
from timebank.app import create_app
from timebank.audit.reconcile import reconcile
from timebank.audit.snapshot import open_snapshot
from timebank.config import Settings
from timebank.db import open_pool
from timebank.embedded import Server
from timebank.ledger.ids import new_id
from timebank.people.access import Role
from timebank.people.parties import PartyKind, register_parties
from timebank.people.sessions import open_session


@pytest.fixture
async def api(server: Server, own_database: str) -> AsyncIterator[Api]:
    """The service on a database of its own, so that all of it can be reconciled."""
    dsn = server.dsn(own_database, "timebank_app")
    settings = Settings(database_url=dsn, master_key_file=key_file(), argon2_memory_kib=64)
    async with open_pool(dsn) as pool, client_of(create_app(settings)) as http:
        yield await Api.open(http, await Book.open(pool))


async def asked(caller: Caller, path: str, body: dict[str, Any]) -> Any:
    answer = await caller.post(path, body)
    assert answer.status_code in {200, 201}, answer.text
    return answer.json()


async def agreed(two: list[Caller], deed: dict[str, Any]) -> None:
    """One proposes, the other approves."""
    proposal = await asked(two[0], "/approvals", deed)
    body = {"decision": "approved", "content_hash": proposal["content_hash"]}
    decided = await asked(two[1], f"/approvals/{proposal['approval_id']}/decision", body)
    assert decided["state"] == "approved"


async def two_of(api: Api, role: Role) -> list[Caller]:
    return [Caller(api.http, await token_for(api.book, role)) for _ in range(2)]


async def clerk_by_grant(api: Api, administrators: list[Caller], merchant_id: str) -> Caller:
    """A person whom two administrators make a clerk of the merchant."""
    person = new_id()
    async with api.book.pool.acquire() as connection:
        await register_parties(connection, api.book.bank_id, PartyKind.PERSON, [person])
    role = {"deed": "role_grant", "role": "clerk", "merchant_id": merchant_id}
    await agreed(administrators, {**role, "party_id": str(person)})
    [grant] = (await administrators[0].get("/role-grants", party_id=str(person))).json()["data"]
    async with api.book.pool.acquire() as connection:
        token = await open_session(
            connection, api.book.bank_id, person, Role.CLERK, grant_id=UUID(grant["grant_id"])
        )
    return Caller(api.http, token)


async def key_of_system(api: Api, administrators: list[Caller], merchant_id: str) -> Caller:
    """A system of the merchant, whose manager issues it a key for offers and stock only."""
    role = {"deed": "role_grant", "role": "merchant", "merchant_id": merchant_id}
    person = new_id()
    async with api.book.pool.acquire() as connection:
        await register_parties(connection, api.book.bank_id, PartyKind.PERSON, [person])
    system = (await asked(administrators[0], "/systems", {}))["party_id"]
    grants = []
    for party_id in (str(person), system):
        await agreed(administrators, {**role, "party_id": party_id})
        found = await administrators[0].get("/role-grants", party_id=party_id)
        grants += [grant["grant_id"] for grant in found.json()["data"]]
    async with api.book.pool.acquire() as connection:
        token = await open_session(
            connection, api.book.bank_id, person, Role.MERCHANT, grant_id=UUID(grants[0])
        )
    scopes = ["manage_offers", "restock", "read_catalogue"]
    body = {"grant_id": grants[1], "scopes": scopes, "days": 30}
    key = await asked(Caller(api.http, token), "/api-keys", body)
    return Caller(api.http, key["token"])


async def test_points_become_rice_and_half_of_it_comes_back(api: Api) -> None:
    administrators = await two_of(api, Role.ADMINISTRATOR)
    coordinators = await two_of(api, Role.COORDINATOR)
    resident = await api.resident()
    agreement = {"reference": "涧西-2026-001", "valid_from": "2026-01-01T00:00:00+08:00"}
    merchant = await asked(
        coordinators[0], "/merchants", {"name": "涧西粮油", "agreement": agreement}
    )
    clerk = await clerk_by_grant(api, administrators, merchant["merchant_id"])
    system = await key_of_system(api, administrators, merchant["merchant_id"])
    await agreed(administrators, {"deed": "cap_rule", "scope": "person_day", "points": 100})

    wallet = str(resident.wallet)
    await agreed(coordinators, {"deed": "award", "account_id": wallet, "points": 60})
    rice = await asked(system, "/offers", {"title": "大米", "price": 10, "is_stocked": True})
    await asked(system, f"/offers/{rice['offer_id']}/restocks", {"units": 5, "reason": "opening"})
    [listed] = (await resident.caller.get("/offers")).json()["data"]
    assert (listed["offer_id"], listed["available"]) == (rice["offer_id"], 5)

    wish = {
        "merchant_id": merchant["merchant_id"],
        "account_id": wallet,
        "offer_id": rice["offer_id"],
    }
    placed = await asked(resident.caller, "/holds", {**wish, "quantity": 4})
    hold_id = placed["hold"]["hold_id"]
    assert await api.book.balance(resident.wallet) == 20
    shown = await asked(clerk, "/pickups", {"code": placed["pickup"]["digits"]})
    assert (shown["hold_id"], shown["points"]) == (hold_id, 40)
    capture = {"code": placed["pickup"]["digits"], "quantity": 3}
    await asked(clerk, f"/holds/{hold_id}/captures", capture)
    refund = {"points": 15, "returned": 1, "reason": "goods_faulty"}
    await asked(clerk, f"/holds/{hold_id}/refunds", refund)
    code = await asked(resident.caller, "/payment-codes", {})
    await asked(clerk, "/charges", {"code": code["digits"], "points": 7})

    assert await api.book.balance(resident.wallet) == 60 - 30 + 15 - 7
    taken = (await clerk.get(f"/merchants/{merchant['merchant_id']}/takings")).json()
    assert (taken["captures"], taken["points_captured"]) == (2, 37)
    assert (taken["refunds"], taken["points_refunded"]) == (1, 15)
    lines = (await resident.caller.get(f"/accounts/{wallet}/passbook")).json()["data"]
    kinds = [line["kind"] for line in lines]
    assert kinds == ["hold", "refund", "release", "hold", "award"]
    assert (await resident.caller.get(f"/offers/{rice['offer_id']}")).json()["available"] == 3
    async with open_snapshot(api.book.pool) as connection:
        report = await reconcile(connection)
    assert (report.ok, report.findings) == (True, [])
