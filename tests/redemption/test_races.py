"""Crowds on real connections: goods, points, caps and codes go once, whoever reaches for them."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import timedelta
from uuid import UUID

import asyncpg
import pytest

from tests.book import Book
from tests.races.checks import THOROUGH
from tests.redemption.checks import check_market
from tests.redemption.market import HOUR, Market, noon_zone
from tests.redemption.test_caps import approve, hardship
from timebank.db import open_pool
from timebank.domain.ledger import AccountKind
from timebank.domain.redemption import Answer, CapScope, Channel, HoldState, Wish
from timebank.embedded import Server
from timebank.ledger.ids import new_id
from timebank.redemption import codes
from timebank.redemption.holds import expire_holds

ROUNDS = 5 if THOROUGH else 2


@pytest.fixture(scope="module")
async def crowd(server: Server, worker_database: str) -> AsyncIterator[asyncpg.Pool]:
    """A connection for each of a hundred clients."""
    async with open_pool(server.dsn(worker_database, "timebank_app"), size=101) as pool:
        yield pool


@pytest.fixture
async def market(crowd: asyncpg.Pool) -> Market:
    """A new bank with a merchant, for a crowd."""
    return await Market.open(await Book.open(crowd, time_zone=noon_zone()))


async def at_once(acts: Sequence[Awaitable[Answer]]) -> Counter[str]:
    """Do all at once; count the statuses."""
    return Counter(str(answer.status) for answer in await asyncio.gather(*acts))


async def test_the_last_item_goes_to_one_of_a_hundred(market: Market) -> None:
    residents = [await market.resident(100) for _ in range(100)]
    soap = await market.offer(price=3, stock=1)
    wishes = [market.wish(resident, offer_id=soap) for resident in residents]
    for _ in range(ROUNDS):
        assert await at_once([market.place(wish) for wish in wishes]) == {
            "done": 1,
            "out_of_stock": 99,
        }
        assert await market.available(soap) == 0
        await market.restock(soap, 1)
    left = [await market.points_of(resident_id) for resident_id, _ in residents]
    assert sum(left) == 10_000 - 3 * ROUNDS
    await check_market(market)


async def test_the_last_points_are_held_once(market: Market) -> None:
    resident = await market.resident(10)
    await market.release(await market.held(resident))
    statuses = await at_once([market.place(market.wish(resident, 3)) for _ in range(32)])
    assert statuses == {"done": 3, "insufficient_points": 29}
    await check_market(market)


async def test_the_first_holds_of_a_wallet_come_at_once(market: Market) -> None:
    """The held account is opened by one of them."""
    resident = await market.resident(4)
    statuses = await at_once([market.place(market.wish(resident, 2)) for _ in range(4)])
    assert statuses == {"done": 2, "insufficient_points": 2}


@pytest.mark.parametrize("early", [0.08, 0.01, 0.0, -0.01])
async def test_capture_release_and_expiry_meet(market: Market, early: float) -> None:
    """One of three times twenty wins: well before the hold runs out, about then, and after."""
    resident = await market.resident(1000)
    winners: Counter[str] = Counter()
    for _ in range(ROUNDS):
        soap = await market.offer(price=2, stock=1)
        hold_id = await market.held(resident, offer_id=soap, lifetime=timedelta(seconds=0.12))
        before = await market.points_of(market.merchant_id, AccountKind.MERCHANT)
        acts: list[Callable[[], Awaitable[Answer | None]]] = [
            lambda held=hold_id: market.capture(held),
            lambda held=hold_id: market.release(held),
            lambda: expire_one(market),
        ] * 20
        random.shuffle(acts)
        await asyncio.sleep(0.12 - early)
        answers = await asyncio.gather(*(soon(act, 0.02) for act in acts))
        await asyncio.sleep(max(0.0, early))
        answers.append(await expire_one(market))
        assert [answer.status for answer in answers if answer].count("done") == 1
        hold = await market.get(hold_id)
        assert hold.state is not HoldState.OPEN
        captured = hold.state is HoldState.CAPTURED
        assert await market.available(soap) == (0 if captured else 1)
        after = await market.points_of(market.merchant_id, AccountKind.MERCHANT)
        assert after - before == (2 if captured else 0)
        winners[hold.state] += 1
    assert await market.points_of(resident[0], AccountKind.HELD) == 0
    if early < 0:
        assert winners == {"expired": ROUNDS}
    await check_market(market)


async def expire_one(market: Market) -> Answer | None:
    """What a sweeper ends now, if there is anything."""
    ended: list[Answer] = await market.run(expire_holds)
    return ended[0] if ended else None


async def soon(act: Callable[[], Awaitable[Answer | None]], within: float) -> Answer | None:
    """Do it at some instant within these seconds."""
    await asyncio.sleep(random.uniform(0, within))
    return await act()


async def test_of_twenty_partial_captures_one_takes_place(market: Market) -> None:
    resident = await market.resident(1000)
    for _ in range(ROUNDS):
        hold_id = await market.held(resident, 20)
        statuses = await at_once([market.capture(hold_id, n) for n in range(1, 21)])
        assert statuses == {"done": 1, "hold_already_captured": 19}
        assert await market.points_of(resident[0], AccountKind.HELD) == 0
    await check_market(market)


async def test_refunds_at_once_stay_within_the_capture(market: Market) -> None:
    resident = await market.resident(1000)
    soap = await market.offer(price=5, stock=100)
    for _ in range(ROUNDS):
        hold_id = await market.held(resident, 2, offer_id=soap)
        await market.capture(hold_id)
        statuses = await at_once([market.refund(hold_id, 3) for _ in range(20)])
        assert statuses == {"done": 3, "refund_exceeds_captured": 17}
        whole = await market.held(resident, 2, offer_id=soap)
        await market.capture(whole)
        statuses = await at_once([market.refund(whole, 10, 2) for _ in range(20)])
        assert statuses == {"done": 1, "refund_exceeds_captured": 19}
    assert await market.points_of(resident[0]) == 1000 - ROUNDS
    assert await market.available(soap) == 100 - 2 * ROUNDS
    await check_market(market)


@pytest.mark.parametrize("scope", [CapScope.PERSON_DAY, CapScope.MERCHANT_DAY, CapScope.CARD_DAY])
async def test_a_cap_is_not_exceeded_by_a_crowd(market: Market, scope: CapScope) -> None:
    await market.cap(CapScope.CARD_DAY, 1000)
    await market.cap(scope, 10)
    one = await market.resident(1000)
    pool = await market.book.open_account(AccountKind.POOL, balance=1000)
    wishes = [
        market.wish(
            (one[0], pool if n % 2 else one[1])
            if scope is not CapScope.MERCHANT_DAY
            else await market.resident(10),
            3,
            channel=Channel.CARD,
        )
        for n in range(32)
    ]
    statuses = await at_once([market.place(wish) for wish in wishes])
    assert statuses == {"done": 3, "cap_exceeded": 29}


async def test_a_clerks_cap_is_not_exceeded_by_a_crowd(market: Market) -> None:
    await market.cap(CapScope.CLERK_DAY, 10)
    holds = [await market.held(await market.resident(10), 3) for _ in range(32)]
    statuses = await at_once([market.capture(hold_id) for hold_id in holds])
    assert statuses == {"done": 3, "cap_exceeded": 29}


async def test_an_offers_cap_is_not_exceeded_by_a_crowd(market: Market) -> None:
    resident = await market.resident(1000)
    soap = await market.offer(per_person=4)
    pool = await market.book.open_account(AccountKind.POOL, balance=1000)
    wishes = [
        market.wish((resident[0], pool if n % 2 else resident[1]), 2, offer_id=soap)
        for n in range(32)
    ]
    statuses = await at_once([market.place(wish) for wish in wishes])
    assert statuses == {"done": 2, "cap_exceeded": 30}


async def test_the_same_act_at_once_counts_once(market: Market) -> None:
    resident = await market.resident(10)
    wish, hold_id, capture_id = market.wish(resident, 5), new_id(), new_id()
    answers = await asyncio.gather(*(market.place(wish, hold_id) for _ in range(20)))
    assert [answer.status for answer in answers] == ["done"] * 20
    assert answers == [answers[0]] * 20
    code = (await market.run(codes.renew_pickup_code, hold_id)).token
    captures = await asyncio.gather(
        *(market.capture(hold_id, 3, capture_id=capture_id, code=code) for _ in range(20))
    )
    assert captures == [captures[0]] * 20
    assert captures[0].status == "done"
    assert await market.points_of(resident[0]) == 7


async def test_one_id_for_different_acts_at_once_counts_once(market: Market) -> None:
    residents = [await market.resident(10) for _ in range(20)]
    hold_id = new_id()
    wishes = [market.wish(resident) for resident in residents]
    statuses = await at_once([market.place(wish, hold_id) for wish in wishes])
    assert statuses == {"done": 1, "id_conflict": 19}


async def test_a_code_shown_to_twenty_tills_pays_at_one(market: Market) -> None:
    resident = await market.resident(1000)
    issued = await market.run(codes.issue_payment_code, *resident)
    wish = Wish(
        merchant_id=market.merchant_id,
        quantity=1,
        lifetime=HOUR,
        channel=Channel.CODE,
        code=issued.code.digits,
    )
    statuses = await at_once([market.place(wish) for _ in range(20)])
    assert statuses == {"done": 1, "code_not_valid": 5, "too_many_wrong_codes": 14}


async def test_an_override_passes_one_of_twenty(market: Market) -> None:
    resident = await market.resident(1000)
    await market.cap(CapScope.PERSON_DAY, 1)
    override_id = await approve(market, hardship(resident[0]))
    wish = market.wish(resident, 5, override_id=override_id)
    statuses = await at_once([market.place(wish) for _ in range(20)])
    assert statuses == {"done": 1, "override_not_valid": 19}


async def test_sweepers_at_once_end_each_hold_once(market: Market) -> None:
    residents = [await market.resident(10) for _ in range(10)]
    soap = await market.offer(stock=50)
    for resident in residents:
        for _ in range(3):
            await market.held(resident, offer_id=soap, lifetime=timedelta(microseconds=1))
    ended = await asyncio.gather(*(market.run(expire_holds, limit=7) for _ in range(10)))
    ids = [answer.hold_id for batch in ended for answer in batch]
    assert len(ids) == len(set(ids)) == 30
    assert await market.available(soap) == 50
    await check_market(market)


async def test_a_busy_market_does_not_deadlock(market: Market) -> None:
    """Every act at once on few wallets, offers and caps: a deadlock reaches the client here."""
    market.tries = 1
    residents = [await market.resident(200) for _ in range(3)]
    pool = await market.book.open_account(AccountKind.POOL, balance=500)
    soaps = [await market.offer(price=2, stock=20, per_person_day=60) for _ in range(3)]
    await market.cap(CapScope.PERSON_DAY, 150)
    for source in (*residents, (residents[0][0], pool)):  # the held accounts are open from here on
        await market.release(await market.held(source))
    open_holds: list[UUID] = []

    async def client(seed: int) -> None:
        dice = random.Random(seed)
        for _ in range(4 * ROUNDS):
            resident_id, wallet = dice.choice(residents)
            wish = market.wish(
                (resident_id, dice.choice([wallet, wallet, pool])),
                dice.randint(1, 3),
                offer_id=dice.choice([*soaps, None]),
                lifetime=dice.choice([HOUR, timedelta(milliseconds=20)]),
                channel=Channel.SESSION,
            )
            placed = await market.place(wish)
            if placed.status == "done":
                open_holds.append(placed.act_id)
            hold_id = dice.choice(open_holds or [new_id()])
            act = dice.randint(0, 5)
            if act <= 1:
                await market.capture(hold_id, dice.choice([None, 1]))
            elif act == 2:
                await market.release(hold_id)
            elif act == 3:
                await market.refund(hold_id, 1, dice.randint(0, 1))
            elif act == 4:
                await market.run(expire_holds, limit=5)
            else:
                await market.restock(dice.choice(soaps), dice.randint(-2, 5) or 1)

    await asyncio.gather(*(client(seed) for seed in range(24)))
    await check_market(market)
    held = await market.book.pool.fetchval(
        "SELECT sum(quantity * unit_price) FROM hold WHERE bank_id = $1 AND state = 'open'",
        market.bank_id,
    )
    balances = await market.book.pool.fetchval(
        "SELECT sum(balance) FROM balance JOIN account USING (bank_id, account_id, unit, kind) "
        "WHERE bank_id = $1 AND kind = 'held'",
        market.bank_id,
    )
    assert (held or 0) == balances
