"""Every answer has an X-Request-Id, the caller's own or a new one; logs name the request by it.

A caller's own is taken only if it is a UUID or a trace id of 32 hexadecimal digits, without so many
digits in a row as a telephone or document has: anything else could tell something of a person.
"""

import re
import secrets
from itertools import count

from litestar.types import Message, Scope

_FIT_TO_KEEP = re.compile(
    rb"(?!.*[0-9]{11})(?:[0-9a-f]{32}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})", re.IGNORECASE
)
_PLACE = "timebank_request_id"
_PROCESS = secrets.token_hex(4).encode()
_NUMBERS = count(1)


def name_request(scope: Scope) -> bytes:
    """Return the request's id, chosen by the first call."""
    chosen: bytes | None = scope["state"].get(_PLACE)
    if chosen is None:
        given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
        chosen = given if _FIT_TO_KEEP.fullmatch(given) else b"%s-%x" % (_PROCESS, next(_NUMBERS))
        scope["state"][_PLACE] = chosen
    return chosen


async def answer_with_request_id(message: Message, scope: Scope) -> None:
    """Add the id to an answer that is about to be sent (a `before_send` hook)."""
    if message["type"] == "http.response.start":
        message["headers"] = [*message.get("headers", ()), (b"x-request-id", name_request(scope))]
