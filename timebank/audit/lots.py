"""Folding the lots anew: their unspent parts against the balances, each expiry against its day.

Lots are derived, so no row holds them that could be edited; what can be wrong is an expiry that
took points which were still good: posted too early, or dated back, or under a rule changed since.

Wallets are folded in sheaves: those between which points went together, the others as they come.
So memory holds the unspent points of a sheaf and the links between wallets, not those of a bank.
"""

from collections.abc import AsyncIterator, Callable
from graphlib import CycleError
from uuid import UUID

from timebank.audit.findings import Findings
from timebank.audit.invariants import LOTS_ADD_UP
from timebank.audit.snapshot import stream_rows
from timebank.db import Connection, load_queries
from timebank.domain.expiry import ExpiryRules
from timebank.domain.lots import LotFold
from timebank.ledger.banks import Bank, list_banks
from timebank.ledger.lots import fold_together, get_expiry_rules

_LINES = 5000
"""How many lines of passbooks a sheaf has at the least, while there are more."""

_QUERIES = load_queries(__package__)


class _Sheaf(dict[UUID, int]):
    """Balances by account, and how many lines they have."""

    lines = 0

    def add(self, account_id: UUID, balance: int, lines: int) -> None:
        self[account_id] = balance
        self.lines += lines


async def check_lots(
    connection: Connection,
    bank_id: int | None,
    findings: Findings,
    on_progress: Callable[[int, int], None],
) -> None:
    """Fold the lots of the bank, or of all; `on_progress` hears how many lines of how many."""
    for bank in await list_banks(connection):
        if bank_id in (None, bank.bank_id):
            rules = await get_expiry_rules(connection, bank.bank_id)
            total = await connection.fetchval(_QUERIES["count_lot_lines"], bank.bank_id)
            done = 0
            async for sheaf in _bind(connection, bank.bank_id):
                await _check_sheaf(connection, bank, rules, sheaf, findings)
                done += sheaf.lines
                on_progress(done, total)


async def _check_sheaf(
    connection: Connection, bank: Bank, rules: ExpiryRules, sheaf: _Sheaf, findings: Findings
) -> None:
    try:
        fold = await fold_together(connection, bank, list(sheaf), rules)
    except CycleError:
        row = f"lots of {min(sheaf)}"
        findings.add(LOTS_ADD_UP, bank.bank_id, row, "lines in one order", "no order")
        return
    _compare(bank, fold, sheaf, findings)


def _compare(bank: Bank, fold: LotFold, sheaf: _Sheaf, findings: Findings) -> None:
    for account_id, balance in sheaf.items():
        if fold.total(account_id) != balance:
            expected = f"{fold.total(account_id)} in lots"
            findings.add(LOTS_ADD_UP, bank.bank_id, f"balance {account_id}", expected, balance)
    for transfer_id, expired, taken in fold.early:
        expected = f"at most the {expired} that had expired by then"
        findings.add(LOTS_ADD_UP, bank.bank_id, f"transfer {transfer_id}", expected, taken)


async def _bind(connection: Connection, bank_id: int) -> AsyncIterator[_Sheaf]:
    """Yield all wallets and pools of the bank in sheaves; what hangs together is in one."""
    links = await _read_links(connection, bank_id)
    linked: dict[UUID, _Sheaf] = {}
    sheaf = _Sheaf()
    async for row in stream_rows(connection, _QUERIES["stream_balances_with_lots"], bank_id):
        account_id: UUID = row[0]
        if account_id in links:
            linked.setdefault(_find_root(links, account_id), _Sheaf()).add(*row)
            continue
        sheaf.add(*row)
        if sheaf.lines >= _LINES:
            yield sheaf
            sheaf = _Sheaf()
    for group in linked.values():
        sheaf.update(group)
        sheaf.lines += group.lines
        if sheaf.lines >= _LINES:
            yield sheaf
            sheaf = _Sheaf()
    if sheaf:
        yield sheaf


async def _read_links(connection: Connection, bank_id: int) -> dict[UUID, UUID]:
    """Return for each account that points went to or from another one: what hangs together ends
    at the same root.
    """
    links: dict[UUID, UUID] = {}
    async for one, other in stream_rows(connection, _QUERIES["stream_lot_links"], bank_id):
        links[_find_root(links, one)] = _find_root(links, other)
    return links


def _find_root(links: dict[UUID, UUID], account_id: UUID) -> UUID:
    while (above := links.setdefault(account_id, account_id)) != account_id:
        links[account_id] = links[above]  # half the way for whoever comes next
        account_id = above
    return account_id
