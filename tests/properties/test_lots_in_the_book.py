"""Lots in real books: one wallet alone, the whole bank and the model of single points agree."""

from random import Random
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.book import Book
from tests.properties.points import World
from tests.properties.street import Street
from tests.properties.test_lots import tags
from tests.races.checks import check_books
from timebank.audit.reconcile import reconcile
from timebank.audit.snapshot import open_snapshot
from timebank.db import transaction
from timebank.domain.expiry import ExpiryRule
from timebank.domain.explaining import Explainer
from timebank.domain.ledger import TransferKind
from timebank.domain.lots import Move
from timebank.ledger import lots
from timebank.ledger.expiry import expire_points, read_today
from timebank.ledger.lots import fold_account, fold_bank, get_expiry_rules

_JOURNAL = """
    SELECT transfer_id, t.kind::text, amount,
           CASE WHEN d.kind IN ('wallet', 'pool') THEN debit_account_id END AS debit_id, debit_seq,
           CASE WHEN c.kind IN ('wallet', 'pool') THEN credit_account_id END AS credit_id,
           credit_seq, recorded_at, subject_id, reverses_id
    FROM transfer t
    JOIN account d ON (d.bank_id, d.account_id) = (t.bank_id, debit_account_id)
    JOIN account c ON (c.bank_id, c.account_id) = (t.bank_id, credit_account_id)
    WHERE t.bank_id = $1 AND status = 'posted'
"""


# Each example has a bank of its own, so the database need not be new.
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32))
async def test_whatever_happens_in_the_book(
    own_book: Book, superuser: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(lots, "_BATCH", 2)  # an instant may begin in one batch and end in another
    random = Random(seed)
    street = Street(await Book.open(own_book.pool), superuser, random)
    await street.settle()
    for _ in range(random.randint(10, 40)):
        await street.act()
    await check_books(street.book)
    await check_lots(street)
    await expire_points(street.book.pool, street.book.bank)
    async with open_snapshot(own_book.pool) as connection:
        report = await reconcile(connection, street.book.bank.code)
    # The street moves points by the ledger alone: there are no acts of the redemption engine.
    assert {finding.invariant for finding in report.findings} <= {18, 19, 21, 23}


async def check_lots(street: Street) -> None:
    book = street.book
    async with transaction(book.pool) as connection:
        today = await read_today(connection, book.bank)
        rules = await get_expiry_rules(connection, book.bank_id)
        whole = await fold_bank(connection, book.bank, rules)
        world = await tell_the_model(connection, book, await list_rules(connection, book))
        for wallet in street.wallets:
            explainer = Explainer(wallet)
            alone, balance = await fold_account(
                connection, book.bank, wallet, rules, explainer.hear
            )
            assert alone.total(wallet) == balance.balance
            assert alone.list_parts(wallet, today) == whole.list_parts(wallet, today)
            assert tags(whole, wallet, today) == world.tags(wallet)
            expired = whole.count_expired(wallet, today)
            assert expired == world.count_expired(wallet, today)
            explanation = explainer.explain(alone, today, {})
            assert explanation.balance == balance.balance
            assert sum(left.amount for left in explanation.unspent) == balance.balance


async def list_rules(connection: Any, book: Book) -> list[ExpiryRule]:
    rows = await connection.fetch(
        "SELECT starts_on, months, grace_days FROM expiry_rule WHERE bank_id = $1", book.bank_id
    )
    return [ExpiryRule(*row) for row in rows]


async def tell_the_model(connection: Any, book: Book, rules: Any) -> World:
    """Carry out the journal point by point: what comes next is the next line of its accounts."""
    world = World(rules)
    waiting = [dict(row) for row in await connection.fetch(_JOURNAL, book.bank_id)]
    lines: dict[Any, int] = {}
    while waiting:
        row = next(row for row in waiting if is_next(row, lines))
        waiting.remove(row)
        for side in ("debit", "credit"):
            lines[row[f"{side}_id"]] = row[f"{side}_seq"]
        recorded_at = row.pop("recorded_at")
        world.move(
            Move(
                **{**row, "kind": TransferKind(row["kind"])},
                recorded_us=round(recorded_at.timestamp() * 1_000_000),
                recorded_on=recorded_at.astimezone(book.bank.zone).date(),
            )
        )
    return world


def is_next(row: dict[str, Any], lines: dict[Any, int]) -> bool:
    return all(
        row[f"{side}_id"] is None or row[f"{side}_seq"] == lines.get(row[f"{side}_id"], 0) + 1
        for side in ("debit", "credit")
    )
