"""The passbook as CSV for spreadsheets: 存入 / 支出 / 结余, a byte order mark for Excel."""

import csv
import io
from collections.abc import AsyncIterator, Mapping
from zoneinfo import ZoneInfo

from timebank.domain.languages import preferred_language
from timebank.domain.ledger import PassbookLine, TransferKind, Unit

_HEADERS: Mapping[str, Mapping[Unit, tuple[str, ...]]] = {
    "zh": {
        Unit.POINTS: (
            "序号",
            "发生日期",
            "入账时间",
            "摘要",
            "存入(分)",
            "支出(分)",
            "结余(分)",
            "编号",
        ),
        Unit.HOURS: (
            "序号",
            "发生日期",
            "入账时间",
            "摘要",
            "存入(分钟)",
            "支出(分钟)",
            "结余(分钟)",
            "编号",
        ),
    },
    "en": {
        Unit.POINTS: (
            "no",
            "occurred on",
            "recorded at",
            "what",
            "in (points)",
            "out (points)",
            "balance (points)",
            "transfer",
        ),
        Unit.HOURS: (
            "no",
            "occurred on",
            "recorded at",
            "what",
            "in (minutes)",
            "out (minutes)",
            "balance (minutes)",
            "transfer",
        ),
    },
}
_KINDS: Mapping[str, Mapping[TransferKind, str]] = {
    "zh": {
        TransferKind.AWARD: "服务奖励",
        TransferKind.TRANSFER: "转账",
        TransferKind.REVERSAL: "冲正",
        TransferKind.DEBT: "欠分垫付",
        TransferKind.REPAYMENT: "归还欠分",
        TransferKind.GIFT: "赠与",
        TransferKind.HOLD: "兑换预留",
        TransferKind.CAPTURE: "兑换",
        TransferKind.RELEASE: "预留退回",
        TransferKind.REFUND: "退货退分",
        TransferKind.REISSUE: "商家回赠",
        TransferKind.SETTLEMENT: "商家结算",
        TransferKind.EXPIRY: "到期",
        TransferKind.ROUNDING: "余数调整",
    },
    "en": {kind: kind.value for kind in TransferKind},
}


async def passbook_csv(
    lines: AsyncIterator[PassbookLine], unit: Unit, zone: ZoneInfo, accept_language: str
) -> AsyncIterator[bytes]:
    """Yield the CSV of `lines` row by row, headed in English if that is preferred."""
    language = "en" if preferred_language(accept_language) == "en" else "zh"
    yield "\ufeff".encode() + _row(_HEADERS[language][unit])
    async for line in lines:
        yield _row(
            (
                line.seq,
                line.occurred_at.astimezone(zone).date().isoformat(),
                line.recorded_at.astimezone(zone).isoformat(timespec="seconds"),
                _KINDS[language][line.kind],
                line.amount if line.amount > 0 else "",
                -line.amount if line.amount < 0 else "",
                line.balance_after,
                line.transfer_id,
            )
        )


def _row(values: tuple[object, ...]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerow(values)
    return text.getvalue().encode()
