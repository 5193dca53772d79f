"""A settlement on paper and in files: CSV, XLSX, and HTML to print. No resident is named in it."""

import csv
import io
from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from string import Template
from zoneinfo import ZoneInfo

from xlsxwriter import Workbook

from timebank.domain.ledger import TransferKind
from timebank.domain.settlement import RATE_UNIT, Settlement, SettlementLine, SettlementState

Row = tuple[object, ...]

COLUMNS = (
    "行号 line",
    "时间 recorded at",
    "摘要 what",
    "兑换 hold",
    "编号 transfer",
    "积分 points",
)

_KINDS: Mapping[TransferKind, str] = {
    TransferKind.CAPTURE: "兑换 captured",
    TransferKind.REFUND: "退货退分 refunded",
    TransferKind.REISSUE: "商家回赠 given on",
    TransferKind.REVERSAL: "冲正 reversed",
    TransferKind.SETTLEMENT: "上期已付，不计 paid before, not counted",
}
_STATES: Mapping[SettlementState, str] = {
    SettlementState.DRAFT: "草稿 draft",
    SettlementState.APPROVED: "已复核 approved",
    SettlementState.CLOSED: "已结清 closed",
}


def yuan(fen: int) -> str:
    """Return an amount of money as it is written."""
    return f"{fen // 100}.{fen % 100:02}"


def summary_rows(settlement: Settlement, zone: ZoneInfo) -> list[Row]:
    """Return what a statement says on top: a label and a value."""
    cut_off = settlement.cut_off.astimezone(zone).isoformat(timespec="seconds")
    rows: list[Row] = [
        ("编号 settlement", str(settlement.settlement_id)),
        ("期次 number", settlement.number),
        ("状态 state", _STATES[settlement.state]),
        ("截止 recorded before", cut_off),
        ("行号 lines", f"{settlement.first_seq}–{settlement.last_seq}"),
        ("兑换 captured", settlement.captured),
        ("退货退分 refunded", -settlement.refunded),
        ("商家回赠 given on", -settlement.reissued),
        ("本期合计 total", settlement.total),
        ("上期结转 carried in", settlement.carried_in),
        ("应付 payable", settlement.payable),
    ]
    if settlement.fen_rate is not None:
        rows.append((f"每 {RATE_UNIT} 分折合 yuan for {RATE_UNIT}", yuan(settlement.fen_rate)))
    if settlement.state is SettlementState.CLOSED:
        rows += [("实付 paid", settlement.paid), ("结转下期 carried out", settlement.carried_out)]
        if settlement.fen is not None:
            rows.append(("金额(元) yuan", yuan(settlement.fen)))
        rows.append(
            (f"尾差(1/{RATE_UNIT} 分钱) remainder, parts of a fen", settlement.remainder_out)
        )
    return rows


def line_rows(lines: Sequence[SettlementLine], zone: ZoneInfo) -> list[Row]:
    """Return a row for each line, as COLUMNS head them; a payment before counts 0."""
    return [
        (
            line.seq,
            line.recorded_at.astimezone(zone).isoformat(timespec="seconds"),
            _KINDS[line.kind],
            str(line.hold_id or ""),
            str(line.transfer_id),
            line.points if line.counts else 0,
        )
        for line in lines
    ]


def statement_csv(settlement: Settlement, lines: Sequence[SettlementLine], zone: ZoneInfo) -> bytes:
    """Return the lines as CSV with a byte order mark for Excel; the last column adds up."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    writer.writerows(line_rows(lines, zone))
    writer.writerow(("", "", "本期合计 total", "", "", settlement.total))
    return text.getvalue().encode("utf-8-sig")


def statement_html(
    settlement: Settlement, lines: Sequence[SettlementLine], zone: ZoneInfo, merchant: str
) -> str:
    """Return a page to print and sign."""
    template = resources.files(__package__).joinpath("statement.html").read_text("utf-8")
    return Template(template).substitute(
        title=escape(f"{merchant} · 结算单 Settlement {settlement.number}"),
        columns="".join(f'<th scope="col">{escape(name)}</th>' for name in COLUMNS),
        summary="\n".join(
            f'<tr><th scope="row">{escape(str(label))}</th><td>{escape(str(value))}</td></tr>'
            for label, value in summary_rows(settlement, zone)
        ),
        lines="\n".join(
            "<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>"
            for row in line_rows(lines, zone)
        ),
    )


def statement_xlsx(
    settlement: Settlement, lines: Sequence[SettlementLine], zone: ZoneInfo, merchant: str
) -> bytes:
    """Return a workbook of two sheets: 汇总 what it comes to, 明细 the lines."""
    file = io.BytesIO()
    with Workbook(file, {"in_memory": True, "strings_to_formulas": False}) as book:
        top = [("商家 merchant", merchant), *summary_rows(settlement, zone)]
        for name, rows in (("汇总", top), ("明细", [COLUMNS, *line_rows(lines, zone)])):
            sheet = book.add_worksheet(name)
            sheet.set_column(0, len(COLUMNS), 22)
            for place, row in enumerate(rows):
                sheet.write_row(place, 0, row)
    return file.getvalue()
