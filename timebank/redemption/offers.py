"""Offers and their stock."""

from uuid import UUID

from timebank.db import Connection, as_struct, load_queries
from timebank.domain.errors import NotFoundError
from timebank.domain.redemption import (
    ActKind,
    ActReason,
    Answer,
    Offer,
    OfferTerms,
    check_reason,
)
from timebank.ledger.ids import new_id
from timebank.redemption.merchants import get_merchant, list_shops

_QUERIES = load_queries(__package__)
_BEFORE_ALL = UUID(int=0)


async def open_offer(connection: Connection, bank_id: int, terms: OfferTerms) -> UUID:
    """List an offer and return its id; its stock, if it is counted, is none until restocked.

    NotFoundError if there is no such merchant, or a shop is not one of its.
    """
    await get_merchant(connection, bank_id, terms.merchant_id)
    shops = await list_shops(connection, bank_id, terms.merchant_id)
    if not set(terms.shop_ids) <= {shop.shop_id for shop in shops}:
        raise NotFoundError
    offer_id = new_id()
    await connection.execute(
        _QUERIES["open_offer"],
        bank_id,
        offer_id,
        terms.merchant_id,
        terms.title,
        terms.price,
        terms.is_stocked,
        terms.per_person_day,
        terms.per_person,
        terms.valid_from,
        terms.valid_until,
    )
    await connection.execute(
        _QUERIES["set_offer_places"], bank_id, offer_id, sorted(set(terms.shop_ids))
    )
    return offer_id


async def withdraw_offer(
    connection: Connection, bank_id: int, merchant_id: UUID, offer_id: UUID
) -> None:
    """Take no more holds on an offer; those that are open stand. NotFoundError if there is none."""
    query = _QUERIES["withdraw_offer"]
    if await connection.fetchval(query, bank_id, merchant_id, offer_id) is None:
        raise NotFoundError


async def get_offer(connection: Connection, bank_id: int, offer_id: UUID) -> Offer:
    """Return the offer, in force or not; NotFoundError if there is none."""
    record = await connection.fetchrow(
        _QUERIES["list_offers"], bank_id, _BEFORE_ALL, None, offer_id, False, 1
    )
    if record is None:
        raise NotFoundError
    return as_struct(record, Offer)


async def list_offers(
    connection: Connection,
    bank_id: int,
    *,
    merchant_id: UUID | None = None,
    only_in_force: bool = True,
    after: UUID = _BEFORE_ALL,
    limit: int = 50,
) -> list[Offer]:
    """Return offers in the order of their ids, those of one merchant if given."""
    records = await connection.fetch(
        _QUERIES["list_offers"], bank_id, after, merchant_id, None, only_in_force, limit
    )
    return [as_struct(record, Offer) for record in records]


async def restock(
    connection: Connection,
    bank_id: int,
    restock_id: UUID,
    offer_id: UUID,
    units: int,
    *,
    reason: ActReason,
    actor_id: UUID,
) -> Answer:
    """Bring units into the stock of an offer, or take out what was lost (below 0).

    The same restock_id is answered as it was. out_of_stock if less is there than is taken out,
    offer_not_valid if no stock is counted. Locks the stock row.
    """
    check_reason(ActKind.RESTOCK, reason)
    record = await connection.fetchrow(
        _QUERIES["restock"], bank_id, restock_id, offer_id, units, reason, actor_id
    )
    return as_struct(record, Answer)
