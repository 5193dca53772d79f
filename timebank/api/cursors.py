"""Page cursors: opaque and signed, good for the list they were made for and no other."""

import base64
import hmac
from collections.abc import Callable, Sequence
from datetime import date
from typing import TypeVar
from uuid import UUID

from timebank.api.errors import InvalidCursorError

_TAG_BYTES = 12

Row = TypeVar("Row")


def make_cursor(key: UUID, listed: str, position: str) -> str:
    """Return a cursor for the place `position` in the list named `listed`."""
    return base64.urlsafe_b64encode(_tag(key, listed, position) + position.encode()).decode()


def read_cursor(key: UUID, listed: str, cursor: str) -> str:
    """Return the position a cursor stands for; InvalidCursorError unless we made it for this."""
    try:
        raw = base64.b64decode(cursor.encode("ascii"), altchars=b"-_", validate=True)
        position = raw[_TAG_BYTES:].decode("ascii")
    except ValueError as error:
        raise InvalidCursorError from error
    if not hmac.compare_digest(raw[:_TAG_BYTES], _tag(key, listed, position)):
        raise InvalidCursorError
    return position


def read_day_and_id(key: UUID, listed: str, cursor: str) -> tuple[date, UUID]:
    """Return the position of a cursor that was made of a day and an id; InvalidCursorError."""
    day, _, row_id = read_cursor(key, listed, cursor).partition(" ")
    return date.fromisoformat(day), UUID(row_id)


def cut_page(
    found: Sequence[Row], limit: int, key: UUID, listed: str, position: Callable[[Row], str]
) -> tuple[list[Row], str | None, bool]:
    """Return a page of what was found beyond `limit` by one, the next cursor, and if there is more.

    `position` says where the next page of the list begins after a row.
    """
    page, more = list(found[:limit]), len(found) > limit
    return page, make_cursor(key, listed, position(page[-1])) if more else None, more


def _tag(key: UUID, listed: str, position: str) -> bytes:
    return hmac.digest(key.bytes, f"{listed}\n{position}".encode(), "sha256")[:_TAG_BYTES]
