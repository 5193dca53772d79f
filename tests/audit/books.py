"""A book in which everything has happened once: what the tamperings are tried on."""

from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from tests.book import STAFF, Book
from timebank.db import repeat_on_conflict
from timebank.domain.ledger import AccountKind, ReversalReason, SpentPolicy, Unit
from timebank.ledger.ids import new_id
from timebank.ledger.requests import PostingRequest, RequestKey, post_requests
from timebank.ledger.reversals import reverse


class Busy(NamedTuple):
    """The ids that tests name; `lines` of `wallet` come from awards 1..5 in this order."""

    wallet: UUID
    other: UUID
    hours: UUID
    awards: list[UUID]
    chain: list[UUID]
    refused: UUID
    reversal: UUID
    reversed: UUID
    asked: UUID
    empty: UUID


async def busy_book(book: Book) -> Busy:
    """Post awards, transfers, a chain, refusals, reversals with and without debt, and requests."""
    wallet, other = await book.open_account(), await book.open_account()
    pool = await book.open_account(AccountKind.POOL, balance=500)
    hours = await book.open_account(unit=Unit.HOURS)
    empty = await book.open_account()
    yesterday = datetime.now(UTC) - timedelta(days=1)
    awards = [book.award(wallet, amount) for amount in (10, 20, 30, 40)]
    awards.append(book.award(wallet, 50, occurred_at=yesterday))
    for award in awards:  # one call each, so that each has an instant of its own
        await book.post_all(award)
    chain = [
        book.transfer(pool, wallet, 7),
        book.transfer(pool, other, 8),
        book.award(hours, 90, Unit.HOURS),
    ]
    assert {outcome.status for outcome in await book.post_chains(chain)} == {"posted"}
    refused = book.transfer(other, wallet, 1000)
    await book.post(refused)
    await book.post_chains([book.transfer(pool, other, 1), book.transfer(empty, other, 1)])
    await book.post_chains([*chain, book.transfer(pool, other, 1)])  # known already, and longer
    mistaken = book.award(other, 5)
    await book.post_all(mistaken)
    reversal = await _reverse(book, mistaken.transfer_id, SpentPolicy.REFUSE)
    spent = book.award(other, 60)
    await book.post_all(spent, book.transfer(other, pool, 65))
    await _reverse(book, spent.transfer_id, SpentPolicy.DEBT)
    asked = await _ask(book, 3, wallet)
    return Busy(
        wallet=wallet,
        other=other,
        hours=hours,
        awards=[award.transfer_id for award in awards],
        chain=[transfer.transfer_id for transfer in chain],
        refused=refused.transfer_id,
        reversal=reversal,
        reversed=mistaken.transfer_id,
        asked=asked,
        empty=empty,
    )


async def _reverse(book: Book, original: UUID, when_spent: SpentPolicy) -> UUID:
    outcomes = await repeat_on_conflict(
        book.pool,
        lambda connection: reverse(
            connection,
            book.bank_id,
            original,
            reversal_id=new_id(),
            actor_id=STAFF,
            reason=ReversalReason.WRONG_PERSON,
            when_spent=when_spent,
        ),
    )
    assert {outcome.status for outcome in outcomes} == {"posted"}
    return outcomes[-1].transfer_id


async def _ask(book: Book, amount: int, wallet: UUID) -> UUID:
    """Post an award by STAFF under a request key of theirs."""
    award = book.award(wallet, amount)
    request = PostingRequest(RequestKey(STAFF, "award-1", bytes(32)), [[award]])
    await repeat_on_conflict(book.pool, lambda c: post_requests(c, book.bank_id, [request]))
    return award.transfer_id
