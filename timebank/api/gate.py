"""The gate every request passes: who is calling, may they, and is the body fit to be read.

A caller shows a bearer token, or the session cookie of our pages; a write with a cookie must come
from our own origin. What the gate or a handler refuses to a known caller is noted in the audit log.
"""

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from hashlib import sha256
from typing import Any, TypeAlias
from uuid import UUID

import msgspec
from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

from timebank.api.call import Call
from timebank.api.desk import Desk
from timebank.api.refusals import describe, refused_code
from timebank.api.request_ids import name_request
from timebank.api.strict_json import (
    WRITING_METHODS,
    decode_strictly,
    fingerprint,
    read_no_body,
    read_strictly,
)
from timebank.domain.errors import (
    CrossSiteRequestError,
    IdempotencyKeyMissingError,
    InvalidInputError,
    UnauthenticatedError,
)
from timebank.ledger.requests import RequestKey
from timebank.people.access import Action, Principal, check_may
from timebank.people.audit_log import entry_of

SESSION_COOKIE = "__Host-timebank"

_IDEMPOTENCY_KEY = re.compile(rb"[\x21-\x7e]{1,255}")
_PARAMETER = re.compile(r"[a-z_]{1,32}")
"""What a name may be to be told back: others may hold anything, personal data too."""

_ONCE = frozenset(
    {
        b"authorization",
        b"content-encoding",
        b"content-type",
        b"cookie",
        b"host",
        b"idempotency-key",
        b"origin",
    }
)
_COOKIE = re.compile(rb"(?:^|; ?)" + SESSION_COOKIE.encode() + rb"=([A-Za-z0-9_-]{1,200})(?:;|$)")
_NOTED_READS = frozenset({"forbidden", "not_found", "stronger_login_needed"})


ShortWay: TypeAlias = Callable[[Desk, str, HTTPScope, Mapping[bytes, bytes], Send], Awaitable[bool]]
"""Answers a request without a query if nothing stands against it; else says False and does nothing.

It is given the caller's token, and has to see for itself that it is good and what it is good for.
The operation's handler stays the whole rule: it is asked wherever the short way does not answer.
"""


async def _no_short_way(*_: object) -> bool:
    return False


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
        opt = scope["route_handler"].opt
        action: Action = opt["action"]
        if action is Action.PUBLIC:
            _check_query(scope)
            if scope["method"] in WRITING_METHODS:
                headers = read_headers(scope)
                if headers.keys() & {b"origin", b"sec-fetch-site"}:
                    check_origin(headers)
                receive = _replay(await read_strictly(headers, receive), receive)
            await self.app(scope, receive, send)
        else:
            await self._let_in(scope, receive, send, opt)

    async def _let_in(
        self, scope: HTTPScope, receive: Receive, send: Send, opt: Mapping[str, Any]
    ) -> None:
        action: Action = opt["action"]
        headers = read_headers(scope)
        desk: Desk = scope["litestar_app"].state.desk
        token, by_cookie = _find_token(headers)
        short_way: ShortWay = opt.get("short_way", _no_short_way)
        if not scope["query_string"] and await short_way(desk, token, scope, headers, send):
            return
        principal = await desk.identify(token)
        scope["user"] = principal
        writes = scope["method"] in WRITING_METHODS
        try:
            check_may(principal, action)
            _check_query(scope)
            if writes:
                if by_cookie:
                    check_origin(headers)
                body = await _check_write(scope, receive, headers, principal)
                if opt.get("direct"):
                    await _answer_directly(scope, receive, send, body)
                    return
                receive = _replay(body, receive)
        except Exception as error:
            code = describe(error)[0]
            if writes or code in _NOTED_READS:
                await _note(desk, scope, principal, action, code)
            raise
        await self.app(scope, receive, send)
        refused = refused_code(scope)
        if refused and (writes or refused in _NOTED_READS):
            await _note(desk, scope, principal, action, refused)


async def _answer_directly(scope: HTTPScope, receive: Receive, send: Send, body: bytes) -> None:
    """Call the operation's own handler and send its answer: the writes that come most.

    Litestar would read body and headers again, and cost more than the handler does. For that an
    operation says `direct`, has a body and no parameters but the key, and answers JSON.
    """
    handler: Any = scope["route_handler"]
    call = Call(scope, receive, send)
    data = decode_strictly(body, handler.parsed_data_field.annotation)
    response = await handler.fn(call, data, scope["auth"].key)
    content = msgspec.json.encode(response.content)
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(content)),
        *((name.lower().encode(), value.encode()) for name, value in response.headers.items()),
    ]
    await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
    await send({"type": "http.response.body", "body": content, "more_body": False})


