"""The PDF read back: every field stands there as it is, adds up, and is never a box."""

import sys
from datetime import date
from io import BytesIO
from pathlib import Path

import msgspec
import pytest
from pypdf import PdfReader

from tests.service.test_certificate_print import DOCUMENT, PRINTED, STATEMENT
from tests.service.test_signing import KEYS, sign
from timebank.domain.certificates import CertificateLine, Document, canonical
from timebank.domain.service_errors import FontMissingError, PdfMissingError
from timebank.service.certificate_pdf import make_pdf
from timebank.service.signing import verify

FONTS = Path(__file__).parents[1] / "fonts"
BASE = "https://bank.example/"

MARKUP = r'#panic("x") $x$ *b* _u_ `c` <l> @r \ [x] // y /* z */ = h #sys.inputs'


def pages_of(document: Document) -> list[str]:
    """The text of each page, as a reader program takes it."""
    reader = PdfReader(BytesIO(make_pdf(document, BASE, FONTS)))
    return [page.extract_text() for page in reader.pages]


def with_printed(**changed: str) -> Document:
    """The certificate with something else printed on it."""
    return msgspec.structs.replace(DOCUMENT, printed=msgspec.structs.replace(PRINTED, **changed))


def test_every_field_stands_there() -> None:
    [page] = pages_of(DOCUMENT)
    for text in (
        "志愿服务记录证明",
        "姓名 <b>王某</b>",
        "证件类型 居民身份证",
        "证件号码 410***********1234",
        "志愿者编号 1234567890",
        "服务期间 2026-01-01 至 2026-12-31",
        "服务时长 3 小时 05 分",
        "2026-01-02 周五大扫除 & 其他 3 小时 05 分",
        "合计 3 小时 05 分",
        "出具单位：涧贤银行",
        "负责人：负责人甲",
        "经办人：经办人乙",
        "联系方式：0379-12345678",
        "出具日期：2027-01-04",
        "备注：备注丙",
        "（盖章处）",
        "证明编号：jianxi-0123-4567-89AB-CDEF",
        "https://bank.example/certificates/jianxi-0123-4567-89AB-CDEF",
    ):
        assert text in page, page
    assert "官方" not in page
    assert "国家标准" not in page


@pytest.mark.parametrize("field", ["name", "in_charge", "handler", "contact", "notes"])
def test_what_people_write_is_text_and_no_markup(field: str) -> None:
    [page] = pages_of(with_printed(**{field: MARKUP}))
    assert "".join(MARKUP.split()) in "".join(page.split())


def test_a_title_is_text_and_no_markup() -> None:
    lines = (CertificateLine(date(2026, 1, 2), MARKUP, 185),)
    statement = msgspec.structs.replace(STATEMENT, issuer="#eval", lines=lines)
    [page] = pages_of(msgspec.structs.replace(DOCUMENT, statement=canonical(statement).decode()))
    assert "".join(MARKUP.split()) in "".join(page.split())
    assert "出具单位：#eval" in page


def test_the_parts_add_up_over_many_pages() -> None:
    lines = tuple(
        CertificateLine(date(2026, 1 + number // 28, 1 + number % 28), "周五大扫除", 61 + number)
        for number in range(100)
    )
    total = sum(line.minutes for line in lines)
    statement = msgspec.structs.replace(STATEMENT, lines=lines, minutes=total)
    document = msgspec.structs.replace(DOCUMENT, statement=canonical(statement).decode())
    pages = pages_of(document)
    assert len(pages) > 2
    rows = [row for page in pages for row in page.splitlines() if "周五大扫除" in row]
    times = [row.rpartition("周五大扫除")[2].split() for row in rows]
    assert sum(int(hours) * 60 + int(minutes) for hours, _, minutes, _ in times) == total
    assert f"合计 {total // 60} 小时 {total % 60:02} 分" in pages[-1]
    assert all("日期 服务内容 时长" in page for page in pages if "周五大扫除" in page)
    assert f"{len(pages)} / {len(pages)}" in pages[-1]


def test_the_same_certificate_is_the_same_file() -> None:
    first = make_pdf(DOCUMENT, BASE, FONTS)
    assert make_pdf(DOCUMENT, BASE, FONTS) == first
    reader = PdfReader(BytesIO(first))
    assert reader.metadata
    assert (reader.metadata.title, reader.metadata.author) == (
        f"志愿服务记录证明 {STATEMENT.number}",
        "涧贤银行",
    )
    assert reader.metadata.creation_date
    assert reader.metadata.creation_date.date() == STATEMENT.issued_on
    assert b"pdfaid:part" in first
    assert len(reader.pages[0].images) == 0  # the QR code is drawn, and sharp in any size


def test_the_signed_file_is_attached_and_verifies() -> None:
    document = sign()
    reader = PdfReader(BytesIO(make_pdf(document, BASE, FONTS)))
    [attached] = reader.attachments["certificate.json"]
    read = msgspec.json.decode(attached, type=Document)
    assert read == document
    assert verify(read, KEYS).minutes == 150


@pytest.mark.parametrize("missing", ["龘", "\U0003134a", "ภ", "\U0001f600", "\ue000", "\ufeff"])
def test_a_sign_that_cannot_be_printed_is_refused_and_not_told(missing: str) -> None:
    with pytest.raises(FontMissingError, match="TIMEBANK_FONT_DIR") as refused:
        make_pdf(with_printed(name=f"王{missing}"), BASE, FONTS)
    assert missing not in str(refused.value)
    assert refused.value.__suppress_context__


def test_without_a_chinese_font_nothing_is_printed(tmp_path: Path) -> None:
    with pytest.raises(FontMissingError, match="apt install"):
        make_pdf(DOCUMENT, BASE, tmp_path)


def test_without_the_extra_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "typst", None)
    with pytest.raises(PdfMissingError, match=r"timebank\[pdf\]"):
        make_pdf(DOCUMENT, BASE, FONTS)
