"""A person's copy of all that is known of them, apart from their passbook (PIPL 45)."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from msgspec import Struct

from timebank.db import Pool, load_queries, transaction
from timebank.domain.personal import PersonalData
from timebank.people.consents import Consent, list_consents
from timebank.people.kin import FamilyHelper, Guardianship, list_guardianships, list_helpers
from timebank.people.vault import Access, LoggedAccess, export_person, list_accesses
from timebank.people.vault_keys import KeyRing

_QUERIES = load_queries(__package__)


class MembershipStep(Struct, frozen=True):
    """A step of a membership."""

    state: str
    actor_id: UUID
    made_at: datetime


class OwnData(Struct, frozen=True, kw_only=True):
    """What the registry and the vault know of a person, and who used it."""

    person_id: UUID
    member_number: str | None
    personal: PersonalData
    membership: Sequence[MembershipStep]
    consents: Sequence[Consent]
    guardians: Sequence[Guardianship]
    helpers: Sequence[FamilyHelper]
    accesses: Sequence[LoggedAccess]


async def export_own_data(pool: Pool, ring: KeyRing, access: Access, person_id: UUID) -> bytes:
    """Return the copy as JSON; the export is in the access log, and in the copy.

    NotFoundError, PersonErasedError; SealBrokenError, VaultKeyMissingError.
    """
    personal = await export_person(pool, ring, access, person_id)
    bank_id = access.bank_id
    async with transaction(pool) as connection:
        number = await connection.fetchval(_QUERIES["find_member_number"], bank_id, person_id)
        steps: Sequence[Any] = await connection.fetch(
            _QUERIES["list_membership_steps"], bank_id, person_id
        )
        copy = OwnData(
            person_id=person_id,
            member_number=number,
            personal=personal,
            membership=[MembershipStep(*step) for step in steps],
            consents=await list_consents(connection, bank_id, person_id),
            guardians=await list_guardianships(connection, bank_id, person_id),
            helpers=await list_helpers(connection, bank_id, person_id),
            accesses=await list_accesses(connection, bank_id, person_id),
        )
    return msgspec.json.format(msgspec.json.encode(copy))
