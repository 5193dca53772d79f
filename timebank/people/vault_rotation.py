"""Changing the master key: data keys are wrapped, blind indexes made, and seals closed anew.

Batch by batch, each in a commit of its own, while the service goes on: old and new key stand side
by side in file and database until the last row is done. Whatever interrupts it, the next run goes
on where it stopped. Lock order: the persons of a batch by their ids; or the rows of sealed values,
table by table.
"""

from collections import defaultdict
from collections.abc import Callable
from typing import Any
from uuid import UUID

from msgspec import Struct

from timebank.db import Connection, Pool, load_queries, transaction
from timebank.people.seals import Seals, close_with
from timebank.people.vault import list_digests, unseal_fields
from timebank.people.vault_keys import KeyRing, MasterKey, add_key, keep_keys

_QUERIES = load_queries(__package__)

BATCH = 200

Progress = Callable[[int, int], None]
"""Is told how many persons and sealed values are done, of how many."""


class Rotated(Struct, frozen=True, kw_only=True):
    """What was done: by this run, under which key, and how many keys left the file for good."""

    key_id: str
    banks: int
    persons: int
    sealed: int
    forgotten: int


async def rotate_keys(
    pool: Pool,
    ring: KeyRing,
    *,
    reader_id: UUID,
    request_id: str,
    forget: bool = False,
    progress: Progress = lambda done, total: None,
) -> Rotated:
    """Put all banks under a new master key, or under the file's first if they are not yet.

    `forget` takes the old keys out of the file at the end: then no backup from before, and nobody
    who was erased since, can be read with it. UnsafeKeyFileError, VaultKeyMissingError.
    """
    ring.reload()
    states = await _list_states(pool)
    for (_, key_id), state in states.items():
        if state != "retired":
            ring.get(key_id)
    current = {key_id for (_, key_id), state in states.items() if state == "current"}
    if current <= {ring.first.key_id} and "retiring" not in states.values():
        add_key(ring.path)
        ring.reload()
    banks = sorted({bank_id for bank_id, _ in states})
    async with transaction(pool) as connection:
        for bank_id in banks:
            await connection.execute(_QUERIES["begin_rotation"], bank_id, ring.first.key_id)
        total = sum([await _count_left(connection, ring, bank_id) for bank_id in banks])
    persons = sealed = 0
    progress(0, total)
    for bank_id in banks:
        finished = False
        while not finished:
            while batch := await _rewrap_batch(pool, ring, bank_id, reader_id, request_id):
                persons += batch
                progress(persons + sealed, max(persons + sealed, total))
            while batch := await _reseal_batch(pool, ring, bank_id):
                sealed += batch
                progress(persons + sealed, max(persons + sealed, total))
            async with transaction(pool) as connection:
                finished = await connection.fetchval(_QUERIES["finish_rotation"], bank_id)
    states = await _list_states(pool)
    used = {key_id for (_, key_id), state in states.items() if state != "retired"}
    forgotten = keep_keys(ring.path, used | {ring.first.key_id}) if forget else 0
    ring.reload()
    return Rotated(
        key_id=ring.first.key_id,
        banks=len(banks),
        persons=persons,
        sealed=sealed,
        forgotten=forgotten,
    )


async def _list_states(pool: Pool) -> dict[tuple[int, str], str]:
    async with transaction(pool) as connection:
        records = await connection.fetch(_QUERIES["list_master_keys"])
    return {(bank_id, key_id): state for bank_id, key_id, state in records}


async def _count_left(connection: Connection, ring: KeyRing, bank_id: int) -> int:
    record = await connection.fetchrow(_QUERIES["count_persons"], bank_id)
    sealed = await connection.fetchval(_QUERIES["count_sealed"], bank_id, ring.first.key_id)
    left: int = record["to_rewrap"] + sealed
    return left


async def _rewrap_batch(
    pool: Pool, ring: KeyRing, bank_id: int, reader_id: UUID, request_id: str
) -> int:
    """Do the next persons in one commit; return how many there were."""
    key = ring.first
    async with transaction(pool) as connection:
        rows = await connection.fetch(
            _QUERIES["list_to_rewrap"], bank_id, BATCH, reader_id, request_id
        )
        by_person: dict[UUID, list[Any]] = defaultdict(list)
        for row in rows:
            by_person[row["person_id"]].append(row)
        wrapped: list[bytes] = []
        found: list[tuple[UUID, str, bytes]] = []
        for person_id, own in by_person.items():
            anew, indexes = _rewrap(ring, key, bank_id, own)
            wrapped.append(anew)
            found += [(person_id, field, digest) for field, digest in indexes]
        await connection.execute(
            _QUERIES["rewrap_persons"],
            bank_id,
            list(by_person),
            key.key_id,
            wrapped,
            [person_id for person_id, _, _ in found],
            [field for _, field, _ in found],
            [digest for _, _, digest in found],
        )
    return len(by_person)


def _rewrap(
    ring: KeyRing, key: MasterKey, bank_id: int, rows: list[Any]
) -> tuple[bytes, list[tuple[str, bytes]]]:
    head = rows[0]
    data_key = ring.get(head["key_id"]).unwrap(head["wrapped_key"], bank_id, head["person_id"])
    data = unseal_fields(data_key, bank_id, rows)
    digests = list_digests([key], bank_id, data)
    return (
        key.wrap(data_key, bank_id, head["person_id"]),
        [(field, digest) for field, _, digest in digests],
    )


async def _reseal_batch(pool: Pool, ring: KeyRing, bank_id: int) -> int:
    """Seal the next values of each table anew in one commit; return how many there were."""
    key, seals = ring.first, Seals(ring)
    async with transaction(pool) as connection:
        rows = await connection.fetch(_QUERIES["list_to_reseal"], bank_id, key.key_id, BATCH)
        await connection.execute(
            _QUERIES["reseal"],
            bank_id,
            key.key_id,
            [row["table_name"] for row in rows],
            [row["column_name"] for row in rows],
            [row["place"] for row in rows],
            [
                close_with(key, seals.open(row["sealed"], row["bound_to"]), row["bound_to"])
                for row in rows
            ],
        )
    return len(rows)
