"""Opening and finding accounts; what an account is never changes."""

from collections.abc import Iterable, Mapping, Sequence
from uuid import UUID

import asyncpg

from timebank.db import Connection, as_struct, load_queries
from timebank.domain.errors import NotFoundError
from timebank.domain.ledger import Account, AccountKind, Unit
from timebank.ledger.ids import new_id

_QUERIES = load_queries(__package__)
_BEFORE_ALL = UUID(int=0)


async def open_account(
    connection: Connection, bank_id: int, unit: Unit, kind: AccountKind, owner_id: UUID | None
) -> Account:
    """Open an account at zero; AccountExistsError if the owner has one of this kind and unit."""
    [account] = await open_accounts(connection, bank_id, unit, kind, [owner_id])
    return account


async def open_accounts(
    connection: Connection,
    bank_id: int,
    unit: Unit,
    kind: AccountKind,
    owner_ids: Sequence[UUID | None],
) -> list[Account]:
    """Open an account at zero for each owner, in no particular order.

    AccountExistsError if one of them has an account of this kind and unit.
    """
    records = await connection.fetch(
        _QUERIES["open_accounts"],
        bank_id,
        [new_id() for _ in owner_ids],
        [unit] * len(owner_ids),
        [kind] * len(owner_ids),
        owner_ids,
    )
    return [as_struct(record, Account) for record in records]


async def ensure_account(
    connection: Connection, bank_id: int, unit: Unit, kind: AccountKind, owner_id: UUID | None
) -> Account:
    """Return the owner's account of this kind and unit, opened now if it is the first use."""
    found = await find_account_of(connection, bank_id, unit, kind, owner_id)
    if found:
        return found
    try:
        async with connection.transaction():
            return await open_account(connection, bank_id, unit, kind, owner_id)
    except asyncpg.UniqueViolationError:  # somebody has just opened it: now it is found
        return await ensure_account(connection, bank_id, unit, kind, owner_id)


async def ensure_accounts(
    connection: Connection, bank_id: int, unit: Unit, kind: AccountKind, owner_ids: Sequence[UUID]
) -> Mapping[UUID, UUID]:
    """Return each owner's account of this kind and unit, opened now where it is the first use."""
    records = await connection.fetch(
        _QUERIES["list_accounts_of_owners"], bank_id, owner_ids, kind, unit
    )
    found: dict[UUID, UUID] = {record["owner_id"]: record["account_id"] for record in records}
    lacking = [owner_id for owner_id in dict.fromkeys(owner_ids) if owner_id not in found]
    try:
        async with connection.transaction():
            opened = await open_accounts(connection, bank_id, unit, kind, sorted(lacking))
    except asyncpg.UniqueViolationError:  # somebody has just opened one: now it is found
        return await ensure_accounts(connection, bank_id, unit, kind, owner_ids)
    return found | {account.owner_id: account.account_id for account in opened if account.owner_id}


async def ensure_issuance(connection: Connection, bank_id: int) -> Mapping[Unit, UUID]:
    """Return the bank's issuance account of each unit, opened now if the bank is new."""
    return {
        unit: (
            await ensure_account(connection, bank_id, unit, AccountKind.ISSUANCE, None)
        ).account_id
        for unit in Unit
    }


async def find_accounts(
    connection: Connection, bank_id: int, account_ids: Iterable[UUID]
) -> list[Account]:
    """Return those accounts that exist, in no particular order."""
    records = await connection.fetch(_QUERIES["find_accounts"], bank_id, list(account_ids))
    return [as_struct(record, Account) for record in records]


async def get_account(connection: Connection, bank_id: int, account_id: UUID) -> Account:
    """Return the account; NotFoundError if there is none."""
    for account in await find_accounts(connection, bank_id, [account_id]):
        return account
    raise NotFoundError


async def get_account_of(
    connection: Connection, bank_id: int, unit: Unit, kind: AccountKind, owner_id: UUID | None
) -> Account:
    """Return the owner's account of this kind and unit; NotFoundError if there is none."""
    if account := await find_account_of(connection, bank_id, unit, kind, owner_id):
        return account
    raise NotFoundError


async def get_largest_wallet(connection: Connection, bank_id: int, unit: Unit) -> Account:
    """Return the wallet of this unit with the most on it; NotFoundError if there is no wallet."""
    record = await connection.fetchrow(_QUERIES["find_largest_wallet"], bank_id, unit)
    if record is None:
        raise NotFoundError
    return as_struct(record, Account)


async def find_account_of(
    connection: Connection, bank_id: int, unit: Unit, kind: AccountKind, owner_id: UUID | None
) -> Account | None:
    """Return the owner's account of this kind and unit; owner None is the bank itself."""
    record = await connection.fetchrow(_QUERIES["find_account_of"], bank_id, owner_id, kind, unit)
    return record and as_struct(record, Account)


async def list_accounts(
    connection: Connection,
    bank_id: int,
    *,
    after: UUID | None = None,
    owner_id: UUID | None = None,
    within: UUID | None = None,
    limit: int = 50,
) -> list[Account]:
    """Return accounts in the order of their ids, of one owner and within one branch if given.

    Who was never placed is within the root only; give no branch to list them.
    """
    records = await connection.fetch(
        _QUERIES["list_accounts"], bank_id, after or _BEFORE_ALL, owner_id, within, limit
    )
    return [as_struct(record, Account) for record in records]
