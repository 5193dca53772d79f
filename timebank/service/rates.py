"""Rates and caps: versions that begin on a local day; what was confirmed before stays."""

from datetime import date
from uuid import UUID

from timebank.db import Connection, as_struct, load_queries
from timebank.domain.errors import NotFoundError
from timebank.domain.service import Caps, Rate
from timebank.ledger.ids import new_id
from timebank.service.categories import get_category

_QUERIES = load_queries(__package__)


async def propose_rate(
    connection: Connection,
    bank_id: int,
    actor_id: UUID,
    *,
    category_id: UUID,
    points_per_hour: int,
    effective_on: date,
) -> Rate:
    """Propose a rate from 0 to 1000; it counts for nothing until another approves it.

    NotFoundError if there is no such category.
    """
    await get_category(connection, bank_id, category_id)
    rate_id = new_id()
    await connection.execute(
        _QUERIES["propose_rate"],
        bank_id,
        rate_id,
        category_id,
        points_per_hour,
        effective_on,
        actor_id,
    )
    return await get_rate(connection, bank_id, rate_id)


async def approve_rate(connection: Connection, bank_id: int, actor_id: UUID, rate_id: UUID) -> Rate:
    """Put a proposed rate in force from its day on; one that is approved already stays as it is.

    SecondPersonNeededError for who proposed it, RateTooEarlyError where service of its time is
    confirmed, RateExistsError if another takes effect on the day. Waits for awards under way in
    the category.
    """
    await connection.execute(_QUERIES["approve_rate"], bank_id, rate_id, actor_id)
    return await get_rate(connection, bank_id, rate_id)


async def get_rate(connection: Connection, bank_id: int, rate_id: UUID) -> Rate:
    """Return the rate; NotFoundError if there is none."""
    record = await connection.fetchrow(_QUERIES["find_rate"], bank_id, rate_id)
    if record is None:
        raise NotFoundError
    return as_struct(record, Rate)


async def list_rates(
    connection: Connection,
    bank_id: int,
    category_id: UUID,
    *,
    after: tuple[date, UUID] | None = None,
    limit: int = 50,
) -> list[Rate]:
    """Return versions of a category's rate, proposed or approved, by the day they begin.

    Those `after` a day and the id of a rate of that day, if given.
    """
    day, rate_id = after or (None, None)
    records = await connection.fetch(
        _QUERIES["list_rates"], bank_id, category_id, day, rate_id, limit
    )
    return [as_struct(record, Rate) for record in records]


async def set_caps(connection: Connection, bank_id: int, actor_id: UUID, caps: Caps) -> None:
    """Cap what is confirmed from now on for days from `effective_on`; CapsExistError if set."""
    await connection.execute(
        _QUERIES["set_caps"],
        bank_id,
        caps.effective_on,
        caps.minutes_per_activity,
        caps.minutes_per_day,
        actor_id,
    )


async def list_caps(connection: Connection, bank_id: int) -> list[Caps]:
    """Return all caps by the day they begin."""
    return [as_struct(one, Caps) for one in await connection.fetch(_QUERIES["list_caps"], bank_id)]
