"""The gate every request passes: who is calling, may they, and is the body fit to be read."""

import re
from collections.abc import Mapping
from typing import Any

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

from timebank.api.desk import Desk
from timebank.api.strict_json import WRITING_METHODS, fingerprint, read_strictly
from timebank.domain.errors import (
    IdempotencyKeyMissingError,
    InvalidInputError,
    UnauthenticatedError,
)
from timebank.ledger.requests import RequestKey
from timebank.people.access import Action, Principal, check_may

_IDEMPOTENCY_KEY = re.compile(rb"[\x21-\x7e]{1,255}")
_ONCE = frozenset({b"authorization", b"idempotency-key", b"content-type", b"content-encoding"})


class Gate:
    """ASGI middleware behind the router: the operation's declared action is known here."""

    def __init__(self, app: ASGIApp) -> None:
        """`app` is what stands behind the gate."""
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request through, or raise the domain error that says why not."""
        if scope["type"] == ScopeType.WEBSOCKET:
            raise InvalidInputError("This service speaks HTTP only.")
        if scope["method"] == "OPTIONS":
            await _tell_methods(scope, send)
            return
        action = Action(scope["route_handler"].opt["action"])
        if action is not Action.PUBLIC:
            headers = _headers(scope)
            desk: Desk = scope["litestar_app"].state.desk
            principal = await desk.identify(_bearer_token(headers))
            check_may(principal, action)
            scope["user"] = principal
            if scope["method"] in WRITING_METHODS:
                receive = await _check_write(scope, receive, headers, principal)
        await self.app(scope, receive, send)


async def _tell_methods(scope: HTTPScope, send: Send) -> None:
    """Answer which methods the path takes, to anybody; Litestar's own answer forgets some."""
    routes = [
        route for route in scope["litestar_app"].routes if route.path == scope["path_template"]
    ]
    methods = sorted({str(method) for route in routes for method in getattr(route, "methods", ())})
    allow = (b"allow", ", ".join(methods).encode())
    await send({"type": "http.response.start", "status": 204, "headers": [allow]})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def _headers(scope: Scope) -> Mapping[bytes, bytes]:
    """Return the headers; those that decide something may stand once only."""
    headers: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        if name in headers and name in _ONCE:
            raise InvalidInputError("This header stands twice.", pointer=name.decode())
        headers[name] = value
    return headers


def _bearer_token(headers: Mapping[bytes, bytes]) -> str:
    scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
    if scheme.lower() != b"bearer" or not token or not token.isascii():
        raise UnauthenticatedError
    return token.decode("ascii")


async def _check_write(
    scope: HTTPScope, receive: Receive, headers: Mapping[bytes, bytes], principal: Principal
) -> Receive:
    key = headers.get(b"idempotency-key", b"")
    if not key:
        raise IdempotencyKeyMissingError
    if not _IDEMPOTENCY_KEY.fullmatch(key):
        raise InvalidInputError(
            "An Idempotency-Key is 1 to 255 visible ASCII characters.", pointer="Idempotency-Key"
        )
    body = await read_strictly(headers, receive)
    scope["auth"] = RequestKey(principal.principal_id, key.decode(), fingerprint(scope, body))
    unread = [body]

    async def receive_again() -> Any:
        if unread:
            return {"type": "http.request", "body": unread.pop(), "more_body": False}
        return await receive()

    return receive_again
