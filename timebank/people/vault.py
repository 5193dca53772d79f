"""The vault: what is known of persons, sealed; every use of it leaves a line in its access log.

Fields travel to and from the database sealed, look-ups as digests. Reads take the pool and commit
before anything is opened, so that no line of the log can be taken back after the reader has seen.
Writes take a connection: what they belong to commits with them.
Lock order: the bank's master keys (shared), then persons by their ids.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import msgspec
from msgspec import Struct

from timebank.db import Connection, Pool, as_struct, load_queries, transaction
from timebank.domain.errors import (
    NotFoundError,
    PersonErasedError,
    PersonFrozenError,
    TimebankError,
)
from timebank.domain.personal import (
    FIELDS,
    PersonalData,
    SearchField,
    list_search_texts,
)
from timebank.people.vault_keys import KeyRing, MasterKey, new_data_key, seal, unseal

_QUERIES = load_queries(__package__)


class Purpose(StrEnum):
    """Why personal data is used (schema.sql says each in a line)."""

    REGISTRATION = "registration"
    IDENTIFICATION = "identification"
    CONTACT = "contact"
    CERTIFICATE = "certificate"
    AGE_RULE = "age_rule"
    CORRECTION = "correction"
    REPORT = "report"
    SUBJECT_ACCESS = "subject_access"
    LEGAL_DUTY = "legal_duty"
    KEY_ROTATION = "key_rotation"


class Outcome(StrEnum):
    """What came of asking for a person's data."""

    DONE = "done"
    ABSENT = "absent"
    FROZEN = "frozen"
    ERASED = "erased"


_REFUSALS: Mapping[Outcome, type[TimebankError]] = {
    Outcome.ABSENT: NotFoundError,
    Outcome.FROZEN: PersonFrozenError,
    Outcome.ERASED: PersonErasedError,
}


class Access(Struct, frozen=True, kw_only=True):
    """Who asks, what for, and in which request: what the access log says of every use."""

    bank_id: int
    reader_id: UUID
    purpose: Purpose
    request_id: str


class LoggedAccess(Struct, frozen=True, kw_only=True):
    """A line of the access log; `person_id` is None for a look-up that found nobody."""

    reader_id: UUID
    act: str
    person_id: UUID | None
    fields: list[str]
    purpose: Purpose
    outcome: Outcome
    request_id: str
    made_at: datetime


# ---- Writing -----------------------------------------------------------------------------------


async def add_persons(
    connection: Connection, ring: KeyRing, access: Access, people: Mapping[UUID, PersonalData]
) -> None:
    """Seal and store what is known of new persons, each under a new key of their own.

    AlreadyRegisteredError if somebody has one of their documents.
    """
    keys = await hold_keys(connection, ring, access.bank_id)
    wrapped: list[bytes] = []
    owners: list[UUID] = []
    fields: list[str] = []
    sealed: list[bytes] = []
    for person_id, data in people.items():
        data_key = new_data_key()
        wrapped.append(keys[0].wrap(data_key, access.bank_id, person_id))
        for field in data.known():
            owners.append(person_id)
            fields.append(field)
            sealed.append(_seal_field(data_key, data, field, access.bank_id, person_id, version=1))
    found = [
        (person_id, *entry)
        for person_id, data in people.items()
        for entry in list_digests(keys, access.bank_id, data)
    ]
    await connection.execute(
        _QUERIES["add_persons"],
        access.bank_id,
        list(people),
        keys[0].key_id,
        wrapped,
        owners,
        fields,
        sealed,
        *_columns(found, 4),
        *_said(access),
    )


async def correct_person(
    connection: Connection,
    ring: KeyRing,
    access: Access,
    person_id: UUID,
    correct: PersonalData,
) -> None:
    """Overwrite the fields that `correct` has; of the values before nothing stays readable.

    NotFoundError, PersonErasedError, PersonFrozenError; AlreadyRegisteredError for a document that
    is somebody else's.
    """
    keys = await hold_keys(connection, ring, access.bank_id)
    fields = correct.known()
    rows = await connection.fetch(
        _QUERIES["open_for_correction"], access.bank_id, person_id, fields, *_said(access)
    )
    for row in rows:
        _refuse(Outcome(row["outcome"]))
    versions = {row["field"]: row["version"] + 1 for row in rows}
    data_key = (
        ring.get(rows[0]["key_id"]).unwrap(rows[0]["wrapped_key"], access.bank_id, person_id)
        if rows
        else b""
    )
    await connection.execute(
        _QUERIES["replace_fields"],
        access.bank_id,
        person_id,
        fields,
        [versions[field] for field in fields],
        [
            _seal_field(
                data_key, correct, field, access.bank_id, person_id, version=versions[field]
            )
            for field in fields
        ],
        *_columns(list_digests(keys, access.bank_id, correct), 3),
    )


