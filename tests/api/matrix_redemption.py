"""The access matrix of redemption; who works for a merchant reaches that merchant only."""

from tests.api.rows import Row
from timebank.people.access import Role

TILLS = {Role.CLERK: "own", Role.MERCHANT: "own"}
COORDINATING = {Role.COORDINATOR: "branch"}
ADMINISTERING = {**COORDINATING, Role.ADMINISTRATOR: "bank"}
OVERSEEING = {**ADMINISTERING, Role.AUDITOR: "bank"}
RESIDENTS = {**COORDINATING, Role.RESIDENT: "own"}
CATALOGUE = dict.fromkeys(Role, "bank")
OFFERING = {**ADMINISTERING, Role.MERCHANT: "own"}

ENROLLED = {"merchant_id": "enrolled_id"}
FROM_2020 = "2020-01-01T00:00:00Z"
NEVER_SEEN = "01890000-0000-7000-8000-00000000a11b"
RESERVED = {"merchant_id": "$enrolled_id", "account_id": "$funded_id", "points": 5}

MERCHANTS = [
    Row(
        "POST /merchants",
        ADMINISTERING,
        {
            "name": "爱心小店",
            "branch_id": "$branch_id",
            "agreement": {"reference": "A1", "valid_from": FROM_2020},
        },
        ok=201,
    ),
    Row("GET /merchants", dict.fromkeys(Role, "any")),
    Row("GET /merchants/{merchant_id:uuid}", CATALOGUE, made=ENROLLED),
    Row("GET /merchants/{merchant_id:uuid}/agreements", {**OVERSEEING, **TILLS}, made=ENROLLED),
    Row(
        "POST /merchants/{merchant_id:uuid}/agreements",
        ADMINISTERING,
        {"reference": "A2", "valid_from": FROM_2020},
        ok=201,
        made=ENROLLED,
    ),
    Row(
        "POST /merchants/{merchant_id:uuid}/agreements/end",
        ADMINISTERING,
        {"reference": "$reference"},
        ok=201,
        made=ENROLLED,
    ),
    Row("GET /merchants/{merchant_id:uuid}/shops", CATALOGUE, made=ENROLLED),
    Row(
        "POST /merchants/{merchant_id:uuid}/shops",
        OFFERING,
        {"name": "西门店"},
        ok=201,
        made=ENROLLED,
    ),
    Row(
        "POST /merchants/{merchant_id:uuid}/shops/{shop_id:uuid}/closure",
        OFFERING,
        {},
        ok=201,
        made=ENROLLED,
    ),
    Row("GET /merchants/{merchant_id:uuid}/takings", {**OVERSEEING, **TILLS}, made=ENROLLED),
]

OFFERS = [
    Row("GET /offers", dict.fromkeys(Role, "any")),
    Row("GET /offers/{offer_id:uuid}", CATALOGUE),
    Row(
        "POST /offers",
        OFFERING,
        {"merchant_id": "$enrolled_id", "title": "香皂", "price": 2, "is_stocked": False},
        ok=201,
    ),
    Row("POST /offers/{offer_id:uuid}/withdrawal", OFFERING, {}, ok=201),
    Row(
        "POST /offers/{offer_id:uuid}/restocks",
        {**COORDINATING, **TILLS},
        {"units": 5, "reason": "delivery"},
        ok=201,
    ),
]

HOLDS = [
    Row("GET /quote", dict.fromkeys(RESIDENTS, "none"), absent=400),  # its parameters are missing
    Row(
        "POST /holds",
        RESIDENTS,
        {**RESERVED, "paper": "$redemption_paper"},
        ok=201,
        for_role={Role.RESIDENT: RESERVED},
    ),
    Row(
        "GET /holds",  # the role may; whoever has none of their own says whose
        {Role.RESIDENT: "any", Role.CLERK: "any", Role.MERCHANT: "any"}
        | dict.fromkeys([Role.COORDINATOR, Role.AUDITOR], "none"),
        absent=400,
    ),
    Row("GET /holds/{hold_id:uuid}", {**RESIDENTS, **TILLS, Role.AUDITOR: "bank"}),
    Row("POST /holds/{hold_id:uuid}/release", {**RESIDENTS, **TILLS}, {}, ok=201),
    Row("POST /holds/{hold_id:uuid}/pickup-codes", {Role.RESIDENT: "own"}, {}, ok=201),
    Row(
        "POST /payment-codes",  # names nobody: a resident gets a code of their own wallet
        {Role.RESIDENT: "none"},
        {},
    ),
    Row(
        "POST /charges",  # at another merchant's till than the one that takes points
        TILLS,
        {"code": "$payment_code", "points": 3},
        ok=201,
        absent=409,
    ),
    Row("POST /pickups", TILLS, {"code": "$pickup_code"}, absent=409),
    Row(
        "POST /holds/{hold_id:uuid}/captures",
        TILLS,
        {"code": "$pickup_code"},
        ok=201,
    ),
    Row(
        "POST /holds/{hold_id:uuid}/refunds",
        TILLS,
        {"points": 1, "reason": "goods_returned"},
        ok=201,
        made={"hold_id": "captured_id"},
    ),
]

