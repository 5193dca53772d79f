"""Expiry of points: a bank's rules, what expires next, and the run that takes what has expired.

The run folds the whole book once, then goes over the wallets with something to take, some in each
transaction: it locks their balances and the retired account in one call (in the order of account
ids) and posts one expiry for each. A wallet that moved since the fold is folded again under its
lock. The id of an expiry follows from the wallet and its last line, so running twice, or two at
once, takes nothing twice. Points held stand in another account: they are never taken. Nor are
those that are blocked: nobody loses what they were not let spend.
"""

from collections.abc import Sequence
from datetime import date, timedelta
from functools import partial
from typing import NamedTuple
from uuid import UUID

from msgspec import Struct

from timebank.db import Connection, Pool, load_queries, repeat_on_conflict, transaction
from timebank.domain.errors import TransferRefusedError
from timebank.domain.expiry import ExpiryRule, ExpiryRules
from timebank.domain.ledger import AccountKind, Transfer, TransferKind, TransferStatus, Unit
from timebank.ledger.accounts import ensure_account, find_accounts
from timebank.ledger.banks import Bank
from timebank.ledger.ids import derive_id
from timebank.ledger.lots import OnProgress, fold_account, fold_bank, get_expiry_rules
from timebank.ledger.passbook import list_balances, list_blocked, read_clock
from timebank.ledger.transfers import lock_balances, post

_QUERIES = load_queries(__package__)
_WALLETS_AT_ONCE = 200  # in a transaction: their owners wait for it

EXPIRER_ID = derive_id(UUID(int=0), "timebank points expire")
"""The actor of expiries: a command, and no person."""


class ExpiryRun(Struct, frozen=True):
    """What a run took, or would take, on the bank's day `on`; nothing where no rule is in force."""

    on: date
    in_force: bool
    wallets: int
    points: int


class ExpiringPoints(Struct, frozen=True, kw_only=True):
    """Points of a wallet or pool that are good until `expires_on`, if they are not spent."""

    account_id: UUID
    owner_id: UUID | None
    expires_on: date
    days_left: int
    amount: int


class NextExpiry(Struct, frozen=True):
    """What of a wallet expires first; a day that has passed means: at the next run."""

    expires_on: date
    amount: int


class _Due(NamedTuple):
    account_id: UUID
    seq: int
    amount: int


async def set_expiry_rule(
    connection: Connection, bank: Bank, rule: ExpiryRule, actor_id: UUID
) -> None:
    """Add a rule for ever; without months, expiry is off from its first day.

    ExpiryRuleTooEarlyError unless it starts tomorrow or later; ExpiryRuleExistsError if one starts
    on that day already.
    """
    await connection.execute(
        _QUERIES["set_expiry_rule"],
        bank.bank_id,
        rule.starts_on,
        rule.months,
        rule.grace_days,
        actor_id,
    )


async def read_today(connection: Connection, bank: Bank) -> date:
    """Return the date now in the bank's time zone, by the clock that stamps what is recorded."""
    return (await read_clock(connection)).astimezone(bank.zone).date()


async def expire_points(
    pool: Pool,
    bank: Bank,
    *,
    on_progress: OnProgress = lambda done, total: None,
) -> ExpiryRun:
    """Take every point that is past its last day and neither spent nor held; say what was taken.

    A run that was broken off has taken the wallets it came to, and the next takes the rest.
    """
    async with transaction(pool) as connection:
        on = await read_today(connection, bank)
        rules = await get_expiry_rules(connection, bank.bank_id)
        due = await _list_due(connection, bank, rules, on, on_progress)
        retired = await ensure_account(
            connection, bank.bank_id, Unit.POINTS, AccountKind.RETIRED, None
        )
    taken: list[int] = []
    for place in range(0, len(due), _WALLETS_AT_ONCE):
        batch = due[place : place + _WALLETS_AT_ONCE]
        work = partial(_expire, bank=bank, retired=retired.account_id, due=batch, on=on)
        taken += await repeat_on_conflict(pool, work)
        on_progress(place + len(batch), len(due))
    return ExpiryRun(on, rules.find_rule(on) is not None, len(taken), sum(taken))


async def preview_expiry(
    connection: Connection,
    bank: Bank,
    on: date | None = None,
    *,
    on_progress: OnProgress = lambda done, total: None,
) -> ExpiryRun:
    """Return what a run would take today, or on another day if nothing moved until then.

    In a transaction.
    """
    on = on or await read_today(connection, bank)
    rules = await get_expiry_rules(connection, bank.bank_id)
    due = await _list_due(connection, bank, rules, on, on_progress)
    return ExpiryRun(on, rules.find_rule(on) is not None, len(due), sum(one.amount for one in due))


