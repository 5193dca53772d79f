"""Points that are given: to kin and pools, by merchants, and from a pool to who is in need.

Each gift is one round trip and one transaction, answered by its id like the acts on holds: run it
under `db.repeat_on_conflict` and commit whatever is answered. Until a bank sets its caps `gift_day`
and `reissue_day`, nothing is given.
"""

from datetime import timedelta
from enum import StrEnum
from uuid import UUID

from msgspec import Struct

from timebank.db import Connection, as_struct, load_queries
from timebank.domain.errors import ForbiddenError, InvalidInputError
from timebank.domain.ledger import LARGEST_AMOUNT, AccountKind, Unit
from timebank.domain.redemption import ActKind, Answer
from timebank.ledger.accounts import find_accounts, get_account_of
from timebank.ledger.passbook import read_clock
from timebank.people.kin import list_kin
from timebank.people.parties import PartyKind, is_party, list_persons_behind
from timebank.redemption.families import list_pools_of

_QUERIES = load_queries(__package__)


class SaturationReason(StrEnum):
    """Why a shop is full: nothing went out at all, or far less than came in."""

    ONLY_FILLS = "only_fills"
    FILLS_FASTER = "fills_faster"


class SaturationBounds(Struct, frozen=True, kw_only=True):
    """A shop is looked at from this balance on, and is full when so little went out.

    `percent_out` is of what came in during the last `days`. A bank that set none has these.
    """

    days: int = 30
    balance: int = 1000
    percent_out: int = 20


class Saturation(Struct, frozen=True, kw_only=True):
    """A shop that only fills up; propose to settle with it, or that it gives points on."""

    reason: SaturationReason
    merchant_id: UUID
    balance: int
    came_in: int
    went_out: int


async def give(
    connection: Connection,
    bank_id: int,
    gift_id: UUID,
    *,
    giver_id: UUID,
    to_account_id: UUID,
    points: int,
    actor_id: UUID,
    override_id: UUID | None = None,
) -> Answer:
    """Give points of a resident to kin, their household, their family's pool or a branch's pool.

    ForbiddenError for anyone else: points are not for sale. Counts in the giver's `gift_day`.
    """
    wallet = await get_account_of(connection, bank_id, Unit.POINTS, AccountKind.WALLET, giver_id)
    if not await _may_give_to(connection, bank_id, giver_id, to_account_id):
        raise ForbiddenError
    return await _give(
        connection,
        bank_id,
        gift_id,
        ActKind.GIFT,
        wallet.account_id,
        to_account_id,
        points,
        override_id,
        actor_id,
    )


async def reissue(
    connection: Connection,
    bank_id: int,
    reissue_id: UUID,
    *,
    merchant_id: UUID,
    to_account_id: UUID,
    points: int,
    actor_id: UUID,
    override_id: UUID | None = None,
) -> Answer:
    """Give points that a merchant took in to a resident or a pool, under its `reissue_day`.

    They are not settled any more: the statement is less by them. ForbiddenError for whoever works
    for the merchant, and their guardians: nobody is given what they take in.
    """
    for receiver in await find_accounts(connection, bank_id, [to_account_id]):
        served = await list_persons_behind(connection, bank_id, [receiver.owner_id])
        if served & await list_persons_behind(connection, bank_id, [merchant_id]):
            raise ForbiddenError
    account = await get_account_of(
        connection, bank_id, Unit.POINTS, AccountKind.MERCHANT, merchant_id
    )
    return await _give(
        connection,
        bank_id,
        reissue_id,
        ActKind.REISSUE,
        account.account_id,
        to_account_id,
        points,
        override_id,
        actor_id,
    )


async def allocate(
    connection: Connection,
    bank_id: int,
    allocation_id: UUID,
    *,
    branch_id: UUID,
    to_account_id: UUID,
    points: int,
    actor_id: UUID,
) -> Answer:
    """Give points from a branch's pool to a household in need: a wallet, or a family's pool.

    No cap: the caller does it after four eyes approved, in that commit.
    """
    pool = await get_account_of(connection, bank_id, Unit.POINTS, AccountKind.POOL, branch_id)
    return await _give(
        connection,
        bank_id,
        allocation_id,
        ActKind.ALLOCATE,
        pool.account_id,
        to_account_id,
        points,
        None,
        actor_id,
    )


async def list_saturated(
    connection: Connection, bank_id: int, bounds: SaturationBounds, *, limit: int = 50
) -> list[Saturation]:
    """Return merchants that only fill up, the fullest first; it only reads."""
    since = await read_clock(connection) - timedelta(days=bounds.days)
    records = await connection.fetch(
        _QUERIES["saturated_merchants"], bank_id, since, bounds.balance, bounds.percent_out, limit
    )
    return [as_struct(record, Saturation) for record in records]


async def set_saturation_bounds(
    connection: Connection, bank_id: int, bounds: SaturationBounds, *, set_by: UUID
) -> None:
    """Say from now on when a shop counts as full."""
    await connection.execute(
        _QUERIES["set_saturation_bounds"],
        bank_id,
        bounds.days,
        bounds.balance,
        bounds.percent_out,
        set_by,
    )


async def find_saturation_bounds(connection: Connection, bank_id: int) -> SaturationBounds:
    """Return when a shop counts as full now."""
    record = await connection.fetchrow(_QUERIES["find_saturation_bounds"], bank_id)
    return SaturationBounds() if record is None else as_struct(record, SaturationBounds)


async def are_kin(connection: Connection, bank_id: int, one_id: UUID, other_id: UUID) -> bool:
    """Return whether two persons are kin: one guards or helps the other, or they share a family."""
    if one_id == other_id:
        return False
    if other_id in await list_kin(connection, bank_id, one_id):
        return True
    if one_id in await list_kin(connection, bank_id, other_id):
        return True
    share: bool = await connection.fetchval(_QUERIES["share_a_family"], bank_id, one_id, other_id)
    return share


async def _may_give_to(
    connection: Connection, bank_id: int, giver_id: UUID, account_id: UUID
) -> bool:
    for account in await find_accounts(connection, bank_id, [account_id]):
        owner_id = account.owner_id
        if owner_id is None or account.unit is not Unit.POINTS:
            return False
        if account.kind is AccountKind.WALLET:
            return await are_kin(connection, bank_id, giver_id, owner_id)
        if await is_party(connection, bank_id, owner_id, PartyKind.BRANCH):
            return account.kind is AccountKind.POOL
        pools = await list_pools_of(connection, bank_id, giver_id)
        return account_id in {pool.account_id for pool in pools}
    return False


async def _give(
    connection: Connection, bank_id: int, act_id: UUID, kind: ActKind, *terms: object
) -> Answer:
    points = terms[2]
    if not isinstance(points, int) or abs(points) > LARGEST_AMOUNT:
        raise InvalidInputError("The amount is too large.", pointer="/points")
    record = await connection.fetchrow(_QUERIES["give_points"], bank_id, act_id, kind, *terms)
    return as_struct(record, Answer)
