"""The certificate as a page to print: every field, the breakdown, room for the seal, a QR code."""

import io
from html import escape
from importlib import resources
from string import Template
from urllib.parse import urlsplit

import segno

from timebank.domain.certificates import Document, read_statement, say_time
from timebank.domain.errors import InvalidInputError

_PAGE = Template(
    resources.files("timebank.service").joinpath("certificate.html").read_text("utf-8")
)

_ID_TYPES = {
    "resident_id": "居民身份证",
    "foreign_resident_id": "外国人永久居留身份证",
    "hk_macao_permit": "港澳居民来往内地通行证",
    "taiwan_permit": "台湾居民来往大陆通行证",
    "passport": "护照",
    "other": "其他证件",
}


def render(document: Document, base_url: str) -> str:
    """Return the page; its QR code opens the public check. InvalidInputError for no https address.

    It prints what it is given: verify a document that comes from elsewhere first.
    """
    parts = urlsplit(base_url)
    if parts.scheme != "https" or not parts.hostname or parts.query or parts.fragment:
        raise InvalidInputError("Certificates carry an https address.", pointer="base_url")
    statement = read_statement(document)
    check_url = f"{base_url.rstrip('/')}/api/v1/certificates/{statement.number}"
    drawn = io.BytesIO()
    segno.make(check_url, error="q", micro=False).save(
        drawn, kind="svg", xmldecl=False, omitsize=True, border=4
    )
    printed = document.printed
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
    lines = "\n".join(
        f"<tr><td>{line.served_on}</td><td>{escape(line.content)}</td>"
        f"<td>{say_time(line.minutes)}</td></tr>"
        for line in statement.lines
    )
    escaped = {name: escape(text) for name, text in fields.items()}
    return _PAGE.substitute(escaped, lines=lines, qr=drawn.getvalue().decode())
