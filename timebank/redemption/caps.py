"""Caps of a bank, versioned, and the single override that two persons grant."""

from datetime import datetime, timedelta
from uuid import UUID

from msgspec import Struct

from timebank.db import Connection, as_struct, load_queries
from timebank.domain.errors import InvalidInputError, NotFoundError
from timebank.domain.redemption import EVERYONE, LONGEST_OVERRIDE, CapScope, OverrideReason

_QUERIES = load_queries(__package__)
_OF_OFFERS = {CapScope.OFFER_PERSON_DAY, CapScope.OFFER_PERSON}


class Cap(Struct, frozen=True, kw_only=True):
    """A version of a cap; `points` None is no cap, `subject_id` EVERYONE is all without an own."""

    scope: CapScope
    subject_id: UUID
    points: int | None
    in_force_from: datetime
    set_by: UUID


class Override(Struct, frozen=True, kw_only=True):
    """A grant for one act to pass one cap; `used_by` is that act."""

    override_id: UUID
    scope: CapScope
    subject_id: UUID
    offer_id: UUID
    amount: int
    reason: OverrideReason
    requested_by: UUID
    expires_at: datetime
    approved_by: UUID | None
    used_by: UUID | None


async def set_cap(
    connection: Connection,
    bank_id: int,
    scope: CapScope,
    points: int | None,
    *,
    subject_id: UUID = EVERYONE,
    set_by: UUID,
) -> None:
    """Put a cap in force from now on, for one subject or for all who have none of their own.

    Caps of offers stand in the offers: InvalidInputError.
    """
    if scope in _OF_OFFERS or (points is not None and points < 0):
        raise InvalidInputError("A cap is 0 or more points, not of an offer.", pointer="/points")
    await connection.execute(_QUERIES["set_cap"], bank_id, scope, subject_id, points, set_by)


async def list_caps(connection: Connection, bank_id: int) -> list[Cap]:
    """Return all versions of all caps, by scope, subject and time."""
    return [
        as_struct(record, Cap) for record in await connection.fetch(_QUERIES["list_caps"], bank_id)
    ]


async def request_override(
    connection: Connection,
    bank_id: int,
    override_id: UUID,
    scope: CapScope,
    *,
    subject_id: UUID,
    amount: int,
    reason: OverrideReason,
    requested_by: UUID,
    offer_id: UUID = EVERYONE,
    lifetime: timedelta = timedelta(days=1),
) -> None:
    """Ask that one act of up to `amount` (as the cap counts) may pass a cap of the subject.

    OverrideNeedsOthersError if one asks for oneself.
    """
    if not timedelta(0) < lifetime <= LONGEST_OVERRIDE:
        raise InvalidInputError("An override lives up to 7 days.", pointer="/lifetime")
    if (scope in _OF_OFFERS) != (offer_id != EVERYONE) or amount < 1:
        raise InvalidInputError("A cap of an offer names it.", pointer="/offer_id")
    await connection.execute(
        _QUERIES["request_override"],
        bank_id,
        override_id,
        scope,
        subject_id,
        offer_id,
        amount,
        reason,
        requested_by,
        lifetime,
    )


async def approve_override(
    connection: Connection, bank_id: int, override_id: UUID, *, approved_by: UUID
) -> None:
    """Agree as the second person; again changes nothing.

    OverrideNeedsOthersError for the one who asked and for the subject; NotFoundError when there
    is none, it is too late, or somebody else agreed before.
    """
    query = _QUERIES["approve_override"]
    if not await connection.fetchval(query, bank_id, override_id, approved_by):
        raise NotFoundError


async def list_overrides(
    connection: Connection, bank_id: int, *, override_id: UUID | None = None
) -> list[Override]:
    """Return all overrides, or the one of this id, in the order of their ids."""
    records = await connection.fetch(_QUERIES["list_overrides"], bank_id, override_id)
    return [as_struct(record, Override) for record in records]
