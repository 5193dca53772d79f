"""The part of the access matrix about service: who plans, attends, records, decides and reads."""

from tests.api.rows import Row
from tests.api.things import MAKERS
from tests.api.things_service import SERVICE_MAKERS
from timebank.people.access import Role

MAKERS.update(SERVICE_MAKERS)

PROGRAMME = [
    Role.RESIDENT,
    Role.COORDINATOR,
    Role.AUDITOR,
    Role.ADMINISTRATOR,
    Role.INTEGRATOR,
]
ON_THE_WALL = dict.fromkeys(PROGRAMME, "any")
SEEING_THE_WALL = dict.fromkeys(PROGRAMME, "bank")
COORDINATING = {Role.COORDINATOR: "branch"}
SEEING_WHO = {**COORDINATING, Role.AUDITOR: "bank"}
SEEING_RECORDS = {**SEEING_WHO, Role.RESIDENT: "own"}
TAKING_PART = {**COORDINATING, Role.RESIDENT: "own"}

ACTIVITIES = [
    Row("GET /categories", ON_THE_WALL),
    Row(
        "POST /categories",
        {Role.ADMINISTRATOR: "any"},
        {"code": "errands", "name": "跑腿代办"},
        ok=201,
    ),
    Row("GET /activities", ON_THE_WALL),
    Row("GET /activities/{activity_id:uuid}", SEEING_THE_WALL),
    Row(
        "POST /activities",
        COORDINATING,
        {
            "category_id": "$category_id",
            "title": "楼道清洁",
            "first_start": "2026-05-01T09:00:00",
            "wall_minutes": 60,
            "branch_id": "$branch_id",
        },
        ok=201,
        absent=422,
    ),
    Row(
        "POST /activities/{activity_id:uuid}/teams",
        COORDINATING,
        {"team_id": "$merchant_id"},
        ok=201,
    ),
    Row(
        "POST /activities/{activity_id:uuid}/shifts",
        COORDINATING,
        {"from_on": "2026-05-01", "until_on": "2026-05-31"},
        ok=201,
    ),
    Row(
        "POST /activities/{activity_id:uuid}/cancellation",
        COORDINATING,
        {"reason": "weather"},
        ok=201,
    ),
    Row("GET /shifts", ON_THE_WALL, query="?from=2026-05-01&until=2026-05-31"),
    Row("GET /shifts/{shift_id:uuid}", SEEING_THE_WALL),
    Row(
        "POST /shifts/{shift_id:uuid}/cancellation",
        COORDINATING,
        {"reason": "too_few"},
        ok=201,
    ),
    Row("GET /shifts/{shift_id:uuid}/roster", SEEING_WHO),
    Row(
        "POST /shifts/{shift_id:uuid}/sign-ups",
        TAKING_PART,
        {"resident_id": "$owner_id"},
        ok=201,
    ),
    Row(
        "POST /shifts/{shift_id:uuid}/withdrawals",
        TAKING_PART,
        {"resident_id": "$owner_id"},
        ok=201,
    ),
]

ATTENDANCE = [
    Row("GET /shifts/{shift_id:uuid}/attendances", SEEING_WHO),
    Row("GET /shifts/{shift_id:uuid}/code", COORDINATING),
    Row(
        "POST /shifts/{shift_id:uuid}/check-ins",
        COORDINATING,
        {"resident_id": "$owner_id"},
        ok=201,
    ),
    Row(
        "POST /shifts/{shift_id:uuid}/check-outs",
        COORDINATING,
        {"resident_id": "$owner_id"},
        ok=201,
        made={"shift_id": "attended_shift_id"},
    ),
    Row(
        "POST /shifts/{shift_id:uuid}/check-ins/by-code",
        {Role.RESIDENT: "own"},
        {"code": "$code_of_joined"},
        ok=201,
        absent=409,  # whoever did not sign up has no place, there or anywhere
        made={"shift_id": "joined_shift_id"},
    ),
    Row(
        "POST /shifts/{shift_id:uuid}/check-outs/by-code",
        {Role.RESIDENT: "own"},
        {"code": "$code_of_attended"},
        ok=201,
        made={"shift_id": "attended_shift_id"},
    ),
    Row(
        "POST /scans",
        {Role.COORDINATOR: "any"},  # each scan has its own result
        {
            "scans": [
                {
                    "scan_id": "$draft_id",
                    "shift_id": "$past_shift_id",
                    "resident_id": "$owner_id",
                    "is_arrival": True,
                    "scanned_at": "$started_at",
                }
            ]
        },
        ok=201,
    ),
    Row("POST /attendances/closing", {Role.COORDINATOR: "any"}, {}, ok=201),
    Row("POST /attendances/{attendance_id:uuid}/review", COORDINATING, {}, ok=201),
]

CLAIM = {
    "resident_id": "$owner_id",
    "shift_id": "$past_shift_id",
    "started_at": "$started_at",
    "ended_at": "$ended_at",
    "evidence": {"sheet_number": "$first_number"},
}

