"""Service that looks invented, and holding it: a held activity earns and pays for nothing.

Reading decides nothing and writes nothing. One person holds, two release. While it is held, none
of its records is confirmed, and the points that it brought before cannot be spent.
"""

from collections.abc import Mapping
from datetime import date, datetime
from uuid import UUID

from msgspec import Struct

from timebank.db import Connection, as_struct, load_queries
from timebank.domain.errors import NotFoundError
from timebank.domain.suspicions import Bounds, Reason, Suspicion
from timebank.ledger.banks import get_bank_of_id
from timebank.ledger.blocks import place_block
from timebank.ledger.ids import new_id

_QUERIES = load_queries(__package__)


class ActivityHold(Struct, frozen=True, kw_only=True):
    """That an activity is or was held; it is released once two persons said so."""

    hold_id: UUID
    activity_id: UUID
    reason: str
    held_by: UUID
    held_at: datetime
    proposed_by: UUID | None
    released_by: UUID | None
    released_at: datetime | None


async def list_suspicions(
    connection: Connection,
    bank_id: int,
    since: date,
    *,
    within: UUID | None = None,
    bounds: Bounds | None = None,
    limit: int = 50,
) -> list[Suspicion]:
    """Return up to `limit` for each reason since that local day, those with most service first.

    Of a branch, if given: only what was served at activities and wishes of it and below counts.
    What was imported from a rota has no instants and is not asked about.
    """
    asked = bounds or Bounds()
    questions: Mapping[Reason, tuple[str, tuple[int, ...]]] = {
        Reason.MADE_AFTER_ITS_END: ("activities_made_after_their_end", (1,)),
        Reason.APPROVED_IN_HASTE: (
            "records_approved_in_haste",
            (asked.haste_minutes, asked.haste_records),
        ),
        Reason.NO_SPREAD: (
            "check_ins_without_spread",
            (asked.spread_seconds_each, asked.spread_persons),
        ),
        Reason.TOO_FAST: ("makers_too_fast", (asked.fast_minutes_a_day,)),
        Reason.AT_NIGHT: (
            "approvals_at_night",
            (asked.night_records, asked.night_from_hour, asked.night_to_hour),
        ),
        Reason.SAME_NAMES: ("same_names_every_time", (asked.same_shifts, asked.same_persons)),
    }
    return [
        as_struct({**record, "reason": reason, "bound": bound[0]}, Suspicion)
        for reason, (query, bound) in questions.items()
        for record in await connection.fetch(_QUERIES[query], bank_id, since, limit, within, *bound)
    ]


async def hold_activity(
    connection: Connection, bank_id: int, actor_id: UUID, activity_id: UUID, reason: Reason
) -> ActivityHold:
    """Hold an activity; one that is held already stays as it was. NotFoundError.

    Its records wait from now on. What was confirmed before is blocked as far as it is unspent, in
    the wallets of those who served; what is false is to be reversed.
    """
    hold_id = new_id()
    is_new = await connection.fetchval(
        _QUERIES["hold_activity"], bank_id, hold_id, activity_id, actor_id, reason
    )
    if is_new:
        bank = await get_bank_of_id(connection, bank_id)
        rows = await connection.fetch(_QUERIES["list_points_of_activity"], bank_id, activity_id)
        await place_block(connection, bank, hold_id, dict(map(tuple, rows)))
    return await get_hold(connection, bank_id, activity_id)


async def release_activity(
    connection: Connection, bank_id: int, actor_id: UUID, activity_id: UUID
) -> ActivityHold:
    """Propose the release, or release what another proposed: its points can be spent again.

    NotFoundError if it is not held; SecondPersonNeededError for who proposed it, made the
    activity, wrote or decided one of its records or has one, was there, or let somebody in or out.
    """
    await connection.execute(_QUERIES["release_activity"], bank_id, activity_id, actor_id)
    return await get_hold(connection, bank_id, activity_id)


async def get_hold(connection: Connection, bank_id: int, activity_id: UUID) -> ActivityHold:
    """Return the latest hold of an activity; NotFoundError if it never was held."""
    row = await connection.fetchrow(_QUERIES["find_activity_hold"], bank_id, activity_id)
    if row is None:
        raise NotFoundError
    return as_struct(row, ActivityHold)


async def list_held(
    connection: Connection, bank_id: int, *, within: UUID | None = None
) -> list[ActivityHold]:
    """Return the activities that are held now, the longest first; of a branch if given."""
    rows = await connection.fetch(_QUERIES["list_held_activities"], bank_id, within)
    return [as_struct(row, ActivityHold) for row in rows]
