"""Correcting the book: a reversal is the mirror image of a transfer, once, with actor and reason.

What was posted as one chain is reversed as one chain, the last first, so that each mirror finds
what its original left. `occurred_at` is the original's: seen from the instant of service, the
original never counted.
"""

from collections.abc import Mapping, Sequence
from uuid import UUID

from timebank.db import Connection
from timebank.domain.errors import NotFoundError, TransferRefusedError
from timebank.domain.ledger import (
    Account,
    AccountKind,
    JournalEntry,
    Outcome,
    ReversalReason,
    SpentPolicy,
    Transfer,
    TransferKind,
    TransferStatus,
)
from timebank.ledger.accounts import ensure_account, find_account_of, get_account
from timebank.ledger.ids import derive_id
from timebank.ledger.transfers import list_chain, lock_balances, post


async def reverse(
    connection: Connection,
    bank_id: int,
    original_id: UUID,
    *,
    reversal_id: UUID,
    actor_id: UUID,
    reason: ReversalReason,
    when_spent: SpentPolicy = SpentPolicy.REFUSE,
    along: Sequence[Transfer] = (),
) -> list[Outcome]:
    """Reverse the transfer and its whole chain; return the outcomes of the chain that does it.

    Transfers `along` are posted in the same chain, before the reversals.

    Points already spent: under `refuse` the reversal is refused with insufficient_balance; under
    `debt` the holder's debt account lends the wallet what it lacks, and the debt stands there by
    name. The last outcomes are the reversals, that of the last original first.
    The same reversal_id is answered as it was, whatever the policy; for another original, actor
    or reason it is an id_conflict.
    NotFoundError if there is no such transfer; TransferRefusedError if it never moved anything.
    """
    chain = await list_chain(connection, bank_id, original_id)
    originals = [entry for entry in chain if entry.status is TransferStatus.POSTED]
    if not any(entry.transfer_id == original_id for entry in originals):
        raise TransferRefusedError(TransferStatus.ORIGINAL_NOT_FOUND)
    mirrors = [
        _mirror(entry, derive_id(reversal_id, f"reversal {place}"), actor_id, reason)
        for place, entry in enumerate(reversed(originals))
    ]
    borrowers: list[Account] = []
    if when_spent is SpentPolicy.DEBT:
        borrowers = await _list_wallets_debited(connection, bank_id, [*along, *mirrors])
    balances = await _lock_all(connection, bank_id, [*along, *mirrors], borrowers)
    if earlier := await _find_answer(connection, bank_id, mirrors):
        return earlier
    lacking = _shortfalls([*along, *mirrors], balances)
    loans = [
        await _lend(
            connection,
            bank_id,
            wallet,
            lacking[wallet.account_id],
            [*along, *mirrors],
            reversal_id=reversal_id,
        )
        for wallet in borrowers
        if lacking[wallet.account_id] > 0
    ]
    return await post(connection, bank_id, [[*loans, *along, *mirrors]])


def _mirror(
    entry: JournalEntry, transfer_id: UUID, actor_id: UUID, reason: ReversalReason
) -> Transfer:
    return Transfer(
        transfer_id=transfer_id,
        kind=TransferKind.REVERSAL,
        debit_account_id=entry.credit_account_id,
        credit_account_id=entry.debit_account_id,
        amount=entry.amount,
        actor_id=actor_id,
        occurred_at=entry.occurred_at,
        subject_id=entry.subject_id,
        reverses_id=entry.transfer_id,
        reason=reason,
    )


async def _list_wallets_debited(
    connection: Connection, bank_id: int, mirrors: Sequence[Transfer]
) -> list[Account]:
    account_ids = dict.fromkeys(mirror.debit_account_id for mirror in mirrors)
    accounts = [await get_account(connection, bank_id, account_id) for account_id in account_ids]
    return [account for account in accounts if account.kind is AccountKind.WALLET]


async def _lock_all(
    connection: Connection,
    bank_id: int,
    mirrors: Sequence[Transfer],
    borrowers: Sequence[Account],
) -> Mapping[UUID, int]:
    """Lock everything that will be touched, in one call; a debt account may not exist yet."""
    touched = {mirror.debit_account_id for mirror in mirrors}
    touched |= {mirror.credit_account_id for mirror in mirrors}
    for wallet in borrowers:
        debt = await find_account_of(
            connection, bank_id, wallet.unit, AccountKind.DEBT, wallet.owner_id
        )
        if debt:
            touched.add(debt.account_id)
    return await lock_balances(connection, bank_id, touched)


async def _find_answer(
    connection: Connection, bank_id: int, mirrors: Sequence[Transfer]
) -> list[Outcome]:
    """Return what was answered to this reversal_id before, as its journal entries tell; or []."""
    try:
        chain = await list_chain(connection, bank_id, mirrors[0].transfer_id)
    except NotFoundError:
        return []
    known = {entry.transfer_id: entry for entry in chain if entry.kind is TransferKind.REVERSAL}
    loans = [entry for entry in chain if entry.kind is TransferKind.DEBT]
    if {_meaning(entry) for entry in known.values()} != {_meaning(mirror) for mirror in mirrors}:
        return [
            Outcome(mirror.transfer_id, TransferStatus.ID_CONFLICT, chain[0].recorded_at)
            for mirror in mirrors
        ]
    borrowers = [mirror.debit_account_id for mirror in mirrors]
    loans.sort(key=lambda loan: borrowers.index(loan.credit_account_id))
    return [
        Outcome(entry.transfer_id, entry.status, entry.recorded_at)
        for entry in [*loans, *(known[mirror.transfer_id] for mirror in mirrors)]
    ]


def _meaning(reversal: JournalEntry | Transfer) -> tuple[object, ...]:
    return (reversal.transfer_id, reversal.reverses_id, reversal.actor_id, reversal.reason)


def _shortfalls(mirrors: Sequence[Transfer], balances: Mapping[UUID, int]) -> dict[UUID, int]:
    """Return by how much each debited account would fall below 0 on the way."""
    running = dict(balances)
    lacking: dict[UUID, int] = {}
    for mirror in mirrors:
        debit = mirror.debit_account_id
        running[debit] -= mirror.amount
        running[mirror.credit_account_id] += mirror.amount
        lacking[debit] = max(lacking.get(debit, 0), -running[debit])
    return lacking


async def _lend(
    connection: Connection,
    bank_id: int,
    wallet: Account,
    amount: int,
    moves: Sequence[Transfer],
    *,
    reversal_id: UUID,
) -> Transfer:
    """Return the transfer that lends the wallet an amount, its debt account opened if need be."""
    debt = await ensure_account(connection, bank_id, wallet.unit, AccountKind.DEBT, wallet.owner_id)
    own = next(move for move in moves if move.debit_account_id == wallet.account_id)
    return Transfer(
        transfer_id=derive_id(reversal_id, f"debt of {wallet.account_id}"),
        kind=TransferKind.DEBT,
        debit_account_id=debt.account_id,
        credit_account_id=wallet.account_id,
        amount=amount,
        actor_id=own.actor_id,
        subject_id=own.subject_id,
    )