async def list_expiring(
    connection: Connection, bank: Bank, within_days: int, *, on: date | None = None
) -> list[ExpiringPoints]:
    """Return what expires in so many days from today, or from another day: soonest first.

    One row for each account and day. In a transaction; it reads the whole book.
    """
    on = on or await read_today(connection, bank)
    rules = await get_expiry_rules(connection, bank.bank_id)
    if not rules.find_rule(on):
        return []
    fold = await fold_bank(connection, bank, rules)
    amounts: dict[tuple[date, UUID], int] = {}
    for account_id in fold.accounts():
        for lot in fold.list_lots(account_id, on):
            if lot.expires_on and on <= lot.expires_on <= on + timedelta(days=within_days):
                key = lot.expires_on, account_id
                amounts[key] = amounts.get(key, 0) + lot.amount
    accounts = await find_accounts(connection, bank.bank_id, {key for _, key in amounts})
    owners = {account.account_id: account.owner_id for account in accounts}
    return [
        ExpiringPoints(
            account_id=account_id,
            owner_id=owners[account_id],
            expires_on=expires_on,
            days_left=(expires_on - on).days,
            amount=amount,
        )
        for (expires_on, account_id), amount in sorted(amounts.items())
    ]


async def find_next_expiry(
    connection: Connection, bank: Bank, account_id: UUID
) -> NextExpiry | None:
    """Return what of a wallet or pool expires first, None if nothing does.

    NotFoundError if there is no such account of points. Without a rule in force nothing is read.
    """
    on = await read_today(connection, bank)
    rules = await get_expiry_rules(connection, bank.bank_id)
    if not rules.find_rule(on):
        return None
    fold, _ = await fold_account(connection, bank, account_id, rules)
    lots = [lot for lot in fold.list_lots(account_id, on) if lot.expires_on]
    if not lots or not lots[0].expires_on:
        return None
    first = lots[0].expires_on
    return NextExpiry(first, sum(lot.amount for lot in lots if lot.expires_on == first))


async def _list_due(
    connection: Connection, bank: Bank, rules: ExpiryRules, on: date, on_progress: OnProgress
) -> list[_Due]:
    """Return what has expired of each account, in the order of their ids."""
    if not rules.find_rule(on):
        return []
    fold = await fold_bank(connection, bank, rules, on_progress)
    return [
        _Due(account_id, fold.last_seq(account_id), expired)
        for account_id in sorted(fold.accounts())
        if (expired := fold.count_expired(account_id, on))
    ]


async def _expire(
    connection: Connection, *, bank: Bank, retired: UUID, due: Sequence[_Due], on: date
) -> list[int]:
    """Lock, fold again where a wallet or the day has moved on, post; return what was taken.

    A block moves nothing: where there is one it may be newer than the fold.
    """
    account_ids = [one.account_id for one in due]
    await lock_balances(connection, bank.bank_id, [*account_ids, retired])
    balances = await list_balances(connection, bank.bank_id, account_ids)
    seqs = {balance.account_id: balance.seq for balance in balances}
    blocked = await list_blocked(connection, bank.bank_id, account_ids)
    today = await read_today(connection, bank)
    rules = await get_expiry_rules(connection, bank.bank_id)
    transfers = []
    for account_id, seq, folded in due:
        amount = folded
        if (seqs[account_id], today) != (seq, on) or blocked[account_id]:
            fold, _ = await fold_account(connection, bank, account_id, rules)
            amount = fold.count_expired(account_id, today)
        if amount:
            transfers.append(_expiry(account_id, retired, seqs[account_id], amount))
    outcomes = await post(connection, bank.bank_id, [[transfer] for transfer in transfers])
    for outcome in outcomes:
        if outcome.status is not TransferStatus.POSTED:
            raise TransferRefusedError(outcome.status)
    return [transfer.amount for transfer in transfers]


def _expiry(account_id: UUID, retired: UUID, seq: int, amount: int) -> Transfer:
    return Transfer(
        transfer_id=derive_id(account_id, f"expiry after line {seq}"),
        kind=TransferKind.EXPIRY,
        debit_account_id=account_id,
        credit_account_id=retired,
        amount=amount,
        actor_id=EXPIRER_ID,
    )
