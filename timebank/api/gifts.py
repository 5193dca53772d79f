"""Points that are given, over HTTP: by residents to kin and pools, by merchants to members.

Whoever may not be given to looks like nobody: no answer tells who exists.
"""

from uuid import UUID

from litestar import Response, Router
from litestar.params import JSONBody
from msgspec import UNSET

from timebank.api.acts import act_id_of, answer_act
from timebank.api.call import Call, IdempotencyKey
from timebank.api.minors import find_band
from timebank.api.once import was_answered
from timebank.api.operations import post
from timebank.api.people_wire import exactly_one
from timebank.api.tills import own_merchant
from timebank.api.wire_exchange import GiftBody, ReissueBody
from timebank.api.wire_redemption import ActView
from timebank.db import Connection, transaction
from timebank.domain.ages import AgeBand
from timebank.domain.errors import NotFoundError
from timebank.domain.ledger import AccountKind, Unit
from timebank.domain.numbers import parse_member_number
from timebank.domain.redemption import Answer
from timebank.ledger.accounts import ensure_account
from timebank.people.access import Action
from timebank.people.cards import find_card_holder, parse_card_token
from timebank.people.counter import find_member
from timebank.people.kin import check_may_redeem, lock_resident
from timebank.people.parties import list_path_of
from timebank.people.registration import find_resident_by_number
from timebank.redemption import exchange
from timebank.redemption.caps import get_used_today
from timebank.redemption.families import list_pools_of


@post("/gifts", opt={"action": Action.GIVE, "personal": True}, operation_id="give")
async def give(
    request: Call, data: JSONBody[GiftBody], idempotency_key: IdempotencyKey
) -> Response[ActView]:
    """Give one's own points to kin, to one's family's pool, or to the pool of one's community.

    Under the cap of a giver's day, and for minors under the cap of what they redeem alone.
    """
    principal = request.user
    me = principal.principal_id
    exactly_one(
        data.member_number,
        data.card,
        data.resident_id,
        data.family_id,
        data.community,
        pointer="/member_number",
    )
    number = _number_in(data)
    band = await find_band(request, me)
    gift_id = act_id_of(request, "gift")

    async def act(connection: Connection) -> Answer:
        await _check_guardian(connection, request, band, data.points)
        to_account_id = await _find_receiver(connection, request, data, number)
        return await exchange.give(
            connection,
            principal.bank_id,
            gift_id,
            giver_id=me,
            to_account_id=to_account_id,
            points=data.points,
            actor_id=me,
            override_id=data.override_id,
        )

    return await answer_act(request, act, gift_id)


async def _check_guardian(
    connection: Connection, request: Call, band: AgeBand, points: int
) -> None:
    """Raise GuardianNeededError for what a minor does not give alone; first in the transaction."""
    if band is AgeBand.ADULT:
        return
    bank_id, me = request.user.bank_id, request.user.principal_id
    await lock_resident(connection, bank_id, me)
    await check_may_redeem(
        connection,
        bank_id,
        me,
        band,
        actor_id=me,
        points=points,
        redeemed_today=await get_used_today(connection, bank_id, me),
    )


async def _find_receiver(
    connection: Connection, request: Call, data: GiftBody, number: str | None
) -> UUID:
    """Return the account to give to; NotFoundError for nobody, and for whoever is no kin."""
    bank_id, me = request.user.bank_id, request.user.principal_id
    if data.community is not UNSET:
        return await _community_of(connection, bank_id, me)
    if data.family_id is not UNSET:
        pools = await list_pools_of(connection, bank_id, me)
        return _only([pool.account_id for pool in pools if pool.family_id == data.family_id])
    person_id = await _find_person(connection, bank_id, data, number)
    if person_id is None or not await exchange.are_kin(connection, bank_id, me, person_id):
        raise NotFoundError
    return await _wallet_of(connection, bank_id, person_id)


async def _find_person(
    connection: Connection, bank_id: int, data: GiftBody, number: str | None
) -> UUID | None:
    if number is not None:
        return await find_resident_by_number(connection, bank_id, number)
    if data.card is not UNSET:
        holder = await find_card_holder(connection, parse_card_token(data.card))
        return holder.resident_id if holder and holder.bank_id == bank_id else None
    return None if data.resident_id is UNSET else data.resident_id


@post("/reissues", opt={"action": Action.REISSUE, "personal": True}, operation_id="reissue")
async def reissue(
    request: Call, data: JSONBody[ReissueBody], idempotency_key: IdempotencyKey
) -> Response[ActView]:
    """Give points that the merchant took in to a member or to the community's pool.

    Under the cap of the merchant's day, and to nobody of the merchant. After a few guesses of who
    is a member one has to wait.
    """
    principal, merchant_id = request.user, own_merchant(request)
    exactly_one(data.member_number, data.card, data.community, pointer="/member_number")
    number = _number_in(data)
    member_id = None
    if data.community is UNSET and not await was_answered(request):
        async with transaction(request.desk.pool) as connection:
            member_id = await find_member(
                connection,
                principal.bank_id,
                principal.principal_id,
                card=None if data.card is UNSET else data.card,
                member_number=number,
            )
        if member_id is None:
            raise NotFoundError
    reissue_id = act_id_of(request, "reissue")

    async def act(connection: Connection) -> Answer:
        if member_id is None:
            to_account_id = await _community_of(connection, principal.bank_id, merchant_id)
        else:
            to_account_id = await _wallet_of(connection, principal.bank_id, member_id)
        return await exchange.reissue(
            connection,
            principal.bank_id,
            reissue_id,
            merchant_id=merchant_id,
            to_account_id=to_account_id,
            points=data.points,
            actor_id=principal.principal_id,
            override_id=data.override_id,
        )

    return await answer_act(request, act, reissue_id)


def _number_in(data: GiftBody | ReissueBody) -> str | None:
    return None if data.member_number is UNSET else parse_member_number(data.member_number)


async def _community_of(connection: Connection, bank_id: int, party_id: UUID) -> UUID:
    """Return the pool of the branch that a party hangs on, opened at its first use."""
    [branch_id, *_] = await list_path_of(connection, bank_id, party_id)
    pool = await ensure_account(connection, bank_id, Unit.POINTS, AccountKind.POOL, branch_id)
    return pool.account_id


async def _wallet_of(connection: Connection, bank_id: int, person_id: UUID) -> UUID:
    wallet = await ensure_account(connection, bank_id, Unit.POINTS, AccountKind.WALLET, person_id)
    return wallet.account_id


def _only(found: list[UUID]) -> UUID:
    if not found:
        raise NotFoundError
    return found[0]


router = Router("/", route_handlers=[give, reissue])
