"""Blocking points by where they came from: they stand in their wallet and cannot be spent.

What is blocked are the unspent points of the lots that certain awards brought, in the wallet that
was awarded: what stands there, and what redemptions still have of them, as it comes back. Points
that went on to somebody else are theirs. schema.sql refuses who would spend below that sum; the
fold of lots (domain/lots.py) spends around what is blocked.

Lock order: all balances of the wallets, at once. The fold is made before, and made anew under the
lock where a wallet has moved meanwhile.
"""

from collections.abc import Iterator, Mapping
from datetime import date
from typing import NamedTuple
from uuid import UUID

from timebank.db import Connection, load_queries
from timebank.domain.expiry import ExpiryRules
from timebank.domain.lots import LotFold
from timebank.ledger.banks import Bank
from timebank.ledger.expiry import read_today
from timebank.ledger.lots import fold_accounts, get_expiry_rules
from timebank.ledger.passbook import list_balances
from timebank.ledger.transfers import lock_balances

_QUERIES = load_queries(__package__)


class _Blocked(NamedTuple):
    account_id: UUID
    origin_id: UUID
    hold_id: UUID | None
    behind: int
    points: int


class _Found(NamedTuple):
    seq: int
    blocked: list[_Blocked]


async def place_block(
    connection: Connection, bank: Bank, block_id: UUID, origins: Mapping[UUID, UUID]
) -> int:
    """Block what is unspent of these awards; return how many points stand blocked now.

    `origins` says for each award which wallet it went to; nobody may be awarding more of them.
    """
    rules = await get_expiry_rules(connection, bank.bank_id)
    own: dict[UUID, set[UUID]] = {}
    for origin_id, account_id in origins.items():
        own.setdefault(account_id, set()).add(origin_id)
    found = await _look(connection, bank, rules, own)
    await lock_balances(connection, bank.bank_id, own)
    now = await list_balances(connection, bank.bank_id, own)
    moved = {one.account_id for one in now if one.seq != found[one.account_id].seq}
    found |= await _look(connection, bank, rules, {key: own[key] for key in moved})
    rows = [row for one in found.values() for row in one.blocked]
    await connection.execute(
        _QUERIES["place_block"],
        bank.bank_id,
        block_id,
        [row.account_id for row in rows],
        [row.origin_id for row in rows],
        [row.hold_id for row in rows],
        [row.behind for row in rows],
        [row.points for row in rows],
    )
    return sum(row.points for row in rows if row.hold_id is None)


async def _look(
    connection: Connection, bank: Bank, rules: ExpiryRules, own: Mapping[UUID, set[UUID]]
) -> dict[UUID, _Found]:
    """Return each wallet's last line, and what is to be blocked of it by then."""
    if not own:
        return {}
    fold, balances = await fold_accounts(connection, bank, own, rules)
    on = await read_today(connection, bank)
    return {
        account_id: _Found(
            balances[account_id].seq,
            [
                *_in_wallet(fold, account_id, origin_ids, on),
                *_given_away(fold, account_id, origin_ids),
            ],
        )
        for account_id, origin_ids in own.items()
    }


def _in_wallet(fold: LotFold, account_id: UUID, origins: set[UUID], on: date) -> Iterator[_Blocked]:
    stand: dict[UUID, int] = {}
    for lot in fold.list_lots(account_id, on):
        if lot.origin_id in origins:
            stand[lot.origin_id] = stand.get(lot.origin_id, 0) + lot.amount
    for origin_id, points in stand.items():
        yield _Blocked(account_id, origin_id, None, 0, points)


def _given_away(fold: LotFold, account_id: UUID, origins: set[UUID]) -> Iterator[_Blocked]:
    for hold_id, parts in fold.list_given_away(account_id):
        behind = 0
        for part in reversed(parts):
            if part.lot.origin_id in origins:
                yield _Blocked(account_id, part.lot.origin_id, hold_id, behind, part.amount)
            behind += part.amount
