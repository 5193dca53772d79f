"""Settlements: a cut-off, two approvers, one payment, and nothing settled twice or never."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from tests.book import STAFF
from tests.guards.test_append_only import login
from tests.redemption.checks import check_market
from tests.redemption.market import CLERK, Market, open_merchant
from timebank.db import transaction
from timebank.domain.ledger import AccountKind
from timebank.domain.settlement import Settlement, SettlementState
from timebank.domain.settlement_errors import SettlementRefusedError
from timebank.embedded import Server
from timebank.ledger.ids import new_id
from timebank.ledger.passbook import read_clock
from timebank.redemption import settlements

ONE, OTHER = new_id(), new_id()


async def clock(market: Market) -> datetime:
    """The database's now."""
    async with market.book.pool.acquire() as connection:
        return await read_clock(connection)


async def earn(market: Market, points: int) -> UUID:
    """Let the merchant capture points; the hold."""
    hold_id = await market.held(await market.resident(points), points)
    assert (await market.capture(hold_id)).status == "done"
    return hold_id


async def draft(market: Market, **terms: Any) -> Settlement:
    """Draft a settlement up to now."""
    cut_off = terms.pop("cut_off", None) or await clock(market)
    settlement: Settlement = await market.run(
        settlements.draft_settlement,
        terms.pop("settlement_id", None) or new_id(),
        terms.pop("merchant_id", market.merchant_id),
        cut_off=cut_off,
        actor_id=STAFF,
        **terms,
    )
    return settlement


async def approve(market: Market, drafted: Settlement, *actors: UUID) -> Settlement:
    """Approve by these, or by two."""
    for actor_id in actors or (ONE, OTHER):
        drafted = await market.run(
            settlements.approve_settlement,
            drafted.settlement_id,
            content_hash=drafted.content_hash,
            actor_id=actor_id,
        )
    return drafted


async def close(market: Market, settlement: Settlement) -> Settlement:
    """Close it."""
    closed: Settlement = await market.run(
        settlements.close_settlement, settlement.settlement_id, actor_id=STAFF
    )
    return closed


async def settle(market: Market, **terms: Any) -> Settlement:
    """All three steps."""
    return await close(market, await approve(market, await draft(market, **terms)))


async def refused(act: Any) -> str:
    """Why it was refused."""
    with pytest.raises(SettlementRefusedError) as refusal:
        await act
    return refusal.value.status


async def test_a_statement_is_captures_less_refunds(market: Market) -> None:
    hold_id = await earn(market, 30)
    await earn(market, 12)
    await market.refund(hold_id, 5)
    drafted = await draft(market)
    assert (drafted.captured, drafted.refunded, drafted.total) == (42, 5, 37)
    assert (drafted.number, drafted.first_seq, drafted.last_seq) == (1, 1, 3)
    assert (await approve(market, drafted, STAFF)).state is SettlementState.DRAFT
    assert (await approve(market, drafted, OTHER)).state is SettlementState.APPROVED
    closed = await close(market, drafted)
    assert (closed.state, closed.paid, closed.carried_out) == (SettlementState.CLOSED, 37, 0)
    assert await market.points_of(market.merchant_id, AccountKind.MERCHANT) == 0
    async with market.book.pool.acquire() as connection:
        lines = await settlements.list_lines(connection, market.bank_id, closed)
    assert [line.points for line in lines] == [30, 12, -5]
    await earn(market, 4)
    second = await settle(market)
    assert (second.number, second.first_seq, second.last_seq, second.paid) == (2, 4, 5, 4)
    await check_market(market)


async def test_each_step_is_harmless_to_repeat(market: Market) -> None:
    await earn(market, 10)
    cut_off, settlement_id = await clock(market), new_id()
    drafted = await draft(market, cut_off=cut_off, settlement_id=settlement_id)
    assert drafted == await draft(market, cut_off=cut_off, settlement_id=settlement_id)
    assert await refused(draft(market, settlement_id=settlement_id)) == "id_conflict"
    assert await refused(draft(market)) == "settlement_open"
    assert await refused(close(market, drafted)) == "settlement_not_approved"
    once = await approve(market, drafted, ONE)
    assert once == await approve(market, drafted, ONE)
    closed = await close(market, await approve(market, drafted, OTHER))
    assert closed == await close(market, drafted)
    assert closed == await approve(market, drafted, ONE)
    assert closed == await draft(market, cut_off=cut_off, settlement_id=settlement_id)
    assert await refused(approve(market, drafted, new_id())) == "settlement_closed"


async def test_what_cannot_be_drafted(market: Market) -> None:
    assert await refused(draft(market)) == "settlement_empty"
    hold_id = await earn(market, 10)
    assert await refused(draft(market, merchant_id=new_id())) == "settlement_not_found"
    later = datetime.now(UTC) + timedelta(hours=1)
    assert await refused(draft(market, cut_off=later)) == "cut_off_in_future"
    assert await refused(draft(market, settlement_id=hold_id)) == "id_conflict"
    await settle(market)
    assert await refused(draft(market)) == "settlement_empty"  # only the payment came since


async def test_whoever_acts_for_the_merchant_does_not_approve(market: Market) -> None:
    await earn(market, 10)
    drafted = await draft(market)
    clerk = new_id()
    await market.book.open_account(owner_id=clerk)
    await market.book.pool.execute(
        "INSERT INTO role_grant (bank_id, grant_id, party_id, role, branch_id, merchant_id,"
        " granted_by, approved_by) VALUES ($1, $2, $3, 'clerk', $4, $5, $6, $6)",
        market.bank_id,
        new_id(),
        clerk,
        market.book.bank.root_id,
        market.merchant_id,
        STAFF,
    )
    for actor_id in (clerk, market.merchant_id):
        assert await refused(approve(market, drafted, actor_id)) == "second_person_needed"


