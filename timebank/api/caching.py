"""No answer of the API is stored on its way, unless its operation says how long it is good."""

from litestar.types import Message, Scope

_NOT_STORED = (b"cache-control", b"private, no-store")


async def forbid_storing(message: Message, scope: Scope) -> None:
    """Say so on an answer that is about to be sent (a `before_send` hook)."""
    if message["type"] != "http.response.start" or not scope["path"].startswith("/api/"):
        return
    headers = list(message.get("headers", ()))
    if not any(name.lower() == _NOT_STORED[0] for name, _ in headers):
        message["headers"] = [*headers, _NOT_STORED]
