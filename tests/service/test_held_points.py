"""While an activity is held its points stay where they are; two who release it set them free."""

import asyncio
from uuid import UUID

import asyncpg
import pytest

from tests.book import Book
from tests.ledger.ageing import add_rule, pass_days
from tests.races.checks import connections, post_on
from tests.service.programme import (
    CHECKER,
    MAKER,
    OTHER_CHECKER,
    THIRD_CHECKER,
    Programme,
    at,
    new_person,
)
from timebank.audit.reconcile import reconcile
from timebank.audit.snapshot import open_snapshot
from timebank.db import Connection
from timebank.domain.errors import TransferRefusedError
from timebank.domain.ledger import AccountKind, SpentPolicy, TransferKind, Unit
from timebank.domain.service_errors import ActivityHeldError
from timebank.domain.suspicions import Reason
from timebank.ledger.accounts import get_account_of
from timebank.ledger.expiry import expire_points, preview_expiry
from timebank.ledger.explaining import explain_balance
from timebank.ledger.ids import new_id
from timebank.ledger.passbook import list_blocked
from timebank.ledger.transfers import lock_balances
from timebank.service.anomalies import hold_activity, release_activity


class Resident:
    """Somebody who served at an activity, and has points of it."""

    def __init__(self, programme: Programme, person_id: UUID) -> None:
        self.programme = programme
        self.person_id = person_id

    async def serve(self, activity_id: UUID, shift_id: UUID, start: str, minutes: int) -> UUID:
        about = {"activity_id": activity_id, "shift_id": shift_id, "wish_id": None}
        record_id = await self.programme.record(self.person_id, at(start), minutes, **about)
        await self.programme.confirm(record_id)
        return record_id

    async def wallet(self) -> UUID:
        account = await self.programme.run(
            get_account_of, Unit.POINTS, AccountKind.WALLET, self.person_id
        )
        return account.account_id

    async def free(self) -> tuple[int, int]:
        """What stands, and what of it is blocked."""
        wallet = await self.wallet()
        blocked = await self.programme.run(list_blocked, [wallet])
        return await self.programme.book.balance(wallet), blocked[wallet]

    async def spend(self, points: int) -> str:
        book = self.programme.book
        friend = await book.open_account()
        return str((await book.post(book.transfer(await self.wallet(), friend, points)))[0])


@pytest.fixture
def resident(programme: Programme) -> Resident:
    return Resident(programme, new_person())


async def test_holding_blocks_its_points_and_releasing_frees_them(
    programme: Programme, resident: Resident
) -> None:
    false, true = await programme.make_shift(), await programme.make_shift()
    await resident.serve(false.activity_id, false.shift_id, "2026-01-02 09:00", 120)
    await resident.serve(true.activity_id, true.shift_id, "2026-01-03 09:00", 60)
    assert await resident.free() == (30, 0)
    assert await resident.spend(5) == "posted"
    await programme.run(hold_activity, CHECKER, false.activity_id, Reason.NO_SPREAD)
    await programme.run(hold_activity, CHECKER, false.activity_id, Reason.AT_NIGHT)
    assert await resident.free() == (25, 15)
    assert await resident.spend(11) == "points_blocked"
    assert await resident.spend(10) == "posted"
    assert await resident.spend(1) == "points_blocked"
    await programme.run(release_activity, OTHER_CHECKER, false.activity_id)
    assert await resident.spend(1) == "points_blocked"
    await programme.run(release_activity, THIRD_CHECKER, false.activity_id)
    assert await resident.free() == (15, 0)
    assert await resident.spend(15) == "posted"


