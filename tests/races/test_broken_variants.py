"""Each fault that could be put into the posting functions is caught, and by the check named here.

The second and third lines of defence are shown too: with the lock or the floor broken alone, a
constraint turns a wrong book into an error; only with that gone as well does the book go wrong.
"""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from tests.book import Book
from tests.races import checks, variants
from tests.races.checks import expect
from tests.races.variants import Edit, install_variant
from timebank.db import Connection, open_pool
from timebank.domain.ledger import AccountKind, TransferKind, Unit
from timebank.embedded import Server

Check = Callable[[Book], Awaitable[None]]


async def check_ceiling_is_exact(book: Book) -> None:
    """Issuance takes back what it gave out, and not one point more."""
    wallet = await book.open_account(balance=5)
    debt = await book.open_account(AccountKind.DEBT)
    issuance = book.issuance[Unit.POINTS]
    await book.post_all(book.transfer(debt, wallet, 5, kind=TransferKind.DEBT))
    with checks.errors_are_faults():
        for amount, status in ((6, "ceiling_exceeded"), (5, "posted"), (1, "ceiling_exceeded")):
            back = book.transfer(wallet, issuance, amount, kind=TransferKind.ROUNDING)
            expect([str(status) for status in await book.post(back)], [status])
    await checks.check_books(book)


CASES: dict[str, tuple[list[Edit], Check, str]] = {
    "no lock": (
        [variants.NO_LOCK],
        checks.check_second_spender_waits_and_is_refused,
        "UniqueViolationError: posting_seq_gapless",
    ),
    "no lock, no passbook key": (
        [variants.NO_LOCK, variants.NO_PASSBOOK_KEY],
        checks.check_second_spender_waits_and_is_refused,
        "'posted'.. instead of ..'insufficient_balance'",
    ),
    "unsorted locks": (
        [variants.UNSORTED_LOCKS],
        checks.check_accounts_in_opposite_orders_do_not_deadlock,
        "DeadlockDetectedError",
    ),
    "unsorted ids": (
        [variants.UNSORTED_IDS],
        checks.check_ids_in_opposite_orders_do_not_deadlock,
        "DeadlockDetectedError",
    ),
    "unsorted keys": (
        [variants.UNSORTED_KEYS],
        checks.check_keys_in_opposite_orders_do_not_deadlock,
        "DeadlockDetectedError",
    ),
    "a stamp before the locks": (
        [variants.STAMP_BEFORE_THE_LOCKS],
        checks.check_a_stamp_is_later_than_every_answer,
        "11 instead of 10",
    ),
    "who writes before the clock": (
        [variants.WRITERS_BEFORE_THE_CLOCK],
        checks.check_the_clock_is_asked_before_who_writes,
        "instead of DatetimeFieldOverflowError: as_of_not_in_future",
    ),
    "no turns of large calls": (
        [variants.NO_TURNS],
        checks.check_large_calls_take_turns,
        "not held up",
    ),
    "no turns of large requests": (
        [variants.NO_TURNS_OF_REQUESTS],
        checks.check_large_requests_take_turns,
        "not held up",
    ),
    "a turn after a lock": (
        [variants.TURN_AFTER_A_LOCK],
        checks.check_a_large_call_after_a_lock_does_not_deadlock,
        "DeadlockDetectedError",
    ),
    "no deduplication": (
        [variants.NO_DEDUPLICATION],
        checks.check_repeat_is_answered_as_the_first,
        "UniqueViolationError: transfer_pkey",
    ),
    "no deduplication, no transfer key": (
        [variants.NO_DEDUPLICATION, variants.NO_TRANSFER_KEY],
        checks.check_repeat_is_answered_as_the_first,
        "recorded_at",
    ),
    "ids of earlier calls not looked up": (
        [variants.NO_LOOK_BACK],
        checks.check_repeat_is_answered_as_the_first,
        "UniqueViolationError: transfer_pkey",
    ),
    "ids of the same call not compared": (
        [variants.NO_LOOK_AROUND],
        checks.check_repeat_within_a_call_has_no_effect,
        "UniqueViolationError: transfer_pkey",
    ),
    "no transfer key": (
        [variants.NO_TRANSFER_KEY],
        checks.check_id_is_taken_once_on_disjoint_accounts,
        "not held up",
    ),
    "floor never reached": (
        [variants.FLOOR_NEVER_REACHED],
        checks.check_floor_is_exact,
        "'insufficient_balance'. instead of .'posted'",
    ),
    "places of the caller": (
        [variants.PLACES_OF_THE_CALLER],
        checks.check_arrays_may_begin_anywhere,
        'null value in column "amount"',
    ),
    "floor one too low": (
        [variants.FLOOR_ONE_TOO_LOW],
        checks.check_floor_is_exact,
        "CheckViolationError: balance_not_below_floor",
    ),
    "floor one too low, no constraint": (
        [variants.FLOOR_ONE_TOO_LOW, variants.NO_FLOOR_CONSTRAINT],
        checks.check_floor_is_exact,
        "'posted'. instead of .'insufficient_balance'",
    ),
    "ceiling never reached": (
        [variants.CEILING_NEVER_REACHED],
        check_ceiling_is_exact,
        "'ceiling_exceeded'. instead of .'posted'",
    ),
    "ceiling one too high": (
        [variants.CEILING_ONE_TOO_HIGH],
        check_ceiling_is_exact,
        "CheckViolationError: balance_not_above_ceiling",
    ),
    "ceiling one too high, no constraint": (
        [variants.CEILING_ONE_TOO_HIGH, variants.NO_CEILING_CONSTRAINT],
        check_ceiling_is_exact,
        "'posted'. instead of .'ceiling_exceeded'",
    ),
}


