"""Reading lots: the fold of `domain.lots` over a whole bank, or over what one wallet depends on.

Nothing is stored and nothing is locked: lines up to a number never change. A wallet depends on its
own lines and, where points came from another wallet or pool, on that one's lines up to the gift.
"""

from bisect import bisect_left
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from datetime import tzinfo
from typing import Any
from uuid import UUID

from timebank.db import Connection, as_struct, load_queries
from timebank.domain.errors import NotFoundError
from timebank.domain.expiry import ExpiryRule, ExpiryRules
from timebank.domain.ledger import AccountKind, Balance, TransferKind, Unit
from timebank.domain.lots import Blocked, LotFold, Move, OnParts, in_order, local_date
from timebank.ledger.accounts import find_accounts
from timebank.ledger.banks import Bank
from timebank.ledger.passbook import list_balances

_QUERIES = load_queries(__package__)
_BATCH = 5000  # rows a round trip
_PATIENCE = 3600.0  # seconds; a first batch may wait for a large sort
_LAST_LINE = 2**63 - 1

HAVE_LOTS = (AccountKind.WALLET, AccountKind.POOL)

OnProgress = Callable[[int, int], None]
"""Hears how far it is and how far it goes."""


async def get_expiry_rules(connection: Connection, bank_id: int) -> ExpiryRules:
    """Return all rules of expiry that the bank ever set, those of the future too."""
    records = await connection.fetch(_QUERIES["list_expiry_rules"], bank_id)
    return ExpiryRules(as_struct(record, ExpiryRule) for record in records)


async def fold_bank(
    connection: Connection,
    bank: Bank,
    rules: ExpiryRules,
    on_progress: OnProgress = lambda done, total: None,
) -> LotFold:
    """Fold every wallet and pool as of one instant, in a transaction; memory is what they hold.

    CycleError if the journal contradicts itself, which only an edit by force can bring about.
    """
    total = await connection.fetchval(_QUERIES["count_transfers"], bank.bank_id)
    fold = LotFold(rules, blocked=await _list_blocks(connection, bank.bank_id))
    done = 0
    async for moves in _stream(connection, bank, "stream_lot_moves", bank.bank_id):
        _apply(fold, moves)
        done += len(moves)
        on_progress(done, total)
    return fold


async def fold_together(
    connection: Connection, bank: Bank, account_ids: Sequence[UUID], rules: ExpiryRules
) -> LotFold:
    """Fold some wallets and pools from their first line on, in a transaction.

    Points came to them from none but one another. CycleError as for a bank.
    """
    fold = LotFold(rules, blocked=await _list_blocks(connection, bank.bank_id, account_ids))
    whole = (account_ids, [0] * len(account_ids), [_LAST_LINE] * len(account_ids))
    async for moves in _stream(connection, bank, "list_lot_moves", bank.bank_id, *whole):
        _apply(fold, {move.transfer_id: move for move in moves}.values())  # a line of each side
    return fold


async def _stream(
    connection: Connection, bank: Bank, query: str, *args: Any
) -> AsyncIterator[list[Move]]:
    """Yield the moves of a query in its order, those of one instant in one piece."""
    cursor = await connection.cursor(_QUERIES[query], *args, timeout=_PATIENCE)
    same_instant: list[Move] = []
    while rows := await cursor.fetch(_BATCH, timeout=_PATIENCE):
        moves = [*same_instant, *(_read_move(row, bank.zone) for row in rows)]
        latest = moves[-1].recorded_us
        begins = bisect_left(moves, latest, key=lambda move: move.recorded_us)
        same_instant = moves[begins:]
        if begins:
            yield moves[:begins]
    if same_instant:
        yield same_instant


async def fold_account(
    connection: Connection,
    bank: Bank,
    account_id: UUID,
    rules: ExpiryRules,
    on_parts: OnParts | None = None,
) -> tuple[LotFold, Balance]:
    """Fold one wallet or pool of points up to its balance now; of the fold nothing else is of use.

    NotFoundError if there is no such account, or it is of another kind or unit.
    """
    fold, balances = await fold_accounts(connection, bank, [account_id], rules, on_parts)
    return fold, balances[account_id]


async def fold_accounts(
    connection: Connection,
    bank: Bank,
    account_ids: Collection[UUID],
    rules: ExpiryRules,
    on_parts: OnParts | None = None,
) -> tuple[LotFold, Mapping[UUID, Balance]]:
    """Fold wallets and pools of points together, up to their balances now.

    What points from elsewhere need of another wallet is read once. NotFoundError as for one.
    """
    known = await find_accounts(connection, bank.bank_id, account_ids)
    if len(known) < len(account_ids) or not all(
        account.unit is Unit.POINTS and account.kind in HAVE_LOTS for account in known
    ):
        raise NotFoundError
    now = await list_balances(connection, bank.bank_id, account_ids)
    wanted = {balance.account_id: balance.seq for balance in now}
    read: dict[UUID, int] = {}
    moves: dict[UUID, Move] = {}
    while ahead := {key: seq for key, seq in wanted.items() if read.get(key, 0) < seq}:
        rows = await connection.fetch(
            _QUERIES["list_lot_moves"],
            bank.bank_id,
            list(ahead),
            [read.get(key, 0) for key in ahead],
            list(ahead.values()),
        )
        read |= ahead
        for row in rows:
            move = _read_move(row, bank.zone)
            moves[move.transfer_id] = move
            if move.debit_id and move.credit_id:  # the giver's parts, as they were then
                wanted[move.debit_id] = max(wanted.get(move.debit_id, 0), move.debit_seq)
    fold = LotFold(rules, on_parts, await _list_blocks(connection, bank.bank_id, list(wanted)))
    _apply(fold, sorted(moves.values(), key=lambda move: move.recorded_us))
    return fold, {balance.account_id: balance for balance in now}


async def _list_blocks(
    connection: Connection, bank_id: int, account_ids: Sequence[UUID] | None = None
) -> list[Blocked]:
    """Return all that ever was blocked, of some accounts or of all."""
    rows = await connection.fetch(_QUERIES["list_blocks"], bank_id, account_ids)
    return [Blocked(*row) for row in rows]


def _apply(fold: LotFold, moves: Iterable[Move]) -> None:
    for move in in_order(moves):
        fold.apply(move)


def _read_move(row: Any, zone: tzinfo) -> Move:
    transfer_id, kind, amount, debit, debit_seq, credit, credit_seq, instant, *rest = row
    return Move(
        transfer_id,
        TransferKind(kind),
        amount,
        debit,
        debit_seq or 0,
        credit,
        credit_seq or 0,
        instant,
        local_date(instant, zone),
        *rest,
    )
