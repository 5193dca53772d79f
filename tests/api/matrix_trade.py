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

TRADE_ROWS = [*SETTLEMENTS]
