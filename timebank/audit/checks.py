"""The checks that the database makes of itself: a query for each rule, a row for each finding."""

from collections.abc import Sequence
from typing import Any

from timebank.audit.findings import Findings
from timebank.audit.invariants import (
    BANK_EXISTS,
    CHAIN_WHOLE,
    GUARDS_STAND,
    KINDS_FIT,
    OCCURRED_BEFORE,
    ONE_UNIT,
    PLACES_ADD_UP,
    REFUSED_MOVES_NOTHING,
    REQUEST_ANSWERED,
    REVERSED_ONCE,
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
    (KINDS_FIT, "transfers_of_wrong_kind"),
    (OCCURRED_BEFORE, "transfers_before_they_occurred"),
    (PLACES_ADD_UP, "branches_out_of_place"),
    (PLACES_ADD_UP, "things_out_of_place"),
    (PLACES_ADD_UP, "balances_out_of_the_tree"),
    (BANK_EXISTS, "rows_of_no_bank"),
)
"""What is asked of the rows of a bank, or of all."""


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
    await _run(connection, GUARDS_STAND, "triggers_not_in_force", findings)
    await _run(connection, GUARDS_STAND, "constraints_not_in_force", findings)
    await _run(connection, GUARDS_STAND, "rights_too_wide", findings)
    await _run(connection, GUARDS_STAND, "functions_altered", findings, read_schema())


async def _run(
    connection: Connection, invariant: Invariant, query: str, findings: Findings, *args: Any
) -> None:
    async for bank_id, row, expected, found in stream_rows(connection, _QUERIES[query], *args):
        findings.add(invariant, bank_id, row, expected, found)
