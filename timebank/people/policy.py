"""The policy: for each action the roles that may do it, and how far each reaches.

Default deny: what does not stand here is refused. `access` decides by it.
"""

from collections.abc import Mapping
from enum import StrEnum


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
    ROOT = "root"  # the same, and only by a role for the whole of it


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
    INVITE = "invite"
    CONFIRM_ENROLMENT = "confirm_enrolment"
    REGISTER_SYSTEM = "register_system"
    READ_API_KEYS = "read_api_keys"
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
    READ_CATALOGUE = "read_catalogue"
    ENROL_MERCHANT = "enrol_merchant"
    READ_AGREEMENTS = "read_agreements"
    MANAGE_SHOPS = "manage_shops"
    MANAGE_OFFERS = "manage_offers"
    RESTOCK = "restock"
    QUOTE = "quote"
    PLACE_HOLD = "place_hold"
    READ_HOLD = "read_hold"
    RELEASE_HOLD = "release_hold"
    RENEW_PICKUP_CODE = "renew_pickup_code"
    ISSUE_PAYMENT_CODE = "issue_payment_code"
    CHARGE = "charge"
    CAPTURE = "capture"
    REFUND = "refund"
    READ_TAKINGS = "read_takings"
    READ_MERCHANT_LINES = "read_merchant_lines"
    READ_WEBHOOKS = "read_webhooks"
    READ_WEBHOOK_EVENTS = "read_webhook_events"
    MANAGE_WEBHOOKS = "manage_webhooks"
    DISABLE_WEBHOOK = "disable_webhook"
    ENABLE_WEBHOOK = "enable_webhook"
    ISSUE_SLIP = "issue_slip"
    READ_SLIP = "read_slip"
    PRINT_SLIP = "print_slip"
    SYNC_SLIPS = "sync_slips"
    DRAFT_SETTLEMENT = "draft_settlement"
    APPROVE_SETTLEMENT = "approve_settlement"
    CLOSE_SETTLEMENT = "close_settlement"
    DISCARD_SETTLEMENT = "discard_settlement"
    READ_SETTLEMENT = "read_settlement"
    SET_CAP = "set_cap"
    PASS_CAP = "pass_cap"  # noqa: S105 - the name of an action
    READ_CAPS = "read_caps"
    READ_OVERRIDES = "read_overrides"
    READ_ANOMALIES = "read_anomalies"
    GIVE = "give"
    REISSUE = "reissue"
    ALLOCATE = "allocate"
    READ_FAMILY = "read_family"
    FOUND_FAMILY = "found_family"
    INVITE_TO_FAMILY = "invite_to_family"
    JOIN_FAMILY = "join_family"
    LEAVE_FAMILY = "leave_family"
    CONFIRM_FAMILY_MEMBER = "confirm_family_member"
    READ_PROGRAMME = "read_programme"
    OPEN_CATEGORY = "open_category"
    SET_RATE = "set_rate"
    ASK_WHAT_IF = "ask_what_if"
    PLAN_ACTIVITY = "plan_activity"
    CANCEL_ACTIVITY = "cancel_activity"
    READ_ROSTER = "read_roster"
    SIGN_UP = "sign_up"
    CHECK_IN = "check_in"
    CHECK_IN_BY_CODE = "check_in_by_code"
    SHOW_CODE = "show_code"
    UPLOAD_SCANS = "upload_scans"
    REVIEW_ATTENDANCE = "review_attendance"
    WRITE_RECORD = "write_record"
    DECIDE_RECORD = "decide_record"
    REVERSE_RECORD = "reverse_record"
    READ_RECORD = "read_record"
    GRADE_RECORD = "grade_record"
    SET_STAR_RULE = "set_star_rule"
    OPEN_HONOUR_TITLE = "open_honour_title"
    NOMINATE = "nominate"
    DECIDE_HONOUR = "decide_honour"
    READ_HONOUR = "read_honour"
    HOLD_ACTIVITY = "hold_activity"
    RELEASE_ACTIVITY = "release_activity"
    READ_WISH = "read_wish"
    CARE_FOR_WISH = "care_for_wish"
    CONFIRM_WISH = "confirm_wish"
    ISSUE_CERTIFICATE = "issue_certificate"
    REVOKE_CERTIFICATE = "revoke_certificate"
    READ_CERTIFICATE = "read_certificate"
    MAKE_SIGNING_KEY = "make_signing_key"
    REGISTER = "register"
    IMPORT_PEOPLE = "import_people"
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
_BY_TILLS = {Role.CLERK: Reach.MERCHANT, Role.MERCHANT: Reach.MERCHANT}
_SEEN_BY_COORDINATORS = {**_BY_COORDINATORS, Role.AUDITOR: Reach.BRANCH}
_SEEN_BY_STAFF = {**_SEEN_BY_COORDINATORS, **_BY_ADMINISTRATORS}
_SEEN_AT_TILLS = {**_SEEN_BY_STAFF, **_BY_TILLS}
_SEEN_BY_MERCHANT = {**_SEEN_BY_STAFF, Role.MERCHANT: Reach.MERCHANT}
_KIN_AND_COORDINATORS = {**_BY_COORDINATORS, Role.RESIDENT: Reach.KIN}
_BY_MERCHANTS = {Role.MERCHANT: Reach.MERCHANT}
_STOPPED_BY = {**_BY_COORDINATORS, **_BY_ADMINISTRATORS, **_BY_MERCHANTS}
_PERSONS = frozenset(Role) - {Role.INTEGRATOR}

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
        Role.AUDITOR: Reach.ROOT,
        Role.ADMINISTRATOR: Reach.ROOT,
        Role.INTEGRATOR: Reach.ROOT,
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
        Role.MERCHANT: Reach.OWN,
        Role.COORDINATOR: Reach.OWN,
        Role.AUDITOR: Reach.OWN,
        Role.ADMINISTRATOR: Reach.OWN,
    },
    # Of a merchant's people: one invites, another confirms who came. So neither logs in as them.
    Action.INVITE: {**_BY_COORDINATORS, **_BY_ADMINISTRATORS},
    Action.CONFIRM_ENROLMENT: {**_BY_COORDINATORS, **_BY_ADMINISTRATORS},
    # Whoever issues a key holds it, and a key redeems: the programme's staff look and revoke.
    Action.REGISTER_SYSTEM: _BY_ADMINISTRATORS,
    Action.READ_API_KEYS: {**_BY_ADMINISTRATORS, **_BY_MERCHANTS, Role.AUDITOR: Reach.BRANCH},
    Action.ISSUE_API_KEY: _BY_MERCHANTS,
    Action.ROTATE_API_KEY: _BY_MERCHANTS,
    Action.REVOKE_API_KEY: {**_BY_ADMINISTRATORS, **_BY_MERCHANTS},
    Action.PROPOSE: {**_BY_COORDINATORS, **_BY_ADMINISTRATORS},
    Action.DECIDE: {**_BY_COORDINATORS, **_BY_ADMINISTRATORS},
    Action.READ_APPROVALS: _SEEN_BY_STAFF,
    Action.AWARD_BY_HAND: _BY_COORDINATORS,
    Action.GIVE_BY_HAND: _BY_COORDINATORS,
    Action.POST_IN_BULK: _BY_COORDINATORS,
    Action.GRANT_ROLE: _BY_ADMINISTRATORS,
    Action.REVOKE_ROLE: _BY_ADMINISTRATORS,
    Action.READ_ROLES: {**_BY_ADMINISTRATORS, Role.AUDITOR: Reach.BRANCH},
    Action.READ_AUDIT_LOG: {Role.AUDITOR: Reach.ROOT, Role.ADMINISTRATOR: Reach.ROOT},
    Action.READ_CATALOGUE: dict.fromkeys(Role, Reach.BANK),
    Action.ENROL_MERCHANT: {**_BY_COORDINATORS, **_BY_ADMINISTRATORS},
    Action.READ_AGREEMENTS: _SEEN_AT_TILLS,
    Action.MANAGE_SHOPS: {**_BY_COORDINATORS, **_BY_ADMINISTRATORS, Role.MERCHANT: Reach.MERCHANT},
    Action.MANAGE_OFFERS: {**_BY_COORDINATORS, **_BY_ADMINISTRATORS, Role.MERCHANT: Reach.MERCHANT},
    Action.RESTOCK: {**_BY_COORDINATORS, **_BY_TILLS},
    Action.QUOTE: _KIN_AND_COORDINATORS,
    Action.PLACE_HOLD: _KIN_AND_COORDINATORS,
    Action.READ_HOLD: {**_KIN_AND_COORDINATORS, **_BY_TILLS, Role.AUDITOR: Reach.BRANCH},
    Action.RELEASE_HOLD: {**_KIN_AND_COORDINATORS, **_BY_TILLS},
    Action.RENEW_PICKUP_CODE: {Role.RESIDENT: Reach.KIN},
    Action.ISSUE_PAYMENT_CODE: {Role.RESIDENT: Reach.OWN},
    Action.CHARGE: _BY_TILLS,
    Action.CAPTURE: _BY_TILLS,
    Action.REFUND: _BY_TILLS,
    Action.READ_TAKINGS: _SEEN_AT_TILLS,
    Action.READ_MERCHANT_LINES: _SEEN_BY_MERCHANT,
    # Where a merchant is told is the merchant's: staff see that there is something, and stop it.
    Action.READ_WEBHOOKS: _SEEN_BY_MERCHANT,
    Action.READ_WEBHOOK_EVENTS: {Role.MERCHANT: Reach.MERCHANT},
    Action.MANAGE_WEBHOOKS: {Role.MERCHANT: Reach.MERCHANT},
    Action.DISABLE_WEBHOOK: _STOPPED_BY,
    Action.ENABLE_WEBHOOK: _STOPPED_BY,
    Action.ISSUE_SLIP: _KIN_AND_COORDINATORS,
    Action.READ_SLIP: {**_KIN_AND_COORDINATORS, Role.AUDITOR: Reach.BRANCH},
    # Whoever reads a slip can spend it: nobody who only looks, and no till before it is shown one.
    Action.PRINT_SLIP: _KIN_AND_COORDINATORS,
    Action.SYNC_SLIPS: _BY_TILLS,
    Action.DRAFT_SETTLEMENT: {**_BY_COORDINATORS, **_BY_ADMINISTRATORS},
    Action.APPROVE_SETTLEMENT: {**_BY_COORDINATORS, **_BY_ADMINISTRATORS},
    Action.CLOSE_SETTLEMENT: {**_BY_COORDINATORS, **_BY_ADMINISTRATORS},
    Action.DISCARD_SETTLEMENT: {**_BY_COORDINATORS, **_BY_ADMINISTRATORS},
    Action.READ_SETTLEMENT: _SEEN_AT_TILLS,
    Action.SET_CAP: _BY_ADMINISTRATORS,
    Action.PASS_CAP: _BY_COORDINATORS,
    Action.READ_CAPS: {
        Role.COORDINATOR: Reach.BANK,
        Role.AUDITOR: Reach.BANK,
        Role.ADMINISTRATOR: Reach.BANK,
    },
    Action.READ_OVERRIDES: {Role.AUDITOR: Reach.ROOT, Role.ADMINISTRATOR: Reach.ROOT},
    # Nobody gives another's points away, not even a guardian a child's.
    Action.GIVE: {Role.RESIDENT: Reach.OWN},
    Action.REISSUE: _BY_TILLS,
    Action.ALLOCATE: _BY_COORDINATORS,
    Action.READ_FAMILY: {Role.RESIDENT: Reach.KIN, **_SEEN_BY_COORDINATORS},
    Action.FOUND_FAMILY: {Role.RESIDENT: Reach.OWN},
    Action.INVITE_TO_FAMILY: {Role.RESIDENT: Reach.OWN},
    Action.JOIN_FAMILY: {Role.RESIDENT: Reach.KIN},
    Action.LEAVE_FAMILY: {Role.RESIDENT: Reach.KIN},
    # Nobody makes kin of themselves: what a family shares is not for sale.
    Action.CONFIRM_FAMILY_MEMBER: _BY_COORDINATORS,
    Action.READ_ANOMALIES: _SEEN_BY_STAFF,
    # What the programme offers stands on a wall; who takes part is seen by those who run it.
    Action.READ_PROGRAMME: {
        Role.RESIDENT: Reach.BANK,
        Role.COORDINATOR: Reach.BANK,
        Role.AUDITOR: Reach.BANK,
        Role.ADMINISTRATOR: Reach.BANK,
        Role.INTEGRATOR: Reach.BANK,
    },
    Action.OPEN_CATEGORY: _BY_ADMINISTRATORS,
    Action.SET_RATE: _BY_ADMINISTRATORS,
    Action.ASK_WHAT_IF: {**_BY_ADMINISTRATORS, Role.AUDITOR: Reach.BRANCH},
    Action.PLAN_ACTIVITY: _BY_COORDINATORS,
    Action.CANCEL_ACTIVITY: _BY_COORDINATORS,
    Action.READ_ROSTER: _SEEN_BY_COORDINATORS,
    Action.SIGN_UP: _KIN_AND_COORDINATORS,
    Action.CHECK_IN: _BY_COORDINATORS,
    Action.CHECK_IN_BY_CODE: {Role.RESIDENT: Reach.OWN},
    Action.SHOW_CODE: _BY_COORDINATORS,
    Action.UPLOAD_SCANS: _BY_COORDINATORS,
    Action.REVIEW_ATTENDANCE: _BY_COORDINATORS,
    Action.WRITE_RECORD: _BY_COORDINATORS,
    Action.DECIDE_RECORD: _BY_COORDINATORS,
    Action.REVERSE_RECORD: _BY_COORDINATORS,
    Action.READ_RECORD: {Role.RESIDENT: Reach.KIN, **_SEEN_BY_COORDINATORS},
    Action.GRADE_RECORD: _BY_COORDINATORS,
    Action.SET_STAR_RULE: _BY_ADMINISTRATORS,
    Action.OPEN_HONOUR_TITLE: _BY_ADMINISTRATORS,
    Action.NOMINATE: _BY_COORDINATORS,
    Action.DECIDE_HONOUR: {**_BY_COORDINATORS, **_BY_ADMINISTRATORS},
    Action.READ_HONOUR: {**_SEEN_BY_STAFF, Role.RESIDENT: Reach.KIN},
    # Holding stops points that may be false, so it takes one; releasing takes two.
    Action.HOLD_ACTIVITY: {**_BY_COORDINATORS, **_BY_ADMINISTRATORS},
    Action.RELEASE_ACTIVITY: {**_BY_COORDINATORS, **_BY_ADMINISTRATORS},
    Action.READ_WISH: _SEEN_BY_COORDINATORS,
    Action.CARE_FOR_WISH: _BY_COORDINATORS,
    Action.CONFIRM_WISH: _BY_COORDINATORS,
    Action.ISSUE_CERTIFICATE: _BY_COORDINATORS,
    Action.REVOKE_CERTIFICATE: _BY_COORDINATORS,
    Action.READ_CERTIFICATE: {Role.RESIDENT: Reach.KIN, **_SEEN_BY_COORDINATORS},
    Action.MAKE_SIGNING_KEY: {Role.ADMINISTRATOR: Reach.ROOT},
    Action.REGISTER: _BY_COORDINATORS,
    Action.IMPORT_PEOPLE: {Role.COORDINATOR: Reach.ROOT, Role.ADMINISTRATOR: Reach.ROOT},
    Action.LOOK_UP: _BY_COORDINATORS,
    Action.READ_RESIDENT: {**_SEEN_BY_STAFF, Role.RESIDENT: Reach.KIN},
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