RECORDS = [
    Row("POST /shifts/{shift_id:uuid}/records", COORDINATING, {}, ok=201),
    Row("GET /shifts/{shift_id:uuid}/records", SEEING_WHO),
    Row("POST /service-records", COORDINATING, {"claims": [CLAIM]}, ok=201),
    Row(
        "POST /service-records/submission",
        COORDINATING,
        {"record_ids": ["$draft_id"]},
        ok=201,
    ),
    Row(
        "POST /service-records/confirmation",
        COORDINATING,
        {"record_ids": ["$record_id"]},
        ok=201,
    ),
    Row(
        "POST /service-records/rejection",
        COORDINATING,
        {"record_ids": ["$record_id"]},
        ok=201,
    ),
    Row(
        "POST /service-records/{record_id:uuid}/reversal",
        COORDINATING,
        {"reason": "service_not_given"},
        ok=201,
        made={"record_id": "confirmed_id"},
    ),
    Row("GET /service-records/{record_id:uuid}", SEEING_RECORDS),
    Row(
        "GET /residents/{resident_id:uuid}/service-records",
        SEEING_RECORDS,
        made={"resident_id": "owner_id"},
    ),
    Row(
        "GET /residents/{resident_id:uuid}/summary",
        SEEING_RECORDS,
        made={"resident_id": "owner_id"},
    ),
    Row(
        "GET /accounts/{account_id:uuid}/explanation",
        {**SEEING_RECORDS, Role.INTEGRATOR: "bank"},
    ),
]

RULES = [
    Row("GET /categories/{category_id:uuid}/rates", SEEING_THE_WALL),
    Row("GET /service-caps", ON_THE_WALL),
    Row(
        "GET /what-if",
        {Role.ADMINISTRATOR: "bank", Role.AUDITOR: "bank"},
        query="?rate=$question&from=2026-05-01&until=2026-05-31",
    ),
]

WISHES = [
    Row("GET /wishes", ON_THE_WALL),
    Row("GET /wishes/{wish_id:uuid}", SEEING_WHO),
    Row(
        "POST /wishes",
        COORDINATING,
        {
            "category_id": "$category_id",
            "title": "修一盏灯",
            "served_id": "$owner_id",
            "branch_id": "$branch_id",
        },
        ok=201,
        absent=422,
    ),
    Row(
        "POST /wishes/{wish_id:uuid}/assignment",
        COORDINATING,
        {"volunteer_id": "$volunteer_id"},
        ok=201,
    ),
    Row(
        "POST /wishes/{wish_id:uuid}/hand-back",
        COORDINATING,
        {},
        ok=201,
        made={"wish_id": "assigned_wish_id"},
    ),
    Row(
        "POST /wishes/{wish_id:uuid}/completion",
        COORDINATING,
        {
            "started_at": "$started_at",
            "ended_at": "$ended_at",
            "evidence": {"note": "thanks_of_the_served"},
        },
        ok=201,
        made={"wish_id": "assigned_wish_id"},
    ),
    Row(
        "POST /wishes/{wish_id:uuid}/confirmation",
        COORDINATING,
        {},
        ok=201,
        made={"wish_id": "done_wish_id"},
    ),
]

OVERSEEING = {**COORDINATING, Role.ADMINISTRATOR: "bank"}
SEEING_ANOMALIES = dict.fromkeys([Role.COORDINATOR, Role.ADMINISTRATOR, Role.AUDITOR], "any")

HONOURS = [
    Row("GET /star-rules", ON_THE_WALL),
    Row(
        "GET /residents/{resident_id:uuid}/stars",
        SEEING_RECORDS,
        made={"resident_id": "owner_id"},
    ),
    Row(
        "POST /service-records/{record_id:uuid}/grade",
        COORDINATING,
        {"grade": 4},
        ok=201,
        made={"record_id": "confirmed_id"},
    ),
    Row("GET /honour-titles", ON_THE_WALL),
    Row(
        "POST /honour-titles",
        {Role.ADMINISTRATOR: "any"},
        {"code": "pioneer", "name": "涧贤先锋"},
        ok=201,
    ),
    Row(
        "POST /honours",
        COORDINATING,
        {"title_id": "$title_id", "resident_id": "$owner_id", "year": 2026},
        ok=201,
    ),
    Row(
        "POST /honours/{honour_id:uuid}/decision",
        OVERSEEING,
        {"decision": "awarded"},
        ok=201,
    ),
    Row("GET /honours/{honour_id:uuid}", {**SEEING_RECORDS, Role.ADMINISTRATOR: "bank"}),
    Row("GET /honours", dict.fromkeys([*SEEING_RECORDS, Role.ADMINISTRATOR], "any")),
]

ABUSE = [
    Row("GET /service-anomalies", SEEING_ANOMALIES),
    Row("GET /held-activities", SEEING_ANOMALIES),
    Row(
        "POST /activities/{activity_id:uuid}/hold",
        OVERSEEING,
        {"reason": "check_ins_without_spread"},
        ok=201,
    ),
    Row(
        "POST /activities/{activity_id:uuid}/release",
        OVERSEEING,
        {},
        ok=201,
        made={"activity_id": "held_activity_id"},
    ),
]

SERVICE = [*ACTIVITIES, *ATTENDANCE, *RECORDS, *RULES, *WISHES, *HONOURS, *ABUSE]
