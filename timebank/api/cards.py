"""Cards over HTTP, and what a merchant learns at the counter: a masked name, enough or not."""

from uuid import UUID

from litestar import Response, Router
from litestar.params import FromPath, JSONBody
from msgspec import UNSET

from timebank.api.call import Call
from timebank.api.login_wire import NothingBody
from timebank.api.logins import NO_STORE
from timebank.api.once import note_deed
from timebank.api.operations import delete, post
from timebank.api.paper import access_of
from timebank.api.people_wire import CardView, CounterCheckBody, CounterCheckView, exactly_one
from timebank.db import transaction
from timebank.domain.errors import NotFoundError
from timebank.domain.ledger import AccountKind, Unit
from timebank.domain.names import mask_name
from timebank.domain.numbers import parse_member_number
from timebank.ledger.accounts import find_account_of
from timebank.ledger.passbook import list_blocked
from timebank.people.access import Action
from timebank.people.cards import draw_card, issue_card, revoke_card, spell_card_token
from timebank.people.counter import find_member
from timebank.people.registration import get_membership
from timebank.people.targets import check_reaches_person
from timebank.people.vault import Purpose, read_persons


@post(
    "/residents/{resident_id:uuid}/card",
    opt={"action": Action.ISSUE_CARD, "keyless": True},
    operation_id="issue_card",
)
async def issue_a_card(
    request: Call, resident_id: FromPath[UUID], data: JSONBody[NothingBody]
) -> Response[CardView]:
    """Issue a card to an approved member; one that they had is dead from now on.

    The answer is not kept: asked for again, it is another card.
    """
    principal = request.user
    async with transaction(request.desk.pool) as connection:
        await check_reaches_person(connection, principal, Action.ISSUE_CARD, resident_id)
        token = await issue_card(
            connection, principal.bank_id, resident_id, issued_by=principal.principal_id
        )
        membership = await get_membership(connection, principal.bank_id, resident_id)
        await note_deed(connection, request, resident_id)
    svg = draw_card(token, request.desk.settings.public_url)
    view = CardView(spell_card_token(token), svg, membership.member_number or "")
    return Response(view, status_code=201, headers=NO_STORE)


@delete(
    "/residents/{resident_id:uuid}/card",
    opt={"action": Action.REVOKE_CARD, "keyless": True},
    operation_id="revoke_card",
)
async def revoke_a_card(request: Call, resident_id: FromPath[UUID]) -> None:
    """Kill a resident's card at once, whether or not there is one."""
    principal = request.user
    async with transaction(request.desk.pool) as connection:
        await check_reaches_person(connection, principal, Action.REVOKE_CARD, resident_id)
        await revoke_card(connection, principal.bank_id, resident_id)
        await note_deed(connection, request, resident_id)


@post(
    "/counter-checks",
    opt={"action": Action.CHECK_AT_COUNTER, "keyless": True},
    status_code=200,
    operation_id="check_at_counter",
)
async def check_at_counter(
    request: Call, data: JSONBody[CounterCheckBody]
) -> Response[CounterCheckView]:
    """Tell whether the member of this card or number has so many points: a masked name, yes or no.

    Whoever is no member here looks like nobody; after a few such guesses one has to wait.
    """
    desk, principal = request.desk, request.user
    exactly_one(data.card, data.member_number, pointer="/card")
    number = None if data.member_number is UNSET else parse_member_number(data.member_number)
    async with transaction(desk.pool) as connection:
        member_id = await find_member(
            connection,
            principal.bank_id,
            principal.principal_id,
            card=None if data.card is UNSET else data.card,
            member_number=number,
        )
    if member_id is None:
        raise NotFoundError
    access = access_of(request, Purpose.IDENTIFICATION)
    known = await read_persons(desk.pool, desk.ring, access, [member_id], ["name"])
    if member_id not in known:  # frozen: for a merchant, nobody
        raise NotFoundError
    async with transaction(desk.pool) as connection:
        wallet = await find_account_of(
            connection, principal.bank_id, Unit.POINTS, AccountKind.WALLET, member_id
        )
        wallets = [wallet.account_id] if wallet else []
        blocked = sum((await list_blocked(connection, principal.bank_id, wallets)).values())
    stand = (await desk.balance(principal.bank_id, wallet.account_id)).balance if wallet else 0
    points = max(0, stand - blocked)
    view = CounterCheckView(mask_name(str(known[member_id].name)), points >= data.points)
    return Response(view, status_code=200, headers=NO_STORE)


router = Router("/", route_handlers=[issue_a_card, revoke_a_card, check_at_counter])
