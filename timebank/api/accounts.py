"""Accounts over HTTP: open, find, balance now and as of an instant, passbook as JSON and CSV."""

from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from typing import Annotated, Any, TypedDict
from uuid import UUID

import msgspec
from litestar import Response, Router
from litestar.openapi import ResponseSpec
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter
from litestar.response import Stream
from litestar.response.base import ASGIResponse
from litestar.types import HTTPScope, Send
from msgspec import UNSET

from timebank.api.call import Call, IdempotencyKey
from timebank.api.cursors import make_cursor, read_cursor
from timebank.api.desk import Desk
from timebank.api.errors import OwnerNotFoundError
from timebank.api.once import Deed, once
from timebank.api.operations import READING_PROBLEMS, get, post
from timebank.api.passbook_csv import passbook_csv
from timebank.api.wire import (
    AccountPage,
    AccountView,
    BalanceView,
    LineView,
    OpenAccountBody,
    PassbookPage,
    parse_instant,
)
from timebank.db import Connection, transaction
from timebank.domain.errors import InvalidInputError, NotFoundError
from timebank.domain.ledger import Account, AccountKind, PassbookLine, Unit
from timebank.ledger.accounts import list_accounts, open_account
from timebank.ledger.passbook import get_balance_as_of, list_blocked, list_passbook, read_clock
from timebank.people.access import Action, Role
from timebank.people.residents import is_registered
from timebank.people.sessions import Holding
from timebank.people.targets import check_reaches_party

Limit = Annotated[int, QueryParameter(ge=1, le=200)]
Cursor = Annotated[str | None, QueryParameter(max_length=200)]
QueryInstant = Annotated[
    str | None,
    QueryParameter(
        description="RFC 3339 with an offset, as 2026-05-01T00:00:00Z",
        schema_extra={"format": "date-time"},
    ),
]


@post("/accounts", opt={"action": Action.OPEN_ACCOUNT}, operation_id="open_account")
async def open_an_account(
    request: Call,
    data: JSONBody[OpenAccountBody],
    idempotency_key: IdempotencyKey,
) -> Response[AccountView]:
    """Open a resident's wallet, or a pool of the bank."""
    bank_id = request.user.bank_id
    kind = AccountKind(data.kind)
    if (kind is AccountKind.WALLET) == (data.owner_id is None):
        raise InvalidInputError("A wallet has an owner, a pool has none.", pointer="/owner_id")

    async def work(connection: Connection) -> Deed[AccountView]:
        owner_id = data.owner_id
        if owner_id and not await is_registered(connection, bank_id, owner_id):
            raise OwnerNotFoundError
        try:
            await check_reaches_party(connection, request.user, Action.OPEN_ACCOUNT, owner_id)
        except NotFoundError as error:
            raise OwnerNotFoundError from error
        account = await open_account(connection, bank_id, data.unit, kind, owner_id)
        return Deed(_account_view(account), account.account_id)

    view, headers = await once(request, AccountView, work)
    return Response(view, status_code=201, headers=headers)


