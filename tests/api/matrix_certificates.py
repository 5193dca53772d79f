"""The part of the access matrix about certificates: who issues, prints, ends and reads them."""

from tests.api.matrix_service import COORDINATING, SEEING_RECORDS
from tests.api.rows import Row
from tests.api.things import MAKERS
from tests.api.things_certificates import CERTIFICATE_MAKERS
from timebank.people.access import Role

MAKERS.update(CERTIFICATE_MAKERS)

PUBLIC_CERTIFICATES = {
    "GET /api/v1/certificates/{number:str}",
    "GET /api/v1/certificate-keys/{bank:str}",
}
"""Who has the number learns that it stands, and nothing about the person; keys are for all."""

CERTIFICATES = [
    Row(
        "POST /residents/{resident_id:uuid}/certificates",
        COORDINATING,
        {
            "from_on": "2020-01-01",
            "until_on": "$today",
            "in_charge": "负责人甲",
            "handler": "经办人乙",
            "contact": "0379-12345678",
        },
        ok=201,
        made={"resident_id": "served_id"},
    ),
    Row(
        "POST /certificates/prints",
        COORDINATING,
        {
            "statement": "$statement",
            "signature": "$signature",
            "printed": "$printed",
            "form": "html",
        },
    ),
    Row(
        "POST /issued-certificates/{certificate_id:uuid}/revocation",
        COORDINATING,
        {"reason": "lost"},
        ok=201,
    ),
    Row("GET /issued-certificates/{certificate_id:uuid}", SEEING_RECORDS),
    Row(
        "GET /residents/{resident_id:uuid}/certificates",
        SEEING_RECORDS,
        made={"resident_id": "owner_id"},
    ),
    Row("POST /certificate-keys", {Role.ADMINISTRATOR: "any"}, {}, ok=201),
]