SLIPPED = {**RESERVED, "points": "$slip_points"}

SLIPS = [
    Row(
        "POST /slips",
        RESIDENTS,
        {**SLIPPED, "paper": "$redemption_paper"},
        ok=201,
        for_role={Role.RESIDENT: SLIPPED},
    ),
    Row(
        "GET /slips",  # as GET /holds
        {Role.RESIDENT: "any"} | dict.fromkeys([Role.COORDINATOR, Role.AUDITOR], "none"),
        absent=400,
    ),
    # a coordinator has those that they issued themselves, by a sheet
    Row("GET /slips/{slip_id:uuid}", {Role.RESIDENT: "own", Role.COORDINATOR: "none"}),
    Row("GET /slips/{slip_id:uuid}/paper", {Role.RESIDENT: "own", Role.COORDINATOR: "none"}),
    Row(
        "POST /slips/syncs",  # another merchant's slip is answered as one that is not known
        dict.fromkeys(TILLS, "any"),
        {"slips": [{"slip": "$slip_text", "acceptance_id": NEVER_SEEN}]},
    ),
    Row("POST /slip-keys", {Role.ADMINISTRATOR: "any"}, {}, ok=201),
]

PUBLIC_SLIPS = {"GET /api/v1/slip-keys/{bank:str}"}
"""What tills fetch while they are online, without a token."""

OVERSIGHT = [
    Row("GET /caps", dict.fromkeys(OVERSEEING, "any")),
    Row("GET /minor-cap", dict.fromkeys(OVERSEEING, "any")),
    Row("GET /anomalies", dict.fromkeys(OVERSEEING, "any")),
]

LISTENING = {Role.MERCHANT: "own"}
ENDPOINT = "/webhook-endpoints/{endpoint_id:uuid}"

WEBHOOKS = [
    Row("GET /merchants/{merchant_id:uuid}/lines", {**LISTENING, **OVERSEEING}, made=ENROLLED),
    Row(
        "POST /merchants/{merchant_id:uuid}/webhook-endpoints",
        LISTENING,
        {"url": "https://till.example/hook", "event_types": ["redemption.captured"]},
        ok=201,
        made=ENROLLED,
    ),
    Row(
        "GET /merchants/{merchant_id:uuid}/webhook-endpoints",
        {**LISTENING, **OVERSEEING},
        made=ENROLLED,
    ),
    Row(f"GET {ENDPOINT}", {**LISTENING, **OVERSEEING}),
    Row(
        f"POST {ENDPOINT}/changes",
        LISTENING,
        {"url": "https://till.example/other", "event_types": ["redemption.held"]},
        ok=201,
    ),
    Row(f"POST {ENDPOINT}/disablement", {**LISTENING, **ADMINISTERING}, {}, ok=201),
    Row(f"POST {ENDPOINT}/enablement", {**LISTENING, **ADMINISTERING}, {}, ok=201),
    Row(f"POST {ENDPOINT}/rotation", LISTENING, {}, ok=201),
    Row(f"POST {ENDPOINT}/pings", LISTENING, {}, ok=201),
    Row(f"POST {ENDPOINT}/replays", LISTENING, {"event_id": "$event_id"}, ok=201),
    Row(f"GET {ENDPOINT}/events", LISTENING),
    Row(f"GET {ENDPOINT}/events/{{event_id:uuid}}/attempts", LISTENING),
]

REDEMPTION_ROWS = [*MERCHANTS, *OFFERS, *HOLDS, *SLIPS, *OVERSIGHT, *WEBHOOKS]
