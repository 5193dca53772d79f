"""Opening and finding accounts; what an account is never changes."""

from collections.abc import Mapping
from uuid import UUID

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
    record = await connection.fetchrow(
        _QUERIES["open_account"], bank_id, new_id(), unit, kind, owner_id
    )
    return as_struct(record, Account)


async def ensure_account(
    connection: Connection, bank_id: int, unit: Unit, kind: AccountKind, owner_id: UUID | None
) -> Account:
    """Return the owner's account of this kind and unit, opened now if it is the first use."""
    found = await find_account_of(connection, bank_id, unit, kind, owner_id)
    return found or await open_account(connection, bank_id, unit, kind, owner_id)


async def ensure_issuance(connection: Connection, bank_id: int) -> Mapping[Unit, UUID]:
    """Return the bank's issuance account of each unit, opened now if the bank is new."""
    return {
        unit: (
            await ensure_account(connection, bank_id, unit, AccountKind.ISSUANCE, None)
        ).account_id
        for unit in Unit
    }


async def get_account(connection: Connection, bank_id: int, account_id: UUID) -> Account:
    """Return the account; NotFoundError if there is none."""
    record = await connection.fetchrow(_QUERIES["find_account"], bank_id, account_id)
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
    limit: int = 50,
) -> list[Account]:
    """Return accounts in the order of their ids, those of one owner if given."""
    records = await connection.fetch(
        _QUERIES["list_accounts"], bank_id, after or _BEFORE_ALL, owner_id, limit
    )
    return [as_struct(record, Account) for record in records]
