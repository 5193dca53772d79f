"""Points that are given: who to, how many, and exactly what there is when many give at once."""

import asyncio
from collections import Counter
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.book import STAFF, Book
from tests.families import open_family
from tests.redemption.checks import check_market
from tests.redemption.market import CLERK, Market, noon_zone
from tests.redemption.test_caps import approve, hardship
from tests.redemption.test_settlements import approve as approve_settlement
from tests.redemption.test_settlements import close, draft, earn, settle
from timebank.domain.errors import ForbiddenError, NotFoundError
from timebank.domain.ledger import AccountKind
from timebank.domain.redemption import Answer, CapScope
from timebank.ledger.ids import new_id
from timebank.redemption import exchange, families
from timebank.redemption.exchange import SaturationBounds

Resident = tuple[UUID, UUID]


async def give(market: Market, giver: Resident, to: UUID, points: int, **rest: Any) -> Answer:
    """Give points of a resident."""
    answer: Answer = await market.run(
        exchange.give,
        rest.pop("gift_id", None) or new_id(),
        giver_id=giver[0],
        to_account_id=to,
        points=points,
        actor_id=giver[0],
        **rest,
    )
    return answer


async def reissue(market: Market, to: UUID, points: int) -> Answer:
    """Give points of the merchant."""
    answer: Answer = await market.run(
        exchange.reissue,
        new_id(),
        merchant_id=market.merchant_id,
        to_account_id=to,
        points=points,
        actor_id=CLERK,
    )
    return answer


async def allocate(market: Market, to: UUID, points: int) -> Answer:
    """Give points of the root's pool."""
    answer: Answer = await market.run(
        exchange.allocate,
        new_id(),
        branch_id=market.book.bank.root_id,
        to_account_id=to,
        points=points,
        actor_id=STAFF,
    )
    return answer


async def household(market: Market, *points: int, cap: int | None = None) -> list[Resident]:
    """Members of a family with so many points; the first may spend from its pool."""
    members = [await market.resident(many) for many in points]
    await market.run(
        open_family,
        new_id(),
        {member[0]: place == 0 for place, member in enumerate(members)},
    )
    await market.cap(CapScope.GIFT_DAY, cap)
    return members


async def root_pool(market: Market, balance: int = 0) -> UUID:
    """The community pool of the root."""
    return await market.book.open_account(
        AccountKind.POOL, balance=balance, owner_id=market.book.bank.root_id
    )


async def test_gifts_go_to_the_household_and_to_pools(market: Market) -> None:
    giver, child = await household(market, 50, 0)
    [family_pool] = await market.run(families.list_pools_of, giver[0])
    community = await root_pool(market)
    for account_id in (child[1], family_pool.account_id, community):
        assert (await give(market, giver, account_id, 10)).status == "done"
        assert await market.book.balance(account_id) == 10
    assert (await give(market, giver, child[1], 21)).status == "insufficient_points"
    await check_market(market)


async def test_gifts_do_not_go_to_strangers(market: Market) -> None:
    giver, _ = await household(market, 50, 0)
    stranger = await market.resident()
    _, other = await household(market, 0, 0)
    [foreign] = await market.run(families.list_pools_of, other[0])
    for account_id in (stranger[1], giver[1], foreign.account_id, market.till, new_id()):
        with pytest.raises(ForbiddenError):
            await give(market, giver, account_id, 1)
    assert await market.book.balance(giver[1]) == 50


async def test_who_left_is_a_stranger(market: Market) -> None:
    giver, child = await household(market, 50, 0)
    [pool] = await market.run(families.list_pools_of, giver[0])
    await market.run(families.leave_family, pool.family_id, child[0])
    with pytest.raises(ForbiddenError):
        await give(market, giver, child[1], 1)
    assert await market.run(families.list_pools_of, child[0]) == []
    past = await market.run(families.list_family, pool.family_id)
    assert {member.member_id: member.left_at is None for member in past} == {
        giver[0]: True, child[0]: False,
    }  # fmt: skip


async def test_a_family_needs_persons(market: Market) -> None:
    with pytest.raises(NotFoundError):
        await market.run(families.found_family, new_id(), new_id())
    with pytest.raises(NotFoundError):
        await market.run(families.join_family, new_id(), new_id(), may_hold=True)


async def test_the_first_of_a_family_spends_from_its_pool(market: Market) -> None:
    parent, child = await household(market, 50, 50)
    [pool] = await market.run(families.list_pools_of, parent[0])
    [childs] = await market.run(families.list_pools_of, child[0])
    assert (pool.may_hold, childs.may_hold) == (True, False)
    await give(market, child, pool.account_id, 30)
    hold_id = await market.held((parent[0], pool.account_id), 20)
    await market.capture(hold_id)
    await market.refund(hold_id, 5)
    assert await market.book.balance(pool.account_id) == 15
    await check_market(market)


async def test_nothing_is_given_until_a_cap_is_set(market: Market) -> None:
    await earn(market, 10)
    resident = await market.resident(5)
    answer = await reissue(market, resident[1], 1)
    assert (answer.status, answer.cap) == ("cap_exceeded", CapScope.REISSUE_DAY)
    community = await root_pool(market)
    answer = await give(market, resident, community, 1)
    assert (answer.status, answer.cap) == ("cap_exceeded", CapScope.GIFT_DAY)


async def test_the_cap_of_a_day_is_exact_and_passed_by_two(market: Market) -> None:
    giver, child = await household(market, 200, 0, cap=10)
    statuses = [(await give(market, giver, child[1], points)).status for points in (11, 7, 4, 3, 1)]
    assert statuses == ["cap_exceeded", "done", "cap_exceeded", "done", "cap_exceeded"]
    override_id = await approve(market, hardship(giver[0], scope=CapScope.GIFT_DAY))
    assert (await give(market, giver, child[1], 5, override_id=override_id)).status == "done"
    await check_market(market)