async def test_approvers_name_what_they_saw(market: Market) -> None:
    await earn(market, 10)
    first = await draft(market)
    await market.run(settlements.discard_settlement, first.settlement_id)
    await earn(market, 10)
    second = await draft(market, settlement_id=first.settlement_id)
    act = market.run(
        settlements.approve_settlement,
        second.settlement_id,
        content_hash=first.content_hash,
        actor_id=ONE,
    )
    assert await refused(act) == "settlement_differs"
    closed = await close(market, await approve(market, second))
    discard = market.run(settlements.discard_settlement, closed.settlement_id)
    assert await refused(discard) == "settlement_closed"


async def test_refunds_after_the_cut_off_go_to_the_next(market: Market) -> None:
    """Also where they take what would have been paid: it is carried, and so is their line."""
    hold_id = await earn(market, 20)
    drafted = await draft(market)
    await market.refund(hold_id, 8)
    closed = await close(market, await approve(market, drafted))
    assert (closed.total, closed.paid, closed.carried_out) == (20, 12, 8)
    await earn(market, 3)
    second = await settle(market)
    assert (second.total, second.carried_in, second.paid, second.carried_out) == (-5, 8, 3, 0)
    await check_market(market)


async def test_yuan_are_whole_fen_and_no_part_is_lost(market: Market) -> None:
    rates = [3333, 3333, 3333, 15_000, None, 1]
    paid = []
    for rate in rates:
        await earn(market, 7)
        paid.append(await settle(market, fen_rate=rate))
    exact = sum(7 * rate for rate in rates if rate)
    assert paid[-1].remainder_out is not None
    assert sum(one.fen or 0 for one in paid) * 10_000 + paid[-1].remainder_out == exact
    assert [one.fen for one in paid] == [2, 2, 2, 11, None, 0]


async def test_captures_across_the_cut_off_fall_on_one_side(market: Market) -> None:
    """While captures and refunds go on, settlements follow each other; none is lost or doubled."""
    residents = [await market.resident(100) for _ in range(6)]

    async def buy(resident: tuple[UUID, UUID]) -> None:
        for _ in range(4):
            hold_id = await market.held(resident, 5)
            await market.capture(hold_id)
            await market.refund(hold_id, 2)

    async def settle_often() -> None:
        for _ in range(5):
            try:
                await settle(market)
            except SettlementRefusedError as refusal:
                assert refusal.status == "settlement_empty"
            await asyncio.sleep(0.02)

    await asyncio.gather(*(buy(resident) for resident in residents), settle_often())
    await earn(market, 1)
    last = await settle(market)
    async with market.book.pool.acquire() as connection:
        done = await settlements.list_settlements(
            connection, market.bank_id, merchant_id=market.merchant_id
        )
    assert sum(one.captured for one in done) == 6 * 4 * 5 + 1
    assert sum(one.total for one in done) == sum(one.paid or 0 for one in done) + (
        last.carried_out or 0
    )
    await check_market(market)


async def test_two_closers_at_once_pay_once(market: Market) -> None:
    await earn(market, 20)
    approved = await approve(market, await draft(market))
    closed = await asyncio.gather(*(close(market, approved) for _ in range(4)))
    assert len({one.closed_at for one in closed}) == 1
    assert Counter(one.paid for one in closed) == {20: 4}
    assert await market.points_of(market.merchant_id, AccountKind.MERCHANT) == 0
    await check_market(market)


async def test_two_drafters_at_once_draft_one(market: Market) -> None:
    await earn(market, 20)
    answers = await asyncio.gather(*(draft(market) for _ in range(4)), return_exceptions=True)
    drafted = [answer for answer in answers if isinstance(answer, Settlement)]
    assert len(drafted) == 1
    assert {getattr(answer, "status", None) for answer in answers} == {None, "settlement_open"}


async def test_a_refund_while_settling_counts_once(market: Market) -> None:
    hold_id = await earn(market, 20)
    approved = await approve(market, await draft(market))
    closed, _ = await asyncio.gather(close(market, approved), market.refund(hold_id, 6))
    assert closed.paid in (14, 20)
    await earn(market, 10)
    second = await settle(market)
    assert (closed.paid or 0) + (second.paid or 0) == await paid_at_most(market, 24)
    await check_market(market)


async def paid_at_most(market: Market, unless_refused: int) -> int:
    """A refund that came after the payment was refused: then all was paid."""
    refunded: int = await market.book.pool.fetchval(
        "SELECT coalesce(sum(refunded), 0) FROM hold WHERE bank_id = $1", market.bank_id
    )
    return unless_refused + 6 - refunded


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE settlement SET paid = paid + 1, carried_out = carried_out - 1",
        "UPDATE settlement SET state = 'draft'",
        "UPDATE settlement SET closed_at = closed_at",
        "DELETE FROM settlement",
        "TRUNCATE settlement",
        "INSERT INTO settlement SELECT * FROM settlement",
    ],
)
async def test_closed_never_changes_whoever_asks(
    sql: str, market: Market, server: Server, worker_database: str
) -> None:
    await earn(market, 20)
    await settle(market)
    async with login(server, worker_database) as superuser:
        await superuser.execute("SET session_replication_role = replica")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await superuser.execute(sql)
    async with transaction(market.book.pool) as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(sql)


async def test_merchants_are_settled_apart(market: Market) -> None:
    await earn(market, 20)
    other, _ = await open_merchant(market.book)
    hold_id = await market.held(await market.resident(9), 9, merchant_id=other)
    await market.capture(hold_id, merchant_id=other, actor_id=CLERK)
    closed = await settle(market, merchant_id=other)
    assert (closed.number, closed.paid) == (1, 9)
    assert (await settle(market)).paid == 20
