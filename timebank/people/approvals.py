"""Four eyes: a deed is proposed by one person and decided by another, neither of them served by it.

Persons are compared, not logins. Whoever decides names the hash of the content they saw. Approving
and doing are one transaction: the caller does the deed after `decide` and before the commit.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from uuid import UUID

from msgspec import Struct

from timebank.db import Connection, load_queries
from timebank.domain.errors import (
    ApprovalContentDiffersError,
    ApprovalDecidedError,
    ApprovalLapsedError,
    ForbiddenError,
    NotFoundError,
    SecondPersonNeededError,
    TimebankError,
)
from timebank.domain.ledger import Unit
from timebank.ledger.ids import new_id
from timebank.people.policy import Role

_QUERIES = load_queries(__package__)
_AFTER_ALL = UUID(int=2**128 - 1)

LIFETIME = timedelta(days=7)
"""How long a proposal waits for a decision; `list_persons_behind` counts on it."""

REVERSED_ALONE: Mapping[Unit, int] = {Unit.HOURS: 8 * 60, Unit.POINTS: 100}
"""The most that one coordinator reverses without a second person: a day of service."""


class ApprovalState(StrEnum):
    """What became of a proposal; one that lapsed stays proposed."""

    PROPOSED = "proposed"
    APPROVED = "approved"
    REJECTED = "rejected"


class Approval(Struct, frozen=True, kw_only=True):
    """A proposal: `content` is its JSON, `content_hash` the SHA-256 of it."""

    approval_id: UUID
    deed: str
    content: bytes
    content_hash: bytes
    branch_id: UUID
    maker_id: UUID
    beneficiaries: frozenset[UUID]
    proposed_at: datetime
    lapses_at: datetime
    state: ApprovalState
    checker_id: UUID | None
    decided_at: datetime | None


_REFUSALS: Mapping[str, type[TimebankError]] = {
    "decided": ApprovalDecidedError,
    "lapsed": ApprovalLapsedError,
    "content_differs": ApprovalContentDiffersError,
}


def check_reversal_alone(
    actor_id: UUID, served: Collection[UUID], amounts: Collection[tuple[Unit, int]]
) -> None:
    """Raise SecondPersonNeededError for a large reversal, or one that serves the actor.

    `amounts` are all that one reversal takes back, each once: large is what they sum up to.
    """
    sums: Counter[Unit] = Counter()
    for unit, amount in amounts:
        sums[unit] += amount
    if actor_id in served or any(taken > REVERSED_ALONE[unit] for unit, taken in sums.items()):
        raise SecondPersonNeededError


async def propose(
    connection: Connection,
    bank_id: int,
    *,
    deed: str,
    content: bytes,
    branch_id: UUID,
    maker_id: UUID,
    beneficiaries: Collection[UUID],
    lifetime: timedelta = LIFETIME,
) -> Approval:
    """Record a proposal; SecondPersonNeededError if it serves its maker."""
    record = await connection.fetchrow(
        _QUERIES["propose"],
        bank_id,
        new_id(),
        deed,
        content.decode(),
        sha256(content).digest(),
        branch_id,
        maker_id,
        sorted(beneficiaries),
        lifetime,
    )
    return _as_approval(record)


async def get_approval(connection: Connection, bank_id: int, approval_id: UUID) -> Approval:
    """Return the proposal; NotFoundError if there is none."""
    record = await connection.fetchrow(_QUERIES["find_approval"], bank_id, approval_id)
    if record is None:
        raise NotFoundError
    return _as_approval(record)


def check_open(approval: Approval) -> None:
    """Raise ApprovalDecidedError or ApprovalLapsedError for what nobody can decide any more."""
    if approval.state is not ApprovalState.PROPOSED:
        raise ApprovalDecidedError
    if approval.lapses_at <= datetime.now(UTC):
        raise ApprovalLapsedError


async def list_approvals(
    connection: Connection,
    bank_id: int,
    *,
    state: ApprovalState | None = None,
    within: UUID | None = None,
    before: UUID | None = None,
    limit: int = 50,
) -> list[Approval]:
    """Return proposals, newest first, in one state and within one branch if given."""
    records = await connection.fetch(
        _QUERIES["list_approvals"], bank_id, before or _AFTER_ALL, state, within, limit
    )
    return [_as_approval(record) for record in records]


async def decide(
    connection: Connection,
    bank_id: int,
    approval_id: UUID,
    *,
    checker_id: UUID,
    content_hash: bytes,
    state: ApprovalState,
    roles: Collection[Role],
) -> None:
    """Approve or reject, once; the row stays locked until the transaction ends.

    ApprovalDecidedError, ApprovalLapsedError, ApprovalContentDiffersError; SecondPersonNeededError
    if the checker made the proposal or is served by it. What is approved lapsed too unless its
    maker holds one of `roles` there, and ForbiddenError unless the checker does; those grants are
    not revoked before the transaction ends.
    """
    answer = await connection.fetchval(
        _QUERIES["decide_approval"], bank_id, approval_id, checker_id, content_hash, state
    )
    if answer in _REFUSALS:
        raise _REFUSALS[answer]
    if state is ApprovalState.APPROVED:
        grants = await connection.fetch(
            _QUERIES["hold_grants_of_both"], bank_id, approval_id, list(roles)
        )
        able = {grant["party_id"] for grant in grants}
        if not able - {checker_id}:
            raise ApprovalLapsedError
        if checker_id not in able:
            raise ForbiddenError


def _as_approval(record: Mapping[str, object]) -> Approval:
    fields = dict(record)
    fields["content"] = str(fields["content"]).encode()
    fields["beneficiaries"] = frozenset(fields["beneficiaries"])  # type: ignore[call-overload]
    fields["state"] = ApprovalState(str(fields["state"]))
    return Approval(**fields)  # type: ignore[arg-type]
