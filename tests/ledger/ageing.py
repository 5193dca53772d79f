"""Letting time pass: everything a bank has recorded becomes older by some days.

The clock that stamps the journal cannot be set, so the past is moved instead, behind the guards,
in a database of the test's own.
"""

from datetime import date, timedelta

import asyncpg

from tests.book import STAFF, Book
from timebank.domain.expiry import ExpiryRule
from timebank.ledger.expiry import read_today, set_expiry_rule

TIMES = {
    "transfer": ("recorded_at", "occurred_at"),
    "posting": ("recorded_at", "occurred_at", "occurred_latest"),
    "balance": ("recorded_at", "occurred_latest"),
    "account": ("opened_at",),
    "expiry_rule": ("starts_on", "set_at"),
}

FAR = 100_000
"""Days: one rule moves onto the day of the next while that one still stands there, so all go there
and back."""


async def pass_days(superuser: asyncpg.Connection, book: Book, days: int) -> None:
    """Make all that this bank has recorded so many days older."""
    async with superuser.transaction():
        guards = await superuser.fetch(
            "SELECT tgrelid::regclass::text, tgname FROM pg_trigger WHERE NOT tgisinternal "
            "AND tgrelid = ANY ($1::text[]::regclass[])",
            list(TIMES),
        )
        for table, guard in guards:
            await superuser.execute(f"ALTER TABLE {table} DISABLE TRIGGER {guard}")
        for table, columns in TIMES.items():
            older = ", ".join(f"{name} = {name} - make_interval(days => $2)" for name in columns)
            for step in (days + FAR, -FAR) if table == "expiry_rule" else (days,):
                await superuser.execute(
                    f"UPDATE {table} SET {older} WHERE bank_id = $1", book.bank_id, step
                )
        for table, guard in guards:
            await superuser.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {guard}")


async def add_rule(book: Book, months: int | None, grace_days: int = 0) -> date:
    """Set a rule that starts tomorrow; return that day."""
    async with book.pool.acquire() as connection:
        starts_on = await read_today(connection, book.bank) + timedelta(days=1)
        rule = ExpiryRule(starts_on, months, grace_days)
        await set_expiry_rule(connection, book.bank, rule, STAFF)
    return starts_on
