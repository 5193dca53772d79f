"""The checks that the database makes of itself: a query for each rule, a row for each finding."""

from collections.abc import Sequence
from typing import Any

from timebank.audit.findings import Findings
from timebank.audit.invariants import (
    AWARDED_ONCE,
    BANK_EXISTS,
    BLOCKS_HOLD,
    CAPS_KEPT,
    CERTIFICATES_STAND,
    CHAIN_WHOLE,
    ENDED_ONCE,
    GUARDS_STAND,
    HELD_IS_OPEN_HOLDS,
    HOURS_UNTOUCHED,
    KINDS_FIT,
    LOTS_ADD_UP,
    NO_OVERLAP,
    OCCURRED_BEFORE,
    ONE_UNIT,
    OWNERS_REGISTERED,
    PLACES_ADD_UP,
    POINTS_EXACT,
    REFUNDS_WITHIN,
    REFUSED_MOVES_NOTHING,
    REQUEST_ANSWERED,
    REVERSED_ONCE,
    SETTLED_ONCE,
    SLIPS_BIND,
    STOCK_FOLLOWS,
    THREE_PERSONS,
    TWO_POSTINGS,
    Invariant,
)
from timebank.audit.snapshot import stream_rows
from timebank.db import Connection, check_schema, load_queries, read_schema
from timebank.domain.errors import SchemaMismatchError

_QUERIES = load_queries(__package__)

CHECKS: Sequence[tuple[Invariant, str]] = (
    (TWO_POSTINGS, "amounts_out_of_range"),
    (REFUSED_MOVES_NOTHING, "refused_transfers_with_postings"),
    (CHAIN_WHOLE, "broken_chains"),
    (REQUEST_ANSWERED, "requests_with_wrong_answers"),
    (REQUEST_ANSWERED, "transfers_of_two_requests"),
    (REQUEST_ANSWERED, "requests_out_of_form"),
    (REVERSED_ONCE, "reversals_without_original"),
    (REVERSED_ONCE, "transfers_reversed_twice"),
    (ONE_UNIT, "transfers_across_units"),
    (OWNERS_REGISTERED, "owners_not_registered"),
    (OCCURRED_BEFORE, "accounts_opened_after_their_lines"),
    (LOTS_ADD_UP, "rules_set_for_the_past"),
    (KINDS_FIT, "transfers_of_wrong_kind"),
    (OCCURRED_BEFORE, "transfers_before_they_occurred"),
    (PLACES_ADD_UP, "branches_out_of_place"),
    (PLACES_ADD_UP, "things_out_of_place"),
    (PLACES_ADD_UP, "balances_out_of_the_tree"),
    (BANK_EXISTS, "rows_of_no_bank"),
    (AWARDED_ONCE, "records_with_wrong_awards"),
    (AWARDED_ONCE, "awards_with_wrong_transfers"),
    (AWARDED_ONCE, "awards_reversed_without_their_records"),
    (AWARDED_ONCE, "transfers_of_two_awards"),
    (NO_OVERLAP, "overlapping_records"),
    (NO_OVERLAP, "records_with_wrong_minutes"),
    (POINTS_EXACT, "awards_by_wrong_rates"),
    (POINTS_EXACT, "persons_with_wrong_points"),
    (POINTS_EXACT, "reversals_with_wrong_roundings"),
    (POINTS_EXACT, "roundings_of_no_reversal"),
    (THREE_PERSONS, "records_without_three_persons"),
    (HELD_IS_OPEN_HOLDS, "held_accounts_unlike_their_holds"),
    (HELD_IS_OPEN_HOLDS, "holds_unlike_their_transfers"),
    (ENDED_ONCE, "holds_unlike_their_acts"),
    (SLIPS_BIND, "slips_unlike_their_holds"),
    (STOCK_FOLLOWS, "stocks_unlike_their_acts"),
    (REFUNDS_WITHIN, "refunds_unlike_their_acts"),
    (SETTLED_ONCE, "settlements_out_of_line"),
    (SETTLED_ONCE, "settlements_unlike_their_lines"),
    (SETTLED_ONCE, "settlements_unlike_their_payments"),
    (SETTLED_ONCE, "payments_without_settlement"),
    (CAPS_KEPT, "caps_unlike_their_use"),
    (CAPS_KEPT, "gifts_unlike_their_transfers"),
    (CAPS_KEPT, "gifts_without_an_act"),
    (CAPS_KEPT, "caps_exceeded"),
    (HOURS_UNTOUCHED, "redemptions_of_hours"),
    (CERTIFICATES_STAND, "certificates_that_do_not_stand"),
    (BLOCKS_HOLD, "spent_below_what_was_blocked"),
    (BLOCKS_HOLD, "blocks_unlike_their_holds"),
)
"""What is asked of the rows of a bank, or of all."""

_AGAINST_THE_TEXT = (
    "triggers_not_in_force",
    "tables_altered",
    "rights_never_given",
    "functions_altered",
)
"""What schema.sql says and the catalogue does not, or the other way round."""


async def check_rows(
    connection: Connection,
    bank_id: int | None,
    invariant: Invariant,
    query: str,
    findings: Findings,
) -> None:
    """Run one of CHECKS."""
    await _run(connection, invariant, query, findings, bank_id)


async def check_guards(connection: Connection, findings: Findings) -> None:
    """Check that history is guarded now; it says nothing of an hour when it was not."""
    try:
        await check_schema(connection)
    except SchemaMismatchError:
        expected = "the fingerprint of this schema.sql"
        findings.add(GUARDS_STAND, None, "schema timebank", expected, "another, or none")
    await _run(connection, GUARDS_STAND, "constraints_not_in_force", findings)
    await _run(connection, GUARDS_STAND, "rights_too_wide", findings)
    for query in _AGAINST_THE_TEXT:
        await _run(connection, GUARDS_STAND, query, findings, read_schema())


async def _run(
    connection: Connection, invariant: Invariant, query: str, findings: Findings, *args: Any
) -> None:
    async for bank_id, row, expected, found in stream_rows(connection, _QUERIES[query], *args):
        findings.add(invariant, bank_id, row, expected, found)
