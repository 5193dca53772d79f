"""Offers over HTTP: the catalogue for everybody, and what merchants and coordinators do to it."""

from datetime import UTC, datetime
from uuid import UUID

from litestar import Response, Router
from litestar.params import FromPath, FromQuery, JSONBody

from timebank.api.accounts import Cursor, Limit
from timebank.api.acts import act_id_of, answer_act
from timebank.api.call import Call, IdempotencyKey
from timebank.api.cursors import make_cursor, read_cursor
from timebank.api.merchants import check_reaches_merchant
from timebank.api.once import Deed, once
from timebank.api.operations import get, post
from timebank.api.wire import as_utc
from timebank.api.wire_redemption import (
    ActView,
    EmptyBody,
    OfferBody,
    OfferPage,
    OfferView,
    RestockBody,
)
from timebank.db import Connection, transaction
from timebank.domain.errors import InvalidInputError
from timebank.domain.redemption import ActKind, Answer, Offer, OfferTerms, check_reason
from timebank.people.access import Action
from timebank.redemption import offers


@get("/offers", opt={"action": Action.READ_CATALOGUE}, operation_id="list_offers")
async def list_offers(
    request: Call,
    merchant_id: FromQuery[UUID | None] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> OfferPage:
    """List offers in force, of one merchant if given."""
    bank = await request.desk.bank(request.user.bank_id)
    listed = f"offers of {merchant_id}"
    after = UUID(read_cursor(bank.cursor_key, listed, cursor)) if cursor else UUID(int=0)
    async with transaction(request.desk.pool) as connection:
        found = await offers.list_offers(
            connection, bank.bank_id, merchant_id=merchant_id, after=after, limit=limit + 1
        )
    page, more = found[:limit], len(found) > limit
    next_cursor = make_cursor(bank.cursor_key, listed, str(page[-1].offer_id)) if more else None
    return OfferPage([_view(offer) for offer in page], next_cursor, more)


@get("/offers/{offer_id:uuid}", opt={"action": Action.READ_CATALOGUE}, operation_id="get_offer")
async def read_offer(request: Call, offer_id: FromPath[UUID]) -> OfferView:
    """Return an offer, in force or not."""
    async with transaction(request.desk.pool) as connection:
        return _view(await offers.get_offer(connection, request.user.bank_id, offer_id))


@post("/offers", opt={"action": Action.MANAGE_OFFERS}, operation_id="open_offer")
async def open_offer(
    request: Call, data: JSONBody[OfferBody], idempotency_key: IdempotencyKey
) -> Response[OfferView]:
    """List an offer; its stock, if it is counted, is none until restocked."""
    bank_id = request.user.bank_id
    merchant_id = data.merchant_id or request.user.merchant_id
    if merchant_id is None:
        raise InvalidInputError("Say whose offer it is.", pointer="/merchant_id")
    terms = OfferTerms(
        merchant_id=merchant_id,
        title=data.title,
        price=data.price,
        is_stocked=data.is_stocked,
        valid_from=as_utc(data.valid_from, "/valid_from") or datetime.now(UTC),
        valid_until=as_utc(data.valid_until, "/valid_until"),
        per_person_day=data.per_person_day,
        per_person=data.per_person,
        shop_ids=tuple(data.shop_ids),
    )
    if terms.valid_until and terms.valid_until <= terms.valid_from:
        raise InvalidInputError("It ends before it begins.", pointer="/valid_until")

    async def work(connection: Connection) -> Deed[OfferView]:
        await check_reaches_merchant(connection, request, Action.MANAGE_OFFERS, merchant_id)
        offer_id = await offers.open_offer(connection, bank_id, terms)
        return Deed(_view(await offers.get_offer(connection, bank_id, offer_id)), offer_id)

    view, headers = await once(request, OfferView, work)
    return Response(view, status_code=201, headers=headers)


@post(
    "/offers/{offer_id:uuid}/withdrawal",
    opt={"action": Action.MANAGE_OFFERS},
    operation_id="withdraw_offer",
)
async def withdraw_offer(
    request: Call,
    offer_id: FromPath[UUID],
    data: JSONBody[EmptyBody],
    idempotency_key: IdempotencyKey,
) -> Response[OfferView]:
    """Take no more holds on it; those that are open stand."""
    bank_id = request.user.bank_id

    async def work(connection: Connection) -> Deed[OfferView]:
        offer = await _reached(connection, request, Action.MANAGE_OFFERS, offer_id)
        await offers.withdraw_offer(connection, bank_id, offer.merchant_id, offer_id)
        return Deed(_view(await offers.get_offer(connection, bank_id, offer_id)), offer_id)

    view, headers = await once(request, OfferView, work)
    return Response(view, status_code=201, headers=headers)


@post("/offers/{offer_id:uuid}/restocks", opt={"action": Action.RESTOCK}, operation_id="restock")
async def restock(
    request: Call,
    offer_id: FromPath[UUID],
    data: JSONBody[RestockBody],
    idempotency_key: IdempotencyKey,
) -> Response[ActView]:
    """Bring units into the stock, or take lost ones out."""
    check_reason(ActKind.RESTOCK, data.reason)

    async def act(connection: Connection) -> Answer:
        await _reached(connection, request, Action.RESTOCK, offer_id)
        return await offers.restock(
            connection,
            request.user.bank_id,
            act_id_of(request, "restock"),
            offer_id,
            data.units,
            reason=data.reason,
            actor_id=request.user.principal_id,
        )

    return await answer_act(request, act, offer_id)


async def _reached(connection: Connection, request: Call, action: Action, offer_id: UUID) -> Offer:
    offer = await offers.get_offer(connection, request.user.bank_id, offer_id)
    await check_reaches_merchant(connection, request, action, offer.merchant_id)
    return offer


def _view(offer: Offer) -> OfferView:
    return OfferView(
        offer_id=offer.offer_id,
        merchant_id=offer.merchant_id,
        title=offer.title,
        price=offer.price,
        is_stocked=offer.is_stocked,
        available=offer.available,
        per_person_day=offer.per_person_day,
        per_person=offer.per_person,
        valid_from=offer.valid_from,
        valid_until=offer.valid_until,
        withdrawn_at=offer.withdrawn_at,
        shop_ids=list(offer.shop_ids),
    )


router = Router("/", route_handlers=[list_offers, read_offer, open_offer, withdraw_offer, restock])
