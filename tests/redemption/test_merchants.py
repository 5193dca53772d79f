"""Merchants, agreements, shops and offers as they are listed."""

from datetime import UTC, datetime, timedelta

import pytest

from tests.book import STAFF
from tests.redemption.market import LONG_AGO, Market, open_merchant
from timebank.db import transaction
from timebank.domain.errors import AgreementExistsError, NotFoundError
from timebank.domain.redemption import OfferTerms
from timebank.ledger.ids import new_id
from timebank.redemption import merchants, offers


async def test_a_merchant_is_enrolled_once(market: Market) -> None:
    again = await market.run(merchants.enrol_merchant, market.merchant_id, "别名")
    assert (again.name, again.agreed_until is not None) == ("爱心小店", True)
    other, _ = await open_merchant(market.book)
    listed = await market.run(merchants.list_merchants)
    assert [merchant.merchant_id for merchant in listed] == [market.merchant_id, other]
    page = await market.run(merchants.list_merchants, after=market.merchant_id)
    assert [merchant.merchant_id for merchant in page] == [other]
    with pytest.raises(NotFoundError):
        await market.run(merchants.get_merchant, new_id())


async def test_an_agreement_is_recorded_and_ended_once(market: Market) -> None:
    reference = "涧西-2026-001"
    with pytest.raises(AgreementExistsError):
        async with transaction(market.book.pool) as connection:
            await merchants.record_agreement(
                connection,
                market.bank_id,
                market.merchant_id,
                reference,
                valid_from=LONG_AGO,
                recorded_by=STAFF,
            )
    await market.run(merchants.end_agreement, market.merchant_id, reference)
    with pytest.raises(NotFoundError):
        await market.run(merchants.end_agreement, market.merchant_id, reference)
    [agreement] = await market.run(merchants.list_agreements, market.merchant_id)
    assert (agreement.reference, agreement.valid_until) == (reference, None)
    assert agreement.ended_at is not None
    merchant = await market.run(merchants.get_merchant, market.merchant_id)
    assert merchant.agreed_until is None


async def test_a_later_agreement_makes_a_merchant_active_again(market: Market) -> None:
    await market.run(merchants.end_agreement, market.merchant_id, "涧西-2026-001")
    until = datetime.now(UTC) + timedelta(days=1)
    await market.run(
        merchants.record_agreement,
        market.merchant_id,
        "涧西-2026-002",
        valid_from=LONG_AGO,
        valid_until=until,
        recorded_by=STAFF,
    )
    merchant = await market.run(merchants.get_merchant, market.merchant_id)
    assert merchant.agreed_until == until


async def test_shops_open_and_close(market: Market) -> None:
    branch_id = new_id()
    shop_id = await market.run(
        merchants.open_shop, market.merchant_id, "邻里中心摊位", branch_id=branch_id
    )
    await market.run(merchants.close_shop, market.merchant_id, shop_id)
    [shop] = await market.run(merchants.list_shops, market.merchant_id)
    assert (shop.name, shop.branch_id, shop.closed_at is None) == ("邻里中心摊位", branch_id, False)
    with pytest.raises(NotFoundError):
        await market.run(merchants.close_shop, market.merchant_id, shop_id)
    with pytest.raises(NotFoundError):
        await market.run(merchants.open_shop, new_id(), "无主")


async def test_offers_are_listed_while_they_are_in_force(market: Market) -> None:
    shop_id = await market.run(merchants.open_shop, market.merchant_id, "东店")
    soap = await market.offer(3, 5, per_person=2, shop_ids=(shop_id,))
    over = await market.offer(valid_until=LONG_AGO + timedelta(days=1))
    gone = await market.offer()
    await market.run(offers.withdraw_offer, market.merchant_id, gone)
    with pytest.raises(NotFoundError):
        await market.run(offers.withdraw_offer, market.merchant_id, gone)
    [offer] = await market.run(offers.list_offers)
    assert (offer.offer_id, offer.price, offer.available) == (soap, 3, 5)
    assert (offer.per_person, offer.shop_ids, offer.valid_until) == (2, (shop_id,), None)
    everything = await market.run(
        offers.list_offers, merchant_id=market.merchant_id, only_in_force=False
    )
    assert [one.offer_id for one in everything] == [soap, over, gone]
    assert await market.run(offers.list_offers, after=soap) == []


async def test_an_offer_is_of_a_merchant_and_its_shops(market: Market) -> None:
    other, _ = await open_merchant(market.book)
    shop_id = await market.run(merchants.open_shop, other, "别处")
    terms = OfferTerms(
        merchant_id=market.merchant_id,
        title="米",
        price=1,
        is_stocked=False,
        valid_from=LONG_AGO,
        shop_ids=(shop_id,),
    )
    with pytest.raises(NotFoundError):
        await market.run(offers.open_offer, terms)
    with pytest.raises(NotFoundError):
        await market.run(offers.get_offer, new_id())
