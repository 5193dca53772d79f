"""The access matrix as data: for every operation, which roles reach how far. Nothing is left out.

What is expected stands here by hand, apart from the policy it is compared with. A role that a row
does not name is answered 403 everywhere.
"""

from collections.abc import Sequence

from tests.api.matrix_certificates import CERTIFICATES
from tests.api.matrix_people import PEOPLE
from tests.api.matrix_redemption import REDEMPTION_ROWS
from tests.api.matrix_service import SERVICE
from tests.api.matrix_trade import TRADE_ROWS
from tests.api.rows import Row
from timebank.people.access import Role

READING = {
    Role.RESIDENT: "own",
    Role.COORDINATOR: "branch",
    Role.AUDITOR: "bank",
    Role.INTEGRATOR: "bank",
}
OVERSEEING = {role: reach for role, reach in READING.items() if role is not Role.RESIDENT}
POSTING = {Role.INTEGRATOR: "bank"}

LEDGER = [
    Row("GET /accounts", dict.fromkeys(READING, "any")),
    Row(
        "POST /accounts",
        {Role.COORDINATOR: "branch", Role.INTEGRATOR: "bank"},
        {"unit": "hours", "owner_id": "$owner_id"},
        ok=201,
        absent=422,
    ),
    Row("GET /accounts/{account_id:uuid}", READING),
    Row("GET /accounts/{account_id:uuid}/balance", READING),
    Row("GET /accounts/{account_id:uuid}/passbook", READING),
    Row("GET /accounts/{account_id:uuid}/passbook.csv", READING),
    Row("POST /awards", POSTING, {"account_id": "$account_id", "points": 1}, ok=201, absent=422),
    Row(
        "POST /transfers",
        POSTING,
        {"from_account_id": "$pool_id", "to_account_id": "$account_id", "points": 1},
        ok=201,
        absent=422,
    ),
    Row(
        "POST /batches",
        {Role.INTEGRATOR: "any"},  # each row has its own result
        {"rows": [{"type": "award", "account_id": "$account_id", "points": 1}]},
    ),
    Row(
        "POST /transfers/{transfer_id:uuid}/reversal",
        {Role.COORDINATOR: "branch", Role.INTEGRATOR: "bank"},
        {"reason": "duplicate"},
        ok=201,
    ),
    Row("GET /transfers/{transfer_id:uuid}", OVERSEEING),
    Row(
        "GET /trial-balance",
        dict.fromkeys([Role.AUDITOR, Role.ADMINISTRATOR, Role.INTEGRATOR], "any"),
    ),
]

PROPOSING = {Role.COORDINATOR: "branch"}
ADMINISTERING = {Role.ADMINISTRATOR: "bank"}
RUNNING_A_MERCHANT = {Role.MERCHANT: "own"}
SEEING_PROPOSALS = {**PROPOSING, **ADMINISTERING, Role.AUDITOR: "bank"}

FOUR_EYES = [
    # An administrator may propose and decide, but nothing that posts.
    Row(
        "POST /approvals",
        PROPOSING,
        {"deed": "award", "account_id": "$account_id", "points": 1},
        ok=201,
    ),
    Row("GET /approvals", dict.fromkeys(SEEING_PROPOSALS, "any")),
    Row("GET /approvals/{approval_id:uuid}", SEEING_PROPOSALS),
    Row(
        "POST /approvals/{approval_id:uuid}/decision",
        PROPOSING,
        {"decision": "approved", "content_hash": "$content_hash"},
    ),
]

OVERSIGHT = [
    Row("GET /role-grants", dict.fromkeys([Role.ADMINISTRATOR, Role.AUDITOR], "any")),
    Row(
        "POST /role-grants/{grant_id:uuid}/revocation",
        ADMINISTERING,
        {},
        ok=201,
    ),
    Row("GET /audit-log", dict.fromkeys([Role.ADMINISTRATOR, Role.AUDITOR], "any")),
]

READING_TOTALS = {Role.COORDINATOR: "branch", Role.AUDITOR: "bank", Role.INTEGRATOR: "bank"}

