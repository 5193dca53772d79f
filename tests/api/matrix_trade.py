"""The access matrix of what is traded back: settlements, gifts, families."""

from tests.api.rows import Row
from timebank.people.access import Role

TILLS = {Role.CLERK: "own", Role.MERCHANT: "own"}
SETTLING = {Role.COORDINATOR: "branch", Role.ADMINISTRATOR: "bank"}
READING = {**SETTLING, **TILLS, Role.AUDITOR: "bank"}

SETTLEMENTS = [
    Row("GET /settlements", dict.fromkeys(READING, "any")),
    Row(
        "POST /merchants/{merchant_id:uuid}/settlements",
        SETTLING,
        {"cut_off": "$cut_off", "fen_rate": 10_000},
        ok=201,
        made={"merchant_id": "earning_id"},
    ),
    Row("GET /settlements/{settlement_id:uuid}", READING),
    Row("GET /settlements/{settlement_id:uuid}/lines", READING),
    Row("GET /settlements/{settlement_id:uuid}/statement.csv", READING),
    Row("GET /settlements/{settlement_id:uuid}/statement.xlsx", READING),
    Row("GET /settlements/{settlement_id:uuid}/statement.html", READING),
    Row(
        "POST /settlements/{settlement_id:uuid}/approvals",
        SETTLING,
        {"content_hash": "$settlement_hash"},
        ok=201,
    ),
    Row(
        "POST /settlements/{settlement_id:uuid}/closure",
        SETTLING,
        {},
        ok=201,
        made={"settlement_id": "approved_settlement_id"},
    ),
    Row("DELETE /settlements/{settlement_id:uuid}", SETTLING, ok=204),
]

RESIDENTS = {Role.RESIDENT: "own"}

GIFTS = [
    Row(
        "POST /gifts",
        RESIDENTS,
        {"resident_id": "$kin_id", "points": 1},
        ok=201,
        needs=("funded_id",),
    ),
    Row(
        "POST /reissues",  # a merchant gives its own to any member
        dict.fromkeys(TILLS, "bank"),
        {"member_number": "$member_number", "points": 1},
        ok=201,
        needs=("reissuing_id",),
    ),
]

FAMILIES = [
    Row("POST /families", dict.fromkeys(RESIDENTS, "any"), {}, ok=201),
    Row(
        "GET /residents/{resident_id:uuid}/families",
        {**RESIDENTS, Role.COORDINATOR: "branch", Role.AUDITOR: "bank"},
        made={"resident_id": "owner_id"},
    ),
    Row(
        "POST /families/{family_id:uuid}/invitations",
        RESIDENTS,
        {"may_hold": True},
        ok=201,
    ),
    Row(
        "POST /family-memberships",  # who was given the token may use it, whose family it is
        dict.fromkeys(RESIDENTS, "bank"),
        {"token": "$invitation"},
        ok=201,
    ),
    Row(
        "DELETE /families/{family_id:uuid}/members/{member_id:uuid}",
        RESIDENTS,
        ok=204,
        made={"member_id": "founder_id"},
    ),
]

OVERSIGHT = [
    Row("GET /overrides", dict.fromkeys([Role.ADMINISTRATOR, Role.AUDITOR], "any")),
    Row("GET /saturation", dict.fromkeys([*SETTLING, Role.AUDITOR], "any")),
]

TRADE_ROWS = [*SETTLEMENTS, *GIFTS, *FAMILIES, *OVERSIGHT]
