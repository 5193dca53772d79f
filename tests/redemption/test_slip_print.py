"""A slip on paper: what it is worth, where and until when, and nothing that is not escaped."""

import io
from datetime import UTC, datetime
from uuid import UUID
from zoneinfo import ZoneInfo

import segno
from msgspec.structs import replace

from timebank.domain.redemption import HoldState
from timebank.domain.slips import Slip
from timebank.ledger.ids import new_id
from timebank.redemption.slip_print import render_slip

NOON = datetime(2026, 11, 26, 4, 0, 59, tzinfo=UTC)
SHANGHAI = ZoneInfo("Asia/Shanghai")
TEXT = "0123456789ABCDEFGHJKMNPQRSTVWXYZ" * 7
SLIP = Slip(
    slip_id=new_id(),
    number=123456789012,
    key_id="0123456789abcdef",
    resident_id=UUID(int=0xDEADBEEF),
    merchant_id=new_id(),
    merchant_name="涧西粮油",
    issued_by=UUID(int=0xFEEDF00D),
    points=1250,
    issued_at=NOON,
    expires_at=NOON.replace(month=12, day=3),
    held_until=NOON.replace(month=12, day=10),
    state=HoldState.OPEN,
    ended_at=None,
)


def test_what_stands_on_it() -> None:
    page = render_slip(SLIP, TEXT, "涧西时间银行", SHANGHAI)
    for shown in ("涧西时间银行", "涧西粮油", "1,250", "1234 5678 9012", "01234 56789 ABCDE"):
        assert shown in page
    for at in ("2026-11-26 12:00", "2026-12-03 12:00", "2026-12-10 12:00"):
        assert at in page
    for hidden in (str(SLIP.resident_id), str(SLIP.issued_by), str(SLIP.slip_id)):
        assert hidden not in page
    assert "$" not in page


def test_the_qr_code_holds_the_text_as_letters() -> None:
    code = segno.make(TEXT, mode="alphanumeric", error="m", micro=False)
    assert code.mode == "alphanumeric"
    drawn = io.BytesIO()
    code.save(drawn, kind="svg", xmldecl=False, omitsize=True, border=4)
    assert drawn.getvalue().decode() in render_slip(SLIP, TEXT, "银行", SHANGHAI)


def test_names_are_escaped() -> None:
    hostile = replace(SLIP, merchant_name='<script>"$points"&</script>')
    page = render_slip(hostile, TEXT, "<b>$text</b>", SHANGHAI)
    assert "&lt;script&gt;&quot;$points&quot;&amp;&lt;/script&gt;" in page
    assert "&lt;b&gt;$text&lt;/b&gt;" in page
    assert "<script" not in page
