"""Consents: what a person, or a minor's guardian, agreed to or withdrew; nothing is overwritten."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from msgspec import Struct

from timebank.db import Connection, as_struct, load_queries
from timebank.ledger.ids import new_id

_QUERIES = load_queries(__package__)


class ConsentKind(StrEnum):
    """What is consented to (schema.sql says each in a line)."""

    MEMBERSHIP = "membership"
    SENSITIVE = "sensitive"
    PUBLICATION = "publication"
    HELPER = "helper"


class Consent(Struct, frozen=True, kw_only=True):
    """One word about one kind; `sheet` is the body of a sheet's number, where there is paper."""

    kind: ConsentKind
    given: bool
    by_id: UUID
    sheet: int | None
    recorded_by: UUID
    recorded_at: datetime


async def record_consents(
    connection: Connection,
    bank_id: int,
    party_id: UUID,
    said: Mapping[ConsentKind, bool],
    *,
    by_id: UUID,
    recorded_by: UUID,
    sheet: int | None = None,
) -> None:
    """Record what was given (True) or withdrawn, by the person or a minor's guardian.

    GuardianNeededError for anybody else; a minor may withdraw alone. A helper whose consent is
    withdrawn is none from that moment on. NotFoundError.
    """
    await connection.execute(
        _QUERIES["record_consents"],
        bank_id,
        [new_id() for _ in said],
        party_id,
        list(said),
        list(said.values()),
        by_id,
        sheet,
        recorded_by,
    )


async def list_consents(connection: Connection, bank_id: int, party_id: UUID) -> list[Consent]:
    """Return all that was ever said, oldest first."""
    records = await connection.fetch(_QUERIES["list_consents"], bank_id, party_id)
    return [as_struct(record, Consent) for record in records]


async def has_consent(
    connection: Connection, bank_id: int, party_id: UUID, kind: ConsentKind
) -> bool:
    """Return whether the last word of this kind was a consent."""
    given: bool = await connection.fetchval(_QUERIES["has_consent"], bank_id, party_id, kind)
    return given
