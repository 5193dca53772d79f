"""The audit log: who did or tried what, to which object, with what result; append-only.

Ids and codes only. A deed is noted in its own commit; a refusal by the gate after it.
"""

from collections.abc import Sequence
from uuid import UUID

from msgspec import Struct

from timebank.db import Connection, load_queries
from timebank.ledger.ids import new_id
from timebank.people.access import Principal, Role

_QUERIES = load_queries(__package__)

DONE = "done"


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