@pytest.mark.parametrize("case", CASES)
async def test_a_fault_is_caught(case: str, server: Server, own_database: str) -> None:
    edits, check, message = CASES[case]
    await install_variant(server.dsn(own_database), *edits)
    async with open_pool(server.dsn(own_database, "timebank_app"), size=6) as pool:
        book = await Book.open(pool)
        with pytest.raises(AssertionError, match=message):
            await check(book)


@pytest.mark.parametrize(
    "check", {check.__name__: check for _, check, _ in CASES.values()}.values()
)
async def test_schema_sql_passes(check: Check, book: Book) -> None:
    await check(book)


async def post_after_the_clock_was_set_back(book: Book, superuser: Connection) -> None:
    """Expect what follows a line of the next hour to be stamped with its instant."""
    wallet, other = await book.open_account(balance=10), await book.open_account()
    ahead = datetime.now(UTC) + timedelta(hours=1)
    for table in ("balance", "posting"):
        await superuser.execute(f"ALTER TABLE {table} DISABLE TRIGGER ALL")
        await superuser.execute(
            f"UPDATE {table} SET recorded_at = $2 WHERE account_id = $1", wallet, ahead
        )
    outcomes = await book.post_chains([book.transfer(wallet, other, 1)])
    outcomes += await book.post_chains([book.transfer(other, wallet, 1)])
    expect([outcome.recorded_at for outcome in outcomes], [ahead, ahead])
    await checks.check_books(book)


async def test_a_stamp_is_not_before_the_last(
    own_book: Book, superuser: asyncpg.Connection
) -> None:
    await post_after_the_clock_was_set_back(own_book, superuser)


async def test_a_stamp_of_the_clock_alone_is_caught(
    server: Server, own_database: str, superuser: asyncpg.Connection
) -> None:
    await install_variant(server.dsn(own_database), variants.STAMP_OF_THE_CLOCK_ALONE)
    async with open_pool(server.dsn(own_database, "timebank_app"), size=2) as pool:
        with pytest.raises(AssertionError, match="instead of"):
            await post_after_the_clock_was_set_back(await Book.open(pool), superuser)


@pytest.mark.parametrize("beyond", ["floor - 1", "ceiling + 1"])
async def test_no_balance_leaves_its_limits_whoever_writes(
    beyond: str, own_book: Book, superuser: asyncpg.Connection
) -> None:
    """The last line of defence, alone: no function decides here."""
    await own_book.open_account(balance=10)
    with pytest.raises(asyncpg.CheckViolationError, match=r"balance_not_(below|above)"):
        await superuser.execute(f"UPDATE balance SET balance = {beyond}")


@pytest.mark.parametrize(
    "text", ["", "ORDER BY b.account_id", "ORDER BY b.account_id FOR NO KEY UPDATE OF c"]
)
def test_a_variant_that_no_longer_fits_is_refused(text: str) -> None:
    with pytest.raises(AssertionError, match="holds this not once"):
        variants.NO_LOCK.apply(text)