async def _note(
    desk: Desk, scope: HTTPScope, principal: Principal, action: Action, code: str
) -> None:
    parameters: Iterable[Any] = scope["path_params"].values()
    ids = (value for value in parameters if isinstance(value, UUID))
    entry = entry_of(
        principal,
        action,
        object_id=next(ids, None),
        result=code,
        request_id=name_request(scope).decode(),
    )
    await desk.note(entry)


async def _tell_methods(scope: HTTPScope, send: Send) -> None:
    """Answer which methods the path takes, to anybody; Litestar's own answer forgets some."""
    routes = [
        route for route in scope["litestar_app"].routes if route.path == scope["path_template"]
    ]
    methods = sorted({str(method) for route in routes for method in getattr(route, "methods", ())})
    allow = (b"allow", ", ".join(methods).encode())
    await send({"type": "http.response.start", "status": 204, "headers": [allow]})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def read_headers(scope: Scope) -> Mapping[bytes, bytes]:
    """Return the headers; those that decide something may stand once only."""
    headers: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        if name in headers and name in _ONCE:
            raise InvalidInputError("This header stands twice.", pointer=name.decode())
        headers[name] = value
    return headers


def _find_token(headers: Mapping[bytes, bytes]) -> tuple[str, bool]:
    """Return the caller's token, and whether it came by cookie; a bearer token comes first."""
    if b"authorization" in headers:
        return _bearer_token(headers), False
    if token := find_cookie(headers):
        return token, True
    raise UnauthenticatedError


def find_cookie(headers: Mapping[bytes, bytes]) -> str | None:
    """Return the token in our session cookie, if there is one."""
    found = _COOKIE.search(headers.get(b"cookie", b""))
    return found[1].decode("ascii") if found else None


def _bearer_token(headers: Mapping[bytes, bytes]) -> str:
    scheme, _, token = headers[b"authorization"].partition(b" ")
    if scheme.lower() != b"bearer" or not token or not token.isascii():
        raise UnauthenticatedError
    return token.decode("ascii")


def check_origin(headers: Mapping[bytes, bytes]) -> None:
    """Raise CrossSiteRequestError unless the browser says that our own page sent this."""
    scheme, _, place = headers.get(b"origin", b"").partition(b"://")
    site = headers.get(b"sec-fetch-site", b"same-origin")
    is_ours = scheme in (b"https", b"http") and place and place == headers.get(b"host")
    if not is_ours or site != b"same-origin":
        raise CrossSiteRequestError


def _check_query(scope: HTTPScope) -> None:
    """Raise InvalidInputError for a parameter that the operation does not have.

    Left alone, `?as_off=` would be answered with today's balance. Pages leave alone what apps add
    to an address that is handed on: their `opt` says nothing of `query`.
    """
    known: frozenset[str] | None = scope["route_handler"].opt.get("query")
    if known is None or not scope["query_string"]:
        return
    for name in Call(scope).query_params.keys() - known:
        raise InvalidInputError(
            f"There is no such query parameter here; those there are: {sorted(known)}.",
            pointer=name if _PARAMETER.fullmatch(name) else "",
        )


async def _check_write(
    scope: HTTPScope, receive: Receive, headers: Mapping[bytes, bytes], principal: Principal
) -> bytes:
    """Return the body of a write once it and the key are known to be fit.

    An operation whose opt says `keyless` takes no key: a repeat of it does no harm, and neither a
    secret of its body (as a fingerprint) nor one of its answer may be stored. Where it says
    `personal`, the fingerprint is one that only the holder of the master key could try out. The
    key itself is kept as a hash: callers make keys of all sorts of things.
    """
    opt = scope["route_handler"].opt
    keyless = opt.get("keyless", False)
    key = b"" if keyless else headers.get(b"idempotency-key", b"")
    if not key and not keyless:
        raise IdempotencyKeyMissingError
    if key and not _IDEMPOTENCY_KEY.fullmatch(key):
        raise InvalidInputError(
            "An Idempotency-Key is 1 to 255 visible ASCII characters.", pointer="Idempotency-Key"
        )
    if scope["method"] == "DELETE":
        body = await read_no_body(receive)
    else:
        body = await read_strictly(headers, receive)
    if key:
        seen = fingerprint(scope, body)
        if opt.get("personal", False):
            seen = scope["litestar_app"].state.desk.blind(principal.bank_id, seen)
        scope["auth"] = RequestKey(principal.principal_id, sha256(key).hexdigest(), seen)
    return body


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives the body that was read already."""
    unread = [body]

    async def receive_again() -> Any:
        if unread:
            return {"type": "http.request", "body": unread.pop(), "more_body": False}
        return await receive()

    return receive_again
