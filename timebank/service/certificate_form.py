"""What stands on a certificate's paper, whichever form it has: every field as text, and the QR."""

import io
from datetime import date
from urllib.parse import urlsplit

import segno
from msgspec import Struct

from timebank.domain.certificates import Document, read_statement, say_time
from timebank.domain.errors import InvalidInputError

_ID_TYPES = {
    "resident_id": "居民身份证",
    "foreign_resident_id": "外国人永久居留身份证",
    "hk_macao_permit": "港澳居民来往内地通行证",
    "taiwan_permit": "台湾居民来往大陆通行证",
    "passport": "护照",
    "other": "其他证件",
}


class Form(Struct, frozen=True, kw_only=True):
    """Fields by name, the rows of the breakdown (day, content, time), and the QR code as SVG."""

    fields: dict[str, str]
    lines: list[tuple[str, str, str]]
    qr: str
    issued_on: date


def fill_form(document: Document, base_url: str) -> Form:
    """Return what is printed; InvalidInputError unless `base_url` is an https address.

    The QR code opens the page of the check. It prints what it is given: verify a document that
    comes from elsewhere first.
    """
    parts = urlsplit(base_url)
    if parts.scheme != "https" or not parts.hostname or parts.query or parts.fragment:
        raise InvalidInputError("Certificates carry an https address.", pointer="base_url")
    statement, printed = read_statement(document), document.printed
    check_url = f"{base_url.rstrip('/')}/certificates/{statement.number}"
    drawn = io.BytesIO()
    segno.make(check_url, error="q", micro=False).save(
        drawn, kind="svg", xmldecl=False, omitsize=True, border=4
    )
    fields = {
        "name": printed.name,
        "id_type": _ID_TYPES.get(printed.id_type, "未登记"),
        "id_number": printed.id_number,
        "volunteer_number": printed.volunteer_number,
        "in_charge": printed.in_charge,
        "handler": printed.handler,
        "contact": printed.contact,
        "notes": printed.notes,
        "issuer": statement.issuer,
        "number": statement.number,
        "issued_on": str(statement.issued_on),
        "from_on": str(statement.from_on),
        "until_on": str(statement.until_on),
        "total": say_time(statement.minutes),
        "check_url": check_url,
    }
    lines = [
        (str(line.served_on), line.content, say_time(line.minutes)) for line in statement.lines
    ]
    return Form(
        fields=fields, lines=lines, qr=drawn.getvalue().decode(), issued_on=statement.issued_on
    )
