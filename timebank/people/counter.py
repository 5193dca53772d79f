"""Who stands at a merchant's counter: a card or a member number, and nothing that can be guessed.

Whoever asks for nobody's number has few tries; and whoever asks about one member again and again,
to find out what they have, has few as well. Attempts are counted before they are looked at. Locks
the asker's row until the commit, then that of the asker and the member.
"""

from datetime import timedelta
from hashlib import sha256
from uuid import UUID

from msgspec import Struct

from timebank.db import Connection, load_queries
from timebank.domain.errors import NotFoundError, TooManyAttemptsError
from timebank.people.cards import find_card_holder, parse_card_token
from timebank.people.registration import (
    MembershipState,
    find_resident_by_number,
    get_membership,
)

_QUERIES = load_queries(__package__)


class Allowance(Struct, frozen=True):
    """So many at once, and then one each so often."""

    at_once: int
    each: timedelta


MISSES = Allowance(5, timedelta(minutes=1))
LOOKS = Allowance(5, timedelta(minutes=2))
"""At one member, by one asker."""


async def find_member(
    connection: Connection,
    bank_id: int,
    asker_id: UUID,
    *,
    card: str | None = None,
    member_number: str | None = None,
) -> UUID | None:
    """Return the approved member with this card or number; commit also when there is none.

    TooManyAttemptsError.
    """
    asker = _hash(f"miss|{asker_id}")
    await _use(connection, bank_id, asker, MISSES)
    member = await _find(connection, bank_id, card, member_number)
    if member:
        await connection.execute(_QUERIES["give_back_allowance"], bank_id, asker, MISSES.each)
        await _use(connection, bank_id, _hash(f"look|{asker_id}|{member}"), LOOKS)
    return member


async def _find(
    connection: Connection, bank_id: int, card: str | None, member_number: str | None
) -> UUID | None:
    if card is not None:
        holder = await find_card_holder(connection, parse_card_token(card))
        return holder.resident_id if holder and holder.bank_id == bank_id else None
    found = await find_resident_by_number(connection, bank_id, member_number or "")
    try:
        membership = found and await get_membership(connection, bank_id, found)
    except NotFoundError:  # gone between the two
        return None
    is_member = membership and membership.state is MembershipState.APPROVED
    return found if is_member else None


async def _use(connection: Connection, bank_id: int, subject: bytes, allowance: Allowance) -> None:
    wait = await connection.fetchval(
        _QUERIES["use_allowance"], bank_id, subject, allowance.each, allowance.at_once
    )
    if wait:
        raise TooManyAttemptsError(wait)


def _hash(subject: str) -> bytes:
    return sha256(subject.encode()).digest()
