"""The expiry run on a real book: off unless a rule says so, exact, and harmless when repeated."""

import asyncio
from datetime import timedelta
from uuid import UUID

import asyncpg
import pytest
from msgspec.structs import replace

from tests.book import STAFF, Book
from tests.ledger.ageing import add_rule, pass_days
from tests.races.checks import check_books
from timebank.db import repeat_on_conflict, transaction
from timebank.domain.errors import (
    ExpiryRuleExistsError,
    ExpiryRuleTooEarlyError,
    NotFoundError,
)
from timebank.domain.expiry import ExpiryRule, end_of_month
from timebank.domain.ledger import AccountKind, TransferKind, Unit
from timebank.ledger import expiry as expiring
from timebank.ledger.expiry import (
    ExpiryRun,
    NextExpiry,
    expire_points,
    find_next_expiry,
    list_expiring,
    preview_expiry,
    read_today,
    set_expiry_rule,
)
from timebank.ledger.ids import new_id

YEAR = 400  # days after which points of twelve months are certainly expired


async def run(book: Book) -> tuple[int, int]:
    """Let the run take what it will: from how many wallets, how many points."""
    taken = await expire_points(book.pool, book.bank)
    await check_books(book)
    return taken.wallets, taken.points


async def next_expiry(book: Book, wallet: UUID) -> NextExpiry | None:
    async with book.pool.acquire() as connection:
        return await find_next_expiry(connection, book.bank, wallet)


async def test_nothing_expires_unless_a_rule_says_so(
    own_book: Book, superuser: asyncpg.Connection
) -> None:
    wallet = await own_book.open_account(balance=10)
    await pass_days(superuser, own_book, 5000)
    assert await run(own_book) == (0, 0)
    assert await next_expiry(own_book, wallet) is None
    assert await own_book.balance(wallet) == 10


async def test_only_what_is_past_its_day_and_unspent_is_taken_and_once(
    own_book: Book, superuser: asyncpg.Connection
) -> None:
    book = own_book
    wallet, other = await book.open_account(balance=30), await book.open_account(balance=5)
    pool = await book.open_account(AccountKind.POOL, balance=7)
    await add_rule(book, 12)
    await pass_days(superuser, book, YEAR)
    await book.post_all(book.award(wallet, 4), book.transfer(wallet, other, 20))
    assert await run(book) == (3, 42)
    balances = [await book.balance(account) for account in (wallet, other, pool)]
    assert balances == [4, 0, 0]
    assert await run(book) == (0, 0)
    kinds = await superuser.fetch(
        "SELECT kind::text, actor_id, count(*) FROM transfer WHERE kind = 'expiry' GROUP BY 1, 2"
    )
    assert [tuple(row) for row in kinds] == [("expiry", expiring.EXPIRER_ID, 3)]


async def test_hours_never_expire(own_book: Book, superuser: asyncpg.Connection) -> None:
    hours = await own_book.open_account(unit=Unit.HOURS, balance=60)
    await add_rule(own_book, 12)
    await pass_days(superuser, own_book, YEAR)
    assert await run(own_book) == (0, 0)
    with pytest.raises(NotFoundError):
        await next_expiry(own_book, hours)


async def test_points_held_are_not_taken_and_come_back_with_grace(
    own_book: Book, superuser: asyncpg.Connection
) -> None:
    book, owner, hold = own_book, new_id(), new_id()
    wallet = await book.open_account(balance=10, owner_id=owner)
    held = await book.open_account(AccountKind.HELD, owner_id=owner)
    await add_rule(book, 12, grace_days=9)
    placed = book.transfer(wallet, held, 6, kind=TransferKind.HOLD)
    await book.post_all(replace(placed, subject_id=hold))
    await pass_days(superuser, book, YEAR)
    assert await run(book) == (1, 4)
    released = book.transfer(held, wallet, 6, kind=TransferKind.RELEASE)
    await book.post_all(replace(released, subject_id=hold))
    assert await run(book) == (0, 0)
    async with book.pool.acquire() as connection:
        today = await read_today(connection, book.bank)
    assert await next_expiry(book, wallet) == NextExpiry(today + timedelta(days=9), 6)
    await pass_days(superuser, book, 10)
    assert await run(book) == (1, 6)


