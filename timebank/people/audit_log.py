"""The audit log: who did or tried what, to which object, with what result; append-only.

Ids and codes only. A deed is noted in its own commit; a refusal by the gate after it.
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from msgspec import Struct

from timebank.db import Connection, as_struct, load_queries
from timebank.ledger.ids import new_id
from timebank.people.access import Principal, Role

_QUERIES = load_queries(__package__)

DONE = "done"
_AFTER_ALL = UUID(int=2**128 - 1)


class AuditEntry(Struct, frozen=True, kw_only=True):
    """One line of the log; `result` is DONE or the code of a refusal."""

    bank_id: int
    actor_id: UUID | None
    role: Role | None
    action: str
    object_id: UUID | None
    result: str
    request_id: str
    purpose: str | None = None


def entry_of(
    principal: Principal,
    action: str,
    *,
    object_id: UUID | None,
    result: str,
    request_id: str,
    purpose: str | None = None,
) -> AuditEntry:
    """Return the line about something this principal did or tried."""
    return AuditEntry(
        bank_id=principal.bank_id,
        actor_id=principal.principal_id,
        role=principal.role,
        action=action,
        object_id=object_id,
        result=result,
        request_id=request_id,
        purpose=purpose,
    )


class LoggedEntry(Struct, frozen=True, kw_only=True):
    """A line as the log keeps it."""

    entry_id: UUID
    actor_id: UUID | None
    role: Role | None
    action: str
    object_id: UUID | None
    purpose: str | None
    result: str
    request_id: str
    recorded_at: datetime


async def list_entries(
    connection: Connection,
    bank_id: int,
    *,
    before: UUID | None = None,
    object_id: UUID | None = None,
    actor_id: UUID | None = None,
    limit: int = 50,
) -> list[LoggedEntry]:
    """Return the newest lines first, about one object or by one actor if given."""
    records = await connection.fetch(
        _QUERIES["list_audit_entries"], bank_id, before or _AFTER_ALL, object_id, actor_id, limit
    )
    return [as_struct(record, LoggedEntry) for record in records]


async def write_entries(connection: Connection, entries: Sequence[AuditEntry]) -> None:
    """Append the entries in one statement."""
    await connection.execute(
        _QUERIES["write_audit_entries"],
        [entry.bank_id for entry in entries],
        [new_id() for _ in entries],
        [entry.actor_id for entry in entries],
        [entry.role for entry in entries],
        [entry.action for entry in entries],
        [entry.object_id for entry in entries],
        [entry.purpose for entry in entries],
        [entry.result for entry in entries],
        [entry.request_id for entry in entries],
    )
