"""Lots in the audit: an expiry that took points which were still good is found and named."""

import tracemalloc
from uuid import UUID

import asyncpg
import pytest

from tests.book import Book
from tests.ledger.ageing import add_rule, pass_days
from tests.ledger.test_plans import READ
from timebank.audit import lots
from timebank.audit.findings import Findings
from timebank.audit.invariants import LOTS_ADD_UP
from timebank.audit.lots import check_lots
from timebank.audit.reconcile import reconcile
from timebank.audit.snapshot import open_snapshot
from timebank.domain.ledger import AccountKind, TransferKind, Unit
from timebank.ledger.accounts import open_accounts
from timebank.ledger.expiry import expire_points
from timebank.ledger.ids import new_id
from timebank.ledger.lots import fold_bank, get_expiry_rules
from timebank.people.parties import PartyKind, register_parties


async def faults(book: Book) -> list[tuple[int, str, str, str]]:
    async with open_snapshot(book.pool) as connection:
        report = await reconcile(connection)
    return [(one.invariant, one.row, one.expected, one.found) for one in report.findings]


@pytest.fixture
async def expired(own_book: Book, superuser: asyncpg.Connection) -> asyncpg.Connection:
    """A superuser, and a book in which 10 points have expired lawfully and 5 are good."""
    wallet = await own_book.open_account(balance=10)
    await add_rule(own_book, 12)
    await pass_days(superuser, own_book, 400)
    await own_book.post_all(own_book.award(wallet, 5))
    assert (await expire_points(own_book.pool, own_book.bank)).points == 10
    return superuser


async def test_a_lawful_expiry_is_no_finding(own_book: Book, expired: asyncpg.Connection) -> None:
    await pass_days(expired, own_book, 30)
    assert await faults(own_book) == []


async def test_an_expiry_before_its_day_is_found(
    own_book: Book, expired: asyncpg.Connection
) -> None:
    """The ledger posts what it is given; that it was too early only the fold can tell."""
    wallet = await expired.fetchval("SELECT debit_account_id FROM transfer WHERE kind = 'expiry'")
    retired = await expired.fetchval("SELECT account_id FROM account WHERE kind = 'retired'")
    early = own_book.transfer(wallet, retired, 3, kind=TransferKind.EXPIRY)
    await own_book.post_all(early)
    assert await faults(own_book) == [
        (29, f"transfer {early.transfer_id}", "at most the 0 that had expired by then", "3")
    ]


@pytest.mark.parametrize(
    "change", ["DELETE FROM expiry_rule", "UPDATE expiry_rule SET months = 24"]
)
async def test_a_rule_changed_afterwards_is_found(
    own_book: Book, expired: asyncpg.Connection, change: str
) -> None:
    trigger = "TRIGGER expiry_rule_is_append_only"
    await expired.execute(
        f"ALTER TABLE expiry_rule DISABLE {trigger}; {change};"
        f"ALTER TABLE expiry_rule ENABLE ALWAYS {trigger}"
    )
    [(invariant, row, _, found)] = await faults(own_book)
    assert invariant == LOTS_ADD_UP.number
    assert row.startswith("transfer ")
    assert found == "10"


async def test_a_balance_that_is_not_its_lots_is_found(
    own_book: Book, expired: asyncpg.Connection
) -> None:
    pool = await own_book.open_account(AccountKind.POOL, balance=4)
    await expired.execute("UPDATE balance SET balance = 5 WHERE account_id = $1", pool)
    assert (29, f"balance {pool}", "4 in lots", "5") in await faults(own_book)


async def test_memory_does_not_grow_with_points_that_nobody_spends(
    own_book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lots, "_LINES", 500)

    async def peak_after(wallets: int) -> int:
        opened = [await own_book.open_account() for _ in range(wallets)]
        await own_book.post_all(*(own_book.award(one, 1) for one in opened * 100))
        async with open_snapshot(own_book.pool) as connection:
            findings = Findings({}, 10)
            tracemalloc.start()
            await check_lots(connection, None, findings, lambda done, total: None)
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
        assert findings.total == 0
        return peak

    small, large = await peak_after(10), await peak_after(40)
    assert large < small * 1.2


async def test_every_line_is_folded_whatever_hangs_together(
    own_book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lots, "_LINES", 3)
    alone = [await own_book.open_account(balance=1) for _ in range(5)]
    linked = [await own_book.open_account(balance=9) for _ in range(7)]
    for giver, taker in [(0, 1), (2, 3), (3, 0), (4, 5)]:
        await own_book.post_all(own_book.transfer(linked[giver], linked[taker], 2))
    told: list[tuple[int, int]] = []
    async with open_snapshot(own_book.pool) as connection:
        findings = Findings({}, 10)
        await check_lots(connection, None, findings, lambda done, total: told.append((done, total)))
    assert findings.total == 0
    lines = len(alone) + len(linked) + 2 * 4
    assert told[-1] == (lines, lines)
    assert len(told) > 3


async def test_right_after_an_import_no_account_is_read_for_every_transfer(own_book: Book) -> None:
    """Nobody has counted the rows yet: plans are made as for a few of them."""
    wallets = await open_wallets(own_book, 400)
    await own_book.post_all(*(own_book.award(wallet, 1) for wallet in wallets))
    async with open_snapshot(own_book.pool) as connection:
        findings = Findings({}, 10)
        await check_lots(connection, None, findings, lambda done, total: None)
        assert findings.total == 0
        assert await connection.fetchval(READ, "account") < 10 * len(wallets)
    async with own_book.pool.acquire() as connection, connection.transaction():
        rules = await get_expiry_rules(connection, own_book.bank_id)
        fold = await fold_bank(connection, own_book.bank, rules)
        assert len(list(fold.accounts())) == len(wallets)
        assert await connection.fetchval(READ, "account") < 10 * len(wallets)


async def open_wallets(book: Book, count: int) -> list[UUID]:
    owners = [new_id() for _ in range(count)]
    async with book.pool.acquire() as connection:
        await register_parties(connection, book.bank_id, PartyKind.PERSON, owners)
        opened = await open_accounts(
            connection, book.bank_id, Unit.POINTS, AccountKind.WALLET, owners
        )
    return [account.account_id for account in opened]
