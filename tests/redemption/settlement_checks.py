"""What settlement and exchange must hold; test_broken_settlements shows what each is worth."""

from tests.book import STAFF, Book
from tests.races.checks import answers_of, connections, errors_are_faults, expect, hold_up
from tests.redemption.checks import check_market, open_market
from tests.redemption.market import CLERK
from tests.redemption.test_exchange import give, household
from tests.redemption.test_settlements import approve, clock, close, draft, earn, settle
from timebank.db import Connection
from timebank.domain.redemption import ActReason
from timebank.ledger.ids import new_id
from timebank.redemption.exchange import give as give_on
from timebank.redemption.holds import capture_hold, refund_capture
from timebank.redemption.settlements import close_settlement, draft_settlement


async def check_draft_waits_for_captures(book: Book) -> None:
    """A capture is on its way when the statement is drafted: it is in it."""
    market = await open_market(book)
    await earn(market, 5)
    hold_id = await market.held(await market.resident(7), 7)
    async with connections(book, 2) as (first, second):
        async with first.transaction():
            await capture_hold(
                first,
                market.bank_id,
                new_id(),
                hold_id,
                merchant_id=market.merchant_id,
                actor_id=CLERK,
                code=market.pickups[hold_id],
            )
            late = draft_settlement(
                second,
                market.bank_id,
                new_id(),
                market.merchant_id,
                cut_off=await clock(market),
                actor_id=STAFF,
            )
            waiting = await hold_up(book, second, late)
        [drafted] = await answers_of(waiting)
    expect(getattr(drafted, "captured", drafted), 12)
    await check_market(market)


async def check_two_closers_pay_once(book: Book) -> None:
    """The second waits and is answered as the first."""
    market = await open_market(book)
    await earn(market, 20)
    await settle(market)
    await earn(market, 20)
    approved = await approve(market, await draft(market))
    await earn(market, 20)
    terms = (market.bank_id, approved.settlement_id)
    async with connections(book, 2) as (first, second):
        async with first.transaction():
            closed = await close_settlement(first, *terms, actor_id=STAFF)
            again = close_settlement(second, *terms, actor_id=STAFF)
            waiting = await hold_up(book, second, again)
        expect(await answers_of(waiting), [closed])
    await check_market(market)


async def check_closing_waits_for_a_refund(book: Book) -> None:
    """A refund is on its way when an approved settlement is closed: it is not paid for."""
    market = await open_market(book)
    hold_id = await earn(market, 20)
    approved = await approve(market, await draft(market))
    async with connections(book, 2) as (first, second):
        async with first.transaction():
            await refund_capture(
                first,
                market.bank_id,
                new_id(),
                hold_id,
                merchant_id=market.merchant_id,
                points=6,
                reason=ActReason.GOODS_RETURNED,
                actor_id=CLERK,
            )
            closing = close_settlement(
                second, market.bank_id, approved.settlement_id, actor_id=STAFF
            )
            waiting = await hold_up(book, second, closing)
        [closed] = await answers_of(waiting)
    expect((getattr(closed, "paid", closed), getattr(closed, "carried_out", closed)), (14, 6))
    await check_market(market)


async def check_a_refund_waits_for_closing(book: Book) -> None:
    """The settlement takes all there is: the refund that waited finds nothing."""
    market = await open_market(book)
    hold_id = await earn(market, 20)
    approved = await approve(market, await draft(market))
    async with connections(book, 2) as (first, second):
        async with first.transaction():
            closed = await close_settlement(
                first, market.bank_id, approved.settlement_id, actor_id=STAFF
            )
            refunding = refund_capture(
                second,
                market.bank_id,
                new_id(),
                hold_id,
                merchant_id=market.merchant_id,
                points=6,
                reason=ActReason.GOODS_RETURNED,
                actor_id=CLERK,
            )
            waiting = await hold_up(book, second, refunding)
        [refused] = await answers_of(waiting)
    expect(closed.paid, 20)
    expect(getattr(refused, "status", refused), "merchant_lacks_points")
    await check_market(market)


async def check_no_capture_of_before_comes_after(book: Book) -> None:
    """A capture that waits for a draft falls after its cut-off, and is in the next."""
    market = await open_market(book)
    await earn(market, 5)
    hold_id = await market.held(await market.resident(7), 7)
    async with connections(book, 2) as (first, second):
        async with first.transaction():
            drafted = await draft_settlement(
                first,
                market.bank_id,
                new_id(),
                market.merchant_id,
                cut_off=await clock(market),
                actor_id=STAFF,
            )
            late = capture_hold(
                second,
                market.bank_id,
                new_id(),
                hold_id,
                merchant_id=market.merchant_id,
                actor_id=CLERK,
                code=market.pickups[hold_id],
            )
            waiting = await hold_up(book, second, late)
        [captured] = await answers_of(waiting)
    expect(getattr(captured, "status", captured), "done")
    expect(drafted.captured, 5)
    await close(market, await approve(market, drafted))
    expect((await settle(market)).captured, 7)
    await check_market(market)


async def check_what_was_given_back_is_carried(book: Book) -> None:
    """A refund after the cut-off takes what would have been paid."""
    market = await open_market(book)
    hold_id = await earn(market, 20)
    approved = await approve(market, await draft(market))
    await market.refund(hold_id, 8)
    with errors_are_faults():
        closed = await close(market, approved)
    expect((closed.paid, closed.carried_out), (12, 8))
    await earn(market, 3)
    with errors_are_faults():
        expect((await settle(market)).paid, 3)


async def check_no_part_of_a_fen_is_lost(book: Book) -> None:
    """Three times a third of a fen."""
    market = await open_market(book)
    paid = []
    for _ in range(4):
        await earn(market, 1)
        with errors_are_faults():
            paid.append((await settle(market, fen_rate=3_334)).fen)
    expect(paid, [0, 0, 1, 0])


async def check_the_cut_off_is_half_open(book: Book) -> None:
    """What was recorded at that instant is in the next."""
    market = await open_market(book)
    await earn(market, 1)
    await earn(market, 2)
    instant = await book.pool.fetchval(
        "SELECT max(recorded_at) FROM posting WHERE bank_id = $1 AND account_id = $2",
        market.bank_id,
        market.till,
    )
    expect((await draft(market, cut_off=instant)).captured, 1)


async def check_closed_stays(book: Book) -> None:
    """Nothing is discarded once it is closed."""
    market = await open_market(book)
    await earn(market, 1)
    closed = await settle(market)
    with errors_are_faults():
        gone = await book.pool.fetchval(
            "SELECT discard_settlement($1, $2)", market.bank_id, closed.settlement_id
        )
    expect(gone, "settlement_closed")


async def check_gifts_of_the_same_points(book: Book) -> None:
    """Two gifts of all there is: the second waits, and is refused."""
    market = await open_market(book)
    giver, child = await household(market, 10, 0)
    await give(market, giver, child[1], 1)
    async with connections(book, 2) as (first, second):

        async def give_nine(connection: Connection) -> str:
            answer = await give_on(
                connection,
                market.bank_id,
                new_id(),
                giver_id=giver[0],
                to_account_id=child[1],
                points=9,
                actor_id=giver[0],
            )
            return str(answer.status)

        async with first.transaction():
            expect(await give_nine(first), "done")
            waiting = await hold_up(book, second, give_nine(second))
        expect(await answers_of(waiting), ["insufficient_points"])
    await check_market(market)
