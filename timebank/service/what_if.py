"""What if: past service under proposed rates, before anybody approves them. Nothing is written."""

from collections.abc import Mapping
from datetime import date
from uuid import UUID

from msgspec import Struct

from timebank.db import Connection, load_queries

_QUERIES = load_queries(__package__)


class CategoryOutcome(Struct, frozen=True, kw_only=True):
    """A category's confirmed service and what it earns by both rates, each person rounded down."""

    category_id: UUID
    persons: int
    minutes: int
    points_in_force: int
    points_proposed: int


class WhatIf(Struct, frozen=True, kw_only=True):
    """The outcome of each category by its id, and of all."""

    categories: list[CategoryOutcome]
    minutes: int
    points_in_force: int
    points_proposed: int


async def what_if(
    connection: Connection, bank_id: int, rates: Mapping[UUID, int], from_on: date, until_on: date
) -> WhatIf:
    """Replay the confirmed service of some local days, both included, under other rates.

    `rates` are points for an hour by category; a category that is not in it keeps its own. The
    whole points of a person and category are those of all these days together, by the rates that
    were in force and by the proposed. The transaction is read only from here on: whatever else it
    tries to write is refused.
    """
    await connection.execute(_QUERIES["forbid_writing"])
    rows = await connection.fetch(
        _QUERIES["what_if"], bank_id, from_on, until_on, list(rates), list(rates.values())
    )
    outcomes = [CategoryOutcome(**dict(row)) for row in rows]
    return WhatIf(
        categories=outcomes,
        minutes=sum(outcome.minutes for outcome in outcomes),
        points_in_force=sum(outcome.points_in_force for outcome in outcomes),
        points_proposed=sum(outcome.points_proposed for outcome in outcomes),
    )
