"""Who may do what, in one place: (principal, action, target) -> allowed or refused.

Every operation names its action. POLICY says for each action which roles may do it, and how far
each reaches; `check_may` decides by the role alone, `check_reaches` by whose thing it is.
"""

from collections.abc import Sequence
from uuid import UUID

from msgspec import Struct

from timebank.domain.errors import (
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    StrongerLoginNeededError,
)
from timebank.domain.ledger import Account, AccountKind
from timebank.people.narrow_sessions import LOW_VALUE
from timebank.people.policy import POLICY, Action, Reach, Role, SessionMethod

__all__ = [
    "LOW_VALUE",
    "POLICY",
    "Action",
    "Principal",
    "Reach",
    "Role",
    "SessionMethod",
    "Target",
    "check_may",
    "check_may_give_from",
    "check_reaches",
    "reach_of",
]


class Principal(Struct, frozen=True, kw_only=True):
    """An authenticated caller; `principal_id` is their party, so a resident's is the owner_id.

    `branch_id` is the branch of the role, None where it is the whole bank or a resident.
    `scopes` None: all that the role may.
    """

    bank_id: int
    principal_id: UUID
    role: Role
    branch_id: UUID | None = None
    merchant_id: UUID | None = None
    method: SessionMethod = SessionMethod.TOKEN
    scopes: frozenset[str] | None = None
    session_id: UUID | None = None


class Target(Struct, frozen=True, kw_only=True):
    """What an action is done to: whose it is and where it hangs.

    `path` is its branch and all above it; `kin` are those who guard or help its owner.
    """

    owner_id: UUID | None = None
    merchant_id: UUID | None = None
    path: Sequence[UUID] = ()
    kin: frozenset[UUID] = frozenset()


def reach_of(principal: Principal, action: Action) -> Reach:
    """Return how far the principal reaches; ForbiddenError if their role may not do this there.

    StrongerLoginNeededError where the role may and this session may not.
    """
    reach = POLICY.get(action, {}).get(principal.role)
    if reach is None or (principal.scopes is not None and action not in principal.scopes):
        raise ForbiddenError
    if reach is Reach.ROOT and principal.branch_id is not None:
        raise ForbiddenError
    if principal.method is SessionMethod.PIN and action not in LOW_VALUE:
        raise StrongerLoginNeededError
    return reach


def check_may(principal: Principal, action: Action) -> None:
    """Raise what `reach_of` raises."""
    reach_of(principal, action)


def check_reaches(principal: Principal, action: Action, target: Target) -> None:
    """Raise NotFoundError unless the principal may do this to the target.

    Foreign objects look absent, so that nobody can learn which ids exist.
    """
    me = principal.principal_id
    reached = {
        Reach.OWN: target.owner_id == me,
        Reach.KIN: target.owner_id == me or me in target.kin,
        Reach.MERCHANT: target.merchant_id is not None
        and target.merchant_id == principal.merchant_id,
        Reach.BRANCH: principal.branch_id is None or principal.branch_id in target.path,
        Reach.BANK: True,
        Reach.ROOT: True,
    }
    if not reached[reach_of(principal, action)]:
        raise NotFoundError


def check_may_give_from(account: Account, pointer: str) -> None:
    """Raise InvalidInputError, at `pointer` of the request, unless one may give from this."""
    if account.kind is not AccountKind.POOL:
        raise InvalidInputError("Only pools are given from.", pointer=pointer)
