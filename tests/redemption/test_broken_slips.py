"""Each fault that could be put into the functions of slips is caught by the check named here."""

from collections.abc import Awaitable, Callable

import pytest

from tests.book import Book
from tests.races.variants import Edit, install_variant
from tests.redemption import slip_checks as checks
from timebank.db import open_pool
from timebank.embedded import Server

Check = Callable[[Book], Awaitable[None]]

NO_LOCK = Edit(
    "    held   hold := lock_hold(p_bank, (SELECT hold_id FROM slip\n"
    "                                      WHERE (bank_id, number) = (p_bank, p_number)));",
    "    held   hold := (SELECT h FROM hold h JOIN slip s USING (bank_id, hold_id)\n"
    "                    WHERE (s.bank_id, s.number) = (p_bank, p_number));",
)
ACCEPTANCE_FORGOTTEN = Edit(
    "    act := find_act(p_bank, p_capture, asked);\n    is_new := act.act_id IS NULL;",
    "    is_new := true;",
)
ACTOR_COUNTS = Edit("ROW('slip', p_number, p_merchant)::text", "ROW('slip', p_actor)::text")
ANY_MERCHANT = Edit(
    "    act.status := CASE WHEN held.merchant_id IS DISTINCT FROM p_merchant\n",
    "    act.status := CASE WHEN held.merchant_id IS NULL\n",
)
CALLED_BACK = Edit(
    "CASE held.channel WHEN 'slip' THEN 'slip_outstanding'",
    "CASE WHEN false THEN 'slip_outstanding'",
)
CAPTURED_UNSEEN = Edit("held.channel IN ('session', 'slip')", "held.channel = 'session'")
OUTLIVES = Edit("\n                                         AND expires_at <= NEW.expires_at", "")
NO_CAP_NEEDED = Edit(
    "'gift_day', 'reissue_day', 'slip') THEN 0", "'gift_day', 'reissue_day') THEN 0"
)

ANY_KEY = Edit("(bank_id, key_id, purpose) = (p_bank, p_key, 'slip')", "bank_id = p_bank")
SOON_OVER = Edit(
    "\n        WHERE act.expires_at - p_grace < act.recorded_at + least", "\n WHERE NULL = least"
)

CASES: dict[str, tuple[Edit, Check, str]] = {
    "no lock": (NO_LOCK, checks.check_second_acceptance_waits, "instead of"),
    "acceptance forgotten": (
        ACCEPTANCE_FORGOTTEN,
        checks.check_an_acceptance_is_answered_as_before,
        "UniqueViolationError: act_decided_once",
    ),
    "actor counts": (
        ACTOR_COUNTS,
        checks.check_an_acceptance_is_answered_as_before,
        "id_conflict",
    ),
    "any merchant": (ANY_MERCHANT, checks.check_a_slip_is_its_merchants, "done instead of"),
    "called back": (CALLED_BACK, checks.check_a_slip_is_never_called_back, "done instead of"),
    "captured unseen": (CAPTURED_UNSEEN, checks.check_only_the_slip_captures, "done instead of"),
    "outlives its hold": (
        OUTLIVES,
        checks.check_a_slip_does_not_outlive_its_hold,
        "None instead of",
    ),
    "any key": (ANY_KEY, checks.check_a_slip_is_signed_with_its_key, "None instead of"),
    "soon over": (SOON_OVER, checks.check_a_slip_is_good_for_a_day, "None instead of"),
    "no cap needed": (NO_CAP_NEEDED, checks.check_slips_wait_for_a_cap, "'done', 'None'"),
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
