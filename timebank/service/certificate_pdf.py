"""The certificate as PDF, with typst (the extra `pdf`): archivable (PDF/A-3a), readable aloud.

Both standards refuse a sign that no font has, so no box is ever printed in place of a name. The
signed file is attached: whoever has the PDF can verify it without us. The same document gives the
same bytes where the fonts are the same.
"""

import importlib
import re
import tempfile
from datetime import UTC, datetime, time
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import msgspec

from timebank.domain.certificates import Document
from timebank.domain.service_errors import FontMissingError, PdfMissingError
from timebank.service.certificate_form import fill_form

_TEMPLATE = resources.files("timebank.service").joinpath("certificate.typ").read_bytes()
_STANDARDS = ["a-3a", "ua-1"]
_NO_SIGN = re.compile(r"could not be displayed|codepoint")
"""No font has the sign; or the standards forbid it, as those for private use."""

_PREFERRED = (
    "Noto Sans CJK SC",
    "Noto Sans SC",
    "Source Han Sans SC",
    "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei",
    "PingFang SC",
    "Microsoft YaHei",
    "Noto Serif CJK SC",
    "Noto Serif SC",
    "SimSun",
)
"""Of the system's fonts; for a sign that none of them has, typst looks at all others."""

_BUILT_IN = "Libertinus Serif"


def make_pdf(document: Document, base_url: str, font_dir: Path | None = None) -> bytes:
    """Return the PDF; PdfMissingError without the extra, FontMissingError, as `fill_form`.

    Fonts come from `font_dir`, else from the system. It takes a tenth of a second: call it in a
    thread.
    """
    typst = _load_typst()
    form = fill_form(document, base_url)
    fonts, families = _find_fonts(font_dir)
    day = form.issued_on
    data = {
        "fields": form.fields,
        "lines": form.lines,
        "qr": form.qr,
        "fonts": families,
        "file": msgspec.json.encode(document).decode(),
        "day": [day.year, day.month, day.day],
    }
    with tempfile.TemporaryDirectory(prefix="timebank-") as nothing:
        try:
            made: bytes = typst.compile(
                _TEMPLATE,
                root=nothing,  # the template reads no file: there is none to be read
                font_paths=fonts,
                sys_inputs={"data": msgspec.json.encode(data).decode()},
                format="pdf",
                pdf_standards=_STANDARDS,
                timestamp=datetime.combine(day, time(), UTC),
            )
        except typst.TypstError as error:
            if _NO_SIGN.search(error.message):
                raise FontMissingError from None  # the cause would name the sign
            raise
    return made


def _load_typst() -> Any:
    try:
        return importlib.import_module("typst")
    except ImportError as error:
        raise PdfMissingError from error


@lru_cache(maxsize=4)
def _find_fonts(font_dir: Path | None) -> tuple[Any, list[str]]:
    """Return the fonts to print with, and the families to take first."""
    typst = _load_typst()
    if font_dir is None:
        fonts = typst.Fonts()
        found = set(fonts.families())
        return fonts, [*(name for name in _PREFERRED if name in found), _BUILT_IN]
    fonts = typst.Fonts(include_system_fonts=False, font_paths=[font_dir])
    own = {font.family for font in fonts.fonts() if font.path}
    return fonts, [*sorted(own), _BUILT_IN]
