"""Member cards: a random token of 128 bits, printed as a QR code and as text; one is in use.

The database keeps the SHA-256 of a token, so a lost list of cards opens nothing. A new card kills
the old one in the same commit. The text has 26 of the 32 signs of Crockford's base 32: no I, L, O
or U, and capitals do not matter.
"""

import io
import re
import secrets
from hashlib import sha256
from urllib.parse import urlsplit
from uuid import UUID

import segno
from msgspec import Struct

from timebank.db import Connection, as_struct, load_queries
from timebank.domain.errors import InvalidInputError
from timebank.ledger.ids import new_id

_QUERIES = load_queries(__package__)

_SIGNS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_LENGTH = 26
_MISREAD = str.maketrans("OIL", "011", " -")
TOKEN_BITS = 128


class CardHolder(Struct, frozen=True):
    """Whose card it is; `member_number` is what stands beside the code."""

    bank_id: int
    resident_id: UUID
    card_id: UUID
    member_number: str | None


def new_card_token() -> str:
    """Return a new token as text of 26 signs."""
    number = secrets.randbits(TOKEN_BITS)
    return "".join(_SIGNS[number >> 5 * place & 31] for place in reversed(range(_LENGTH)))


def parse_card_token(text: str) -> str:
    """Return the token in what was scanned (an address) or typed, as it was issued.

    What is none is returned as it is: no card has it.
    """
    last = re.split("[/#]", text.strip())[-1]
    return last.upper().translate(_MISREAD)


def spell_card_token(token: str) -> str:
    """Return a token in groups, as it is printed under the code."""
    return "-".join(token[place : place + 5] for place in range(0, len(token), 5))


def draw_card(token: str, base_url: str | None) -> str:
    """Return the QR code of a card as SVG: `<base_url>/card#<token>`, for a scanner or any phone.

    No browser sends what stands after the `#`: the token is in no log of ours or a proxy's.
    Without `base_url`, the token alone. InvalidInputError unless it is an https address.
    """
    text = token
    if base_url is not None:
        parts = urlsplit(base_url)
        if parts.scheme != "https" or not parts.hostname or parts.query or parts.fragment:
            raise InvalidInputError("Cards carry an https address.", pointer="base_url")
        text = f"{base_url.rstrip('/')}/card#{token}"
    code = segno.make(text, error="q", micro=False)
    drawn = io.BytesIO()
    code.save(drawn, kind="svg", xmldecl=False, omitsize=True, border=4)
    return drawn.getvalue().decode()


async def issue_card(
    connection: Connection, bank_id: int, resident_id: UUID, *, issued_by: UUID
) -> str:
    """Return the token of a new card, which is shown once; an old card is dead from now on.

    So are the sessions that it opened. NotAMemberError unless the membership is approved,
    SecondPersonNeededError for who set the PIN that stands.
    """
    token = new_card_token()
    await connection.execute(
        _QUERIES["issue_card"], bank_id, new_id(), resident_id, hash_card_token(token), issued_by
    )
    return token


async def revoke_card(connection: Connection, bank_id: int, resident_id: UUID) -> bool:
    """Kill a resident's card and its sessions at once; False if there is none in use."""
    revoked: bool = await connection.fetchval(_QUERIES["revoke_card"], bank_id, resident_id)
    return revoked


async def find_card_holder(connection: Connection, token: str) -> CardHolder | None:
    """Return whose card in use this is, of an approved member; None for any other."""
    record = await connection.fetchrow(_QUERIES["find_card_holder"], hash_card_token(token))
    return None if record is None else as_struct(record, CardHolder)


async def hold_card(
    connection: Connection, bank_id: int, resident_id: UUID, token_hash: bytes
) -> bool:
    """Return whether this card is in use; if so, until the transaction ends."""
    held: bool = await connection.fetchval(_QUERIES["hold_card"], bank_id, resident_id, token_hash)
    return held


def hash_card_token(token: str) -> bytes:
    """Return what the database keeps of a token: 128 random bits need no salt."""
    return sha256(token.encode("utf-8", "surrogatepass")).digest()
