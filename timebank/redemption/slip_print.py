"""A slip as a page to print: what it is worth, where and until when, its QR code and its text."""

import io
import re
from html import escape
from importlib import resources
from string import Template
from zoneinfo import ZoneInfo

import segno

from timebank.domain.slips import Slip
from timebank.redemption.slip_checker import spell_number

_PAGE = Template(resources.files("timebank.redemption").joinpath("slip.html").read_text("utf-8"))


def render_slip(slip: Slip, text: str, bank_name: str, zone: ZoneInfo) -> str:
    """Return the page; it names the merchant and no person."""
    drawn = io.BytesIO()
    segno.make(text, mode="alphanumeric", error="m", micro=False).save(
        drawn, kind="svg", xmldecl=False, omitsize=True, border=4
    )
    fields = {
        "bank": bank_name,
        "merchant": slip.merchant_name,
        "points": f"{slip.points:,}",
        "number": spell_number(slip.number),
        "issued_at": f"{slip.issued_at.astimezone(zone):%Y-%m-%d %H:%M}",
        "expires_at": f"{slip.expires_at.astimezone(zone):%Y-%m-%d %H:%M}",
        "held_until": f"{slip.held_until.astimezone(zone):%Y-%m-%d %H:%M}",
        "text": " ".join(re.findall(".{1,5}", text)),
    }
    escaped = {name: escape(value) for name, value in fields.items()}
    return _PAGE.substitute(escaped, qr=drawn.getvalue().decode())