async def test_runs_at_once_take_nothing_twice(
    own_book: Book, superuser: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expiring, "_WALLETS_AT_ONCE", 2)
    wallets = [await own_book.open_account(balance=10) for _ in range(9)]
    await add_rule(own_book, 12)
    await pass_days(superuser, own_book, YEAR)

    async def spend(wallet: UUID, other: UUID) -> None:
        for _ in range(5):
            await own_book.post(own_book.transfer(wallet, other, 1))

    pairs = zip(wallets, wallets[1:] + wallets[:1], strict=True)
    runs, _ = await asyncio.gather(
        asyncio.gather(*(expire_points(own_book.pool, own_book.bank) for _ in range(4))),
        asyncio.gather(*(spend(*pair) for pair in pairs)),
    )
    last = await expire_points(own_book.pool, own_book.bank)
    assert sum(one.points for one in [*runs, last]) == 90
    assert [await own_book.balance(wallet) for wallet in wallets] == [0] * 9
    await check_books(own_book)


async def test_a_wallet_that_moved_after_the_fold_is_looked_at_again(
    own_book: Book, superuser: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the fold and the lock the points are given away, and good ones come in."""
    book = own_book
    wallet, other = await book.open_account(balance=10), await book.open_account()
    await add_rule(book, 12)
    await pass_days(superuser, book, YEAR)
    folding = expiring.fold_bank

    async def fold_and_move(*args: object, **rest: object) -> object:
        fold = await folding(*args, **rest)
        await book.post_all(book.transfer(wallet, other, 8), book.award(wallet, 20))
        return fold

    monkeypatch.setattr(expiring, "fold_bank", fold_and_move)
    assert await run(book) == (1, 2)
    monkeypatch.undo()
    assert await run(book) == (1, 8)
    assert (await book.balance(wallet), await book.balance(other)) == (20, 0)


async def test_a_preview_takes_nothing_and_can_look_ahead(book: Book) -> None:
    wallet = await book.open_account(balance=10)
    starts_on = await add_rule(book, 12)
    last_day = end_of_month(starts_on, 12)
    for on, points in ((last_day, 0), (last_day + timedelta(days=1), 10)):
        async with transaction(book.pool) as connection:
            seen = await preview_expiry(connection, book.bank, on)
        assert seen == ExpiryRun(on, True, int(points > 0), points)
    assert await book.balance(wallet) == 10


@pytest.mark.parametrize("days", [30, 7, 1])
async def test_who_is_to_be_warned(book: Book, days: int) -> None:
    owner = new_id()
    wallet = await book.open_account(balance=10, owner_id=owner)
    await book.post_all(book.award(wallet, 5))
    starts_on = await add_rule(book, 12)
    last_day = end_of_month(starts_on, 12)
    async with transaction(book.pool) as connection:
        early = last_day - timedelta(days=days + 1)
        assert await list_expiring(connection, book.bank, days, on=early) == []
        [warned] = await list_expiring(
            connection, book.bank, days, on=last_day - timedelta(days=days)
        )
        assert (warned.account_id, warned.owner_id) == (wallet, owner)
        assert (warned.expires_on, warned.days_left, warned.amount) == (last_day, days, 15)
        late = last_day + timedelta(days=1)
        assert await list_expiring(connection, book.bank, days, on=late) == []


async def test_a_rule_starts_tomorrow_at_the_earliest_and_once(book: Book) -> None:
    async with book.pool.acquire() as connection:
        today = await read_today(connection, book.bank)

    async def add(days: int, months: int | None = 12) -> None:
        rule = ExpiryRule(today + timedelta(days=days), months, 30)
        await repeat_on_conflict(
            book.pool, lambda connection: set_expiry_rule(connection, book.bank, rule, STAFF)
        )

    for days in (-1, 0):
        with pytest.raises(ExpiryRuleTooEarlyError):
            await add(days)
        with pytest.raises(ExpiryRuleTooEarlyError):
            async with transaction(book.pool) as connection:
                rule = ExpiryRule(today + timedelta(days=days), 12, 0)
                await set_expiry_rule(connection, book.bank, rule, STAFF)
    await add(1)
    with pytest.raises(ExpiryRuleExistsError):
        await add(1, None)
    with pytest.raises(asyncpg.CheckViolationError, match="gives_a_year"):
        await add(2, 11)
    await add(2, None)
