"""Points that are given: to kin and pools, by merchants, and from a pool to who is in need.

Each gift is one round trip and one transaction, answered by its id like the acts on holds: run it
under `db.repeat_on_conflict` and commit whatever is answered. Until a bank sets its caps `gift_day`
and `reissue_day`, nothing is given.
"""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from msgspec import Struct

from timebank.db import Connection, as_struct, load_queries
from timebank.domain.errors import ForbiddenError, InvalidInputError
from timebank.domain.ledger import LARGEST_AMOUNT, AccountKind, Unit
from timebank.domain.redemption import ActKind, Answer
from timebank.ledger.accounts import get_account_of
from timebank.people.kin import list_kin

_QUERIES = load_queries(__package__)


class SaturationReason(StrEnum):
    """Why a shop is full: nothing went out at all, or far less than came in."""

    ONLY_FILLS = "only_fills"
    FILLS_FASTER = "fills_faster"


class SaturationBounds(Struct, frozen=True, kw_only=True):
    """A shop is looked at from this balance on, and is full when this share or less went out."""

    balance: int = 1000
    share_out: float = 0.2


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
    if not await _may_be_given_to(connection, bank_id, giver_id, to_account_id):
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

    They are not settled any more: the statement is less by them.
    """
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
    connection: Connection,
    bank_id: int,
    since: datetime,
    *,
    bounds: SaturationBounds | None = None,
    limit: int = 50,
) -> list[Saturation]:
    """Return merchants that only filled up since that instant, the fullest first; it only reads."""
    bounds = bounds or SaturationBounds()
    records = await connection.fetch(
        _QUERIES["saturated_merchants"], bank_id, since, bounds.balance, bounds.share_out, limit
    )
    return [as_struct(record, Saturation) for record in records]


async def _may_be_given_to(
    connection: Connection, bank_id: int, giver_id: UUID, account_id: UUID
) -> bool:
    kin = await list_kin(connection, bank_id, giver_id)
    may: bool = await connection.fetchval(
        _QUERIES["may_be_given_to"], bank_id, giver_id, account_id, sorted(kin)
    )
    return may


async def _give(
    connection: Connection, bank_id: int, act_id: UUID, kind: ActKind, *terms: object
) -> Answer:
    points = terms[2]
    if not isinstance(points, int) or abs(points) > LARGEST_AMOUNT:
        raise InvalidInputError("The amount is too large.", pointer="/points")
    record = await connection.fetchrow(_QUERIES["give_points"], bank_id, act_id, kind, *terms)
    return as_struct(record, Answer)
