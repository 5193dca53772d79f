"""The registry of residents: who may own accounts; random ids, no personal data."""

from uuid import UUID

from timebank.db import Connection, load_queries

_QUERIES = load_queries(__package__)


async def is_registered(connection: Connection, bank_id: int, resident_id: UUID) -> bool:
    """Return whether the bank has a resident of this id."""
    found: bool = await connection.fetchval(_QUERIES["is_registered"], bank_id, resident_id)
    return found
