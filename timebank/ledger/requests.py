"""Idempotent requests: a caller's key is used once, and its answer stands in the same commit.

`post_requests` is the hot way, many requests in one commit; `answer_once` is the way of every
other write.
"""

from collections.abc import Awaitable, Callable, Sequence
from enum import StrEnum
from uuid import UUID

from msgspec import Struct

from timebank.db import Connection, load_queries
from timebank.domain.errors import IdempotencyKeyInUseError, IdempotencyKeyReusedError
from timebank.domain.ledger import Chain, Outcome
from timebank.ledger.transfers import STATUSES, chain_ids

_QUERIES = load_queries(__package__)


class RequestKey(Struct, frozen=True):
    """Who asked, under which key, and the SHA-256 of method, path and body."""

    caller_id: UUID
    key: str
    fingerprint: bytes


class PostingRequest(Struct, frozen=True):
    """Transfers to post under one key; the actor of each is the caller. At least one."""

    key: RequestKey
    chains: Sequence[Chain]


class KeyUse(StrEnum):
    """What a key was at its use: new, seen with the same request, or seen with another."""

    NEW = "new"
    REPLAYED = "replayed"
    REUSED = "reused"


class PostingAnswer(Struct, frozen=True):
    """The outcomes of the request that first used the key; nothing new unless `use` is NEW."""

    use: KeyUse
    outcomes: list[Outcome]


async def post_requests(
    connection: Connection, bank_id: int, requests: Sequence[PostingRequest]
) -> list[PostingAnswer]:
    """Post the transfers of all requests in one round trip; an answer for each, in order.

    Locks the keys in their order, then balance rows as `transfers.post` does.
    """
    numbered = [
        (number, transfer)
        for number, request in enumerate(requests, start=1)
        for chain in request.chains
        for transfer in chain
    ]
    records = await connection.fetch(
        _QUERIES["post_requests"],
        bank_id,
        [request.key.caller_id for request in requests],
        [request.key.key for request in requests],
        [request.key.fingerprint for request in requests],
        [number for number, _ in numbered],
        [transfer.transfer_id for _, transfer in numbered],
        [transfer.kind for _, transfer in numbered],
        [transfer.debit_account_id for _, transfer in numbered],
        [transfer.credit_account_id for _, transfer in numbered],
        [transfer.amount for _, transfer in numbered],
        [transfer.occurred_at for _, transfer in numbered],
        chain_ids(chain for request in requests for chain in request.chains),
        [transfer.subject_id for _, transfer in numbered],
    )
    uses = [KeyUse.REUSED] * len(requests)
    outcomes: list[list[Outcome]] = [[] for _ in requests]
    for number, use, transfer_id, status, recorded_at in records:
        uses[number - 1] = KeyUse(use)
        outcomes[number - 1].append(Outcome(transfer_id, STATUSES[status], recorded_at))
    return [PostingAnswer(use, found) for use, found in zip(uses, outcomes, strict=True)]


async def is_used(connection: Connection, bank_id: int, key: RequestKey) -> bool:
    """Return whether something was answered under this key."""
    record = await connection.fetchrow(_QUERIES["find_answer"], bank_id, key.caller_id, key.key)
    return record["fingerprint"] is not None


async def answer_once(
    connection: Connection,
    bank_id: int,
    key: RequestKey,
    work: Callable[[], Awaitable[bytes]],
) -> tuple[bytes, bool]:
    """Do `work` once for this key and return its JSON answer, and whether it was a replay.

    IdempotencyKeyInUseError while another transaction works under the key,
    IdempotencyKeyReusedError if the key was used for another request.
    """
    record = await connection.fetchrow(_QUERIES["find_answer"], bank_id, key.caller_id, key.key)
    if record["fingerprint"] is not None:
        if record["fingerprint"] != key.fingerprint or record["answer"] is None:
            raise IdempotencyKeyReusedError
        return record["answer"].encode(), True
    if record["taken"]:
        raise IdempotencyKeyInUseError
    answer = await work()
    await connection.execute(
        _QUERIES["answer_request"],
        bank_id,
        key.caller_id,
        key.key,
        key.fingerprint,
        answer.decode(),
    )
    return answer, False
