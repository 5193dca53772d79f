"""A hold and what becomes of it: points and stock move together, once."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import pytest

from tests.races.checks import check_books
from tests.redemption.market import CLERK, HOUR, INSTANT, LONG_AGO, Market, open_merchant
from timebank.domain.errors import InvalidInputError, NotFoundError
from timebank.domain.ledger import AccountKind, Unit
from timebank.domain.redemption import Channel, HoldState
from timebank.ledger.accounts import ensure_account
from timebank.ledger.ids import new_id
from timebank.redemption import holds, merchants, offers


async def test_a_hold_is_captured_whole(market: Market) -> None:
    resident = await market.resident(10)
    soap = await market.offer(price=3, stock=5)
    answer = await market.place(market.wish(resident, 2, offer_id=soap))
    assert (answer.status, answer.points, answer.quantity) == ("done", 6, 2)
    assert await market.points_of(resident[0]) == 4
    assert await market.points_of(resident[0], AccountKind.HELD) == 6
    assert await market.available(soap) == 3
    captured = await market.capture(answer.act_id)
    assert (captured.status, captured.points) == ("done", 6)
    assert await market.points_of(resident[0], AccountKind.HELD) == 0
    assert await market.points_of(market.merchant_id, AccountKind.MERCHANT) == 6
    assert await market.available(soap) == 3
    hold = await market.get(answer.act_id)
    assert (hold.state, hold.captured, hold.captured_by) == (HoldState.CAPTURED, 2, CLERK)
    await check_books(market.book)


async def test_the_rest_of_a_partial_capture_goes_back(market: Market) -> None:
    resident = await market.resident(10)
    soap = await market.offer(price=3, stock=5)
    hold_id = await market.held(resident, 3, offer_id=soap)
    captured = await market.capture(hold_id, 1)
    assert (captured.status, captured.quantity, captured.points) == ("done", 1, 3)
    assert await market.points_of(resident[0]) == 7
    assert await market.points_of(resident[0], AccountKind.HELD) == 0
    assert await market.available(soap) == 4
    await check_books(market.book)


async def test_an_open_amount_needs_no_offer(market: Market) -> None:
    resident = await market.resident(10)
    hold_id = await market.held(resident, 7)
    assert (await market.capture(hold_id, 5)).points == 5
    assert await market.points_of(resident[0]) == 5


async def test_a_release_gives_all_back(market: Market) -> None:
    resident = await market.resident(10)
    soap = await market.offer(price=3, stock=2)
    hold_id = await market.held(resident, 2, offer_id=soap)
    assert (await market.release(hold_id)).status == "done"
    assert (await market.points_of(resident[0]), await market.available(soap)) == (10, 2)
    assert (await market.get(hold_id)).state is HoldState.RELEASED


async def test_an_overdue_hold_is_ended_by_the_sweeper_alone(market: Market) -> None:
    resident = await market.resident(10)
    soap = await market.offer(price=3, stock=2)
    hold_id = await market.held(resident, 2, offer_id=soap, lifetime=INSTANT)
    assert (await market.capture(hold_id)).status == "hold_expired"
    assert (await market.release(hold_id)).status == "hold_expired"
    assert (await market.refund(hold_id, 1)).status == "hold_expired"
    assert (await market.points_of(resident[0]), await market.available(soap)) == (4, 0)
    assert await holds.sweep(market.book.pool, market.bank_id) == 1
    assert (await market.points_of(resident[0]), await market.available(soap)) == (10, 2)
    assert await holds.sweep(market.book.pool, market.bank_id) == 0
    assert (await market.capture(hold_id)).status == "hold_expired"
    assert (await market.get(hold_id)).state is HoldState.EXPIRED
    acts = await market.run(holds.list_acts, hold_id)
    assert [(act.kind, act.status) for act in acts if act.status == "done"] == [
        ("hold", "done"),
        ("expire", "done"),
    ]
    await check_books(market.book)


async def test_a_pool_pays_and_has_it_back(market: Market) -> None:
    resident, _ = await market.resident()
    pool = await market.book.open_account(AccountKind.POOL, balance=10)
    hold_id = await market.held((resident, pool), 6)
    assert await market.book.balance(pool) == 4
    await market.capture(hold_id)
    assert (await market.refund(hold_id, 6)).status == "done"
    assert await market.book.balance(pool) == 10


async def test_the_banks_own_pool_pays_again_and_again(market: Market) -> None:
    """It has no owner; the held account beside it has none either."""
    resident, _ = await market.resident()
    async with market.book.pool.acquire() as connection:
        pool = await ensure_account(connection, market.bank_id, Unit.POINTS, AccountKind.POOL, None)
    await market.book.post_all(market.book.award(pool.account_id, 10))
    for _ in range(2):
        await market.release(await market.held((resident, pool.account_id), 3))
    assert await market.book.balance(pool.account_id) == 10


@pytest.mark.parametrize("kind", [AccountKind.HELD, AccountKind.MERCHANT])
async def test_hours_are_never_redeemed(market: Market, kind: AccountKind) -> None:
    with pytest.raises(asyncpg.CheckViolationError, match="account_of_redemption_counts_points"):
        await market.book.open_account(kind, Unit.HOURS)
    hours = await market.book.open_account(unit=Unit.HOURS, balance=60)
    refused = await market.place(market.wish((new_id(), hours)))
    assert refused.status == "account_not_found"


async def test_refunds_in_parts_up_to_what_was_captured(market: Market) -> None:
    resident = await market.resident(10)
    soap = await market.offer(price=3, stock=3)
    hold_id = await market.held(resident, 3, offer_id=soap)
    assert (await market.refund(hold_id, 1)).status == "hold_not_captured"
    await market.capture(hold_id, 2)
    assert (await market.refund(hold_id, 2)).status == "done"
    assert (await market.refund(hold_id, 5)).status == "refund_exceeds_captured"
    assert (await market.refund(hold_id, 1, 3)).status == "return_exceeds_captured"
    assert (await market.refund(hold_id, 4, 2)).status == "done"
    assert (await market.refund(hold_id, 1)).status == "refund_exceeds_captured"
    assert (await market.points_of(resident[0]), await market.available(soap)) == (10, 3)
    hold = await market.get(hold_id)
    assert (hold.refunded, hold.returned, hold.state) == (6, 2, HoldState.CAPTURED)


async def test_a_merchant_gives_back_no_more_than_it_has(market: Market) -> None:
    resident = await market.resident(10)
    hold_id = await market.held(resident, 10)
    await market.capture(hold_id)
    given = market.book.transfer(market.till, resident[1], 4, kind="reissue")
    await market.book.post_all(given)
    assert (await market.refund(hold_id, 7)).status == "merchant_lacks_points"
    assert (await market.refund(hold_id, 6)).status == "done"


async def test_terminal_states_absorb(market: Market) -> None:
    resident = await market.resident(30)
    captured, released = await market.held(resident), await market.held(resident)
    await market.capture(captured)
    await market.release(released)
    assert (await market.capture(captured)).status == "hold_already_captured"
    assert (await market.release(captured)).status == "hold_already_captured"
    assert (await market.capture(released)).status == "hold_released"
    assert (await market.release(released)).status == "hold_released"
    assert (await market.refund(released, 1)).status == "hold_released"
    assert await market.points_of(resident[0]) == 29


@pytest.mark.parametrize("kind", ["hold", "capture", "release", "refund", "restock"])
async def test_the_same_id_is_answered_as_it_was(market: Market, kind: str) -> None:
    resident = await market.resident(10)
    soap = await market.offer(price=2, stock=5)
    same = new_id()
    hold_id = await market.held(resident, 2, offer_id=soap)
    if kind == "refund":
        await market.capture(hold_id)
    acts = {
        "hold": lambda more: market.place(market.wish(resident, 1 + more, offer_id=soap), same),
        "capture": lambda more: market.capture(hold_id, 1 + more, capture_id=same),
        "release": lambda more: market.release(new_id() if more else hold_id, same),
        "refund": lambda more: market.refund(hold_id, 1 + more, refund_id=same),
        "restock": lambda more: market.restock(soap, 1 + more, same),
    }
    first = await acts[kind](0)
    points, stock = await market.points_of(resident[0]), await market.available(soap)
    assert first.status == "done"
    assert await acts[kind](0) == first
    assert (await acts[kind](1)).status == "id_conflict"
    assert await market.points_of(resident[0]) == points
    assert await market.available(soap) == stock
    await check_books(market.book)


async def test_a_refusal_is_remembered(market: Market) -> None:
    resident = await market.resident(1)
    wish, hold_id = market.wish(resident, 2), new_id()
    first = await market.place(wish, hold_id)
    assert first.status == "insufficient_points"
    await market.book.post_all(market.book.award(resident[1], 5))
    assert await market.place(wish, hold_id) == first
    assert (await market.place(market.wish(resident, 1), hold_id)).status == "id_conflict"
    assert (await market.place(wish)).status == "done"


async def test_an_id_of_a_transfer_is_taken(market: Market) -> None:
    resident = await market.resident()
    award = market.book.award(resident[1], 5)
    await market.book.post_all(award)
    answer = await market.place(market.wish(resident), award.transfer_id)
    assert answer.status == "id_conflict"
    assert await market.points_of(resident[0]) == 5


async def test_what_cannot_be_held(market: Market) -> None:
    book, resident = market.book, await market.resident(100)
    soap = await market.offer(price=3, stock=2)
    other_merchant, _ = await open_merchant(book)
    theirs = await market.offer(merchant_id=other_merchant)
    now = datetime.now(UTC)
    ended, _ = await open_merchant(book, valid_until=LONG_AGO + HOUR)
    later, _ = await open_merchant(book, valid_from=now + HOUR)
    shop = await market.run(merchants.open_shop, other_merchant, "别处")
    held = await book.open_account(AccountKind.HELD)
    statuses = {
        "merchant_not_active": [{"merchant_id": id_} for id_ in (new_id(), ended, later)],
        "offer_not_valid": [
            {"offer_id": new_id()},
            {"offer_id": theirs},
            {"offer_id": await market.offer(valid_until=now)},
            {"offer_id": await market.offer(valid_from=now + HOUR)},
        ],
        "place_not_valid": [{"shop_id": new_id()}, {"shop_id": shop}],
        "amount_out_of_range": [{"quantity": 0}, {"quantity": -1}],
        "out_of_stock": [{"offer_id": soap, "quantity": 3}],
        "insufficient_points": [{"quantity": 101}],
    }
    for status, wishes in statuses.items():
        for terms in wishes:
            answer = await market.place(market.wish(resident, **terms))
            assert answer.status == status, terms
            assert (await market.run(holds.quote, market.wish(resident, **terms))).status == status
    for account in (new_id(), held, market.till):
        answer = await market.place(market.wish((resident[0], account)))
        assert answer.status == "account_not_found"
    assert await market.points_of(resident[0]) == 100


async def test_a_quote_says_what_a_hold_would_be(market: Market) -> None:
    resident = await market.resident(10)
    soap = await market.offer(price=3, stock=2)
    wish = market.wish(resident, 2, offer_id=soap)
    quote = await market.run(holds.quote, wish)
    assert (quote.status, quote.cap, quote.points) == ("done", None, 6)
    assert await market.available(soap) == 2
    assert (await market.place(wish)).points == 6
    assert (await market.run(holds.quote, wish)).status == "out_of_stock"


async def test_a_hold_outlives_neither_its_offer_nor_the_agreement(market: Market) -> None:
    resident = await market.resident(10)
    soon = datetime.now(UTC) + timedelta(minutes=10)
    soap = await market.offer(valid_until=soon)
    answer = await market.place(market.wish(resident, offer_id=soap))
    assert answer.expires_at == soon
    brief, _ = await open_merchant(market.book, valid_until=soon)
    assert (await market.place(market.wish(resident, merchant_id=brief))).expires_at == soon


async def test_an_ended_agreement_takes_no_holds_and_keeps_its_word(market: Market) -> None:
    resident = await market.resident(10)
    hold_id = await market.held(resident)
    await market.run(merchants.end_agreement, market.merchant_id, "涧西-2026-001")
    assert (await market.place(market.wish(resident))).status == "merchant_not_active"
    assert (await market.capture(hold_id)).status == "done"


async def test_a_withdrawn_offer_takes_no_holds_and_keeps_its_word(market: Market) -> None:
    resident = await market.resident(10)
    soap = await market.offer(stock=2)
    hold_id = await market.held(resident, offer_id=soap)
    await market.run(offers.withdraw_offer, market.merchant_id, soap)
    assert (await market.place(market.wish(resident, offer_id=soap))).status == "offer_not_valid"
    assert (await market.capture(hold_id)).status == "done"


async def test_an_offer_is_picked_up_where_it_says(market: Market) -> None:
    resident = await market.resident(10)
    here, there = [
        await market.run(merchants.open_shop, market.merchant_id, name) for name in ("东店", "西店")
    ]
    soap = await market.offer(shop_ids=(here,))
    for shop, status in ((None, "place_not_valid"), (there, "place_not_valid"), (here, "done")):
        wish = market.wish(resident, offer_id=soap, shop_id=shop)
        assert (await market.place(wish)).status == status
    await market.run(merchants.close_shop, market.merchant_id, here)
    wish = market.wish(resident, offer_id=soap, shop_id=here)
    assert (await market.place(wish)).status == "place_not_valid"


async def test_another_merchant_sees_no_hold(market: Market) -> None:
    resident = await market.resident(10)
    other, _ = await open_merchant(market.book)
    hold_id = await market.held(resident, 2)
    assert (await market.capture(hold_id, merchant_id=other)).status == "hold_not_found"
    assert (await market.capture(new_id())).status == "hold_not_found"
    await market.capture(hold_id)
    assert (await market.refund(hold_id, 1, merchant_id=other)).status == "hold_not_found"
    with pytest.raises(NotFoundError):
        await market.get(new_id())


async def test_captures_within_the_hold(market: Market) -> None:
    hold_id = await market.held(await market.resident(10), 5)
    assert (await market.capture(hold_id, 6)).status == "capture_exceeds_hold"
    assert (await market.capture(hold_id, 0)).status == "amount_out_of_range"
    assert (await market.capture(hold_id, 5)).status == "done"


async def test_stock_comes_and_goes(market: Market) -> None:
    soap, air = await market.offer(stock=2), await market.offer()
    assert (await market.restock(soap, -3)).status == "out_of_stock"
    assert (await market.restock(soap, -2)).status == "done"
    assert (await market.restock(soap, 0)).status == "amount_out_of_range"
    assert (await market.restock(air, 1)).status == "offer_not_valid"
    assert (await market.restock(new_id(), 1)).status == "offer_not_valid"
    assert (await market.available(soap), await market.available(air)) == (0, None)


async def test_transfers_of_a_hold_share_its_id_as_subject(market: Market) -> None:
    resident = await market.resident(10)
    hold_id = await market.held(resident, 5)
    await market.capture(hold_id, 3)
    await market.refund(hold_id, 1)
    rows = await market.book.pool.fetch(
        "SELECT kind::text FROM transfer WHERE bank_id = $1 AND subject_id = $2 "
        "ORDER BY recorded_at, kind",
        market.bank_id,
        hold_id,
    )
    assert [row[0] for row in rows] == ["hold", "capture", "release", "refund"]


@pytest.mark.parametrize(
    "change",
    [
        {"lifetime": timedelta(0)},
        {"lifetime": timedelta(days=31)},
        {"quantity": 2**60},
        {"channel": Channel.CODE},
        {"code": "12345678"},
    ],
)
async def test_a_wish_that_makes_no_sense(market: Market, change: dict[str, object]) -> None:
    resident = await market.resident(10)
    with pytest.raises(InvalidInputError):
        await market.place(market.wish(resident, **change))


async def test_holds_are_listed_newest_first(market: Market) -> None:
    resident = await market.resident(10)
    ids: list[UUID] = [await market.held(resident) for _ in range(3)]
    listed = await market.run(holds.list_holds_of_resident, resident[0])
    assert [hold.hold_id for hold in listed] == ids[::-1]
    before = await market.run(holds.list_holds_of_merchant, market.merchant_id, before=ids[1])
    assert [hold.hold_id for hold in before] == ids[:1]
