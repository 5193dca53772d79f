"""On paper: every field stands there, escaped, with room for the seal and nothing official."""

from datetime import date

import pytest

from timebank.domain.certificates import (
    CertificateLine,
    Document,
    Printed,
    Statement,
    canonical,
    hash_printed,
    mask_document,
)
from timebank.domain.errors import InvalidInputError
from timebank.service.certificate_print import render

PRINTED = Printed(
    name="<b>王某</b>",
    id_type="resident_id",
    id_number=mask_document("410305199001011234"),
    volunteer_number="1234567890",
    in_charge="负责人甲",
    handler="经办人乙",
    contact="0379-12345678",
    notes="备注丙",
    salt="00",
)
STATEMENT = Statement(
    bank="jianxi",
    issuer="涧贤银行",
    number="jianxi-0123-4567-89AB-CDEF",
    printed_sha256=hash_printed(PRINTED),
    from_on=date(2026, 1, 1),
    until_on=date(2026, 12, 31),
    minutes=185,
    lines=(CertificateLine(date(2026, 1, 2), "周五大扫除 & 其他", 185),),
    issued_on=date(2027, 1, 4),
    key_id="0" * 16,
)
DOCUMENT = Document(statement=canonical(STATEMENT).decode(), signature="", printed=PRINTED)


def test_every_field_stands_there() -> None:
    page = render(DOCUMENT, "https://bank.example/")
    for text in (
        "&lt;b&gt;王某&lt;/b&gt;",
        "居民身份证",
        "410***********1234",
        "1234567890",
        "3 小时 05 分",
        "周五大扫除 &amp; 其他",
        "涧贤银行",
        "负责人甲",
        "经办人乙",
        "0379-12345678",
        "2027-01-04",
        "备注丙",
        "盖章处",
        "https://bank.example/certificates/jianxi-0123-4567-89AB-CDEF",
        "<svg",
    ):
        assert text in page
    assert "<b>" not in page
    assert "官方" not in page
    assert "国家标准" not in page


@pytest.mark.parametrize("url", ["http://bank.example", "javascript:1", "https://", "https://b?x"])
def test_the_check_is_an_https_address(url: str) -> None:
    with pytest.raises(InvalidInputError):
        render(DOCUMENT, url)


@pytest.mark.parametrize(("number", "masked"), [("E12345678", "*******78"), ("12", "12"), ("", "")])
def test_short_documents_are_masked_too(number: str, masked: str) -> None:
    assert mask_document(number) == masked
