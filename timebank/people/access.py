"""Who may do what, in one place: (principal, action, target) -> allowed or refused.

Every operation names its action. POLICY says for each action which roles may do it, and how far
each reaches; `check_may` decides by the role alone, `check_reaches` by whose thing it is.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from uuid import UUID

from msgspec import Struct

from timebank.domain.errors import (
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    StrongerLoginNeededError,
)
from timebank.domain.ledger import Account, AccountKind


class Role(StrEnum):
    """What a caller is in the programme (schema.sql says each in a line)."""

    RESIDENT = "resident"
    CLERK = "clerk"
    MERCHANT = "merchant"
    COORDINATOR = "coordinator"
    AUDITOR = "auditor"
    ADMINISTRATOR = "administrator"
    INTEGRATOR = "integrator"


class SessionMethod(StrEnum):
    """How a caller proved who they are; a PIN proves the least."""

    TOKEN = "token"  # noqa: S105 - the name of a method
    PIN = "pin"
    CODE = "code"
    PASSWORD = "password"  # noqa: S105 - the name of a method


class Reach(StrEnum):
    """Whose things a role may do an action to; of anybody else's it learns nothing."""

    OWN = "own"  # one's own
    KIN = "kin"  # one's own, and those of whom one guards or helps
    MERCHANT = "merchant"  # what belongs to the merchant one works for
    BRANCH = "branch"  # what hangs on the branch of one's role, or below it
    BANK = "bank"  # everything of the programme


class Action(StrEnum):
    """What an operation does; `public` needs no session."""

    PUBLIC = "public"
    READ_ACCOUNT = "read_account"
    OPEN_ACCOUNT = "open_account"
    AWARD = "award"
    TRANSFER_FROM_POOL = "transfer_from_pool"
    REVERSE = "reverse"
    READ_JOURNAL = "read_journal"
    READ_TRIAL_BALANCE = "read_trial_balance"
    READ_BRANCH = "read_branch"
    READ_TOTALS = "read_totals"
    OPEN_BRANCH = "open_branch"
    MOVE_BRANCH = "move_branch"
    CLOSE_BRANCH = "close_branch"
    OPEN_SERVICE_POINT = "open_service_point"
    CLOSE_SERVICE_POINT = "close_service_point"
    PLACE_PARTY = "place_party"
    READ_SESSION = "read_session"
    END_SESSION = "end_session"
    ISSUE_ONE_TIME_CODE = "issue_one_time_code"
    SET_PIN = "set_pin"
    CHANGE_PASSWORD = "change_password"  # noqa: S105 - the name of an action
    ISSUE_API_KEY = "issue_api_key"
    ROTATE_API_KEY = "rotate_api_key"
    REVOKE_API_KEY = "revoke_api_key"
    PROPOSE = "propose"
    DECIDE = "decide"
    READ_APPROVALS = "read_approvals"
    AWARD_BY_HAND = "award_by_hand"
    GIVE_BY_HAND = "give_by_hand"
    POST_IN_BULK = "post_in_bulk"
    GRANT_ROLE = "grant_role"
    REVOKE_ROLE = "revoke_role"
    READ_ROLES = "read_roles"
    READ_AUDIT_LOG = "read_audit_log"
    REGISTER = "register"
    LOOK_UP = "look_up"
    READ_RESIDENT = "read_resident"
    DECIDE_MEMBERSHIP = "decide_membership"
    END_MEMBERSHIP = "end_membership"
    READ_CONSENTS = "read_consents"
    RECORD_CONSENT = "record_consent"
    READ_KIN = "read_kin"
    NAME_GUARDIAN = "name_guardian"
    NAME_HELPER = "name_helper"
    ISSUE_CARD = "issue_card"
    REVOKE_CARD = "revoke_card"
    READ_PERSONAL = "read_personal"
    CORRECT = "correct"
    FREEZE = "freeze"
    ERASE = "erase"
    READ_OWN_DATA = "read_own_data"
    EXPORT_OWN_DATA = "export_own_data"
    ISSUE_SHEETS = "issue_sheets"
    ENTER_SHEET = "enter_sheet"
    VOID_SHEETS = "void_sheets"
    READ_SHEETS = "read_sheets"
    CHECK_AT_COUNTER = "check_at_counter"


