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
from tests.ledger.ageing import add_rule
from tests.service.programme import CHECKER, Programme, at, new_person
from timebank.audit.invariants import GUARDS_STAND
from timebank.audit.reconcile import Report, reconcile
from timebank.audit.snapshot import open_snapshot, plain_instants
from timebank.db import SERVER_SETTINGS, repeat_on_conflict
from timebank.domain.ledger import ReversalReason, SpentPolicy
from timebank.domain.suspicions import Reason
from timebank.embedded import Server
from timebank.ledger.ids import new_id
from timebank.ledger.requests import PostingRequest, RequestKey, post_requests
from timebank.ledger.reversals import reverse
from timebank.service.anomalies import hold_activity

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

OTHER_KINDS = tuple(f"(array_remove(enum_range({{}}), {{}}))[{n}]" for n in range(1, 7))

CHANGES = {
    "transfer": {
        "bank_id": ANOTHER_BANK,
        "transfer_id": ANOTHER_ID,
        "kind": tuple(f"(array_remove(enum_range({{}}), {{}}))[{n}]" for n in range(1, 14)),
        "status": ("'insufficient_balance'", "'already_reversed'", "'chain_broken'"),
        "debit_account_id": ANOTHER_ID,
        "credit_account_id": ANOTHER_ID,
        "amount": NUMBER,
        "occurred_at": INSTANT,
        "recorded_at": INSTANT,
        "debit_seq": (*NUMBER, "NULL"),
        "credit_seq": (*NUMBER, "NULL"),
        "chain_id": (*ANOTHER_ID, "transfer_id"),
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
        "kind": OTHER_KINDS,
        "balance": NUMBER,
        "seq": NUMBER,
        "floor": NUMBER,
        "ceiling": NUMBER,
        "recorded_at": ("now()",),
        "occurred_latest": ("now()",),
    },
    "account": {
        "bank_id": ANOTHER_BANK,
        "account_id": ANOTHER_ID,
        "unit": ("(array_remove(enum_range({}), {}))[1]",),
        "kind": OTHER_KINDS,
        "owner_id": ANOTHER_ID,
        "opened_at": (f"{{}} + {MINUTE}", "'infinity'"),
    },
    "request": {
        "bank_id": ANOTHER_BANK,
        "caller_id": ANOTHER_ID,
        "fingerprint": ("'\\x00'",),
        "transfer_ids": (
            "array[gen_random_uuid()]",
            "{} || (SELECT max(transfer_id::text)::uuid"
            " FROM transfer t WHERE (t.bank_id, actor_id) = (request.bank_id, caller_id))",
            "NULL",
        ),
        "answer": ("'[]'",),
    },
    "expiry_rule": {
        "bank_id": ANOTHER_BANK,
        "starts_on": ("{} - 1", "'-infinity'"),
        "set_at": ("{} + interval '1 day'", "'infinity'"),
    },
    "block": {
        "bank_id": ANOTHER_BANK,
        "block_id": ANOTHER_ID,
        "points": NUMBER,
        "lifted_at": ("now()", "'-infinity'", "'infinity'"),
    },
    "blocked_points": {
        "bank_id": ANOTHER_BANK,
        "block_id": ANOTHER_ID,
        "account_id": ANOTHER_ID,
        "origin_id": ANOTHER_ID,
        "hold_id": ANOTHER_ID,
        "behind": ("{} + 1",),
        "points": NUMBER,
        "since_seq": ("{} + 1000", "0", "-{}"),
    },
}
GOES_UNSEEN = ("request", "expiry_rule")
"""Whose rows may be taken away whole."""

ROWS = {
    ("account", "opened_at"): "EXISTS (SELECT FROM posting p"
    " WHERE (p.bank_id, p.account_id) = (row.bank_id, row.account_id))",
    ("account", "owner_id"): "owner_id IS NOT NULL",
    ("transfer", "chain_id"): "kind <> 'reversal'",
}
"""Which rows a change is one of: an account that was never used may have been opened whenever."""

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
Change = tuple[str, str | None, str | None]

EVERY_CHANGE: list[Change] = [
    *((table, None, None) for table in CHANGES if table not in GOES_UNSEEN),
    *(
        (table, column, value)
        for table, columns in CHANGES.items()
        for column, values in columns.items()
        for value in values
    ),
]

