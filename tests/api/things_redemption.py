"""What the access matrix asks about redemption: a merchant who takes points, holds and codes."""

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any
from uuid import UUID

from tests.api.service import key_file
from tests.redemption.market import LONG_AGO, Market
from tests.redemption.slip_desk import SlipDesk
from tests.webhooks.listening import open_at
from timebank.domain.ledger import AccountKind, Unit
from timebank.domain.redemption import CapScope, OfferTerms
from timebank.ledger.accounts import get_account_of
from timebank.people.seals import Seals
from timebank.people.vault_keys import KeyRing
from timebank.redemption import codes, merchants, offers
from timebank.webhooks.events import Event, list_events

if TYPE_CHECKING:
    from tests.api.things import Things

REFERENCE = "涧西-2026-001"


async def _market(things: "Things") -> Market:
    """The things' merchant, active."""
    bank_id, merchant_id = things.book.bank_id, things.merchant_id
    async with things.book.pool.acquire() as connection:
        await merchants.enrol_merchant(connection, bank_id, merchant_id, "爱心小店")
        await merchants.record_agreement(
            connection,
            bank_id,
            merchant_id,
            REFERENCE,
            valid_from=LONG_AGO,
            recorded_by=things.owner_id,
        )
        till = await get_account_of(
            connection, bank_id, Unit.POINTS, AccountKind.MERCHANT, merchant_id
        )
    return Market(things.book, merchant_id, till.account_id)


async def _enrolled(things: "Things") -> UUID:
    market: Market = await things.get("market")
    return market.merchant_id


async def _shop(things: "Things") -> UUID:
    market: Market = await things.get("market")
    shop_id: UUID = await market.run(merchants.open_shop, market.merchant_id, "东门店")
    return shop_id


async def _offer(things: "Things") -> UUID:
    market: Market = await things.get("market")
    terms = OfferTerms(
        merchant_id=market.merchant_id,
        title="香皂",
        price=2,
        is_stocked=True,
        valid_from=LONG_AGO,
    )
    offer_id: UUID = await market.run(offers.open_offer, terms)
    return offer_id


async def _funded(things: "Things") -> UUID:
    """The resident's wallet, with points."""
    wallet: UUID = await things.get("account_id")
    await things.book.post_all(things.book.award(wallet, 50))
    return wallet


async def _hold(things: "Things") -> UUID:
    market: Market = await things.get("market")
    return await market.held((things.owner_id, await things.get("funded_id")), 3)


async def _captured(things: "Things") -> UUID:
    market: Market = await things.get("market")
    hold_id: UUID = await things.get("hold_id")
    assert (await market.capture(hold_id)).status == "done"
    return hold_id


async def _pickup(things: "Things") -> str:
    market: Market = await things.get("market")
    return market.pickups[await things.get("hold_id")]


async def _payment(things: "Things") -> str:
    market: Market = await things.get("market")
    wallet = await things.get("funded_id")
    issued: codes.PaymentCode = await market.run(codes.issue_payment_code, things.owner_id, wallet)
    return issued.code.digits


async def _slip_desk(things: "Things") -> SlipDesk:
    """The bank signs slips, and lets them have points."""
    market: Market = await things.get("market")
    desk = SlipDesk(market, Seals(KeyRing(key_file())))
    await desk.make_key()
    await market.cap(CapScope.SLIP, 100)
    return desk


async def _slip_points(things: "Things") -> int:
    await things.get("slip_desk")
    return 5


async def _slip(things: "Things") -> UUID:
    desk: SlipDesk = await things.get("slip_desk")
    return (await desk.issued((things.owner_id, await things.get("funded_id")), 3)).slip_id


async def _slip_text(things: "Things") -> str:
    desk: SlipDesk = await things.get("slip_desk")
    return await desk.text(await desk.get(await things.get("slip_id")))


async def _reference(things: "Things") -> str:
    await things.get("market")
    return REFERENCE


async def _endpoint(things: "Things") -> UUID:
    """An endpoint of the merchant's system."""
    market: Market = await things.get("market")
    endpoint, _ = await open_at(market, Seals(KeyRing(key_file())), "https://till.example/hook")
    return endpoint.endpoint_id


async def _event(things: "Things") -> UUID:
    """What the endpoint is told."""
    endpoint_id: UUID = await things.get("endpoint_id")
    await things.get("hold_id")
    market: Market = await things.get("market")
    found: list[Event] = await market.run(list_events, endpoint_id)
    return found[0].event_id


REDEMPTION_MAKERS: Mapping[str, Callable[["Things"], Awaitable[Any]]] = {
    "captured_id": _captured,
    "endpoint_id": _endpoint,
    "enrolled_id": _enrolled,
    "event_id": _event,
    "funded_id": _funded,
    "hold_id": _hold,
    "market": _market,
    "offer_id": _offer,
    "payment_code": _payment,
    "pickup_code": _pickup,
    "reference": _reference,
    "shop_id": _shop,
    "slip_desk": _slip_desk,
    "slip_id": _slip,
    "slip_points": _slip_points,
    "slip_text": _slip_text,
}