@get("/accounts", opt={"action": Action.READ_ACCOUNT}, operation_id="list_accounts")
async def list_visible_accounts(
    request: Call,
    owner_id: FromQuery[UUID | None] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> AccountPage:
    """List accounts: residents see their own, staff and auditors all or one owner's."""
    principal = request.user
    owner = principal.principal_id if principal.role is Role.RESIDENT else owner_id
    bank = await request.desk.bank(principal.bank_id)
    listed = f"accounts of {owner} within {principal.branch_id}"
    after = UUID(read_cursor(bank.cursor_key, listed, cursor)) if cursor else None
    async with transaction(request.desk.pool) as connection:
        accounts = await list_accounts(
            connection,
            bank.bank_id,
            after=after,
            owner_id=owner,
            within=principal.branch_id,
            limit=limit + 1,
        )
    page, more = accounts[:limit], len(accounts) > limit
    return AccountPage(
        [_account_view(account) for account in page],
        make_cursor(bank.cursor_key, listed, str(page[-1].account_id)) if more else None,
        more,
    )


@get("/accounts/{account_id:uuid}", opt={"action": Action.READ_ACCOUNT}, operation_id="get_account")
async def get_an_account(request: Call, account_id: FromPath[UUID]) -> AccountView:
    """Return one account."""
    return _account_view(await request.desk.account_seen_by(request.user, account_id))


async def answer_balance(
    desk: Desk, token: str, scope: HTTPScope, headers: Mapping[bytes, bytes], send: Send
) -> bool:
    """Answer as `read_balance` does, straight to the wire: the most frequent question of all."""
    path_params: Mapping[str, Any] = scope["path_params"]
    holding = await desk.holding_at_once(token, path_params["account_id"])
    if holding is None:
        return False
    status, described, body = _answer_now(holding, headers.get(b"if-none-match", b""))
    if status != 304:
        described.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": described})
    await send({"type": "http.response.body", "body": body, "more_body": False})
    return True


def _answer_now(
    holding: Holding, if_none_match: bytes
) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Return status, headers and body of a balance as it is now."""
    tag = f'"{holding.seq}-{holding.blocked}"' if holding.blocked else f'"{holding.seq}"'
    headers = [(b"etag", b"W/" + tag.encode()), (b"cache-control", b"private, no-cache")]
    if if_none_match and is_known(tag, if_none_match.decode("latin-1")):
        return 304, headers, b""
    view = BalanceView(
        account_id=holding.account_id,
        unit=holding.unit,
        seq=holding.seq,
        points_available=max(0, holding.balance - holding.blocked) if holding.blocked else UNSET,
        **_named(holding.unit, holding.balance),
    )
    headers.append((b"content-type", b"application/json"))
    return 200, headers, msgspec.json.encode(view)


@get(
    "/accounts/{account_id:uuid}/balance",
    opt={"action": Action.READ_ACCOUNT, "short_way": answer_balance},
    operation_id="get_balance",
    responses={
        **READING_PROBLEMS,
        200: ResponseSpec(BalanceView, description="The balance", generate_examples=False),
        304: ResponseSpec(None, description="As `If-None-Match` says"),
    },
)
async def read_balance(
    request: Call,
    account_id: FromPath[UUID],
    as_of: QueryInstant = None,
    occurred_by: QueryInstant = None,
) -> ASGIResponse:
    """Return the balance now, or what the book said at `as_of` of what had occurred by then."""
    bank_id = request.user.bank_id
    account = await request.desk.account_seen_by(request.user, account_id)
    if as_of is not None or occurred_by is not None:
        recorded_by = parse_instant(as_of, "as_of")
        occurred = parse_instant(occurred_by, "occurred_by")
        view = await _balance_as_of(request.desk, bank_id, account, recorded_by, occurred)
        return ASGIResponse(body=msgspec.json.encode(view))
    balance = await request.desk.balance(bank_id, account_id)
    async with transaction(request.desk.pool) as connection:
        blocked = (await list_blocked(connection, bank_id, [account_id]))[account_id]
    holding = Holding(
        account_id, account.owner_id, account.unit, balance.balance, balance.seq, blocked
    )
    status, headers, body = _answer_now(holding, _if_none_match(request))
    decoded = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]
    return ASGIResponse(status_code=status, headers=decoded, body=body)


def _if_none_match(request: Call) -> bytes:
    values = (value for name, value in request.scope["headers"] if name == b"if-none-match")
    return next(values, b"")


def is_known(tag: str, if_none_match: str) -> bool:
    """Return whether an If-None-Match header names this tag, weak or strong, or any (RFC 9110)."""
    named = [part.strip().removeprefix("W/") for part in if_none_match.split(",")]
    return tag in named or named == ["*"]


async def _balance_as_of(
    desk: Desk,
    bank_id: int,
    account: Account,
    recorded_by: datetime | None,
    occurred_by: datetime | None,
) -> BalanceView:
    async with transaction(desk.pool) as connection:
        recorded_by = recorded_by or await read_clock(connection)
        amount = await get_balance_as_of(
            connection, bank_id, account.account_id, recorded_by, occurred_by
        )
    return BalanceView(
        account_id=account.account_id,
        unit=account.unit,
        as_of=recorded_by,
        occurred_by=occurred_by or msgspec.UNSET,
        **_named(account.unit, amount),
    )


@get(
    "/accounts/{account_id:uuid}/passbook",
    opt={"action": Action.READ_ACCOUNT},
    operation_id="list_passbook",
)
async def read_passbook(
    request: Call,
    account_id: FromPath[UUID],
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Response[PassbookPage]:
    """Return passbook lines, newest first."""
    account = await request.desk.account_seen_by(request.user, account_id)
    bank = await request.desk.bank(request.user.bank_id)
    listed = f"passbook of {account_id}"
    before = int(read_cursor(bank.cursor_key, listed, cursor)) if cursor else None
    async with transaction(request.desk.pool) as connection:
        lines = await list_passbook(
            connection, bank.bank_id, account_id, before=before, limit=limit + 1
        )
    page, more = lines[:limit], len(lines) > limit
    next_cursor = make_cursor(bank.cursor_key, listed, str(page[-1].seq)) if more else None
    link = f'<{request.scope["path"]}?limit={limit}&cursor={next_cursor}>; rel="next"'
    return Response(
        PassbookPage([_line_view(line, account.unit) for line in page], next_cursor, more),
        headers={"Link": link} if more else {},
    )


@get(
    "/accounts/{account_id:uuid}/passbook.csv",
    opt={"action": Action.READ_ACCOUNT},
    operation_id="export_passbook",
    media_type="text/csv",
)
async def export_passbook(request: Call, account_id: FromPath[UUID]) -> Stream:
    """Return the whole passbook as CSV, newest first, dates in the bank's time zone."""
    account = await request.desk.account_seen_by(request.user, account_id)
    bank = await request.desk.bank(request.user.bank_id)
    language = request.headers.get("accept-language", "")
    return Stream(
        passbook_csv(
            _all_lines(request.desk, bank.bank_id, account_id), account.unit, bank.zone, language
        ),
        media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="passbook-{account_id}.csv"'},
    )


async def _all_lines(desk: Desk, bank_id: int, account_id: UUID) -> AsyncIterator[PassbookLine]:
    before = None
    while before is None or before > 1:
        async with transaction(desk.pool) as connection:
            lines = await list_passbook(connection, bank_id, account_id, before=before, limit=1000)
        for line in lines:
            yield line
        before = lines[-1].seq if lines else 1


def _account_view(account: Account) -> AccountView:
    return AccountView(
        account.account_id, account.unit, account.kind, account.owner_id, account.opened_at
    )


def _line_view(line: PassbookLine, unit: Unit) -> LineView:
    return LineView(
        seq=line.seq,
        kind=line.kind,
        balance_after=line.balance_after,
        occurred_at=line.occurred_at,
        recorded_at=line.recorded_at,
        transfer_id=line.transfer_id,
        subject_id=line.subject_id,
        reverses_id=line.reverses_id,
        **_named(unit, line.amount),
    )


class Named(TypedDict, total=False):
    """An amount under the name of its unit."""

    minutes: int
    points: int


def _named(unit: Unit, amount: int) -> Named:
    return {"minutes": amount} if unit is Unit.HOURS else {"points": amount}


router = Router(
    "/",
    route_handlers=[
        open_an_account,
        list_visible_accounts,
        get_an_account,
        read_balance,
        read_passbook,
        export_passbook,
    ],
)
