"""Parties: whoever may own accounts, act or hold a role, and on which branch each hangs."""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from uuid import UUID

from timebank.db import Connection, load_queries
from timebank.domain.errors import NotFoundError

_QUERIES = load_queries(__package__)


class PartyKind(StrEnum):
    """What a party is."""

    PERSON = "person"
    MERCHANT = "merchant"
    BRANCH = "branch"
    FAMILY = "family"
    SYSTEM = "system"


async def register_parties(
    connection: Connection, bank_id: int, kind: PartyKind, party_ids: Sequence[UUID]
) -> None:
    """Register those that are not yet; in the order of their ids, so that two callers wait."""
    await connection.execute(_QUERIES["register_parties"], bank_id, sorted(party_ids), kind)


async def is_party(connection: Connection, bank_id: int, party_id: UUID, kind: PartyKind) -> bool:
    """Return whether there is a party of this id and kind that was not erased."""
    found: bool = await connection.fetchval(_QUERIES["is_party"], bank_id, party_id, kind)
    return found


async def check_persons(connection: Connection, bank_id: int, person_ids: Iterable[UUID]) -> None:
    """Raise NotFoundError unless all are registered persons who were not erased."""
    if await connection.fetchval(_QUERIES["list_strangers"], bank_id, list(person_ids)):
        raise NotFoundError("There is no such person in the registry. Register them first.")


async def place_party(
    connection: Connection, bank_id: int, party_id: UUID, branch_id: UUID
) -> UUID:
    """Hang a party, with all its accounts, on a branch from now on; return where it hung before.

    Who was never placed hung on the root. Locks the party and keeps the branch open. Refused as
    NotFoundError, BranchNotFoundError, BranchClosedError, and AlreadyThereError if it hangs there.
    """
    before: UUID = await connection.fetchval(_QUERIES["place_party"], bank_id, party_id, branch_id)
    return before


async def list_path_of(
    connection: Connection, bank_id: int, party_id: UUID | None
) -> Sequence[UUID]:
    """Return the branch a party hangs on now and all above it; None is the bank itself."""
    path: Sequence[UUID] = await connection.fetchval(_QUERIES["list_path_of"], bank_id, party_id)
    return path


async def list_persons_behind(
    connection: Connection, bank_id: int, party_ids: Iterable[UUID | None]
) -> frozenset[UUID]:
    """Return whom it serves to do something to what the parties own; None is the bank, nobody.

    Themselves, a family's members, who works for a merchant, and the guardians of all these.
    """
    owners = sorted({party_id for party_id in party_ids if party_id})
    records = await connection.fetch(_QUERIES["list_persons_behind"], bank_id, owners)
    return frozenset(record["behind"] for record in records)


async def find_common_branch(
    connection: Connection, bank_id: int, party_ids: Iterable[UUID | None]
) -> UUID:
    """Return the lowest branch on or below which all the parties hang now.

    The root for None, which is the bank itself, and for no party at all.
    """
    asked = list(set(party_ids)) or [None]
    records = await connection.fetch(_QUERIES["list_paths_of"], bank_id, asked)
    first, *others = [record["path"] for record in records]
    common: UUID = next(branch for branch in first if all(branch in path for path in others))
    return common
