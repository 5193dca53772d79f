"""Writes that are no postings: done once for a key, noted and answered in one commit."""

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar
from uuid import UUID

import msgspec
from litestar import Response
from msgspec import Struct

from timebank.api.call import Call
from timebank.api.request_ids import name_request
from timebank.db import Connection, repeat_on_conflict, transaction
from timebank.ledger.requests import answer_once, is_used
from timebank.people.access import Action, Role
from timebank.people.audit_log import DONE, AuditEntry, entry_of, write_entries

View = TypeVar("View")


class Deed(Struct, Generic[View], frozen=True):
    """What was done: what the caller is answered, and the object it was done to.

    A refusal that must be remembered is committed too, with `is_done` False: the gate notes it.
    """

    view: View
    object_id: UUID | None
    purpose: str | None = None
    is_done: bool = True


async def once(
    request: Call, view: type[View], work: Callable[[Connection], Awaitable[Deed[View]]]
) -> tuple[View, dict[str, str]]:
    """Do `work` once for the request's key; return its view and the headers that mark a replay.

    Errors of `work` undo everything and are not remembered: mended, the key may be used again.
    """

    async def in_transaction(connection: Connection) -> tuple[bytes, bool]:
        async def answer() -> bytes:
            deed = await work(connection)
            if deed.is_done:
                await note_deed(connection, request, deed.object_id, deed.purpose)
            return msgspec.json.encode(deed.view)

        return await answer_once(connection, request.user.bank_id, request.auth, answer)

    answer, replayed = await repeat_on_conflict(request.desk.pool, in_transaction)
    return msgspec.json.decode(answer, type=view), replay_header(replayed)


async def do_once(
    request: Call, view: type[View], work: Callable[[Connection], Awaitable[Deed[View]]]
) -> Response[View]:
    """Do `work` once, as `once`; return the answer to a request that made something."""
    made, headers = await once(request, view, work)
    return Response(made, status_code=201, headers=headers)


async def was_answered(request: Call) -> bool:
    """Return whether the request is a repeat: what is checked before the deed need not be again."""
    async with transaction(request.desk.pool) as connection:
        return await is_used(connection, request.user.bank_id, request.auth)


async def note_deed(
    connection: Connection,
    request: Call,
    object_id: UUID | None,
    purpose: str | None = None,
    action: Action | None = None,
) -> None:
    """Note in the audit log, in the same commit, that the request did this, or `action`."""
    entry = entry_of(
        request.user,
        action or request.route_handler.opt["action"],
        object_id=object_id,
        result=DONE,
        request_id=name_request(request.scope).decode(),
        purpose=purpose,
    )
    await write_entries(connection, [entry])


def public_entry(
    request: Call,
    bank_id: int,
    action: str,
    result: str,
    *,
    actor_id: UUID | None = None,
    role: Role | None = None,
    object_id: UUID | None = None,
) -> AuditEntry:
    """Return the line about what was done or tried without a session."""
    return AuditEntry(
        bank_id=bank_id,
        actor_id=actor_id,
        role=role,
        action=action,
        object_id=object_id,
        result=result,
        request_id=name_request(request.scope).decode(),
    )


def replay_header(replayed: bool) -> dict[str, str]:
    """Return the header that marks an answer given before."""
    return {"Idempotent-Replayed": "true"} if replayed else {}
