"""Webhooks over HTTP: merchants say where they are told of what, and look at what they were told.

A secret is shown once. No answer that is stored holds one, nor a URL, which may hold one too: an
endpoint that is answered again is without, and asking for a new secret takes no key. Staff see that
there is an endpoint, stop it, and lift the stop.
"""

from typing import Any
from uuid import UUID

import msgspec
from litestar import Response, Router
from litestar.params import FromPath, JSONBody
from msgspec.structs import replace

from timebank.api.accounts import Cursor, Limit
from timebank.api.call import Call, IdempotencyKey
from timebank.api.cursors import cut_page, read_cursor
from timebank.api.logins import NO_STORE
from timebank.api.merchants import check_reaches_merchant
from timebank.api.once import Deed, do_once, note_deed, once, was_answered
from timebank.api.operations import get, post
from timebank.api.reaching import action_of
from timebank.api.wire import as_utc
from timebank.api.wire_redemption import EmptyBody
from timebank.api.wire_webhooks import (
    AttemptList,
    AttemptView,
    ChangeEndpointBody,
    EndpointList,
    EndpointView,
    EventPage,
    EventView,
    OpenEndpointBody,
    PingView,
    ReplayBody,
    ReplayView,
)
from timebank.db import Connection, repeat_on_conflict, transaction
from timebank.domain.errors import InvalidInputError
from timebank.domain.webhooks import EndpointEnd, Outcome, check_event_types, read_url
from timebank.people.access import Action, Principal, Role
from timebank.people.seals import Seals
from timebank.webhooks import endpoints, events
from timebank.webhooks.endpoints import Endpoint
from timebank.webhooks.sending import check_public


@post(
    "/merchants/{merchant_id:uuid}/webhook-endpoints",
    opt={"action": Action.MANAGE_WEBHOOKS, "personal": True},
    operation_id="open_webhook_endpoint",
)
async def open_endpoint(
    request: Call,
    merchant_id: FromPath[UUID],
    data: JSONBody[OpenEndpointBody],
    idempotency_key: IdempotencyKey,
) -> Response[EndpointView]:
    """Tell the merchant's system at this URL from now on; the answer holds the secret, once."""
    check_event_types(data.event_types)
    await _check_url(request, data.url)
    secret: str | None = None

    async def work(connection: Connection) -> Deed[EndpointView]:
        nonlocal secret
        await check_reaches_merchant(connection, request, action_of(request), merchant_id)
        endpoint, secret = await endpoints.open_endpoint(
            connection,
            Seals(request.desk.ring),
            request.user.bank_id,
            merchant_id,
            url=data.url,
            event_types=data.event_types,
            actor_id=request.user.principal_id,
        )
        return Deed(_view(endpoint), endpoint.endpoint_id)

    view, headers = await once(request, EndpointView, work)
    if secret is None:
        return Response(view, status_code=201, headers=headers)
    view = replace(view, url=data.url, secret=secret)
    return Response(view, status_code=201, headers=NO_STORE)


@get(
    "/merchants/{merchant_id:uuid}/webhook-endpoints",
    opt={"action": Action.READ_WEBHOOKS},
    operation_id="list_webhook_endpoints",
)
async def list_endpoints(request: Call, merchant_id: FromPath[UUID]) -> EndpointList:
    """List all endpoints of a merchant, disabled ones too."""
    async with transaction(request.desk.pool) as connection:
        await check_reaches_merchant(connection, request, action_of(request), merchant_id)
        found = await endpoints.list_endpoints(connection, request.user.bank_id, merchant_id)
    return EndpointList([_shown(request.user, endpoint) for endpoint in found])


@get(
    "/webhook-endpoints/{endpoint_id:uuid}",
    opt={"action": Action.READ_WEBHOOKS},
    operation_id="get_webhook_endpoint",
)
async def read_endpoint(request: Call, endpoint_id: FromPath[UUID]) -> EndpointView:
    """Return an endpoint, with why and since when it is disabled or failing."""
    async with transaction(request.desk.pool) as connection:
        return _shown(request.user, await _reached(connection, request, endpoint_id))


@post(
    "/webhook-endpoints/{endpoint_id:uuid}/changes",
    opt={"action": Action.MANAGE_WEBHOOKS, "personal": True},
    operation_id="change_webhook_endpoint",
)
async def change_endpoint(
    request: Call,
    endpoint_id: FromPath[UUID],
    data: JSONBody[ChangeEndpointBody],
    idempotency_key: IdempotencyKey,
) -> Response[EndpointView]:
    """Tell at another URL, or of other types, from now on; what waits goes there too."""
    if data.url is None and data.event_types is None:
        raise InvalidInputError("Say what changes: url, event_types or both.", pointer="/url")
    if data.event_types is not None:
        check_event_types(data.event_types)
    if data.url is not None:
        await _check_url(request, data.url)

    async def work(connection: Connection) -> Deed[EndpointView]:
        bank_id = request.user.bank_id
        await _reached(connection, request, endpoint_id)
        await endpoints.change_endpoint(
            connection, bank_id, endpoint_id, url=data.url, event_types=data.event_types
        )
        return await _deed(connection, request, endpoint_id)

    return await do_once(request, EndpointView, work)


