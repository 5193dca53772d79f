"""The registry of residents: who may own accounts, by random id and pseudonym, and no more."""

from collections.abc import Mapping
from datetime import date
from uuid import UUID

from timebank.db import Connection, load_queries
from timebank.ledger.ids import new_id
from timebank.people.parties import PartyKind, register_parties

_QUERIES = load_queries(__package__)


async def ensure_residents(
    connection: Connection, bank_id: int, confirmed: Mapping[str, date]
) -> Mapping[str, UUID]:
    """Return the resident_id of each pseudonym in `confirmed`, registered now if it is new.

    One who is registered already keeps the first `confirmed_on`. New rows are written in the
    order of the pseudonyms, so that two callers at once wait and do not deadlock.
    """
    refs = sorted(confirmed)
    await connection.execute(
        _QUERIES["register_residents"],
        bank_id,
        [new_id() for _ in refs],
        refs,
        [confirmed[ref] for ref in refs],
    )
    records = await connection.fetch(_QUERIES["list_residents_by_refs"], bank_id, refs)
    residents = {record["source_ref"]: record["resident_id"] for record in records}
    await register_parties(connection, bank_id, PartyKind.PERSON, list(residents.values()))
    return residents


async def is_registered(connection: Connection, bank_id: int, resident_id: UUID) -> bool:
    """Return whether the bank has a resident of this id."""
    found: bool = await connection.fetchval(_QUERIES["is_registered"], bank_id, resident_id)
    return found
