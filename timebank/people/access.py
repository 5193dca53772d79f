"""Who may do what, in one place: every operation names its action, every action its roles."""

from collections.abc import Mapping
from enum import StrEnum
from uuid import UUID

from msgspec import Struct

from timebank.domain.errors import ForbiddenError, InvalidInputError, NotFoundError
from timebank.domain.ledger import Account, AccountKind


class Role(StrEnum):
    """What a caller is in the programme."""

    RESIDENT = "resident"
    STAFF = "staff"
    AUDITOR = "auditor"


class Action(StrEnum):
    """What an operation does; `public` needs no token."""

    PUBLIC = "public"
    READ_ACCOUNT = "read_account"
    OPEN_ACCOUNT = "open_account"
    AWARD = "award"
    TRANSFER_FROM_POOL = "transfer_from_pool"
    REVERSE = "reverse"
    READ_JOURNAL = "read_journal"
    READ_TRIAL_BALANCE = "read_trial_balance"


ROLES_THAT_MAY: Mapping[Action, frozenset[Role]] = {
    Action.READ_ACCOUNT: frozenset(Role),
    Action.OPEN_ACCOUNT: frozenset({Role.STAFF}),
    Action.AWARD: frozenset({Role.STAFF}),
    Action.TRANSFER_FROM_POOL: frozenset({Role.STAFF}),
    Action.REVERSE: frozenset({Role.STAFF}),
    Action.READ_JOURNAL: frozenset({Role.STAFF, Role.AUDITOR}),
    Action.READ_TRIAL_BALANCE: frozenset({Role.STAFF, Role.AUDITOR}),
}


class Principal(Struct, frozen=True):
    """An authenticated caller; a resident's `principal_id` is the owner_id of their accounts."""

    bank_id: int
    principal_id: UUID
    role: Role


def check_may(principal: Principal, action: Action) -> None:
    """Raise ForbiddenError unless the principal's role may do this."""
    if principal.role not in ROLES_THAT_MAY.get(action, ()):
        raise ForbiddenError


def check_may_see(principal: Principal, account: Account) -> None:
    """Raise NotFoundError for a resident who asks for somebody else's account.

    Foreign objects look absent, so that nobody can learn which ids exist.
    """
    if principal.role is Role.RESIDENT and account.owner_id != principal.principal_id:
        raise NotFoundError


def check_may_give_from(account: Account, pointer: str) -> None:
    """Raise InvalidInputError, at `pointer` of the request, unless staff may give from this."""
    if account.kind is not AccountKind.POOL:
        raise InvalidInputError("Staff give from pools only.", pointer=pointer)