async def freeze_person(
    connection: Connection, access: Access, person_id: UUID, retain_until: date | None = None
) -> None:
    """Make a person's data unreadable but for legal duties and the person's own wishes.

    `retain_until` is the last day on which a law asks to keep it: until then it is not erased.
    NotFoundError, PersonErasedError.
    """
    await _set_freeze(connection, access, person_id, True, retain_until)


async def unfreeze_person(connection: Connection, access: Access, person_id: UUID) -> None:
    """Make it readable again; NotFoundError, PersonErasedError."""
    await _set_freeze(connection, access, person_id, False, None)


async def _set_freeze(
    connection: Connection, access: Access, person_id: UUID, freeze: bool, until: date | None
) -> None:
    outcome = await connection.fetchval(
        _QUERIES["set_freeze"], access.bank_id, person_id, freeze, until, *_said(access)
    )
    _refuse(Outcome(outcome))


async def erase_person(connection: Connection, access: Access, person_id: UUID) -> None:
    """Destroy a person's key, and with it all that is known of them; end what they are in the bank.

    Their accounts and the ledger stay as they are. NotFoundError, PersonErasedError,
    RetentionRunsError. A backup from before still holds the wrapped key: it ends with the master
    key it was wrapped with (`timebank vault rotate-key --forget`).
    """
    outcome = await connection.fetchval(
        _QUERIES["erase_person"], access.bank_id, person_id, *_said(access)
    )
    _refuse(Outcome(outcome))


# ---- Reading -----------------------------------------------------------------------------------


async def read_person(
    pool: Pool, ring: KeyRing, access: Access, person_id: UUID, fields: Sequence[str] = FIELDS
) -> PersonalData:
    """Return these fields of a person, as far as they are known.

    NotFoundError, PersonErasedError, PersonFrozenError; SealBrokenError, VaultKeyMissingError.
    """
    rows = await _read(pool, access, [person_id], fields)
    _refuse(Outcome(rows[0]["outcome"]))
    return _open(ring, access.bank_id, rows)


async def read_persons(
    pool: Pool,
    ring: KeyRing,
    access: Access,
    person_ids: Sequence[UUID],
    fields: Sequence[str] = FIELDS,
) -> Mapping[UUID, PersonalData]:
    """Return these fields of those persons whose data may be read for this; the rest is left out.

    SealBrokenError, VaultKeyMissingError.
    """
    rows = await _read(pool, access, person_ids, fields) if person_ids else []
    by_person: dict[UUID, list[Any]] = defaultdict(list)
    for row in rows:
        if row["outcome"] == Outcome.DONE:
            by_person[row["person_id"]].append(row)
    return {person_id: _open(ring, access.bank_id, rows) for person_id, rows in by_person.items()}


async def export_person(pool: Pool, ring: KeyRing, access: Access, person_id: UUID) -> PersonalData:
    """Return all fields of a person for themselves, logged as an export; raises as read_person."""
    rows = await _read(pool, access, [person_id], FIELDS, export=True)
    _refuse(Outcome(rows[0]["outcome"]))
    return _open(ring, access.bank_id, rows)


async def find_persons(
    pool: Pool, ring: KeyRing, access: Access, data: PersonalData
) -> Mapping[UUID, list[SearchField]]:
    """Return who has the same name, telephone, document or import_ref, and which of them.

    Only what `data` has is asked for. Whoever registers finds frozen persons too.
    """
    [found] = await find_each(pool, ring, access, [data])
    return found


