"""API keys of merchants' systems over HTTP; answers hold a token, so none of them is stored.

Administrators register a system and have it granted its role by four eyes; who runs the merchant
issues and changes its keys, which nobody of the programme ever holds. A rotation whose answer was
lost is not asked for again: the key that asked counts for a day, and the merchant issues a new one.
"""

from uuid import UUID

from litestar import Response, Router
from litestar.params import FromPath, FromQuery, JSONBody

from timebank.api.call import Call, IdempotencyKey
from timebank.api.login_wire import (
    IssueKeyBody,
    KeyList,
    KeyView,
    ListedKeyView,
    NothingBody,
    SystemView,
)
from timebank.api.logins import NO_STORE
from timebank.api.once import Deed, do_once, note_deed
from timebank.api.operations import delete, get, post
from timebank.db import Connection, transaction
from timebank.domain.errors import NotFoundError
from timebank.ledger.ids import new_id
from timebank.people.access import Action, Principal, Role
from timebank.people.login.api_keys import (
    ApiKey,
    get_key,
    get_system_grant,
    issue_key,
    list_keys,
    revoke_key,
    rotate_key,
)
from timebank.people.parties import PartyKind, place_party, register_parties
from timebank.people.targets import check_reaches_party


@post("/systems", opt={"action": Action.REGISTER_SYSTEM}, operation_id="register_system")
async def register_system(
    request: Call, data: JSONBody[NothingBody], idempotency_key: IdempotencyKey
) -> Response[SystemView]:
    """Register a system, of the caller's branch; two persons grant it a role afterwards."""
    principal = request.user

    async def work(connection: Connection) -> Deed[SystemView]:
        system_id = new_id()
        await register_parties(connection, principal.bank_id, PartyKind.SYSTEM, [system_id])
        if principal.branch_id:
            await place_party(connection, principal.bank_id, system_id, principal.branch_id)
        return Deed(SystemView(system_id), system_id)

    return await do_once(request, SystemView, work)


@get("/api-keys", opt={"action": Action.READ_API_KEYS}, operation_id="list_api_keys")
async def list_api_keys(request: Call, merchant_id: FromQuery[UUID | None] = None) -> KeyList:
    """List the keys in force that the caller reaches, of one merchant if given; never a token."""
    principal = request.user
    within = principal.branch_id
    if principal.role is Role.MERCHANT:
        if merchant_id not in {None, principal.merchant_id}:
            raise NotFoundError
        merchant_id, within = principal.merchant_id, None
    async with transaction(request.desk.pool) as connection:
        found = await list_keys(
            connection, principal.bank_id, merchant_id=merchant_id, within=within
        )
    return KeyList([_view(key) for key in found])


@post(
    "/api-keys",
    opt={"action": Action.ISSUE_API_KEY, "keyless": True},
    operation_id="issue_api_key",
)
async def issue_api_key(request: Call, data: JSONBody[IssueKeyBody]) -> Response[KeyView]:
    """Issue a key to a system of the caller's merchant: for what, and for how long.

    Nobody who works for the programme issues one, nor does a key.
    """
    principal = request.user
    async with transaction(request.desk.pool) as connection:
        grant = await get_system_grant(connection, principal.bank_id, data.grant_id)
        await check_reaches_party(
            connection, principal, Action.ISSUE_API_KEY, grant.branch_id, grant.merchant_id
        )
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
    """Change a key for a new one; the one before counts for a day more, so that nothing stops.

    Who does holds it from then on: nobody who works for the programme, as when a key is issued.
    """
    principal = request.user
    async with transaction(request.desk.pool) as connection:
        key = await _get_key(connection, principal, Action.ROTATE_API_KEY, api_key_id)
        session = await rotate_key(
            connection, principal.bank_id, key, principal.session_id, principal.principal_id
        )
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
    """Return a key the principal reaches: by the branch of its grant, or as its merchant.

    A key reaches itself only: another of the same system may do more, so it is as foreign as any.
    """
    key = await get_key(connection, principal.bank_id, api_key_id)
    await check_reaches_party(connection, principal, action, key.branch_id, key.merchant_id)
    if principal.scopes is not None and principal.session_id != key.session_id:
        raise NotFoundError
    return key


def _view(key: ApiKey) -> ListedKeyView:
    return ListedKeyView(
        api_key_id=key.api_key_id,
        grant_id=key.grant_id,
        merchant_id=key.merchant_id,
        scopes=key.scopes,
        issued_by=key.issued_by,
        issued_at=key.issued_at,
        rotated_at=key.rotated_at,
        rotated_by=key.rotated_by,
        expires_at=key.expires_at,
    )


router = Router(
    "/",
    route_handlers=[
        register_system,
        list_api_keys,
        issue_api_key,
        rotate_api_key,
        revoke_api_key,
    ],
)