@post(
    "/webhook-endpoints/{endpoint_id:uuid}/disablement",
    opt={"action": Action.DISABLE_WEBHOOK},
    operation_id="disable_webhook_endpoint",
)
async def disable_endpoint(
    request: Call,
    endpoint_id: FromPath[UUID],
    data: JSONBody[EmptyBody],
    idempotency_key: IdempotencyKey,
) -> Response[EndpointView]:
    """Tell nothing more there; what staff disable, staff alone enable.

    Until they do, the merchant opens no endpoint and changes no URL.
    """
    is_own = request.user.role is Role.MERCHANT

    async def work(connection: Connection) -> Deed[EndpointView]:
        await _reached(connection, request, endpoint_id)
        because = EndpointEnd.MERCHANT if is_own else EndpointEnd.STAFF
        await endpoints.disable_endpoint(connection, request.user.bank_id, endpoint_id, because)
        return await _deed(connection, request, endpoint_id)

    return await do_once(request, EndpointView, work)


@post(
    "/webhook-endpoints/{endpoint_id:uuid}/enablement",
    opt={"action": Action.ENABLE_WEBHOOK},
    operation_id="enable_webhook_endpoint",
)
async def enable_endpoint(
    request: Call,
    endpoint_id: FromPath[UUID],
    data: JSONBody[EmptyBody],
    idempotency_key: IdempotencyKey,
) -> Response[EndpointView]:
    """Tell again, also what waits; what happened in between is told by a replay.

    Staff enable what staff disabled: what the merchant disabled as well stays so.
    """
    by_staff = request.user.role is not Role.MERCHANT

    async def work(connection: Connection) -> Deed[EndpointView]:
        await _reached(connection, request, endpoint_id)
        bank_id = request.user.bank_id
        await endpoints.enable_endpoint(connection, bank_id, endpoint_id, by_staff=by_staff)
        return await _deed(connection, request, endpoint_id)

    return await do_once(request, EndpointView, work)


@post(
    "/webhook-endpoints/{endpoint_id:uuid}/rotation",
    opt={"action": Action.MANAGE_WEBHOOKS, "keyless": True},
    operation_id="rotate_webhook_secret",
)
async def rotate_secret(
    request: Call, endpoint_id: FromPath[UUID], data: JSONBody[EmptyBody]
) -> Response[EndpointView]:
    """Change the secret for a new one; those before sign beside it for a day more.

    If the answer was lost, ask again: what the receiver has signs all the same.
    """

    async def work(connection: Connection) -> EndpointView:
        bank_id = request.user.bank_id
        await _reached(connection, request, endpoint_id)
        secret = await endpoints.rotate_secret(
            connection, Seals(request.desk.ring), bank_id, endpoint_id
        )
        await note_deed(connection, request, endpoint_id)
        endpoint = await endpoints.get_endpoint(connection, bank_id, endpoint_id)
        return replace(_view(endpoint), secret=secret)

    view = await repeat_on_conflict(request.desk.pool, work)
    return Response(view, status_code=201, headers=NO_STORE)


@post(
    "/webhook-endpoints/{endpoint_id:uuid}/pings",
    opt={"action": Action.MANAGE_WEBHOOKS},
    operation_id="ping_webhook_endpoint",
)
async def ping_endpoint(
    request: Call,
    endpoint_id: FromPath[UUID],
    data: JSONBody[EmptyBody],
    idempotency_key: IdempotencyKey,
) -> Response[PingView]:
    """Send an event of type `webhook.ping`, to try the endpoint."""

    async def work(connection: Connection) -> Deed[PingView]:
        await _reached(connection, request, endpoint_id)
        bank_id = request.user.bank_id
        event_id = await endpoints.ping_endpoint(connection, bank_id, endpoint_id)
        return Deed(PingView(event_id), endpoint_id)

    return await do_once(request, PingView, work)


@post(
    "/webhook-endpoints/{endpoint_id:uuid}/replays",
    opt={"action": Action.MANAGE_WEBHOOKS},
    operation_id="replay_webhook_events",
)
async def replay_events(
    request: Call,
    endpoint_id: FromPath[UUID],
    data: JSONBody[ReplayBody],
    idempotency_key: IdempotencyKey,
) -> Response[ReplayView]:
    """Tell one event, or all since an instant, once more, under the ids they had."""
    since, event_id = as_utc(data.since, "/since"), data.event_id
    if (since is None) == (event_id is None):
        raise InvalidInputError("Give exactly one of event_id and since.", pointer="/event_id")

    async def work(connection: Connection) -> Deed[ReplayView]:
        await _reached(connection, request, endpoint_id)
        bank_id = request.user.bank_id
        if event_id is not None:
            many = await events.replay_event(connection, bank_id, endpoint_id, event_id)
        elif since is not None:
            many = await events.replay_since(connection, bank_id, endpoint_id, since)
        return Deed(ReplayView(many), endpoint_id)

    return await do_once(request, ReplayView, work)


