"""Logging in and out over HTTP.

A login takes no Idempotency-Key: each opens a session of its own, which nobody could have chosen,
and an answer that holds a token is not stored. Pages ask for a cookie, programs for a token.
"""

from datetime import UTC, datetime

from litestar import Response, Router
from litestar.datastructures import Cookie
from litestar.params import JSONBody
from msgspec import UNSET

from timebank.api.call import Call
from timebank.api.gate import SESSION_COOKIE, check_origin, find_cookie, read_headers
from timebank.api.login_wire import CardPinBody, OneTimeCodeBody, PasswordBody, SessionView
from timebank.api.once import note_deed, public_entry
from timebank.api.operations import delete, get, post_in_public
from timebank.db import Connection, transaction
from timebank.domain.errors import EnrolmentNotConfirmedError, LoginFailedError
from timebank.ledger.banks import Bank
from timebank.people.access import Action, Principal, SessionMethod
from timebank.people.audit_log import DONE, write_entries
from timebank.people.login.logins import (
    Attempt,
    begin_with_card,
    begin_with_password,
    check_fits,
    finish,
)
from timebank.people.sessions import (
    NewSession,
    SessionSpan,
    get_span,
    revoke_session,
    revoke_sessions,
    revoke_token,
)

NO_STORE = {"Cache-Control": "no-store"}
"""For answers that hold what is shown once."""

_LOG_IN = "log_in"


@post_in_public("/sessions", opt={"action": Action.PUBLIC}, operation_id="log_in")
async def log_in(
    request: Call, data: JSONBody[CardPinBody | OneTimeCodeBody | PasswordBody]
) -> Response[SessionView]:
    """Log in: card and PIN, card and one-time code, or number, password and second factor.

    Whatever does not fit is answered the same; after failures one has to wait (429).
    """
    headers = read_headers(request.scope)
    by_cookie = data.deliver == "cookie"
    if by_cookie:
        check_origin(headers)
    bank = await request.desk.find_bank(data.bank)
    if bank is None:
        await request.desk.hasher.fits(None, "", "")
        raise LoginFailedError
    async with transaction(request.desk.pool) as connection:
        attempt = await _begin(connection, bank.bank_id, data)
    try:
        session = await _log_in(request, bank, attempt, data)
    except (LoginFailedError, EnrolmentNotConfirmedError) as refused:
        tried = attempt.party_id  # whose account it was; nobody is known to have tried
        failed = public_entry(request, bank.bank_id, _LOG_IN, refused.code, object_id=tried)
        await request.desk.note(failed)
        raise
    principal = await request.desk.identify(session.token)
    view = _view(principal, session.span, None if by_cookie else session.token)
    if not by_cookie:
        return Response(view, status_code=201, headers=NO_STORE)
    if before := find_cookie(headers):
        async with transaction(request.desk.pool) as connection:
            await revoke_token(connection, before)
    cookies = [_cookie(session.token, session)]
    return Response(view, status_code=201, headers=NO_STORE, cookies=cookies)


async def _log_in(
    request: Call,
    bank: Bank,
    attempt: Attempt,
    data: CardPinBody | OneTimeCodeBody | PasswordBody,
) -> NewSession:
    hasher, pool = request.desk.hasher, request.desk.pool
    match data:
        case PasswordBody():
            step = await check_fits(hasher, attempt, data.password, data.totp)
            grant_id = data.grant_id
        case _:
            secret = data.pin if isinstance(data, CardPinBody) else data.code
            step, grant_id = await check_fits(hasher, attempt, secret), None
    async with transaction(pool) as connection:
        session = await finish(connection, attempt, step, grant_id)
        entry = public_entry(
            request,
            bank.bank_id,
            _LOG_IN,
            DONE,
            actor_id=session.party_id,
            role=session.role,
            object_id=session.span.session_id,
        )
        await write_entries(connection, [entry])
    return session


async def _begin(
    connection: Connection, bank_id: int, data: CardPinBody | OneTimeCodeBody | PasswordBody
) -> Attempt:
    match data:
        case PasswordBody():
            return await begin_with_password(connection, bank_id, data.staff_number)
        case CardPinBody():
            return await begin_with_card(connection, bank_id, data.card, SessionMethod.PIN)
    return await begin_with_card(connection, bank_id, data.card, SessionMethod.CODE)


@get("/sessions/me", opt={"action": Action.READ_SESSION}, operation_id="get_session")
async def read_my_session(request: Call) -> SessionView:
    """Return who one is here, and until when."""
    principal = request.user
    async with transaction(request.desk.pool) as connection:
        span = await get_span(connection, principal.bank_id, principal.session_id)
    return _view(principal, span)


@delete(
    "/sessions/me",
    opt={"action": Action.END_SESSION, "keyless": True},
    operation_id="log_out",
)
async def log_out(request: Call) -> Response[None]:
    """Log out: this session is useless from the next request on."""
    principal = request.user
    async with transaction(request.desk.pool) as connection:
        await revoke_session(connection, principal.bank_id, principal.session_id)
        await note_deed(connection, request, request.user.session_id)
    return _gone()


@delete(
    "/sessions",
    opt={"action": Action.END_SESSION, "keyless": True},
    operation_id="log_out_everywhere",
)
async def log_out_everywhere(request: Call) -> Response[None]:
    """Log out everywhere: all one's sessions end, this one too."""
    async with transaction(request.desk.pool) as connection:
        await revoke_sessions(connection, request.user.bank_id, request.user.principal_id)
        await note_deed(connection, request, request.user.principal_id)
    return _gone()


def _gone() -> Response[None]:
    over = Cookie(
        SESSION_COOKIE, path="/", max_age=0, secure=True, httponly=True, samesite="strict"
    )
    return Response(None, status_code=204, headers=NO_STORE, cookies=[over])


def _cookie(token: str, session: NewSession) -> Cookie:
    """Return the cookie of our pages; a PIN's goes with the browser, at a counter for instance."""
    lifetime = session.span.expires_at - datetime.now(UTC)
    return Cookie(
        SESSION_COOKIE,
        value=token,
        path="/",
        max_age=None if session.method is SessionMethod.PIN else int(lifetime.total_seconds()),
        secure=True,
        httponly=True,
        samesite="strict",
    )


def _view(principal: Principal, span: SessionSpan, token: str | None = None) -> SessionView:
    return SessionView(
        session_id=span.session_id,
        party_id=principal.principal_id,
        role=principal.role,
        method=principal.method,
        branch_id=principal.branch_id,
        merchant_id=principal.merchant_id,
        scopes=None if principal.scopes is None else sorted(principal.scopes),
        expires_at=span.expires_at,
        idle_seconds=span.idle_seconds,
        token=token or UNSET,
    )


router = Router("/", route_handlers=[log_in, read_my_session, log_out, log_out_everywhere])
