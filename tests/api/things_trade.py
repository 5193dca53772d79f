"""What the access matrix asks about settlements, gifts and families."""

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any
from uuid import UUID

from tests.redemption.market import Market
from tests.redemption.test_settlements import approve, clock, draft
from timebank.domain.settlement import Settlement

if TYPE_CHECKING:
    from tests.api.things import Things


async def _earning(things: "Things") -> UUID:
    """The merchant, who has taken points in."""
    await things.get("captured_id")
    return things.merchant_id


async def _cut_off(things: "Things") -> str:
    """An instant after what the merchant took in."""
    await things.get("captured_id")
    market: Market = await things.get("market")
    return (await clock(market)).isoformat()


async def _settlement(things: "Things") -> Settlement:
    await things.get("captured_id")
    return await draft(await things.get("market"))


async def _settlement_id(things: "Things") -> UUID:
    settlement: Settlement = await things.get("settlement")
    return settlement.settlement_id


async def _hash(things: "Things") -> str:
    settlement: Settlement = await things.get("settlement")
    return settlement.content_hash.hex()


async def _approved(things: "Things") -> UUID:
    approved = await approve(await things.get("market"), await things.get("settlement"))
    return approved.settlement_id


TRADE_MAKERS: Mapping[str, Callable[["Things"], Awaitable[Any]]] = {
    "approved_settlement_id": _approved,
    "cut_off": _cut_off,
    "earning_id": _earning,
    "settlement": _settlement,
    "settlement_hash": _hash,
    "settlement_id": _settlement_id,
}
