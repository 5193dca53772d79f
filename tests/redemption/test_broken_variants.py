"""Each fault that could be put into the redemption functions is caught by the check named here."""

from collections.abc import Awaitable, Callable

import pytest

from tests.book import Book
from tests.races.variants import Edit, install_variant
from tests.redemption import checks
from timebank.db import open_pool
from timebank.embedded import Server

Check = Callable[[Book], Awaitable[None]]

NO_STOCK_LOCK = Edit("    ORDER BY offer_id FOR NO KEY UPDATE;", "    ORDER BY offer_id;")
NO_STOCK_FLOOR = Edit(
    "\n                       CONSTRAINT stock_not_negative CHECK (available >= 0)", ""
)
NO_HOLD_LOCK = Edit(
    "WHERE (bank_id, hold_id) = (p_bank, p_hold) FOR NO KEY UPDATE;\n$$;",
    "WHERE (bank_id, hold_id) = (p_bank, p_hold);\n$$;",
)
NO_CAP_LOCK = Edit("u.used_on FOR NO KEY UPDATE OF u;", "u.used_on;")
CAP_ONE_TOO_HIGH = Edit(
    "coalesce(u.used, 0) + k.amount\n          > find_cap(",
    "coalesce(u.used, 0) + k.amount - 1\n          > find_cap(",
)
CAP_NEVER_REACHED = Edit(
    "coalesce(u.used, 0) + k.amount\n          > find_cap(",
    "coalesce(u.used, 0) + k.amount\n          >= find_cap(",
)
ENDS_TOO_LATE = Edit("p_at >= p_held.expires_at", "p_at > p_held.expires_at")
NO_DEDUPLICATION = Edit(
    "    IF known.fingerprint = p_fingerprint THEN\n        RETURN known;",
    "    IF known.act_id IS NOT NULL OR known.act_id IS NULL THEN\n        RETURN NULL;",
)
NO_HOLD_KEY = Edit(
    "    PRIMARY KEY (bank_id, hold_id),\n    CONSTRAINT hold_expires",
    "    CONSTRAINT hold_expires",
)
NO_ACT_KEY = Edit("    CONSTRAINT act_decided_once PRIMARY KEY (bank_id, act_id),\n", "")
NO_REFUND_SUM = Edit(
    "        WHEN held.refunded + p_points > held.captured * held.unit_price\n"
    "            THEN 'refund_exceeds_captured'\n",
    "",
)
NO_REFUND_LIMIT = Edit(
    ",\n    CONSTRAINT hold_refunded_within_what_was_captured\n"
    "        CHECK (refunded BETWEEN 0 AND captured * unit_price)",
    "",
)
CODE_PAYS_AGAIN = Edit("      AND used_at IS NULL AND clock", "      AND clock")
STOCK_STAYS_AWAY = Edit("SET available = available + rest", "SET available = available")

CASES: dict[str, tuple[list[Edit], Check, str]] = {
    "no stock lock": (
        [NO_STOCK_LOCK],
        checks.check_stock_taken_out_is_not_held,
        "CheckViolationError: stock_not_negative",
    ),
    "no stock lock, no floor": (
        [NO_STOCK_LOCK, NO_STOCK_FLOOR],
        checks.check_stock_taken_out_is_not_held,
        "'done'. instead of .'out_of_stock'",
    ),
    "no hold lock": (
        [NO_HOLD_LOCK],
        checks.check_second_end_of_a_hold_waits,
        "the ledger answered",
    ),
    "no cap lock": (
        [NO_CAP_LOCK],
        checks.check_cap_is_exact_for_two_at_once,
        "not held up",
    ),
    "cap one too high": (
        [CAP_ONE_TOO_HIGH],
        checks.check_cap_is_exact,
        "done instead of cap_exceeded",
    ),
    "cap never reached": (
        [CAP_NEVER_REACHED],
        checks.check_cap_is_exact,
        "cap_exceeded instead of done",
    ),
    "ends too late": (
        [ENDS_TOO_LATE],
        checks.check_hold_ends_at_its_instant,
        "None, None. instead of .None, 'hold_expired'",
    ),
    "no deduplication": (
        [NO_DEDUPLICATION],
        checks.check_repeat_is_answered_as_the_first,
        "UniqueViolationError: hold_pkey",
    ),
    "no deduplication, no keys": (
        [NO_DEDUPLICATION, NO_HOLD_KEY, NO_ACT_KEY],
        checks.check_repeat_is_answered_as_the_first,
        "recorded_at",
    ),
    "no refund sum": (
        [NO_REFUND_SUM],
        checks.check_refunds_stay_within_the_capture,
        "CheckViolationError: hold_refunded_within_what_was_captured",
    ),
    "no refund sum, no limit": (
        [NO_REFUND_SUM, NO_REFUND_LIMIT],
        checks.check_refunds_stay_within_the_capture,
        "'done', 'done', 'done'. instead of",
    ),
    "code pays again": (
        [CODE_PAYS_AGAIN],
        checks.check_code_pays_once,
        "'done'. instead of",
    ),
    "stock stays away": (
        [STOCK_STAYS_AWAY],
        checks.check_released_stock_comes_back,
        "0 instead of 4",
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
