"""Folding the lots anew: their unspent parts against the balances, each expiry against its day.

Lots are derived, so no row holds them that could be edited; what can be wrong is an expiry that
took points which were still good: posted too early, or dated back, or under a rule changed since.
"""

from collections.abc import Callable
from graphlib import CycleError

from timebank.audit.findings import Findings
from timebank.audit.invariants import LOTS_ADD_UP
from timebank.audit.snapshot import stream_rows
from timebank.db import Connection, load_queries
from timebank.domain.lots import LotFold
from timebank.ledger.banks import Bank, list_banks
from timebank.ledger.lots import fold_bank, get_expiry_rules

_QUERIES = load_queries(__package__)


async def check_lots(
    connection: Connection,
    bank_id: int | None,
    findings: Findings,
    on_progress: Callable[[int, int], None],
) -> None:
    """Fold the lots of the bank, or of all; `on_progress` hears how many transfers of how many."""
    for bank in await list_banks(connection):
        if bank_id in (None, bank.bank_id):
            rules = await get_expiry_rules(connection, bank.bank_id)
            try:
                fold = await fold_bank(connection, bank, rules, on_progress)
            except CycleError:
                findings.add(LOTS_ADD_UP, bank.bank_id, "lots", "lines in one order", "no order")
                continue
            await _compare(connection, bank, fold, findings)


async def _compare(connection: Connection, bank: Bank, fold: LotFold, findings: Findings) -> None:
    query = _QUERIES["stream_balances_with_lots"]
    async for account_id, balance in stream_rows(connection, query, bank.bank_id):
        if fold.total(account_id) != balance:
            expected = f"{fold.total(account_id)} in lots"
            findings.add(LOTS_ADD_UP, bank.bank_id, f"balance {account_id}", expected, balance)
    for transfer_id, expired, taken in fold.early:
        expected = f"at most the {expired} that had expired by then"
        findings.add(LOTS_ADD_UP, bank.bank_id, f"transfer {transfer_id}", expected, taken)
