"""Page cursors: opaque and signed, good for the list they were made for and no other."""

import base64
import hmac
from uuid import UUID

from timebank.api.errors import InvalidCursorError

_TAG_BYTES = 12


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


def _tag(key: UUID, listed: str, position: str) -> bytes:
    return hmac.digest(key.bytes, f"{listed}\n{position}".encode(), "sha256")[:_TAG_BYTES]
