"""Banks: one programme, one book, with its own issuance accounts."""

from uuid import UUID
from zoneinfo import ZoneInfo

from msgspec import Struct

from timebank.db import Connection, as_struct, load_queries
from timebank.domain.errors import BankNotFoundError
from timebank.ledger.accounts import ensure_issuance

_QUERIES = load_queries(__package__)


class Bank(Struct, frozen=True):
    """A programme: its time zone turns local dates into instants, its rate minutes into points."""

    bank_id: int
    code: str
    name: str
    time_zone: str
    points_per_hour: int
    cursor_key: UUID
    root_id: UUID

    @property
    def zone(self) -> ZoneInfo:
        """The time zone of the bank's days."""
        return ZoneInfo(self.time_zone)


async def get_bank(connection: Connection, code: str) -> Bank:
    """Return the bank of this code; BankNotFoundError if there is none."""
    record = await connection.fetchrow(_QUERIES["find_bank"], code)
    if record is None:
        raise BankNotFoundError(code)
    return as_struct(record, Bank)


async def get_bank_of_id(connection: Connection, bank_id: int) -> Bank:
    """Return the bank of this id; BankNotFoundError if there is none."""
    record = await connection.fetchrow(_QUERIES["find_bank_of_id"], bank_id)
    if record is None:
        raise BankNotFoundError
    return as_struct(record, Bank)


async def get_zone(connection: Connection, bank_id: int) -> ZoneInfo:
    """Return the time zone of the bank's days; BankNotFoundError if there is no such bank."""
    time_zone = await connection.fetchval(_QUERIES["find_time_zone"], bank_id)
    if time_zone is None:
        raise BankNotFoundError
    return ZoneInfo(time_zone)


async def ensure_bank(
    connection: Connection,
    code: str,
    name: str,
    *,
    time_zone: str = "Asia/Shanghai",
    points_per_hour: int = 10,
) -> Bank:
    """Return the bank of this code, made now with its issuance accounts if it is new.

    `time_zone` is an IANA name. What exists already is left as it is.
    """
    await connection.execute(_QUERIES["open_bank"], code, name, time_zone, points_per_hour)
    bank = await get_bank(connection, code)
    await ensure_issuance(connection, bank.bank_id)
    return bank


async def list_banks(connection: Connection) -> list[Bank]:
    """Return all banks in the order of their ids."""
    return [as_struct(record, Bank) for record in await connection.fetch(_QUERIES["list_banks"])]
