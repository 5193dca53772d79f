"""Each fault that could be put into settlement is caught by the check named here."""

from collections.abc import Awaitable, Callable

import pytest

from tests.book import Book
from tests.races.variants import Edit, install_variant
from tests.redemption import settlement_checks as checks
from timebank.db import open_pool
from timebank.embedded import Server

Check = Callable[[Book], Awaitable[None]]

NO_LOCK = Edit("    PERFORM lock_balances(p_bank, account || p_others);\n", "")
STALE_AFTER_THE_LOCK = Edit(
    "ARRAY[retired]);\n    SELECT * INTO closed FROM settlement "
    "WHERE (bank_id, settlement_id) = (p_bank, p_settlement);\n",
    "ARRAY[retired]);\n",
)
PAID_WHATEVER_IS_LEFT = Edit("greatest(0, least(balance, closed.carried_in", "greatest(0, (")
NOT_CARRIED = Edit("coalesce(former.carried_out, 0), p_fen_rate", "0, p_fen_rate")
REMAINDER_LOST = Edit("closed.fen_rate + closed.remainder_in;", "closed.fen_rate;")
CUT_OFF_INCLUDED = Edit("AND recorded_at < p_cut_off\n", "AND recorded_at <= p_cut_off\n")
CLOSED_IS_DISCARDED = Edit(
    "    IF found.state = 'closed' THEN\n        RETURN 'settlement_closed';\n    END IF;\n", ""
)
NO_LOOK_AT_THE_BALANCE = Edit(
    "        WHEN p_points <= stands - count_blocked(p_bank, p_from) THEN",
    "        WHEN true THEN",
)

NO_LOOK_AT_WHAT_IS_LEFT = Edit("        WHEN stands < p_points THEN 'merchant_lacks_points'\n", "")

CASES: dict[str, tuple[Edit, Check, str]] = {
    "no lock": (NO_LOCK, checks.check_draft_waits_for_captures, "it was not held up"),
    "no lock at closing": (NO_LOCK, checks.check_closing_waits_for_a_refund, "RaiseError"),
    "no lock at drafting": (
        NO_LOCK,
        checks.check_no_capture_of_before_comes_after,
        "it was not held up",
    ),
    "no look at what is left": (
        NO_LOOK_AT_WHAT_IS_LEFT,
        checks.check_a_refund_waits_for_closing,
        "RaiseError.* instead of",
    ),
    "stale after the lock": (
        STALE_AFTER_THE_LOCK,
        checks.check_two_closers_pay_once,
        "instead of",
    ),
    "paid whatever is left": (
        PAID_WHATEVER_IS_LEFT,
        checks.check_what_was_given_back_is_carried,
        "RaiseError",
    ),
    "not carried": (NOT_CARRIED, checks.check_what_was_given_back_is_carried, "refused"),
    "remainder lost": (REMAINDER_LOST, checks.check_no_part_of_a_fen_is_lost, "rounds_exactly"),
    "cut-off included": (CUT_OFF_INCLUDED, checks.check_the_cut_off_is_half_open, "3 instead of 1"),
    "closed is discarded": (CLOSED_IS_DISCARDED, checks.check_closed_stays, "closed is for ever"),
    "no look at the balance": (
        NO_LOOK_AT_THE_BALANCE,
        checks.check_gifts_of_the_same_points,
        "RaiseError.* instead of",
    ),
}


@pytest.mark.parametrize("case", CASES)
async def test_a_fault_is_caught(case: str, server: Server, own_database: str) -> None:
    edit, check, message = CASES[case]
    await install_variant(server.dsn(own_database), edit)
    async with open_pool(server.dsn(own_database, "timebank_app"), size=6) as pool:
        book = await Book.open(pool)
        with pytest.raises(AssertionError, match=message):
            await check(book)


@pytest.mark.parametrize(
    "check", {check.__name__: check for _, check, _ in CASES.values()}.values()
)
async def test_schema_sql_passes(check: Check, book: Book) -> None:
    await check(book)
