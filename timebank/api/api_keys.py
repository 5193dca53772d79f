"""API keys of merchants' systems over HTTP; answers hold a token, so none of them is stored.

A rotation whose answer was lost is simply asked for again, with the old token: it stays good.
"""

from uuid import UUID

from litestar import Response, Router
from litestar.params import FromPath, JSONBody

from timebank.api.call import Call
from timebank.api.login_wire import IssueKeyBody, KeyView, NothingBody
from timebank.api.logins import NO_STORE
from timebank.api.once import note_deed
from timebank.api.operations import delete, post
from timebank.db import Connection, transaction
from timebank.domain.errors import NotFoundError
from timebank.people.access import Action, Principal, Role
from timebank.people.login.api_keys import (
    ApiKey,
    get_key,
    get_system_grant,
    issue_key,
    revoke_key,
    rotate_key,
)
from timebank.people.targets import check_reaches_party


@post(
    "/api-keys",
    opt={"action": Action.ISSUE_API_KEY, "keyless": True},
    operation_id="issue_api_key",
)
async def issue_api_key(request: Call, data: JSONBody[IssueKeyBody]) -> Response[KeyView]:
    """Issue a key to a merchant's system, for some of what it may do and for some time."""
    principal = request.user
    async with transaction(request.desk.pool) as connection:
        grant = await get_system_grant(connection, principal.bank_id, data.grant_id)
        await check_reaches_party(connection, principal, Action.ISSUE_API_KEY, grant.branch_id)
        api_key_id, session = await issue_key(
            connection,
            principal.bank_id,
            grant,
            scopes=data.scopes,
            lifetime_days=data.days,
            issued_by=principal.principal_id,
        )
        await note_deed(connection, request, api_key_id)
    view = KeyView(api_key_id, session.token, data.scopes, session.span.expires_at)
    return Response(view, status_code=201, headers=NO_STORE)


@post(
    "/api-keys/{api_key_id:uuid}/rotation",
    opt={"action": Action.ROTATE_API_KEY, "keyless": True},
    operation_id="rotate_api_key",
)
async def rotate_api_key(
    request: Call, api_key_id: FromPath[UUID], data: JSONBody[NothingBody]
) -> Response[KeyView]:
    """Change a key for a new one; the one before counts for a day more, so that nothing stops."""
    principal = request.user
    async with transaction(request.desk.pool) as connection:
        key = await _get_key(connection, principal, Action.ROTATE_API_KEY, api_key_id)
        session = await rotate_key(connection, principal.bank_id, key, principal.session_id)
        await note_deed(connection, request, api_key_id)
    view = KeyView(api_key_id, session.token, key.scopes, session.span.expires_at)
    return Response(view, status_code=201, headers=NO_STORE)


@delete(
    "/api-keys/{api_key_id:uuid}",
    opt={"action": Action.REVOKE_API_KEY, "keyless": True},
    operation_id="revoke_api_key",
)
async def revoke_api_key(request: Call, api_key_id: FromPath[UUID]) -> None:
    """End a key: all its tokens are useless from the next request on."""
    principal = request.user
    async with transaction(request.desk.pool) as connection:
        await _get_key(connection, principal, Action.REVOKE_API_KEY, api_key_id)
        await revoke_key(connection, principal.bank_id, api_key_id)
        await note_deed(connection, request, api_key_id)


async def _get_key(
    connection: Connection, principal: Principal, action: Action, api_key_id: UUID
) -> ApiKey:
    """Return a key the principal reaches: by the branch of its grant, or as the key itself.

    Another key of the same system may do more, so it is as foreign as any.
    """
    key = await get_key(connection, principal.bank_id, api_key_id)
    if principal.role is Role.MERCHANT:
        if principal.session_id not in {key.session_id, key.previous_session_id}:
            raise NotFoundError
    else:
        await check_reaches_party(connection, principal, action, key.branch_id)
    return key


router = Router("/", route_handlers=[issue_api_key, rotate_api_key, revoke_api_key])
