"""The gate every request passes: who is calling, may they, and is the body fit to be read."""

import re
import secrets
from typing import Any

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from timebank.api.desk import Desk
from timebank.api.strict_json import WRITING_METHODS, fingerprint, read_strictly
from timebank.domain.errors import (
    IdempotencyKeyMissingError,
    InvalidInputError,
    UnauthenticatedError,
)
from timebank.ledger.requests import RequestKey
from timebank.people.access import Action, Principal, check_may

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_IDEMPOTENCY_KEY = re.compile(rb"[\x21-\x7e]{1,255}")


class Gate:
    """ASGI middleware behind the router: the operation's declared action is known here."""

    def __init__(self, app: ASGIApp) -> None:
        """`app` is what stands behind the gate."""
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request through, or raise the domain error that says why not."""
        if scope["type"] == ScopeType.WEBSOCKET:
            raise InvalidInputError("This service speaks HTTP only.")
        headers = dict(scope["headers"])
        request_id = _request_id(headers)
        scope["state"]["request_id"] = request_id.decode()
        action = Action(scope["route_handler"].opt["action"])
        if action is not Action.PUBLIC:
            desk: Desk = scope["litestar_app"].state.desk
            principal = await desk.identify(_bearer_token(headers))
            check_may(principal, action)
            scope["user"] = principal
            if scope["method"] in WRITING_METHODS:
                receive = await _check_write(scope, receive, headers, principal)
        await self.app(scope, receive, _with_request_id(send, request_id))


def _request_id(headers: dict[bytes, bytes]) -> bytes:
    given = headers.get(b"x-request-id", b"")
    return given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8).encode()


def _bearer_token(headers: dict[bytes, bytes]) -> str:
    scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
    if scheme.lower() != b"bearer" or not token or not token.isascii():
        raise UnauthenticatedError
    return token.decode("ascii")


async def _check_write(
    scope: HTTPScope, receive: Receive, headers: dict[bytes, bytes], principal: Principal
) -> Receive:
    key = headers.get(b"idempotency-key", b"")
    if not key:
        raise IdempotencyKeyMissingError
    if not _IDEMPOTENCY_KEY.fullmatch(key):
        raise InvalidInputError(
            "An Idempotency-Key is 1 to 255 visible ASCII characters.", pointer="Idempotency-Key"
        )
    body = await read_strictly(scope, receive)
    scope["auth"] = RequestKey(principal.principal_id, key.decode(), fingerprint(scope, body))

    async def receive_again() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive_again


def _with_request_id(send: Send, request_id: bytes) -> Send:
    async def send_with_request_id(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = [*message.get("headers", ()), (b"x-request-id", request_id)]
            message["headers"] = headers
        await send(message)

    return send_with_request_id
