"""Each fault that could be put into the rules of service is caught, by the check named here."""

from collections.abc import Awaitable, Callable

import pytest

from tests.book import Book
from tests.races import service_checks as checks
from tests.races.variants import Edit, install_variant
from timebank.db import open_pool
from timebank.embedded import Server

Check = Callable[[Book], Awaitable[None]]

NO_EXCLUSION = Edit(
    """,
    CONSTRAINT record_no_overlap EXCLUDE USING gist (
        bank_id WITH =, person_id WITH =, during WITH &&) WHERE (status = 'confirmed')""",
    "",
)
NO_FOUR_EYES = Edit("CHECK (decided_by NOT IN (made_by, person_id))", "CHECK (true)")
NO_RECORD_LOCK = Edit("ORDER BY record_id FOR NO KEY UPDATE;", "ORDER BY record_id;")
NO_WALLET_LOCK = Edit(
    """    PERFORM lock_balances(p_bank, list_own_accounts(p_bank, array(
        SELECT person_id FROM service_record
        WHERE bank_id = p_bank AND record_id = ANY (p_records) AND status = 'submitted')));
""",
    "",
)
NO_STEPS = Edit("check_step('>draft',", "check_step('>confirmed',")
DECIDED_ANYHOW = Edit(
    """(status IN ('draft', 'submitted')) = (decided_by IS NULL)
        AND """,
    "",
)
NO_SHIFT_LOCK = Edit("AND ends_at > p_at\n    FOR NO KEY UPDATE;", "AND ends_at > p_at;")
NO_RATE_LOCK = Edit(
    "PERFORM pg_advisory_xact_lock(hashtextextended('rates ' || proposed.category_id, p_bank));",
    "",
)

CASES: dict[str, tuple[list[Edit], Check, str]] = {
    "no exclusion constraint": (
        [NO_EXCLUSION],
        checks.check_overlap_is_refused_to_the_second_approver,
        "instead of .'ExclusionViolationError: record_no_overlap'",
    ),
    "no four eyes": (
        [NO_FOUR_EYES],
        checks.check_a_record_is_confirmed_by_a_third_person,
        "instead of .*SecondPersonNeededError",
    ),
    "no lock of records": (
        [NO_RECORD_LOCK],
        checks.check_a_rejection_waits_for_the_confirmation,
        "instead of .'CheckViolationError: record_step'",
    ),
    "no lock of records and wallets": (
        [NO_RECORD_LOCK, NO_WALLET_LOCK],
        checks.check_two_approvers_award_once,
        "UniqueViolationError: award_once",
    ),
    "no lock of wallets: rest": (
        [NO_WALLET_LOCK],
        checks.check_the_rest_is_carried_between_approvers,
        r"\(10, 0\) instead of \(10, 1\)",
    ),
    "no lock of wallets: cap": (
        [NO_WALLET_LOCK],
        checks.check_the_cap_of_a_day_holds_between_approvers,
        "instead of .'CheckViolationError: record_within_cap_of_day'",
    ),
    "no steps": (
        [NO_STEPS, DECIDED_ANYHOW],
        checks.check_a_record_begins_undecided,
        "written instead of refused",
    ),
    "no lock of shifts": (
        [NO_SHIFT_LOCK],
        checks.check_the_last_place_is_taken_once,
        "UniqueViolationError: sign_up_in_order",
    ),
    "no lock of rates": (
        [NO_RATE_LOCK],
        checks.check_a_rate_waits_for_awards_under_way,
        "not held up",
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
