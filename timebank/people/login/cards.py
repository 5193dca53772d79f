"""Whose card it is: all that login needs to know of cards."""

from uuid import UUID

from timebank.db import Connection, load_queries
from timebank.people.cards import hash_card

_QUERIES = load_queries(__package__)


async def find_card_holder(connection: Connection, bank_id: int, card: str) -> UUID | None:
    """Return the person who holds this card now; None if it is nobody's, revoked, or they left."""
    holder: UUID | None = await connection.fetchval(
        _QUERIES["find_card_holder"], bank_id, hash_card(card)
    )
    return holder
