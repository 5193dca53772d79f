"""What comes again: chains, in whole or in part, instants left open; and arrays no caller sends."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
from msgspec.structs import replace

from tests.book import STAFF, Book
from timebank.domain.ledger import TransferStatus
from timebank.ledger.ids import new_id


def statuses(outcomes: Sequence[Any]) -> list[TransferStatus]:
    return [outcome.status for outcome in outcomes]


async def test_a_chain_twice_in_one_call_is_posted_once(book: Book) -> None:
    a, b = await book.open_account(), await book.open_account()
    chain = [book.award(a, 9), book.transfer(a, b, 4)]
    assert statuses(await book.post_chains(chain, chain)) == ["posted"] * 4
    assert statuses(await book.post_chains(chain, chain, chain)) == ["posted"] * 6
    assert (await book.balance(a), await book.balance(b)) == (5, 4)


async def test_a_chain_with_an_altered_head_right_after_it_is_broken_alone(book: Book) -> None:
    a, b = await book.open_account(), await book.open_account()
    chain = [book.award(a, 9), book.transfer(a, b, 4)]
    altered = [replace(chain[0], amount=8), book.transfer(a, b, 1)]
    answers = statuses(await book.post_chains(chain, altered))
    assert answers == ["posted", "posted", "id_conflict", "chain_broken"]
    assert (await book.balance(a), await book.balance(b)) == (5, 4)


async def test_a_chain_known_in_part_posts_nothing_more(book: Book) -> None:
    a, b = await book.open_account(), await book.open_account()
    chain = [book.award(a, 9), book.transfer(a, b, 4)]
    await book.post_chains(chain)
    answers = statuses(await book.post_chains([*chain, book.transfer(a, b, 1)]))
    assert answers == ["posted", "posted", "chain_broken"]
    assert (await book.balance(a), await book.balance(b)) == (5, 4)


async def test_a_repeat_inside_its_own_chain_breaks_it(book: Book) -> None:
    a, b = await book.open_account(), await book.open_account()
    award, paid = book.award(a, 9), book.transfer(a, b, 4)
    answers = statuses(await book.post_chains([award, paid, paid]))
    assert answers == ["chain_broken"] * 3
    assert await book.balance(a) == 0


async def test_without_occurred_at_is_when_it_was_recorded(book: Book) -> None:
    wallet = await book.open_account()
    award = book.award(wallet, 1)
    [outcome] = await book.post_chains([award])
    at = outcome.recorded_at
    assert await book.post(award, replace(award, occurred_at=at)) == ["posted"] * 2
    assert await book.post(replace(award, occurred_at=at - timedelta(1))) == ["id_conflict"]
    dated = book.award(wallet, 1, occurred_at=at)
    undated = replace(dated, occurred_at=None)
    assert await book.post(dated, undated, dated) == ["posted", "id_conflict", "posted"]
    assert await book.post(undated, dated) == ["id_conflict", "posted"]
    assert await book.balance(wallet) == 2


async def post_arrays(book: Book, rows: Sequence[Sequence[Any]]) -> list[str] | None:
    """Call post_transfers as it is: rows of id, debit, credit, amount, actor and chain."""
    ids, debits, takers, amounts, actors, chains = zip(*rows, strict=True) if rows else [()] * 6
    nothing = [None] * len(rows)
    record = await book.pool.fetchrow(
        "SELECT statuses FROM post_transfers($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        book.bank_id,
        ids,
        ["award"] * len(rows),
        debits,
        takers,
        amounts,
        nothing,
        actors,
        chains,
        nothing,
        nothing,
        nothing,
    )
    return record["statuses"]


async def test_no_rows_are_no_trouble(book: Book) -> None:
    assert not await post_arrays(book, [])


@pytest.mark.parametrize("missing", range(5))
async def test_a_row_with_a_hole_fails_the_whole_call(book: Book, missing: int) -> None:
    wallet = await book.open_account()
    issuance = book.award(wallet, 1).debit_account_id
    sound = [new_id(), issuance, wallet, 1, STAFF, None]
    holed: list[Any] = [new_id(), issuance, wallet, 1, STAFF, None]
    holed[missing] = None
    with pytest.raises(asyncpg.NotNullViolationError):
        await post_arrays(book, [sound, holed])
    assert await book.balance(wallet) == 0
    assert await post_arrays(book, [sound]) == ["posted"]


async def test_a_chain_without_its_head_is_broken(book: Book) -> None:
    wallet = await book.open_account()
    issuance = book.award(wallet, 1).debit_account_id
    head = new_id()
    rows = [(new_id(), issuance, wallet, 1, STAFF, head) for _ in range(2)]
    assert await post_arrays(book, rows) == ["chain_broken"] * 2
    late = [(new_id(), issuance, wallet, 1, STAFF, head), (head, issuance, wallet, 1, STAFF, head)]
    assert await post_arrays(book, late) == ["chain_broken", "posted"]
    assert await book.balance(wallet) == 1