async def test_a_gift_is_answered_as_the_first_time(market: Market) -> None:
    giver, child = await household(market, 10, 0)
    gift_id = new_id()
    first = await give(market, giver, child[1], 4, gift_id=gift_id)
    assert first == await give(market, giver, child[1], 4, gift_id=gift_id)
    assert (await give(market, giver, child[1], 5, gift_id=gift_id)).status == "id_conflict"
    assert await market.book.balance(child[1]) == 4


@pytest.mark.parametrize("points", [0, -3])
async def test_a_gift_is_positive(market: Market, points: int) -> None:
    giver, child = await household(market, 10, 0, cap=100)
    assert (await give(market, giver, child[1], points)).status == "amount_out_of_range"


@pytest.mark.parametrize("cap", [None, 60])
async def test_twenty_gifts_of_the_same_points(market: Market, cap: int | None) -> None:
    """A hundred points, twenty gifts of fifteen at once: what balance or cap allows, no more."""
    giver, child = await household(market, 100, 0, cap=cap)
    answers = await asyncio.gather(*(give(market, giver, child[1], 15) for _ in range(20)))
    allowed = (cap or 100) // 15
    refusal = "cap_exceeded" if cap else "insufficient_points"
    assert Counter(answer.status for answer in answers) == {"done": allowed, refusal: 20 - allowed}
    assert await market.book.balance(giver[1]) == 100 - 15 * allowed
    await check_market(market)


async def test_gifts_to_and_fro_at_once(market: Market) -> None:
    """Neither waits for the other for ever."""
    one, other = await household(market, 50, 50)
    gifts = [(one, other[1]), (other, one[1])] * 8
    answers = await asyncio.gather(*(give(market, giver, to, 5) for giver, to in gifts))
    assert {answer.status for answer in answers} == {"done"}
    assert (await market.book.balance(one[1]), await market.book.balance(other[1])) == (50, 50)
    await check_market(market)


async def test_a_merchant_gives_on_what_it_took_in(market: Market) -> None:
    await earn(market, 30)
    await market.cap(CapScope.REISSUE_DAY, 20)
    resident = await market.resident()
    statuses = [(await reissue(market, resident[1], points)).status for points in (12, 9, 8)]
    assert statuses == ["done", "cap_exceeded", "done"]
    assert await market.book.balance(resident[1]) == 20
    closed = await settle(market)
    assert (closed.captured, closed.reissued, closed.paid) == (30, 20, 10)
    await market.cap(CapScope.REISSUE_DAY, None)
    assert (await reissue(market, resident[1], 1)).status == "merchant_lacks_points"
    await check_market(market)


async def test_what_was_given_on_is_not_paid_for_whatever_came_in_since(market: Market) -> None:
    await earn(market, 30)
    await market.cap(CapScope.REISSUE_DAY, 20)
    await reissue(market, (await market.resident())[1], 12)
    drafted = await draft(market)
    await earn(market, 30)
    closed = await close(market, await approve_settlement(market, drafted))
    assert (closed.paid, closed.carried_out) == (18, 0)
    assert await market.book.balance(market.till) == 30


async def test_a_pool_helps_a_household(market: Market) -> None:
    await root_pool(market, balance=30)
    needy = await market.resident()
    assert (await allocate(market, needy[1], 25)).status == "done"
    assert (await allocate(market, needy[1], 6)).status == "insufficient_points"
    assert (await allocate(market, market.till, 1)).status == "account_not_found"
    assert await market.book.balance(needy[1]) == 25
    await check_market(market)


async def test_a_shop_that_only_fills_up_is_told(market: Market) -> None:
    bounds = SaturationBounds(balance=100, percent_out=20)

    async def reasons() -> list[tuple[str, int]]:
        found = await market.run(exchange.list_saturated, bounds)
        return [(one.reason, one.balance) for one in found]

    await earn(market, 99)
    assert await reasons() == []
    await earn(market, 51)
    assert await reasons() == [("only_fills", 150)]
    await market.cap(CapScope.REISSUE_DAY, None)
    resident = await market.resident()
    await reissue(market, resident[1], 30)
    assert await reasons() == [("fills_faster", 120)]
    await reissue(market, resident[1], 1)
    assert await reasons() == []


@given(
    gifts=st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(1, 12)), max_size=12
    ),
    cap=st.sampled_from([None, 20]),
)
async def test_gifts_follow_a_plain_model(worker_pool: Any, gifts: Any, cap: int | None) -> None:
    """Three of a family and their pool: balances are what the gifts that were done say."""
    market = await Market.open(await Book.open(worker_pool, time_zone=noon_zone()))
    members = await household(market, 15, 15, 15, cap=cap)
    [pool] = await market.run(families.list_pools_of, members[0][0])
    accounts = [*(member[1] for member in members), pool.account_id]
    balances, given_today = [15, 15, 15, 0], [0, 0, 0]
    for giver, to, points in gifts:
        if giver == to:
            continue
        answer = await give(market, members[giver], accounts[to], points)
        if cap and given_today[giver] + points > cap:
            assert answer.status == "cap_exceeded"
        elif points > balances[giver]:
            assert answer.status == "insufficient_points"
        else:
            assert answer.status == "done"
            balances[giver] -= points
            balances[to] += points
            given_today[giver] += points
    assert [await market.book.balance(account) for account in accounts] == balances
    await check_market(market)