async def find_each(
    pool: Pool, ring: KeyRing, access: Access, asked: Sequence[PersonalData]
) -> list[Mapping[UUID, list[SearchField]]]:
    """Return for each what `find_persons` returns, in one call."""
    async with transaction(pool) as connection:
        keys = await hold_keys(connection, ring, access.bank_id)
        digests = [
            (*entry, place, field)
            for place, data in enumerate(asked)
            for field in list_search_texts(data)
            for entry in list_digests(keys, access.bank_id, data, [field])
        ]
        places = range(len(digests))
        records = await connection.fetch(
            _QUERIES["find_persons"],
            access.bank_id,
            *_columns([entry[:3] for entry in digests], 3),
            list(places),
            *_said(access),
        )
    found: list[dict[UUID, list[SearchField]]] = [{} for _ in asked]
    for record in records:
        *_, place, field = digests[record["place"]]
        matched = found[place].setdefault(record["person_id"], [])
        if field not in matched:
            matched.append(field)
    return list(found)


async def list_accesses(
    connection: Connection, bank_id: int, person_id: UUID | None = None
) -> list[LoggedAccess]:
    """Return who used the data of a person, or of anybody, oldest first."""
    records = await connection.fetch(_QUERIES["list_accesses"], bank_id, person_id)
    return [as_struct(record, LoggedAccess) for record in records]


# ---- Parts -------------------------------------------------------------------------------------


async def hold_keys(connection: Connection, ring: KeyRing, bank_id: int) -> list[MasterKey]:
    """Return the master keys in use, the current one first; none changes before the commit."""
    records = await connection.fetch(_QUERIES["hold_master_keys"], bank_id, None)
    if not records:  # the bank's first use: of the key that is first in the file now
        ring.reload()
        records = await connection.fetch(_QUERIES["hold_master_keys"], bank_id, ring.first.key_id)
    return [ring.get(record["key_id"]) for record in records]


def list_digests(
    keys: Iterable[MasterKey],
    bank_id: int,
    data: PersonalData,
    fields: Iterable[SearchField] = SearchField,
) -> list[tuple[str, str, bytes]]:
    """Return field, key_id and digest of what a person is found by, under each of the keys."""
    texts = list_search_texts(data)
    return [
        (field, key.key_id, key.blind(bank_id, field, texts[field]))
        for key in keys
        for field in fields
        if field in texts
    ]


def unseal_fields(data_key: bytes, bank_id: int, rows: Iterable[Any]) -> PersonalData:
    """Return what stands in rows of person_id, field, version and sealed, all of one person."""
    values = {
        row["field"]: msgspec.json.decode(
            unseal(
                data_key,
                row["sealed"],
                bank_id=bank_id,
                person_id=row["person_id"],
                field=row["field"],
                version=row["version"],
            )
        )
        for row in rows
        if row["field"] is not None
    }
    return msgspec.convert(values, PersonalData)


async def _read(
    pool: Pool,
    access: Access,
    person_ids: Sequence[UUID],
    fields: Sequence[str],
    *,
    export: bool = False,
) -> Sequence[Any]:
    async with transaction(pool) as connection:
        rows: Sequence[Any] = await connection.fetch(
            _QUERIES["read_fields"],
            access.bank_id,
            list(person_ids),
            list(fields),
            export,
            *_said(access),
        )
    return rows


def _open(ring: KeyRing, bank_id: int, rows: Sequence[Any]) -> PersonalData:
    head = rows[0]
    data_key = ring.get(head["key_id"]).unwrap(head["wrapped_key"], bank_id, head["person_id"])
    return unseal_fields(data_key, bank_id, rows)


def _seal_field(
    data_key: bytes, data: PersonalData, field: str, bank_id: int, person_id: UUID, *, version: int
) -> bytes:
    plain = msgspec.json.encode(getattr(data, field))
    return seal(data_key, plain, bank_id=bank_id, person_id=person_id, field=field, version=version)


def _refuse(outcome: Outcome) -> None:
    if outcome is not Outcome.DONE:
        raise _REFUSALS[outcome]


def _said(access: Access) -> tuple[UUID, Purpose, str]:
    return access.reader_id, access.purpose, access.request_id


def _columns(rows: Sequence[tuple[Any, ...]], width: int) -> list[list[Any]]:
    """Return rows as columns, of which there are as many when there are no rows."""
    return [[row[place] for row in rows] for place in range(width)]