@get(
    "/webhook-endpoints/{endpoint_id:uuid}/events",
    opt={"action": Action.READ_WEBHOOK_EVENTS},
    operation_id="list_webhook_events",
)
async def list_events(
    request: Call, endpoint_id: FromPath[UUID], cursor: Cursor = None, limit: Limit = 50
) -> EventPage:
    """List what the endpoint was told, is to be told or missed, the latest first.

    To read everything without a receiver, read the merchant's lines: they are numbered.
    """
    bank = await request.desk.bank(request.user.bank_id)
    listed = f"events of {endpoint_id}"
    before = int(read_cursor(bank.cursor_key, listed, cursor)) if cursor else events.AFTER_ALL
    async with transaction(request.desk.pool) as connection:
        await _reached(connection, request, endpoint_id)
        found = await events.list_events(
            connection, bank.bank_id, endpoint_id, before=before, limit=limit + 1
        )
    page, next_cursor, more = cut_page(
        found, limit, bank.cursor_key, listed, lambda event: str(event.number)
    )
    return EventPage([_event_view(event) for event in page], next_cursor, more)


@get(
    "/webhook-endpoints/{endpoint_id:uuid}/events/{event_id:uuid}/attempts",
    opt={"action": Action.READ_WEBHOOK_EVENTS},
    operation_id="list_webhook_attempts",
)
async def list_attempts(
    request: Call, endpoint_id: FromPath[UUID], event_id: FromPath[UUID]
) -> AttemptList:
    """List how the attempts at an event ended, the latest first; of answers the status only."""
    bank_id = request.user.bank_id
    async with transaction(request.desk.pool) as connection:
        await _reached(connection, request, endpoint_id)
        await events.get_event(connection, bank_id, endpoint_id, event_id)
        found = await events.list_attempts(connection, bank_id, endpoint_id, event_id)
    return AttemptList([_attempt_view(one) for one in found])


async def _check_url(request: Call, url: str) -> None:
    """Raise WebhookUrlRefusedError for a URL we do not call; a repeat is answered as it was."""
    if not await was_answered(request):
        await check_public(url, request.desk.resolve)


async def _reached(connection: Connection, request: Call, endpoint_id: UUID) -> Endpoint:
    """Return the endpoint if the caller may do this to it; NotFoundError as if absent."""
    endpoint = await endpoints.get_endpoint(connection, request.user.bank_id, endpoint_id)
    await check_reaches_merchant(connection, request, action_of(request), endpoint.merchant_id)
    return endpoint


async def _deed(connection: Connection, request: Call, endpoint_id: UUID) -> Deed[EndpointView]:
    endpoint = await endpoints.get_endpoint(connection, request.user.bank_id, endpoint_id)
    return Deed(_view(endpoint), endpoint_id)


def _shown(principal: Principal, endpoint: Endpoint) -> EndpointView:
    """Return the endpoint as the caller may see it: the URL is the merchant's."""
    is_own = principal.role is Role.MERCHANT
    return replace(_view(endpoint), url=endpoint.url) if is_own else _view(endpoint)


def _view(endpoint: Endpoint) -> EndpointView:
    """Return what may be stored and shown to all."""
    return EndpointView(
        endpoint_id=endpoint.endpoint_id,
        merchant_id=endpoint.merchant_id,
        host=read_url(endpoint.url).host,
        event_types=endpoint.event_types,
        created_at=endpoint.created_at,
        failing_since=endpoint.failing_since,
        disabled_at=endpoint.disabled_at,
        disabled_because=endpoint.disabled_because,
        previous_secret_until=endpoint.previous_until,
    )


def _attempt_view(attempt: events.Attempt) -> AttemptView:
    """Return the attempt, and not whether a name is unknown or leads inside."""
    view = msgspec.convert(attempt, AttemptView, from_attributes=True)
    is_unknown = attempt.outcome is Outcome.NAME_UNKNOWN
    return replace(view, outcome=Outcome.ADDRESS_REFUSED) if is_unknown else view


def _event_view(event: events.Event) -> EventView:
    data: dict[str, Any] = msgspec.json.decode(event.data)
    return EventView(
        event_id=event.event_id,
        type=event.type,
        occurred_at=event.occurred_at,
        data=data,
        state=event.state,
        attempts=event.attempts or 0,
        delivered_at=event.delivered_at,
        next_at=event.next_at,
    )


router = Router(
    "/",
    route_handlers=[
        open_endpoint,
        list_endpoints,
        read_endpoint,
        change_endpoint,
        disable_endpoint,
        enable_endpoint,
        rotate_secret,
        ping_endpoint,
        replay_events,
        list_events,
        list_attempts,
    ],
)