SEEN_IN_ITS_BANK = [
    change for change in EVERY_CHANGE if change[0] not in GOES_UNSEEN or change[1] != "bank_id"
]
"""What is missed in the bank it was moved from, so that no other need be read."""


@pytest.fixture
async def superuser(
    server: Server, own_database: str, own_book: Book
) -> AsyncIterator[asyncpg.Connection]:
    """A superuser to whom no guard of the database is left."""
    connection = await asyncpg.connect(server.dsn(own_database), server_settings=SERVER_SETTINGS)
    more = (f"ALTER TABLE {table} DISABLE TRIGGER ALL;" for table in CHANGES if table != "balance")
    await connection.execute(GUARDS_OFF + "".join(more) + CONSTRAINTS_OFF)
    yield connection
    await connection.close()


# Each example has a bank of its own, so the database need not be new.
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(acts=acts, change=st.sampled_from(SEEN_IN_ITS_BANK), place=st.integers(0, 1000))
async def test_any_single_change_is_found(
    own_book: Book,
    superuser: asyncpg.Connection,
    acts: list[tuple[str, int, int]],
    change: Change,
    place: int,
) -> None:
    book = await Book.open(own_book.pool)
    await _act(book, acts)
    assert _beyond_guards(await _audit(book)) == 0
    if await _change(superuser, book, change, place):
        assert _beyond_guards(await _audit(book)) > 0


async def test_each_change_is_found(own_book: Book, superuser: asyncpg.Connection) -> None:
    """All of them in one book: no chance is left to examples."""
    await _act(own_book, [("award", 0, 7), ("move", 0, 3), ("chain", 1, 9), ("reverse", 2, 5)])
    assert _beyond_guards(await _audit(own_book)) == 0
    unseen = []
    for place, change in enumerate(EVERY_CHANGE):
        transaction = superuser.transaction()
        await transaction.start()
        if await _change(superuser, own_book, change, place):
            async with plain_instants(superuser):
                report = await reconcile(superuser)
            if not _beyond_guards(report):
                unseen.append(change)
        await transaction.rollback()
    assert unseen == []


async def _change(superuser: asyncpg.Connection, book: Book, change: Change, place: int) -> bool:
    """Change a value or delete a row; False where a unique key forbids it."""
    table, column, value = change
    rows = await superuser.fetchval(
        f"""SELECT array_agg(ctid ORDER BY ctid) FROM {table} AS row WHERE bank_id = $1
            AND coalesce(to_jsonb(row) ->> 'status', 'posted') = 'posted'
            AND {ROWS.get((table, column or ""), "true")}""",
        book.bank_id,
    )
    new = (value or "").replace("{}", column or "")
    act = f"UPDATE {table} SET {column} = {new}" if column else f"DELETE FROM {table}"
    try:
        async with superuser.transaction():
            await superuser.execute(f"{act} WHERE ctid = $1", rows[place % len(rows)])
    except asyncpg.UniqueViolationError:
        return False
    return True


async def _act(book: Book, acts: list[tuple[str, int, int]]) -> None:
    """Do what the acts say in three wallets; some of it is refused, which is part of the book."""
    await _act_beyond_the_ledger(book)
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


async def _act_beyond_the_ledger(book: Book) -> None:
    """A rule of expiry, a request of two awards, and service that is held."""
    await add_rule(book, 12, 20)
    wallet = await book.open_account()
    awards = [book.award(wallet, 2), book.award(wallet, 3)]
    request = PostingRequest(RequestKey(STAFF, "awards-2", bytes(32)), [[one] for one in awards])
    await repeat_on_conflict(book.pool, lambda c: post_requests(c, book.bank_id, [request]))
    programme, person = await Programme.open(book), new_person()
    shift = await programme.make_shift()
    about = {"activity_id": shift.activity_id, "shift_id": shift.shift_id, "wish_id": None}
    record_id = await programme.record(person, at("2026-01-02 09:00"), 60, **about)
    await programme.confirm(record_id)
    await programme.run(hold_activity, CHECKER, shift.activity_id, Reason.NO_SPREAD)


async def _audit(book: Book) -> Report:
    async with open_snapshot(book.pool) as connection:
        return await reconcile(connection, book.bank.code)


def _beyond_guards(report: Report) -> int:
    return sum(check.found for check in report.checks if check.number != GUARDS_STAND.number)
