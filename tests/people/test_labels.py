"""Titles and names stand on walls and pages: no number that leads to a person stands in them."""

import asyncpg
import pytest

from tests.book import Book
from tests.people.desk import ADULT, resident_id_number
from timebank.db import transaction
from timebank.domain.errors import PersonsNumberError
from timebank.ledger.ids import new_id

PHONES = [
    "找王阿姨13800138000",
    "13800138000",
    "138 0013 8000",
    "138-0013-8000",
    "联系１３８００１３８０００",
    "+86 13800138000",
    "8613800138000",
    "tel.13800138000 at 10",
    "138/0013/8000",
    "138—0013—8000",
    "138——0013——8000",
    "(138)00138000",
    "（138）0013－8000",
    "138  0013  8000",
    "138,0013,8000",
    "138，0013、8000",
    "138_0013_8000",
    "138\u00a00013\t8000",
]
DOCUMENTS = [
    f"陪{resident_id_number(ADULT)}就医",
    resident_id_number(ADULT, 1).lower(),
    "410305 19530629 002X",
    "４１０３０５１９５３０６２９００２Ｘ",
    "410305530629002",
    "4103 0519 5306 2900 2X",
    "410305-1953-0629-002x",
    "410305/19530629/0021",
]
FOUND = [*PHONES, *DOCUMENTS]

PLAIN = [
    "周五清洁（2026-11-27 09:00-11:30）",
    "第13届 8000 人健步走",
    "20261127 大扫除",
    "合同 JX-2026-000012345678",
    "订单 20261126000012345678",
    "12345 热线",
    "0379-64912345",  # of a shop
    "每周五 13:30-15:30，12.5 元",
    "2026/11/27 9-11，2026/12/4 9-11",
    "PICC-2026-000001，2026.11.27 10.30 起 500 份",
    "涧西区长安路13号楼2单元",
    "",
]


async def holds(book: Book, text: str) -> bool:
    found: bool = await book.pool.fetchval("SELECT holds_persons_number($1)", text)
    return found


@pytest.mark.parametrize("text", [pytest.param(text, id=f"{n}") for n, text in enumerate(FOUND)])
async def test_what_looks_like_a_persons_number_is_found(book: Book, text: str) -> None:
    assert await holds(book, text)


@pytest.mark.parametrize("text", PLAIN)
async def test_days_prices_and_references_are_none(book: Book, text: str) -> None:
    assert not await holds(book, text)


NO_LABELS = {
    # Words that the service chooses, or of a form of their own.
    "activity.rule", "activity_hold.reason", "api_key.scopes", "approval.deed", "audit_log.action",
    "audit_log.purpose", "audit_log.result", "bank.code", "bank.time_zone", "branch.code",
    "branch.community_type", "category.code", "community_type.code", "honour_title.code",
    "sealed_column.bound_to", "sealed_column.column_name", "sealed_column.table_name",
    "session.scopes",
    # Numbers and names that it gives out.
    "certificate.code", "certificate.key_id", "resident.member_number", "signing_key.key_id",
    "signing_secret.key_id", "slip.key_id", "staff_login.staff_number",
    # What it puts together, of ids and of what stands here already.
    "approval.content", "certificate.statement", "request.answer", "webhook_event.data",
    # What others call their things and calls, shown to them or to staff.
    "activity.source_ref", "audit_log.request_id", "request.key", "resident.source_ref",
    "service_record.sheet_number", "shift.source_ref", "webhook_endpoint.url",
}  # fmt: skip


async def test_every_label_is_looked_at_whoever_writes(book: Book) -> None:
    """A column of text that was forgotten would be a hole: it is a label, or stands above."""
    labels = await book.pool.fetch(
        """
        SELECT c.relname || '.' || a.attname AS name, EXISTS (
            SELECT FROM pg_constraint
            WHERE conrelid = c.oid AND conname = 'label_holds_no_persons_number'
              AND a.attnum = ANY (conkey)) AS is_guarded
        FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
        WHERE c.relnamespace = 'timebank'::regnamespace AND c.relkind = 'r'
          AND a.atttypid::regtype::text = ANY ('{text,text[],character varying,json,jsonb}')
          AND NOT a.attisdropped
        """
    )
    assert {label["name"] for label in labels if not label["is_guarded"]} == NO_LABELS


async def test_the_refusal_says_what_to_do(book: Book) -> None:
    with pytest.raises(PersonsNumberError, match="Leave it out"):
        async with transaction(book.pool) as connection:
            await connection.execute(
                "SELECT open_branch($1, $2, $3, 'x', $4, NULL)",
                book.bank_id,
                new_id(),
                book.bank.root_id,
                PHONES[0],
            )
    with pytest.raises(asyncpg.CheckViolationError, match="label_holds_no_persons_number"):
        await book.pool.execute(
            "SELECT open_bank($1, $2, 'Asia/Shanghai', 10)", f"t{new_id().hex[:20]}", DOCUMENTS[0]
        )
