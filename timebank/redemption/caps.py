"""Caps of a bank, versioned, and the single override that two persons grant."""

from datetime import datetime, timedelta
from uuid import UUID

from msgspec import Struct

from timebank.db import Connection, as_struct, load_queries
from timebank.domain.errors import InvalidInputError, NotFoundError
from timebank.domain.redemption import EVERYONE, OVERRIDE_LIFETIME, CapScope, OverrideReason

_QUERIES = load_queries(__package__)
AFTER_ALL = UUID(int=2**128 - 1)
_OF_OFFERS = {CapScope.OFFER_PERSON_DAY, CapScope.OFFER_PERSON}


class Cap(Struct, frozen=True, kw_only=True):
    """A version of a cap; `points` None is no cap, `subject_id` EVERYONE is all without an own."""

    scope: CapScope
    subject_id: UUID
    points: int | None
    in_force_from: datetime
    set_by: UUID


class OverrideTerms(Struct, frozen=True, kw_only=True):
    """Which cap one act may pass, and by adding how much at most, as that cap counts.

    `offer_id` names the offer of a cap of an offer.
    """

    scope: CapScope
    subject_id: UUID
    amount: int
    reason: OverrideReason
    offer_id: UUID = EVERYONE


class Override(OverrideTerms, frozen=True, kw_only=True):
    """A grant of two persons, maker and checker; `used_by` is the act that passed by it."""

    override_id: UUID
    maker_id: UUID
    checker_id: UUID
    granted_at: datetime
    expires_at: datetime
    used_by: UUID | None
    used_at: datetime | None


def check_cap(scope: CapScope, points: int | None) -> None:
    """Raise InvalidInputError for a cap that could not be set; before it is proposed."""
    if scope in _OF_OFFERS or (points is not None and points < 0):
        raise InvalidInputError("A cap is 0 or more points, not of an offer.", pointer="/points")


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
    check_cap(scope, points)
    await connection.execute(_QUERIES["set_cap"], bank_id, scope, subject_id, points, set_by)


async def get_used_today(connection: Connection, bank_id: int, resident_id: UUID) -> int:
    """Return what left a resident's wallet on this local day, whoever did it.

    The points that they hold, have redeemed or gave.
    """
    used: int = await connection.fetchval(_QUERIES["get_used_today"], bank_id, resident_id)
    return used


async def list_caps(connection: Connection, bank_id: int) -> list[Cap]:
    """Return all versions of all caps, by scope, subject and time."""
    return [
        as_struct(record, Cap) for record in await connection.fetch(_QUERIES["list_caps"], bank_id)
    ]


def check_override(terms: OverrideTerms) -> None:
    """Raise InvalidInputError for terms that no cap could have; before they are proposed."""
    if (terms.scope in _OF_OFFERS) != (terms.offer_id != EVERYONE):
        raise InvalidInputError("A cap of an offer names it.", pointer="/offer_id")
    if terms.amount < 1:
        raise InvalidInputError("The amount is positive.", pointer="/amount")


async def grant_override(
    connection: Connection,
    bank_id: int,
    approval_id: UUID,
    terms: OverrideTerms,
    *,
    lifetime: timedelta = OVERRIDE_LIFETIME,
) -> None:
    """Do what two persons approved as the deed `pass_cap` for the subject, in that commit.

    The override's id is the approval's. NotFoundError if it was not approved so.
    """
    check_override(terms)
    granted = await connection.fetchval(
        _QUERIES["grant_override"],
        bank_id,
        approval_id,
        terms.scope,
        terms.subject_id,
        terms.offer_id,
        terms.amount,
        terms.reason,
        lifetime,
    )
    if not granted:
        raise NotFoundError


async def list_overrides(
    connection: Connection,
    bank_id: int,
    *,
    is_used: bool | None = None,
    before: UUID = AFTER_ALL,
    limit: int = 50,
) -> list[Override]:
    """Return overrides, those proposed last first; only used or unused ones if it is said."""
    records = await connection.fetch(_QUERIES["list_overrides"], bank_id, before, is_used, limit)
    return [as_struct(record, Override) for record in records]


async def find_scope_of_override(
    connection: Connection, bank_id: int, override_id: UUID
) -> CapScope | None:
    """Return which cap an override passes, used or not; None if there is none."""
    scope = await connection.fetchval(_QUERIES["find_scope_of_override"], bank_id, override_id)
    return None if scope is None else CapScope(scope)
