"""Correcting the book: a reversal is the mirror image of a transfer, once, with actor and reason.

What was posted as one chain is reversed as one chain. `occurred_at` is the original's: seen from
the instant of service, the original never counted.
"""

from collections.abc import Sequence
from uuid import UUID

from timebank.db import Connection
from timebank.domain.errors import TransferRefusedError
from timebank.domain.ledger import (
    AccountKind,
    JournalEntry,
    Outcome,
    ReversalReason,
    SpentPolicy,
    Transfer,
    TransferKind,
    TransferStatus,
)
from timebank.ledger.accounts import ensure_account, get_account
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
) -> list[Outcome]:
    """Reverse the transfer and its whole chain; return the outcomes of the chain that does it.

    Points already spent: under `refuse` the reversal is refused with insufficient_balance; under
    `debt` the holder's debt account lends the wallet what it lacks, and the debt stands there by
    name. The last outcomes are the reversals, in the order of the originals.
    NotFoundError if there is no such transfer; TransferRefusedError if it never moved anything.
    """
    originals = await list_chain(connection, bank_id, original_id)
    if any(entry.status is not TransferStatus.POSTED for entry in originals):
        raise TransferRefusedError(TransferStatus.ORIGINAL_NOT_FOUND)
    mirrors = [
        _mirror(entry, derive_id(reversal_id, str(entry.transfer_id)), actor_id, reason)
        for entry in originals
    ]
    debts: list[Transfer] = []
    if when_spent is SpentPolicy.DEBT:
        debts = await _cover_shortfalls(connection, bank_id, mirrors, reversal_id)
    return await post(connection, bank_id, [[*debts, *mirrors]])


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


async def _cover_shortfalls(
    connection: Connection, bank_id: int, mirrors: Sequence[Transfer], reversal_id: UUID
) -> list[Transfer]:
    """Lock everything that will be touched, then lend each wallet what its mirrors lack."""
    wallets = {}
    for wallet_id in {mirror.debit_account_id for mirror in mirrors}:
        account = await get_account(connection, bank_id, wallet_id)
        if account.kind is AccountKind.WALLET:
            debt = await ensure_account(
                connection, bank_id, account.unit, AccountKind.DEBT, account.owner_id
            )
            wallets[wallet_id] = debt.account_id
    touched = {mirror.debit_account_id for mirror in mirrors}
    touched |= {mirror.credit_account_id for mirror in mirrors} | set(wallets.values())
    balances = await lock_balances(connection, bank_id, touched)
    debts = []
    for wallet_id, debt_id in wallets.items():
        own = [mirror for mirror in mirrors if mirror.debit_account_id == wallet_id]
        lacking = sum(mirror.amount for mirror in own) - balances[wallet_id]
        if lacking > 0:
            debts.append(
                Transfer(
                    transfer_id=derive_id(reversal_id, f"debt of {wallet_id}"),
                    kind=TransferKind.DEBT,
                    debit_account_id=debt_id,
                    credit_account_id=wallet_id,
                    amount=lacking,
                    actor_id=own[0].actor_id,
                    subject_id=own[0].subject_id,
                )
            )
    return debts
