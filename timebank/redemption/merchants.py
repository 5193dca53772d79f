"""Merchants, their agreements and their shops; who acts for one is told by role grants."""

from datetime import date, datetime
from uuid import UUID

from msgspec import Struct

from timebank.db import Connection, as_struct, load_queries
from timebank.domain.errors import NotFoundError
from timebank.domain.ledger import AccountKind, Unit
from timebank.domain.redemption import Agreement, Merchant, Shop
from timebank.domain.settlement import SettlementLine
from timebank.ledger.accounts import ensure_account, get_account_of
from timebank.ledger.ids import new_id
from timebank.people.parties import PartyKind, register_parties

_QUERIES = load_queries(__package__)
_BEFORE_ALL = UUID(int=0)


async def enrol_merchant(
    connection: Connection, bank_id: int, merchant_id: UUID, name: str
) -> Merchant:
    """Enrol a party as a merchant with an account for points, registered now if it is new.

    One who is enrolled keeps the first name.
    """
    await register_parties(connection, bank_id, PartyKind.MERCHANT, [merchant_id])
    await connection.execute(_QUERIES["enrol_merchant"], bank_id, merchant_id, name)
    await ensure_account(connection, bank_id, Unit.POINTS, AccountKind.MERCHANT, merchant_id)
    return await get_merchant(connection, bank_id, merchant_id)


async def get_merchant(connection: Connection, bank_id: int, merchant_id: UUID) -> Merchant:
    """Return the merchant; NotFoundError if there is none."""
    record = await connection.fetchrow(
        _QUERIES["list_merchants"], bank_id, _BEFORE_ALL, merchant_id, 1
    )
    if record is None:
        raise NotFoundError
    return as_struct(record, Merchant)


async def list_merchants(
    connection: Connection, bank_id: int, *, after: UUID = _BEFORE_ALL, limit: int = 50
) -> list[Merchant]:
    """Return merchants in the order of their ids, active or not."""
    records = await connection.fetch(_QUERIES["list_merchants"], bank_id, after, None, limit)
    return [as_struct(record, Merchant) for record in records]


async def record_agreement(
    connection: Connection,
    bank_id: int,
    merchant_id: UUID,
    reference: str,
    *,
    valid_from: datetime,
    valid_until: datetime | None = None,
    recorded_by: UUID,
) -> None:
    """Put an agreement on record; from `valid_from` on the merchant is active.

    AgreementExistsError if the merchant has one of this reference, NotFoundError without merchant.
    """
    await get_merchant(connection, bank_id, merchant_id)
    await connection.execute(
        _QUERIES["record_agreement"],
        bank_id,
        merchant_id,
        reference,
        valid_from,
        valid_until,
        recorded_by,
    )


async def end_agreement(
    connection: Connection, bank_id: int, merchant_id: UUID, reference: str
) -> None:
    """End an agreement now: no new holds; those that are open may still be captured.

    NotFoundError if there is none of this reference that has not been ended.
    """
    await _must_change(connection, "end_agreement", bank_id, merchant_id, reference)


async def list_agreements(
    connection: Connection, bank_id: int, merchant_id: UUID
) -> list[Agreement]:
    """Return all agreements of a merchant, the earliest first."""
    records = await connection.fetch(_QUERIES["list_agreements"], bank_id, merchant_id)
    return [as_struct(record, Agreement) for record in records]


async def open_shop(
    connection: Connection,
    bank_id: int,
    merchant_id: UUID,
    name: str,
    *,
    branch_id: UUID | None = None,
) -> UUID:
    """Open a shop of the merchant, or a stand at a service point; return its id."""
    await get_merchant(connection, bank_id, merchant_id)
    shop_id = new_id()
    await connection.execute(_QUERIES["open_shop"], bank_id, shop_id, merchant_id, name, branch_id)
    return shop_id


async def close_shop(
    connection: Connection, bank_id: int, merchant_id: UUID, shop_id: UUID
) -> None:
    """Close a shop; NotFoundError if the merchant has no such open one."""
    await _must_change(connection, "close_shop", bank_id, merchant_id, shop_id)


async def list_shops(connection: Connection, bank_id: int, merchant_id: UUID) -> list[Shop]:
    """Return all shops of a merchant, closed ones too, in the order of their ids."""
    records = await connection.fetch(_QUERIES["list_shops"], bank_id, merchant_id)
    return [as_struct(record, Shop) for record in records]


class Takings(Struct, frozen=True, kw_only=True):
    """What a merchant took and gave back on a local day of the bank."""

    taken_on: date
    captures: int
    points_captured: int
    refunds: int
    points_refunded: int


async def get_takings(
    connection: Connection, bank_id: int, merchant_id: UUID, actor_id: UUID | None = None
) -> Takings:
    """Return what the book says of today, of one actor if given; NotFoundError if no merchant."""
    await get_merchant(connection, bank_id, merchant_id)
    record = await connection.fetchrow(_QUERIES["read_takings"], bank_id, merchant_id, actor_id)
    return as_struct(record, Takings)


async def list_lines(
    connection: Connection, bank_id: int, merchant_id: UUID, *, after: int, limit: int
) -> list[SettlementLine]:
    """Return lines of a merchant's passbook with seq above `after`, the earliest first."""
    account = await get_account_of(
        connection, bank_id, Unit.POINTS, AccountKind.MERCHANT, merchant_id
    )
    records = await connection.fetch(
        _QUERIES["list_settlement_lines"],
        bank_id,
        account.account_id,
        after + 1,
        after + limit,  # there is no gap
        limit,
    )
    return [as_struct(record, SettlementLine) for record in records]


async def _must_change(
    connection: Connection, query: str, bank_id: int, merchant_id: UUID, what: UUID | str
) -> None:
    if await connection.fetchval(_QUERIES[query], bank_id, merchant_id, what) is None:
        raise NotFoundError
