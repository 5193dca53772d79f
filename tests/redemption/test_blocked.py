"""Points that are blocked buy nothing and are not given away, also when a deal brings them back."""

from tests.redemption.checks import check_market
from tests.redemption.market import Market
from tests.redemption.test_exchange import give, household
from timebank.db import transaction
from timebank.ledger.blocks import place_block
from timebank.ledger.ids import new_id
from timebank.ledger.passbook import list_blocked
from timebank.redemption import holds


async def block_all(market: Market, wallet: object) -> None:
    """Block the first award of a wallet."""
    async with transaction(market.book.pool) as connection:
        origin = await connection.fetchval(
            "SELECT transfer_id FROM posting WHERE bank_id = $1 AND account_id = $2 AND seq = 1",
            market.bank_id,
            wallet,
        )
        await place_block(connection, market.book.bank, new_id(), {origin: wallet})


async def blocked(market: Market, wallet: object) -> int:
    async with transaction(market.book.pool) as connection:
        [points] = (await list_blocked(connection, market.bank_id, [wallet])).values()
    return points


async def test_a_hold_takes_what_is_not_blocked(market: Market) -> None:
    resident = await market.resident(10)
    await block_all(market, resident[1])
    await market.book.post_all(market.book.award(resident[1], 5))
    for quantity, status in ((6, "points_blocked"), (16, "insufficient_points"), (5, "done")):
        wish = market.wish(resident, quantity)
        assert (await market.run(holds.quote, wish)).status == status
        assert (await market.place(wish)).status == status
    assert (await market.place(market.wish(resident, 1))).status == "points_blocked"
    await check_market(market)


async def test_a_gift_takes_what_is_not_blocked(market: Market) -> None:
    giver, child = await household(market, 10, 0)
    await block_all(market, giver[1])
    assert (await give(market, giver, child[1], 1)).status == "points_blocked"
    await market.book.post_all(market.book.award(giver[1], 1))
    assert (await give(market, giver, child[1], 1)).status == "done"
    assert (await give(market, giver, child[1], 11)).status == "insufficient_points"
    await check_market(market)


async def test_what_was_held_before_is_captured_and_what_comes_back_is_blocked(
    market: Market,
) -> None:
    resident = await market.resident(10)
    kept, dropped = await market.held(resident, 4), await market.held(resident, 3)
    await block_all(market, resident[1])
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
