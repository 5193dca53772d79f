"""Holds and what becomes of them: each act is one round trip, and one transaction.

Run them under `db.repeat_on_conflict` and commit whatever is answered: a refusal is remembered
under its id, and a code that was shown is used up. The order of locks is in schema.sql.
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from msgspec import Struct

from timebank.db import Connection, Pool, as_struct, load_queries, repeat_on_conflict
from timebank.domain.errors import NotFoundError
from timebank.domain.redemption import (
    ActKind,
    ActReason,
    Answer,
    CapScope,
    Channel,
    Code,
    CodeKind,
    Hold,
    Quote,
    RedemptionStatus,
    Wish,
    check_reason,
    check_wish,
)
from timebank.ledger.ids import derive_id
from timebank.redemption.codes import digest, digest_typed, new_code

_QUERIES = load_queries(__package__)
_AFTER_ALL = UUID(int=2**128 - 1)

SWEEPER_ID = derive_id(UUID(int=0), "timebank sweeper")
"""The actor of expiries: the clock, and no person."""

HOLDS_PER_SWEEP = 100


class PlacedHold(Struct, frozen=True):
    """The answer, and the pick-up code if this call made one: it cannot be read again."""

    answer: Answer
    pickup: Code | None


class Act(Struct, frozen=True, kw_only=True):
    """An act on a hold, done or refused, as it is remembered."""

    act_id: UUID
    kind: ActKind
    status: RedemptionStatus
    cap: CapScope | None
    quantity: int | None
    points: int | None
    actor_id: UUID
    reason: ActReason | None
    recorded_at: datetime


async def quote(connection: Connection, bank_id: int, wish: Wish) -> Quote:
    """Return what a hold would be answered now; it only reads, and promises nothing.

    Not by a code, which would be used up.
    """
    check_wish(wish)
    record = await connection.fetchrow(
        _QUERIES["quote_hold"], bank_id, *_terms(wish), wish.override_id
    )
    return as_struct(record, Quote)


async def place_hold(
    connection: Connection, bank_id: int, hold_id: UUID, wish: Wish, *, actor_id: UUID
) -> PlacedHold:
    """Hold points, and stock if it is counted.

    The same hold_id with the same wish is answered as it was, and without a code; with another
    it is an id_conflict. InvalidInputError for a wish that makes no sense.
    """
    check_wish(wish)
    pickup = new_code(CodeKind.PICKUP)
    record = await connection.fetchrow(
        _QUERIES["place_hold"],
        bank_id,
        hold_id,
        *_terms(wish),
        wish.override_id,
        actor_id,
        None if wish.code is None else digest_typed(wish.code, CodeKind.PAYMENT),
        digest(pickup.digits),
        digest(pickup.token),
    )
    answer = as_struct(record, Answer)
    has_code = (
        record["is_new"]
        and answer.status is RedemptionStatus.DONE
        and wish.channel is Channel.SESSION
    )
    return PlacedHold(answer, pickup if has_code else None)


async def charge(
    connection: Connection,
    bank_id: int,
    hold_id: UUID,
    wish: Wish,
    *,
    capture_id: UUID,
    release_id: UUID,
    actor_id: UUID,
    override_id: UUID | None = None,
) -> Answer:
    """Hold by a payment code and capture all at once, in one commit; else give all back.

    `override_id` passes the clerk's own cap, which is the capture's; the wish has the hold's.
    """
    check_wish(wish)
    await connection.execute(
        _QUERIES["lock_charge"],
        bank_id,
        wish.merchant_id,
        wish.offer_id,
        wish.override_id or override_id,
        actor_id,
        digest_typed(wish.code or "", CodeKind.PAYMENT),
    )
    placed = await place_hold(connection, bank_id, hold_id, wish, actor_id=actor_id)
    if placed.answer.status is not RedemptionStatus.DONE:
        return placed.answer
    captured = await capture_hold(
        connection,
        bank_id,
        capture_id,
        hold_id,
        merchant_id=wish.merchant_id,
        actor_id=actor_id,
        override_id=override_id,
    )
    if captured.status is not RedemptionStatus.DONE:  # the clerk's own cap
        await release_hold(
            connection,
            bank_id,
            release_id,
            hold_id,
            reason=ActReason.NOT_HANDED_OVER,
            actor_id=actor_id,
        )
    return captured


def _terms(wish: Wish) -> tuple[object, ...]:
    return (
        wish.resident_id,
        wish.source_account_id,
        wish.merchant_id,
        wish.offer_id,
        wish.shop_id,
        wish.quantity,
        wish.lifetime,
        wish.channel,
    )


async def capture_hold(
    connection: Connection,
    bank_id: int,
    capture_id: UUID,
    hold_id: UUID,
    *,
    merchant_id: UUID,
    actor_id: UUID,
    quantity: int | None = None,
    code: str | None = None,
    override_id: UUID | None = None,
) -> Answer:
    """Give the merchant the points for a quantity, all if None; the rest goes back at once.

    A hold placed in a session needs its pick-up `code`. A hold of another merchant is
    hold_not_found. It never fails for lack of points, but may for the cap of the actor's day.
    """
    record = await connection.fetchrow(
        _QUERIES["capture_hold"],
        bank_id,
        capture_id,
        hold_id,
        merchant_id,
        quantity,
        override_id,
        actor_id,
        None if code is None else digest_typed(code, CodeKind.PICKUP),
    )
    return as_struct(record, Answer)


async def release_hold(
    connection: Connection,
    bank_id: int,
    release_id: UUID,
    hold_id: UUID,
    *,
    reason: ActReason,
    actor_id: UUID,
) -> Answer:
    """Give all back: the redemption does not take place. Who may is for the caller to know."""
    check_reason(ActKind.RELEASE, reason)
    record = await connection.fetchrow(
        _QUERIES["release_hold"], bank_id, release_id, hold_id, reason, actor_id
    )
    return as_struct(record, Answer)


async def refund_capture(
    connection: Connection,
    bank_id: int,
    refund_id: UUID,
    hold_id: UUID,
    *,
    merchant_id: UUID,
    points: int,
    reason: ActReason,
    actor_id: UUID,
    returned: int = 0,
) -> Answer:
    """Give points of a capture back to where they were held from, in parts if need be.

    `returned` is how many units of the goods go back into the stock.
    """
    check_reason(ActKind.REFUND, reason)
    record = await connection.fetchrow(
        _QUERIES["refund_capture"],
        bank_id,
        refund_id,
        hold_id,
        merchant_id,
        points,
        returned,
        reason,
        actor_id,
    )
    return as_struct(record, Answer)


async def expire_holds(
    connection: Connection, bank_id: int, *, limit: int = HOLDS_PER_SWEEP
) -> list[Answer]:
    """End up to `limit` overdue holds that nobody else is at; two sweepers do no harm."""
    records = await connection.fetch(_QUERIES["expire_holds"], bank_id, limit, SWEEPER_ID)
    return [as_struct(record, Answer) for record in records]


async def sweep(pool: Pool, bank_id: int) -> int:
    """End all overdue holds, a commit for each batch; return how many."""
    total = 0
    while ended := await repeat_on_conflict(pool, lambda c: expire_holds(c, bank_id)):
        total += len(ended)
    return total


async def get_hold(connection: Connection, bank_id: int, hold_id: UUID) -> Hold:
    """Return the hold; NotFoundError if there is none. An overdue one is open until swept."""
    record = await connection.fetchrow(_QUERIES["find_hold"], bank_id, hold_id)
    if record is None:
        raise NotFoundError
    return as_struct(record, Hold)


async def list_holds_of_resident(
    connection: Connection,
    bank_id: int,
    resident_id: UUID,
    *,
    before: UUID = _AFTER_ALL,
    limit: int = 50,
) -> list[Hold]:
    """Return holds of a resident, the newest ids first."""
    records = await connection.fetch(
        _QUERIES["list_holds_of_resident"], bank_id, resident_id, before, limit
    )
    return [as_struct(record, Hold) for record in records]


async def list_holds_of_merchant(
    connection: Connection,
    bank_id: int,
    merchant_id: UUID,
    *,
    before: UUID = _AFTER_ALL,
    limit: int = 50,
) -> list[Hold]:
    """Return holds at a merchant, the newest ids first."""
    records = await connection.fetch(
        _QUERIES["list_holds_of_merchant"], bank_id, merchant_id, before, limit
    )
    return [as_struct(record, Hold) for record in records]


async def list_acts(connection: Connection, bank_id: int, hold_id: UUID) -> Sequence[Act]:
    """Return all that was done or refused about a hold, the earliest first."""
    records = await connection.fetch(_QUERIES["list_acts"], bank_id, hold_id)
    return [as_struct(record, Act) for record in records]
