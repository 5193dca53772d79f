"""Points that are blocked buy nothing and are not given away, also when a deal brings them back."""

from uuid import UUID

from msgspec.structs import replace

from tests.redemption.checks import check_market
from tests.redemption.market import Market
from tests.redemption.test_exchange import give, household
from tests.service.programme import MAKER, Programme
from timebank.db import transaction
from timebank.domain.ledger import Transfer
from timebank.ledger.blocks import place_block
from timebank.ledger.ids import new_id
from timebank.ledger.passbook import list_blocked
from timebank.redemption import holds


async def serve(market: Market, wallet: UUID, points: int) -> Transfer:
    """Award points for service at an activity."""
    activity = await (await Programme.open(market.book)).make_activity()
    award = market.book.award(wallet, points)
    award = replace(award, subject_id=activity.activity_id)
    await market.book.post_all(award)
    return award


async def block(market: Market, award: Transfer) -> None:
    """Hold the activity of an award, and block it."""
    hold_id = new_id()
    async with transaction(market.book.pool) as connection:
        await connection.execute(
            "SELECT hold_activity($1, $2, $3, $4, 'at_night')",
            market.bank_id,
            hold_id,
            award.subject_id,
            MAKER,
        )
        origins = {award.transfer_id: award.credit_account_id}
        await place_block(connection, market.book.bank, hold_id, origins)


async def blocked(market: Market, wallet: UUID) -> int:
    async with transaction(market.book.pool) as connection:
        [points] = (await list_blocked(connection, market.bank_id, [wallet])).values()
    return points


async def test_a_hold_takes_what_is_not_blocked(market: Market) -> None:
    resident = await market.resident()
    await block(market, await serve(market, resident[1], 10))
    await market.book.post_all(market.book.award(resident[1], 5))
    for quantity, status in ((6, "points_blocked"), (16, "insufficient_points"), (5, "done")):
        wish = market.wish(resident, quantity)
        assert (await market.run(holds.quote, wish)).status == status
        assert (await market.place(wish)).status == status
    assert (await market.place(market.wish(resident, 1))).status == "points_blocked"
    await check_market(market)


async def test_a_gift_takes_what_is_not_blocked(market: Market) -> None:
    giver, child = await household(market, 0, 0)
    await block(market, await serve(market, giver[1], 10))
    assert (await give(market, giver, child[1], 1)).status == "points_blocked"
    await market.book.post_all(market.book.award(giver[1], 1))
    assert (await give(market, giver, child[1], 1)).status == "done"
    assert (await give(market, giver, child[1], 11)).status == "insufficient_points"
    await check_market(market)


async def test_what_was_held_before_is_captured_and_what_comes_back_is_blocked(
    market: Market,
) -> None:
    resident = await market.resident()
    award = await serve(market, resident[1], 10)
    kept, dropped = await market.held(resident, 4), await market.held(resident, 3)
    await block(market, award)
    assert await blocked(market, resident[1]) == 3
    assert (await market.capture(kept)).status == "done"
    assert (await market.release(dropped)).status == "done"
    assert await blocked(market, resident[1]) == 6
    assert (await market.refund(kept, 2)).status == "done"
    assert await blocked(market, resident[1]) == 8
    assert (await market.place(market.wish(resident, 1))).status == "points_blocked"
    await market.book.post_all(market.book.award(resident[1], 1))
    assert (await market.place(market.wish(resident, 1))).status == "done"
    await check_market(market)