async def test_what_is_spent_meanwhile_is_of_other_service(
    programme: Programme, resident: Resident
) -> None:
    """Though the held one was first: so holding again finds it there, and so does its reversal."""
    held, other = await programme.make_shift(), await programme.make_shift()
    false = await resident.serve(held.activity_id, held.shift_id, "2026-01-02 09:00", 60)
    await resident.serve(other.activity_id, other.shift_id, "2026-01-03 09:00", 60)
    await programme.run(hold_activity, CHECKER, held.activity_id, Reason.NO_SPREAD)
    assert await resident.spend(7) == "posted"
    book = programme.book
    async with book.pool.acquire() as connection, connection.transaction():
        told = await explain_balance(connection, book.bank, await resident.wallet())
    assert [(left.source.subject_id, left.amount) for left in told.unspent] == [
        (held.activity_id, 10),
        (other.activity_id, 3),
    ]
    for checker in (OTHER_CHECKER, THIRD_CHECKER):
        await programme.run(release_activity, checker, held.activity_id)
    await programme.run(hold_activity, CHECKER, other.activity_id, Reason.NO_SPREAD)
    assert await resident.free() == (13, 3)
    await programme.run(hold_activity, CHECKER, held.activity_id, Reason.NO_SPREAD)
    assert await resident.free() == (13, 13)
    await programme.reverse(false)
    assert await resident.free() == (3, 3)


async def test_what_is_false_is_reversed_while_it_is_blocked(
    programme: Programme, resident: Resident
) -> None:
    shift = await programme.make_shift()
    false = await resident.serve(shift.activity_id, shift.shift_id, "2026-01-02 09:00", 60)
    await resident.serve(shift.activity_id, shift.shift_id, "2026-01-02 11:00", 30)
    await programme.run(hold_activity, CHECKER, shift.activity_id, Reason.NO_SPREAD)
    assert await resident.free() == (15, 15)
    await programme.reverse(false)
    assert await resident.free() == (5, 5)
    assert await resident.spend(1) == "points_blocked"


async def test_a_reversal_with_debt_leaves_nothing_blocked(
    programme: Programme, resident: Resident
) -> None:
    shift = await programme.make_shift()
    false = await resident.serve(shift.activity_id, shift.shift_id, "2026-01-02 09:00", 60)
    assert await resident.spend(8) == "posted"
    await programme.run(hold_activity, CHECKER, shift.activity_id, Reason.NO_SPREAD)
    with pytest.raises(TransferRefusedError, match="insufficient_balance"):
        await programme.reverse(false)
    await programme.reverse(false, SpentPolicy.DEBT)
    assert await resident.free() == (0, 0)


async def test_points_that_are_blocked_do_not_expire(own_book: Book, superuser: Connection) -> None:
    programme = await Programme.open(own_book)
    resident = Resident(programme, new_person())
    await add_rule(own_book, 12, 20)
    await pass_days(superuser, own_book, 1)
    shift = await programme.make_shift()
    await resident.serve(shift.activity_id, shift.shift_id, "2026-01-02 09:00", 60)
    await own_book.post_all(own_book.award(await resident.wallet(), 7))
    await programme.run(hold_activity, CHECKER, shift.activity_id, Reason.NO_SPREAD)
    await pass_days(superuser, own_book, 800)
    async with own_book.pool.acquire() as connection, connection.transaction():
        assert (await preview_expiry(connection, own_book.bank)).points == 7
    assert (await expire_points(own_book.pool, own_book.bank)).points == 7
    assert await resident.free() == (10, 10)
    for checker in (OTHER_CHECKER, THIRD_CHECKER):
        await programme.run(release_activity, checker, shift.activity_id)
    assert (await expire_points(own_book.pool, own_book.bank)).points == 10


