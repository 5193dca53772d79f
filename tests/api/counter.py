"""A counter for tests over HTTP: a merchant with its clerk and its system, and a coordinator."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx

from tests.api.client import Api, Caller, Resident, token_for
from tests.redemption.market import Market
from timebank.ledger.ids import new_id
from timebank.people.access import Role


@dataclass(frozen=True)
class Counter:
    """Who stands at the counter of a merchant who takes points."""

    api: Api
    market: Market
    clerk: Caller
    system: Caller
    coordinator: Caller

    @classmethod
    async def open(cls, api: Api) -> "Counter":
        """Open a market on the bank of these callers."""
        market = await Market.open(api.book)
        clerk = await clerk_of(api, market.merchant_id)
        token = await token_for(api.book, Role.MERCHANT, merchant_id=market.merchant_id)
        coordinator = await token_for(api.book, Role.COORDINATOR)
        return cls(api, market, clerk, Caller(api.http, token), Caller(api.http, coordinator))

    async def hold(
        self, resident: Resident, caller: Caller | None = None, **body: Any
    ) -> httpx.Response:
        """Place a hold of a resident's points, by default of 10 in their own session."""
        key = body.pop("key", None)
        given = {
            "merchant_id": str(self.market.merchant_id),
            "account_id": str(resident.wallet),
            **({} if "offer_id" in body else {"points": 10}),
            **body,
        }
        return await (caller or resident.caller).post("/holds", given, key=key)

    async def held(self, resident: Resident, **body: Any) -> tuple[str, str]:
        """Hold, and return the hold's id and the digits of its pick-up code."""
        answer = await self.hold(resident, **body)
        assert answer.status_code == 201, answer.text
        return answer.json()["hold"]["hold_id"], answer.json()["pickup"]["digits"]

    async def captured(self, resident: Resident, points: int = 10) -> str:
        """Hold and capture so many points; return the hold's id."""
        hold_id, code = await self.held(resident, points=points)
        answer = await self.clerk.post(f"/holds/{hold_id}/captures", {"code": code})
        assert answer.status_code == 201, answer.text
        return hold_id

    async def payment_code(self, resident: Resident) -> str:
        """Return the digits of a new payment code."""
        answer = await resident.caller.post("/payment-codes", {})
        assert answer.status_code == 201, answer.text
        digits: str = answer.json()["digits"]
        return digits


async def clerk_of(api: Api, merchant_id: UUID, party_id: UUID | None = None) -> Caller:
    """Return a clerk of a merchant, new unless one is named."""
    token = await token_for(api.book, Role.CLERK, party_id or new_id(), merchant_id=merchant_id)
    return Caller(api.http, token)
