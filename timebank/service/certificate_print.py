"""The certificate as a page to print: every field, the breakdown, room for the seal, a QR code."""

from html import escape
from importlib import resources
from string import Template

from timebank.domain.certificates import Document
from timebank.service.certificate_form import fill_form

_PAGE = Template(
    resources.files("timebank.service").joinpath("certificate.html").read_text("utf-8")
)


def render(document: Document, base_url: str) -> str:
    """Return the page; as `fill_form`."""
    form = fill_form(document, base_url)
    rows = (f"<td>{'</td><td>'.join(escape(text) for text in line)}</td>" for line in form.lines)
    lines = "\n".join(f"<tr>{row}</tr>" for row in rows)
    escaped = {name: escape(text) for name, text in form.fields.items()}
    return _PAGE.substitute(escaped, lines=lines, qr=form.qr)
