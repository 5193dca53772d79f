"""Activities: what residents serve at, found by the name the rota has for them."""

from collections.abc import Iterable, Mapping
from uuid import UUID

from msgspec import Struct

from timebank.db import Connection, as_struct, load_queries
from timebank.ledger.ids import new_id

_QUERIES = load_queries(__package__)


class Activity(Struct, frozen=True):
    """What residents serve at; `source_ref` is the event in the rota it was imported from."""

    activity_id: UUID
    source_ref: str
    title: str


async def list_activities(
    connection: Connection, bank_id: int, source_refs: Iterable[str]
) -> list[Activity]:
    """Return those of the activities that exist, in the order of their source_refs."""
    records = await connection.fetch(_QUERIES["list_activities"], bank_id, list(source_refs))
    return [as_struct(record, Activity) for record in records]


async def ensure_activities(
    connection: Connection, bank_id: int, titles: Mapping[str, str]
) -> Mapping[str, UUID]:
    """Return the activity_id of each source_ref in `titles`, made now if it is new.

    One that exists keeps its title. New rows are written in the order of the source_refs, so that
    two callers at once wait and do not deadlock.
    """
    refs = sorted(titles)
    await connection.execute(
        _QUERIES["register_activities"],
        bank_id,
        [new_id() for _ in refs],
        refs,
        [titles[ref] for ref in refs],
    )
    activities = await list_activities(connection, bank_id, refs)
    return {activity.source_ref: activity.activity_id for activity in activities}
