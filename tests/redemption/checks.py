"""What redemption must hold; test_broken_variants shows what each check is worth.

Like tests.races.checks: two connections interleaved by hand, an AssertionError says what broke.
"""

from uuid import UUID

from tests.book import Book
from tests.races.checks import (
    answers_of,
    check_books,
    connections,
    errors_are_faults,
    expect,
    hold_up,
)
from tests.redemption.market import CLERK, HOUR, Market, noon_zone
from timebank.audit.reconcile import reconcile
from timebank.audit.snapshot import open_snapshot
from timebank.db import Connection
from timebank.domain.redemption import ActReason, CapScope, Channel, Wish
from timebank.ledger.ids import new_id
from timebank.ledger.transfers import lock_balances
from timebank.redemption import codes, offers
from timebank.redemption.holds import capture_hold, place_hold, release_hold


async def open_market(book: Book) -> Market:
    """A market in another bank of the same database, where it is about noon."""
    market = await Market.open(await Book.open(book.pool, time_zone=noon_zone()))
    market.tries = 1
    return market


async def place_on(connection: Connection, market: Market, wish: Wish) -> str:
    """Place a hold on this connection; its status."""
    placed = await place_hold(connection, market.bank_id, new_id(), wish, actor_id=CLERK)
    return str(placed.answer.status)


async def check_stock_taken_out_is_not_held(book: Book) -> None:
    """The last unit is taken out of the stock while somebody asks for it."""
    market = await open_market(book)
    resident = await market.resident(10)
    soap = await market.offer(stock=1)
    async with connections(book, 2) as (first, second):
        async with first.transaction():
            await offers.restock(
                first,
                market.bank_id,
                new_id(),
                soap,
                -1,
                reason=ActReason.LOSS,
                actor_id=CLERK,
            )
            late = place_on(second, market, market.wish(resident, offer_id=soap))
            waiting = await hold_up(book, second, late)
        expect(await answers_of(waiting), ["out_of_stock"])
    expect(await market.available(soap), 0)


async def check_hold_ends_at_its_instant(book: Book) -> None:
    """Half-open: up to the instant it is open, at the instant it is over."""
    market = await open_market(book)
    hold_id = await market.held(await market.resident(10))
    faults = await book.pool.fetchrow(
        "SELECT find_hold_fault(h, h.expires_at - interval '1 us'), "
        "       find_hold_fault(h, h.expires_at) FROM hold h WHERE bank_id = $1 AND hold_id = $2",
        market.bank_id,
        hold_id,
    )
    expect(tuple(faults), (None, "hold_expired"))


async def check_repeat_is_answered_as_the_first(book: Book) -> None:
    """The same act at once and later: one effect, one answer."""
    market = await open_market(book)
    resident = await market.resident(10)
    await market.release(await market.held(resident))
    wish, hold_id = market.wish(resident, 4), new_id()
    async with connections(book, 2) as (first, second):
        async with first.transaction():
            answer = await place_hold(first, market.bank_id, hold_id, wish, actor_id=CLERK)
            again = place_hold(second, market.bank_id, hold_id, wish, actor_id=CLERK)
            waiting = await hold_up(book, second, again)
        [late] = await answers_of(waiting)
        expect(getattr(late, "answer", late), answer.answer)
    expect(await market.points_of(resident[0]), 6)
    await check_books(book)


async def check_refunds_stay_within_the_capture(book: Book) -> None:
    """All that was captured is given back, and not one point more."""
    market = await open_market(book)
    resident = await market.resident(10)
    hold_id, other = await market.held(resident, 4), await market.held(resident, 4)
    await market.capture(hold_id)
    await market.capture(other)
    with errors_are_faults():
        statuses = [str((await market.refund(hold_id, points)).status) for points in (3, 2, 1)]
    expect(statuses, ["done", "refund_exceeds_captured", "done"])


async def check_second_end_of_a_hold_waits(book: Book) -> None:
    """A hold is captured while it is released."""
    market = await open_market(book)
    hold_id = await market.held(await market.resident(10), 4)
    await market.held(await market.resident(10), 4)
    async with connections(book, 2) as (first, second):
        async with first.transaction():
            await release_hold(
                first,
                market.bank_id,
                new_id(),
                hold_id,
                reason=ActReason.CHANGED_MIND,
                actor_id=CLERK,
            )
            late = capture_on(second, market, hold_id)
            waiting = await hold_up(book, second, late)
        expect(await answers_of(waiting), ["hold_released"])
    await check_books(book)


async def capture_on(connection: Connection, market: Market, hold_id: UUID) -> str:
    """Capture all of a hold on this connection; the status."""
    answer = await capture_hold(
        connection,
        market.bank_id,
        new_id(),
        hold_id,
        merchant_id=market.merchant_id,
        actor_id=CLERK,
        code=market.pickups[hold_id],
    )
    return str(answer.status)


async def check_cap_is_exact_for_two_at_once(book: Book) -> None:
    """Two residents reach for a merchant's day; the first is on its way when the second comes."""
    market = await open_market(book)
    one, other = await market.resident(10), await market.resident(10)
    for resident in (one, other):
        await market.release(await market.held(resident))
    await market.cap(CapScope.MERCHANT_DAY, 10)
    async with connections(book, 3) as (gate, first, second):
        async with gate.transaction():
            await lock_balances(gate, market.bank_id, [one[1]])
            early = place_on(first, market, market.wish(one, 10))
            going = await hold_up(book, first, early)
            late = place_on(second, market, market.wish(other, 1))
            waiting = await hold_up(book, second, late)
        expect(await answers_of(going, waiting), ["done", "cap_exceeded"])


async def check_cap_is_exact(book: Book) -> None:
    """All of a cap can be used, and not one point more."""
    market = await open_market(book)
    resident = await market.resident(100)
    await market.cap(CapScope.PERSON_DAY, 10)
    asked = {11: "cap_exceeded", 10: "done", 1: "cap_exceeded"}
    for points, status in asked.items():
        expect(str((await market.place(market.wish(resident, points))).status), status)


async def check_code_pays_once(book: Book) -> None:
    """A code that was refused is used up."""
    market = await open_market(book)
    resident = await market.resident(10)
    issued = await market.run(codes.issue_payment_code, *resident)
    statuses = []
    for points in (11, 10):
        wish = Wish(
            merchant_id=market.merchant_id,
            quantity=points,
            lifetime=HOUR,
            channel=Channel.CODE,
            code=issued.code.digits,
        )
        statuses.append(str((await market.place(wish)).status))
    expect(statuses, ["insufficient_points", "code_not_valid"])


async def check_released_stock_comes_back(book: Book) -> None:
    """What is released or not captured stands in the stock again."""
    market = await open_market(book)
    soap = await market.offer(stock=5)
    resident = await market.resident(10)
    await market.release(await market.held(resident, 2, offer_id=soap))
    await market.capture(await market.held(resident, 3, offer_id=soap), 1)
    expect(await market.available(soap), 4)


async def check_market(market: Market) -> None:
    """The auditor finds nothing in this bank."""
    async with open_snapshot(market.book.pool) as connection:
        report = await reconcile(connection, market.book.bank.code)
    expect(report.findings, [])
