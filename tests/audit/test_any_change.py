"""Whatever single value or row changes in whatever book, there is at least one finding.

What no second witness tells is left out: see timebank/audit/reconcile.py.
"""

from collections.abc import AsyncIterator

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.audit.test_tampering import GUARDS_OFF
from tests.book import STAFF, Book
from timebank.audit.invariants import GUARDS_STAND
from timebank.audit.reconcile import Report, reconcile
from timebank.audit.snapshot import open_snapshot
from timebank.db import SERVER_SETTINGS, repeat_on_conflict
from timebank.domain.ledger import ReversalReason, SpentPolicy
from timebank.embedded import Server
from timebank.ledger.ids import new_id
from timebank.ledger.reversals import reverse

CONSTRAINTS_OFF = """
    DO $$
    DECLARE
        guard record;
    BEGIN
        FOR guard IN SELECT conrelid::regclass AS relation, conname FROM pg_constraint
                     WHERE contype = 'c' AND connamespace = 'timebank'::regnamespace LOOP
            EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %s', guard.relation, guard.conname);
        END LOOP;
    END $$;
"""

MINUTE = "interval '1 minute'"
NUMBER = ("{} + 1", "{} - 7", "-1 - {}")
INSTANT = (f"{{}} + {MINUTE}", f"{{}} - {MINUTE}", "'infinity'")
ANOTHER_ID = ("gen_random_uuid()",)
ANOTHER_BANK = ("{} + 1000000",)

CHANGES = {
    "transfer": {
        "bank_id": ANOTHER_BANK,
        "transfer_id": ANOTHER_ID,
        "kind": tuple(f"(array_remove(enum_range({{}}), {{}}))[{n}]" for n in (1, 2, 3)),
        "status": ("'insufficient_balance'", "'already_reversed'", "'chain_broken'"),
        "debit_account_id": ANOTHER_ID,
        "credit_account_id": ANOTHER_ID,
        "amount": NUMBER,
        "occurred_at": INSTANT,
        "recorded_at": INSTANT,
        "debit_seq": (*NUMBER, "NULL"),
        "credit_seq": (*NUMBER, "NULL"),
        "chain_id": ANOTHER_ID,
        "reverses_id": ANOTHER_ID,
    },
    "posting": {
        "bank_id": ANOTHER_BANK,
        "account_id": ANOTHER_ID,
        "seq": ("{} + 1000", "-{}", "0"),
        "transfer_id": ANOTHER_ID,
        "amount": NUMBER,
        "balance_after": NUMBER,
        "occurred_at": INSTANT,
        "occurred_latest": INSTANT,
        "recorded_at": INSTANT,
    },
    "balance": {
        "bank_id": ANOTHER_BANK,
        "account_id": ANOTHER_ID,
        "unit": ("(array_remove(enum_range({}), {}))[1]",),
        "kind": tuple(f"(array_remove(enum_range({{}}), {{}}))[{n}]" for n in (1, 2, 3)),
        "balance": NUMBER,
        "seq": NUMBER,
        "floor": NUMBER,
        "ceiling": NUMBER,
        "recorded_at": ("now()",),
        "occurred_latest": ("now()",),
    },
}

acts = st.lists(
    st.one_of(
        st.tuples(st.just("award"), st.integers(0, 2), st.integers(1, 50)),
        st.tuples(st.just("move"), st.integers(0, 2), st.integers(1, 50)),
        st.tuples(st.just("chain"), st.integers(0, 2), st.integers(1, 50)),
        st.tuples(st.just("reverse"), st.integers(0, 2), st.integers(1, 50)),
    ),
    min_size=1,
    max_size=12,
)
changes = st.sampled_from(
    [(table, None, None) for table in CHANGES]
    + [
        (table, column, value)
        for table, columns in CHANGES.items()
        for column, values in columns.items()
        for value in values
    ]
)


@pytest.fixture
async def superuser(
    server: Server, own_database: str, own_book: Book
) -> AsyncIterator[asyncpg.Connection]:
    """A superuser to whom no guard of the database is left."""
    connection = await asyncpg.connect(server.dsn(own_database), server_settings=SERVER_SETTINGS)
    await connection.execute(GUARDS_OFF + CONSTRAINTS_OFF)
    yield connection
    await connection.close()


# Each example has a bank of its own, so the database need not be new.
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(acts=acts, change=changes, place=st.integers(0, 1000))
async def test_any_single_change_is_found(
    own_book: Book,
    superuser: asyncpg.Connection,
    acts: list[tuple[str, int, int]],
    change: tuple[str, str | None, str | None],
    place: int,
) -> None:
    book = await Book.open(own_book.pool)
    await _act(book, acts)
    assert _beyond_guards(await _audit(book)) == 0
    table, column, value = change
    row = await superuser.fetchval(
        f"""SELECT array_agg(ctid ORDER BY ctid) FROM {table} AS row WHERE bank_id = $1
            AND coalesce(to_jsonb(row) ->> 'status', 'posted') = 'posted'""",
        book.bank_id,
    )
    where = "WHERE ctid = $1"
    if column is None:
        await superuser.execute(f"DELETE FROM {table} {where}", row[place % len(row)])
    else:
        new = (value or "").replace("{}", column)
        await superuser.execute(
            f"UPDATE {table} SET {column} = {new} {where}", row[place % len(row)]
        )
    assert _beyond_guards(await _audit(book)) > 0


async def _act(book: Book, acts: list[tuple[str, int, int]]) -> None:
    """Do what the acts say in three wallets; some of it is refused, which is part of the book."""
    wallets = [await book.open_account() for _ in range(3)]
    first = book.award(wallets[0], 20)
    await book.post_all(first)
    for act, number, amount in acts:
        wallet, other = wallets[number], wallets[number - 1]
        if act == "award":
            await book.post(book.award(wallet, amount))
        elif act == "move":
            await book.post(book.transfer(wallet, other, amount))
        elif act == "chain":
            await book.post_chains(
                [book.award(wallet, amount), book.transfer(wallet, other, amount // 2 + 1)]
            )
        else:
            award = book.award(wallet, amount)
            await book.post_all(award)
            await repeat_on_conflict(
                book.pool,
                lambda c, original=award.transfer_id: reverse(
                    c,
                    book.bank_id,
                    original,
                    reversal_id=new_id(),
                    actor_id=STAFF,
                    reason=ReversalReason.DUPLICATE,
                    when_spent=SpentPolicy.DEBT,
                ),
            )


async def _audit(book: Book) -> Report:
    async with open_snapshot(book.pool) as connection:
        return await reconcile(connection, book.bank.code)


def _beyond_guards(report: Report) -> int:
    return sum(check.found for check in report.checks if check.number != GUARDS_STAND.number)