TREE = [
    Row("GET /branches", dict.fromkeys([*READING_TOTALS, *ADMINISTERING], "any")),
    Row("GET /branches/{branch_id:uuid}", {**READING_TOTALS, **ADMINISTERING}),
    Row("GET /branches/{branch_id:uuid}/totals", READING_TOTALS),
    Row("GET /branches/{branch_id:uuid}/positions", READING_TOTALS),
    Row(
        "POST /branches",
        ADMINISTERING,
        {"parent_id": "$branch_id", "code": "new", "name": "新社区"},
        ok=201,
        absent=422,
    ),
    Row(
        "POST /branches/{branch_id:uuid}/moves",
        ADMINISTERING,
        {"parent_id": "$sibling_id"},
        ok=201,
        made={"branch_id": "community_id"},
    ),
    Row(
        "POST /branches/{branch_id:uuid}/closure",
        ADMINISTERING,
        {},
        ok=201,
        made={"branch_id": "community_id"},
    ),
    Row(
        "POST /branches/{branch_id:uuid}/service-points",
        ADMINISTERING,
        {"kind": "centre", "name": "党群服务中心"},
        ok=201,
    ),
    Row("POST /service-points/{service_point_id:uuid}/closure", ADMINISTERING, {}, ok=201),
    Row(
        "POST /parties/{party_id:uuid}/placement",
        {Role.COORDINATOR: "branch", **ADMINISTERING},
        {"branch_id": "$community_id"},
        ok=201,
        absent=422,
        made={"party_id": "owner_id"},
    ),
]


LOGIN = [
    Row("GET /sessions/me", dict.fromkeys(Role, "any")),
    Row("DELETE /sessions/me", dict.fromkeys(Role, "any"), ok=204),
    Row("DELETE /sessions", dict.fromkeys(Role, "any"), ok=204),
    Row(
        "POST /one-time-codes",
        {Role.COORDINATOR: "branch"},
        {"resident_id": "$owner_id"},
        ok=201,
    ),
    Row(
        "POST /credentials/pin",
        {Role.RESIDENT: "own", Role.COORDINATOR: "branch"},
        {"pin": "492716", "resident_id": "$owner_id"},
        ok=204,
    ),
    Row(
        "POST /credentials/password",  # nobody here was enrolled, so nobody has one to change
        dict.fromkeys(
            [
                Role.CLERK,
                Role.MERCHANT,
                Role.COORDINATOR,
                Role.AUDITOR,
                Role.ADMINISTRATOR,
            ],
            "none",
        ),
        {"old_password": "x", "new_password": "y"},
    ),
    Row(
        "POST /invitations",
        {Role.COORDINATOR: "branch", **ADMINISTERING},
        {"party_id": "$clerk_id"},
        ok=201,
    ),
    Row(
        "POST /enrolments/confirmation",  # nobody here was enrolled; see test_invitations
        dict.fromkeys([Role.COORDINATOR, Role.ADMINISTRATOR], "none"),
        {"staff_number": "40718263"},
    ),
    Row("POST /systems", dict.fromkeys(ADMINISTERING, "any"), {}, ok=201),
    Row(
        "GET /api-keys",
        dict.fromkeys([Role.ADMINISTRATOR, Role.AUDITOR, Role.MERCHANT], "any"),
    ),
    # Whoever issues a key could redeem with it: administrators only look and revoke.
    Row(
        "POST /api-keys",
        RUNNING_A_MERCHANT,
        {"grant_id": "$system_grant_id", "scopes": ["read_session"], "days": 1},
        ok=201,
    ),
    Row("POST /api-keys/{api_key_id:uuid}/rotation", RUNNING_A_MERCHANT, {}, ok=201),
    Row("DELETE /api-keys/{api_key_id:uuid}", {**ADMINISTERING, **RUNNING_A_MERCHANT}, ok=204),
]

ROWS: Sequence[Row] = [
    *LEDGER,
    *FOUR_EYES,
    *OVERSIGHT,
    *LOGIN,
    *TREE,
    *PEOPLE,
    *SERVICE,
    *CERTIFICATES,
    *REDEMPTION_ROWS,
    *TRADE_ROWS,
]