_BY_COORDINATORS = {Role.COORDINATOR: Reach.BRANCH}
_BY_ADMINISTRATORS = {Role.ADMINISTRATOR: Reach.BRANCH}
_KIN_AND_COORDINATORS = {**_BY_COORDINATORS, Role.RESIDENT: Reach.KIN}
_PERSONS = frozenset(Role) - {Role.MERCHANT, Role.INTEGRATOR}

POLICY: Mapping[Action, Mapping[Role, Reach]] = {
    Action.READ_ACCOUNT: {
        Role.RESIDENT: Reach.KIN,
        Role.COORDINATOR: Reach.BRANCH,
        Role.AUDITOR: Reach.BRANCH,
        Role.INTEGRATOR: Reach.BANK,
    },
    Action.OPEN_ACCOUNT: {Role.COORDINATOR: Reach.BRANCH, Role.INTEGRATOR: Reach.BANK},
    Action.AWARD: {Role.INTEGRATOR: Reach.BANK},
    Action.TRANSFER_FROM_POOL: {Role.INTEGRATOR: Reach.BANK},
    Action.REVERSE: {**_BY_COORDINATORS, Role.INTEGRATOR: Reach.BANK},
    Action.READ_JOURNAL: {
        Role.COORDINATOR: Reach.BRANCH,
        Role.AUDITOR: Reach.BRANCH,
        Role.INTEGRATOR: Reach.BANK,
    },
    Action.READ_TRIAL_BALANCE: {
        Role.AUDITOR: Reach.BANK,
        Role.ADMINISTRATOR: Reach.BANK,
        Role.INTEGRATOR: Reach.BANK,
    },
    Action.READ_BRANCH: {
        **_BY_COORDINATORS,
        **_BY_ADMINISTRATORS,
        Role.AUDITOR: Reach.BRANCH,
        Role.INTEGRATOR: Reach.BANK,
    },
    Action.READ_TOTALS: {
        **_BY_COORDINATORS,
        Role.AUDITOR: Reach.BRANCH,
        Role.INTEGRATOR: Reach.BANK,
    },
    Action.OPEN_BRANCH: _BY_ADMINISTRATORS,
    Action.MOVE_BRANCH: _BY_ADMINISTRATORS,
    Action.CLOSE_BRANCH: _BY_ADMINISTRATORS,
    Action.OPEN_SERVICE_POINT: _BY_ADMINISTRATORS,
    Action.CLOSE_SERVICE_POINT: _BY_ADMINISTRATORS,
    Action.PLACE_PARTY: {**_BY_COORDINATORS, **_BY_ADMINISTRATORS},
    Action.READ_SESSION: dict.fromkeys(Role, Reach.OWN),
    Action.END_SESSION: dict.fromkeys(Role, Reach.OWN),
    Action.ISSUE_ONE_TIME_CODE: _BY_COORDINATORS,
    Action.SET_PIN: {**_BY_COORDINATORS, Role.RESIDENT: Reach.OWN},
    Action.CHANGE_PASSWORD: {
        Role.CLERK: Reach.OWN,
        Role.COORDINATOR: Reach.OWN,
        Role.AUDITOR: Reach.OWN,
        Role.ADMINISTRATOR: Reach.OWN,
    },
    Action.ISSUE_API_KEY: _BY_ADMINISTRATORS,
    Action.ROTATE_API_KEY: {**_BY_ADMINISTRATORS, Role.MERCHANT: Reach.OWN},
    Action.REVOKE_API_KEY: _BY_ADMINISTRATORS,
    Action.PROPOSE: {**_BY_COORDINATORS, **_BY_ADMINISTRATORS},
    Action.DECIDE: {**_BY_COORDINATORS, **_BY_ADMINISTRATORS},
    Action.READ_APPROVALS: {
        **_BY_COORDINATORS,
        **_BY_ADMINISTRATORS,
        Role.AUDITOR: Reach.BRANCH,
    },
    Action.AWARD_BY_HAND: _BY_COORDINATORS,
    Action.GIVE_BY_HAND: _BY_COORDINATORS,
    Action.POST_IN_BULK: _BY_COORDINATORS,
    Action.GRANT_ROLE: _BY_ADMINISTRATORS,
    Action.REVOKE_ROLE: _BY_ADMINISTRATORS,
    Action.READ_ROLES: {**_BY_ADMINISTRATORS, Role.AUDITOR: Reach.BRANCH},
    Action.READ_AUDIT_LOG: {Role.AUDITOR: Reach.BANK, Role.ADMINISTRATOR: Reach.BANK},
    Action.REGISTER: _BY_COORDINATORS,
    Action.LOOK_UP: _BY_COORDINATORS,
    Action.READ_RESIDENT: {
        **_BY_COORDINATORS,
        **_BY_ADMINISTRATORS,
        Role.AUDITOR: Reach.BRANCH,
        Role.RESIDENT: Reach.KIN,
    },
    Action.DECIDE_MEMBERSHIP: _BY_COORDINATORS,
    Action.END_MEMBERSHIP: {**_BY_COORDINATORS, Role.RESIDENT: Reach.OWN},
    Action.READ_CONSENTS: _KIN_AND_COORDINATORS,
    Action.RECORD_CONSENT: _KIN_AND_COORDINATORS,
    Action.READ_KIN: {**_KIN_AND_COORDINATORS, Role.AUDITOR: Reach.BRANCH},
    Action.NAME_GUARDIAN: _BY_COORDINATORS,
    Action.NAME_HELPER: _KIN_AND_COORDINATORS,
    Action.ISSUE_CARD: _BY_COORDINATORS,
    Action.REVOKE_CARD: {**_BY_COORDINATORS, Role.RESIDENT: Reach.KIN},
    Action.READ_PERSONAL: {**_BY_COORDINATORS, **_BY_ADMINISTRATORS},
    Action.CORRECT: _BY_COORDINATORS,
    Action.FREEZE: _BY_ADMINISTRATORS,
    Action.ERASE: _BY_ADMINISTRATORS,
    Action.READ_OWN_DATA: dict.fromkeys(_PERSONS, Reach.OWN),
    Action.EXPORT_OWN_DATA: dict.fromkeys(_PERSONS, Reach.OWN),
    Action.ISSUE_SHEETS: _BY_COORDINATORS,
    Action.ENTER_SHEET: _BY_COORDINATORS,
    Action.VOID_SHEETS: _BY_COORDINATORS,
    Action.READ_SHEETS: {**_BY_COORDINATORS, Role.AUDITOR: Reach.BRANCH},
    Action.CHECK_AT_COUNTER: {Role.CLERK: Reach.BANK, Role.MERCHANT: Reach.BANK},
}
"""Default deny: what does not stand here is refused."""

LOW_VALUE = frozenset(
    {Action.READ_ACCOUNT, Action.READ_RESIDENT, Action.READ_SESSION, Action.END_SESSION}
)
"""What a card and its PIN are good for."""


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
    """Return how far the principal reaches; ForbiddenError if their role may not do this at all.

    StrongerLoginNeededError where the role may and this session may not.
    """
    reach = POLICY.get(action, {}).get(principal.role)
    if reach is None or (principal.scopes is not None and action not in principal.scopes):
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
    }
    if not reached[reach_of(principal, action)]:
        raise NotFoundError


def check_may_give_from(account: Account, pointer: str) -> None:
    """Raise InvalidInputError, at `pointer` of the request, unless one may give from this."""
    if account.kind is not AccountKind.POOL:
        raise InvalidInputError("Only pools are given from.", pointer=pointer)