async def test_spending_and_holding_at_once(programme: Programme, resident: Resident) -> None:
    """Whatever was spent was spent before the hold; what it found there is there for good."""
    book, shift = programme.book, await programme.make_shift()
    friend = await book.open_account()
    left = 0
    for hour in range(9, 19):
        start = f"2026-01-02 {hour:02}:00"
        await resident.serve(shift.activity_id, shift.shift_id, start, 60)
        wallet = await resident.wallet()
        gifts = [book.transfer(wallet, friend, 1, kind=TransferKind.GIFT) for _ in range(8)]
        async with connections(book, len(gifts)) as clients:
            holding = programme.run(hold_activity, MAKER, shift.activity_id, Reason.TOO_FAST)
            pairs = zip(clients, gifts, strict=True)
            _, *posted = await asyncio.gather(
                holding, *(post_on(client, book, gift) for client, gift in pairs)
            )
        spent = sum(status == "posted" for (status,) in posted)
        assert {status for (status,) in posted} <= {"posted", "points_blocked"}
        left += 10 - spent
        assert await resident.free() == (left, left)
        await programme.run(release_activity, OTHER_CHECKER, shift.activity_id)
        await programme.run(release_activity, THIRD_CHECKER, shift.activity_id)


async def test_an_award_waits_for_a_hold_before_it_takes_wallets(
    programme: Programme, resident: Resident
) -> None:
    """Both take the activity first, so neither waits for the other with what that one needs."""
    shift = await programme.make_shift()
    await resident.serve(shift.activity_id, shift.shift_id, "2026-01-02 09:00", 60)
    about = {"activity_id": shift.activity_id, "shift_id": shift.shift_id, "wish_id": None}
    record_id = await programme.record(resident.person_id, at("2026-01-02 10:00"), 60, **about)
    wallet, pool, bank_id = await resident.wallet(), programme.book.pool, programme.book.bank_id
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(
            "SELECT hold_activity($1, $2, $3, $4, 'at_night')",
            bank_id,
            new_id(),
            shift.activity_id,
            MAKER,
        )
        confirming = asyncio.create_task(programme.confirm(record_id))
        await asyncio.sleep(0.2)
        await connection.execute("SET LOCAL lock_timeout = '100ms'")
        assert await lock_balances(connection, bank_id, [wallet]) == {wallet: 10}
    with pytest.raises(ActivityHeldError):
        await confirming


async def test_what_was_spent_behind_a_block_is_found(
    own_book: Book, superuser: Connection
) -> None:
    programme = await Programme.open(own_book)
    resident, shift = Resident(programme, new_person()), await programme.make_shift()
    await resident.serve(shift.activity_id, shift.shift_id, "2026-01-02 09:00", 60)
    assert await resident.spend(1) == "posted"
    await programme.run(hold_activity, CHECKER, shift.activity_id, Reason.NO_SPREAD)
    assert await resident.spend(1) == "points_blocked"

    async def found() -> list[tuple[int, str]]:
        async with open_snapshot(own_book.pool) as connection:
            report = await reconcile(connection, own_book.bank.code)
        return [(one.invariant, one.row) for one in report.findings]

    assert await found() == []
    lifted = "UPDATE block SET lifted_at = now() RETURNING block_id"
    block = await superuser.fetchval(lifted)
    assert await resident.spend(2) == "posted"
    assert await found() == [(38, f"block {block}")]
    for again in (lifted, "UPDATE block SET lifted_at = NULL", "DELETE FROM block"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="of block refused"):
            await superuser.execute(again)
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
        await superuser.execute("TRUNCATE block")
    await superuser.execute(
        "ALTER TABLE block DISABLE TRIGGER block_is_lawful; UPDATE block SET lifted_at = NULL;"
        "ALTER TABLE block ENABLE ALWAYS TRIGGER block_is_lawful"
    )
    assert await resident.spend(2) == "points_blocked"
    assert await found() == [(38, f"posting {await resident.wallet()}/3")]


async def test_the_service_itself_cannot_lift_a_block(programme: Programme) -> None:
    """It takes a release by two persons, whoever writes."""
    shift = await programme.make_shift()
    held = await programme.run(hold_activity, CHECKER, shift.activity_id, Reason.NO_SPREAD)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await programme.book.pool.execute(
            "SELECT lift_block($1, $2)", programme.book.bank_id, held.hold_id
        )
