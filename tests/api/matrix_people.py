"""The rows of the access matrix about people."""

from collections.abc import Mapping, Sequence

from tests.api.rows import Row
from tests.api.things import MAKERS
from tests.api.things_people import PEOPLE_MAKERS
from timebank.people.access import Role

MAKERS.update(PEOPLE_MAKERS)

AT_DESK: Mapping[Role, str] = {Role.COORDINATOR: "branch"}
ANYWHERE: Mapping[Role, str] = {Role.COORDINATOR: "any"}
OWN: Mapping[Role, str] = {Role.RESIDENT: "own"}
ADMINISTERING: Mapping[Role, str] = {Role.ADMINISTRATOR: "bank"}
SEEING: Mapping[Role, str] = {**AT_DESK, **ADMINISTERING, Role.AUDITOR: "bank"}
ONESELF: Mapping[Role, str] = {
    Role.RESIDENT: "any",
    # Nobody here was registered with personal data of their own.
    **dict.fromkeys(
        [Role.CLERK, Role.MERCHANT, Role.COORDINATOR, Role.AUDITOR, Role.ADMINISTRATOR], "none"
    ),
}

REGISTRATION = [
    Row(
        "POST /residents",
        AT_DESK,
        {
            "name": "王小英",
            "born_on": "1953-06-29",
            "consents": ["membership"],
            "paper": "$registration_paper",
            "branch_id": "$branch_id",
        },
        ok=201,
    ),
    Row(
        "GET /residents",
        {**dict.fromkeys(SEEING, "any"), Role.RESIDENT: "none"},
        query="?state=applied",
    ),
    Row("GET /residents/{resident_id:uuid}", {**SEEING, **OWN}),
    Row(  # whom one does not reach is left out of the list
        "POST /residents/lookups",
        ANYWHERE,
        {"purpose": "identification", "member_number": "$member_number"},
    ),
    Row(
        "POST /residents/{resident_id:uuid}/decision",
        AT_DESK,
        {"decision": "approved"},
        ok=201,
        made={"resident_id": "applicant_id"},
    ),
    Row(
        "POST /persons/{person_id:uuid}/application",
        AT_DESK,
        {"consents": ["membership"], "paper": "$registration_paper"},
        ok=201,
        made={"person_id": "former_id"},
    ),
    Row("POST /residents/{resident_id:uuid}/leave", {**AT_DESK, **OWN}, {}, ok=201),
    Row("GET /residents/{resident_id:uuid}/consents", {**AT_DESK, **OWN}),
    Row(
        "POST /residents/{resident_id:uuid}/consents",
        {**AT_DESK, **OWN},
        {"said": {"publication": True}, "paper": "$consent_paper"},
        ok=201,
        for_role={Role.RESIDENT: {"said": {"publication": True}}},
    ),
]

VAULT = [
    Row("POST /persons", ANYWHERE, {"name": "王小英"}, ok=201),
    Row(
        "GET /persons/{person_id:uuid}/personal",
        {**AT_DESK, **ADMINISTERING},
        query="?purpose=contact",
        for_role={Role.ADMINISTRATOR: "?purpose=legal_duty"},
    ),
    Row(
        "POST /persons/{person_id:uuid}/corrections",
        AT_DESK,
        {"phone": "13800138000"},
        ok=201,
    ),
    Row(
        "POST /persons/{person_id:uuid}/freeze",
        ADMINISTERING,
        {"retain_until": "2100-01-01"},
        ok=201,
    ),
    Row("POST /persons/{person_id:uuid}/unfreeze", ADMINISTERING, {}, ok=201),
    Row("GET /me", ONESELF, needs=("resident_id",)),
    Row("POST /me/export", ONESELF, {}, needs=("resident_id",)),
    Row("GET /me/accesses", dict.fromkeys(ONESELF, "any")),
]

KIN = [
    Row("GET /residents/{resident_id:uuid}/kin", {**AT_DESK, **OWN, Role.AUDITOR: "bank"}),
    Row(
        "POST /residents/{resident_id:uuid}/guardians",
        AT_DESK,
        {"guardian_id": "$guardian_id", "paper": "$consent_paper"},
        ok=201,
        made={"resident_id": "minor_id"},
    ),
    Row(
        "DELETE /residents/{resident_id:uuid}/guardians/{guardian_id:uuid}",
        AT_DESK,
        ok=204,
        made={"resident_id": "minor_id"},
    ),
    Row(
        "POST /residents/{resident_id:uuid}/helpers",
        {**AT_DESK, **OWN},
        {"member_number": "$helper_number", "paper": "$consent_paper"},
        ok=201,
        for_role={Role.RESIDENT: {"member_number": "$helper_number"}},
    ),
    Row(
        "DELETE /residents/{resident_id:uuid}/helpers/{helper_id:uuid}",
        {**AT_DESK, **OWN},
        ok=204,
    ),
]

CARDS = [
    Row("POST /residents/{resident_id:uuid}/card", AT_DESK, {}, ok=201),
    Row("DELETE /residents/{resident_id:uuid}/card", {**AT_DESK, **OWN}, ok=204),
    Row(  # whoever is a member may stand at any merchant's counter
        "POST /counter-checks",
        dict.fromkeys([Role.CLERK, Role.MERCHANT], "bank"),
        {"member_number": "$member_number", "points": 1},
    ),
]

PAPER = [
    Row(
        "POST /sheet-runs",
        AT_DESK,
        {"count": 10, "kind": "attendance", "issued_to": "$branch_id"},
        ok=201,
    ),
    Row("GET /sheet-runs", dict.fromkeys([Role.COORDINATOR, Role.AUDITOR], "any")),
    Row(
        "GET /sheet-runs/{first_number:str}/missing",
        {**AT_DESK, Role.AUDITOR: "bank"},
    ),
    Row(
        "POST /sheets/entries",
        AT_DESK,
        {"kind": "consent", "member_id": "$resident_id", "paper": "$consent_paper"},
        ok=201,
    ),
    Row(
        "POST /sheets/voids",
        AT_DESK,
        {"sheets": ["$first_number"], "reason": "spoilt"},
        ok=201,
        absent=422,
    ),
]

PEOPLE: Sequence[Row] = [*REGISTRATION, *VAULT, *KIN, *CARDS, *PAPER]
