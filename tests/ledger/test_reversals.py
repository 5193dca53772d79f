"""Reversals: once, of the whole chain, with points already spent, and the same at every repeat."""

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

import pytest
from msgspec.structs import replace

from tests.book import STAFF, Book
from timebank.db import repeat_on_conflict
from timebank.domain.errors import NotFoundError, TransferRefusedError
from timebank.domain.ledger import (
    AccountKind,
    Outcome,
    ReversalReason,
    SpentPolicy,
    Transfer,
    TransferKind,
    TransferStatus,
    Unit,
)
from timebank.ledger.accounts import find_account_of, get_account
from timebank.ledger.ids import new_id
from timebank.ledger.passbook import list_trial_balance
from timebank.ledger.reversals import reverse
from timebank.ledger.transfers import get_transfer

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


async def undo(
    book: Book,
    original_id: UUID,
    reversal_id: UUID | None = None,
    *,
    when_spent: SpentPolicy = SpentPolicy.REFUSE,
    actor_id: UUID = STAFF,
    reason: ReversalReason = ReversalReason.RECORDED_IN_ERROR,
) -> list[Outcome]:
    """Reverse in a transaction of its own, under a new id if none is given."""
    reversal_id = reversal_id or new_id()
    return await repeat_on_conflict(
        book.pool,
        lambda connection: reverse(
            connection,
            book.bank_id,
            original_id,
            reversal_id=reversal_id,
            actor_id=actor_id,
            reason=reason,
            when_spent=when_spent,
        ),
    )


def statuses(outcomes: Sequence[Outcome]) -> list[TransferStatus]:
    return [outcome.status for outcome in outcomes]


async def balances(book: Book, *account_ids: UUID) -> list[int]:
    return [await book.balance(account_id) for account_id in account_ids]


async def balance_of_debt(book: Book, wallet: UUID) -> int | None:
    """What the wallet's owner owes, as a balance at or below 0; None if nothing ever."""
    async with book.pool.acquire() as connection:
        owner_id = (await get_account(connection, book.bank_id, wallet)).owner_id
        debt = await find_account_of(
            connection, book.bank_id, Unit.POINTS, AccountKind.DEBT, owner_id
        )
    return debt and await book.balance(debt.account_id)


async def assert_sums_to_zero(book: Book) -> None:
    async with book.pool.acquire() as connection:
        rows = await list_trial_balance(connection, book.bank_id)
    assert sum(row.debit - row.credit for row in rows if row.unit is Unit.POINTS) == 0


async def test_both_accounts_are_restored_and_the_original_is_named(book: Book) -> None:
    a, b = await book.open_account(balance=10), await book.open_account()
    paid = book.transfer(a, b, 4, occurred_at=NOON)
    await book.post_all(paid)
    [outcome] = await undo(book, paid.transfer_id, reason=ReversalReason.WRONG_PERSON)
    assert outcome.status == "posted"
    assert await balances(book, a, b) == [10, 0]
    async with book.pool.acquire() as connection:
        entry = await get_transfer(connection, book.bank_id, outcome.transfer_id)
    assert (entry.kind, entry.reverses_id) == (TransferKind.REVERSAL, paid.transfer_id)
    assert (entry.actor_id, entry.reason) == (STAFF, ReversalReason.WRONG_PERSON)
    assert entry.occurred_at == NOON


async def test_there_is_no_second_reversal(book: Book) -> None:
    wallet = await book.open_account()
    award = book.award(wallet, 10)
    await book.post_all(award, book.award(wallet, 10))
    assert statuses(await undo(book, award.transfer_id)) == ["posted"]
    for policy in SpentPolicy:
        again = await undo(book, award.transfer_id, when_spent=policy)
        assert statuses(again) == ["already_reversed"]
    assert await book.balance(wallet) == 10


@pytest.mark.parametrize("member", [0, 1, 2])
async def test_a_chain_is_reversed_as_a_whole(book: Book, member: int) -> None:
    a, b = await book.open_account(), await book.open_account()
    chain = [book.award(a, 9), book.award(b, 5), book.transfer(a, b, 2)]
    await book.post_chains(chain)
    outcomes = await undo(book, chain[member].transfer_id)
    assert statuses(outcomes) == ["posted"] * 3
    assert await balances(book, a, b) == [0, 0]
    async with book.pool.acquire() as connection:
        entries = [
            await get_transfer(connection, book.bank_id, outcome.transfer_id)
            for outcome in outcomes
        ]
    assert [entry.reverses_id for entry in entries] == [t.transfer_id for t in reversed(chain)]
    assert {entry.chain_id for entry in entries} == {outcomes[0].transfer_id}


async def test_a_member_that_came_too_late_is_not_in_the_way(book: Book) -> None:
    a, b = await book.open_account(), await book.open_account()
    chain = [book.award(a, 9), book.award(b, 5)]
    late = book.award(b, 1)
    await book.post_chains(chain)
    assert statuses(await book.post_chains([*chain, late]))[-1] == "chain_broken"
    with pytest.raises(TransferRefusedError, match="original_not_found"):
        await undo(book, late.transfer_id)
    assert statuses(await undo(book, chain[0].transfer_id)) == ["posted"] * 2
    assert await balances(book, a, b) == [0, 0]


@pytest.mark.parametrize("policy", SpentPolicy)
async def test_a_chain_that_passed_points_on_is_reversed_without_debt(
    book: Book, policy: SpentPolicy
) -> None:
    a, b = await book.open_account(), await book.open_account()
    chain = [book.award(a, 10), book.transfer(a, b, 10)]
    await book.post_chains(chain)
    assert statuses(await undo(book, chain[0].transfer_id, when_spent=policy)) == ["posted"] * 2
    assert await balances(book, a, b) == [0, 0]
    assert await balance_of_debt(book, a) is None


@pytest.mark.parametrize("policy", SpentPolicy)
async def test_a_reversal_is_not_reversed(book: Book, policy: SpentPolicy) -> None:
    wallet = await book.open_account()
    award = book.award(wallet, 10)
    await book.post_all(award)
    [reversal] = await undo(book, award.transfer_id)
    again = await undo(book, reversal.transfer_id, when_spent=policy)
    assert statuses(again) == ["original_is_reversal"]
    assert await book.balance(wallet) == 0


async def test_what_never_moved_is_not_reversed(book: Book) -> None:
    a, b = await book.open_account(), await book.open_account()
    refused = book.transfer(a, b, 1)
    assert await book.post(refused) == ["insufficient_balance"]
    with pytest.raises(TransferRefusedError, match="original_not_found"):
        await undo(book, refused.transfer_id)
    with pytest.raises(NotFoundError):
        await undo(book, new_id())


async def test_points_already_spent_refuse_the_reversal(book: Book) -> None:
    a, b = await book.open_account(), await book.open_account()
    award = book.award(a, 10)
    await book.post_all(award, book.transfer(a, b, 7))
    assert statuses(await undo(book, award.transfer_id)) == ["insufficient_balance"]
    assert await balances(book, a, b, book.issuance[Unit.POINTS]) == [3, 7, -10]
    assert await balance_of_debt(book, a) is None


async def test_points_already_spent_become_a_debt(book: Book) -> None:
    a, b = await book.open_account(), await book.open_account()
    award = book.award(a, 10)
    await book.post_all(award, book.transfer(a, b, 7))
    outcomes = await undo(book, award.transfer_id, when_spent=SpentPolicy.DEBT)
    assert statuses(outcomes) == ["posted", "posted"]
    assert await balances(book, a, b, book.issuance[Unit.POINTS]) == [0, 7, 0]
    assert await balance_of_debt(book, a) == -7
    await assert_sums_to_zero(book)


async def test_a_debt_grows_in_one_account(book: Book) -> None:
    a, b = await book.open_account(), await book.open_account()
    awards = [book.award(a, 10), book.award(a, 20)]
    await book.post_all(*awards, book.transfer(a, b, 25))
    for award in awards:
        await undo(book, award.transfer_id, when_spent=SpentPolicy.DEBT)
    assert await balances(book, a, b) == [0, 25]
    assert await balance_of_debt(book, a) == -25
    await assert_sums_to_zero(book)


async def test_a_pool_does_not_borrow(book: Book) -> None:
    pool, wallet = await book.open_account(AccountKind.POOL), await book.open_account()
    award = book.award(pool, 10)
    await book.post_all(award, book.transfer(pool, wallet, 1))
    refused = await undo(book, award.transfer_id, when_spent=SpentPolicy.DEBT)
    assert statuses(refused) == ["insufficient_balance"]
    assert await balances(book, pool, wallet) == [9, 1]


@pytest.mark.parametrize("spent", [0, 4, 10])
@pytest.mark.parametrize("first", SpentPolicy)
@pytest.mark.parametrize("second", SpentPolicy)
async def test_the_same_reversal_id_is_answered_the_same(
    book: Book, spent: int, first: SpentPolicy, second: SpentPolicy
) -> None:
    a, b = await book.open_account(), await book.open_account()
    award, reversal_id = book.award(a, 10), new_id()
    await book.post_all(award)
    if spent:
        await book.post_all(book.transfer(a, b, spent))
    answer = await undo(book, award.transfer_id, reversal_id, when_spent=first)
    stand = await balances(book, a, b), await balance_of_debt(book, a)
    assert await undo(book, award.transfer_id, reversal_id, when_spent=second) == answer
    assert (await balances(book, a, b), await balance_of_debt(book, a)) == stand
    await book.post_all(book.award(a, 100))
    assert await undo(book, award.transfer_id, reversal_id, when_spent=second) == answer


@pytest.mark.parametrize("policy", SpentPolicy)
async def test_the_same_reversal_id_for_another_reversal_is_a_conflict(
    book: Book, policy: SpentPolicy
) -> None:
    a, b = await book.open_account(), await book.open_account()
    award, other, reversal_id = book.award(a, 10), book.award(a, 10), new_id()
    await book.post_all(award, other, book.transfer(a, b, 15))
    answer = await undo(book, award.transfer_id, reversal_id, when_spent=SpentPolicy.DEBT)
    for conflict in (
        await undo(book, other.transfer_id, reversal_id, when_spent=policy),
        await undo(book, award.transfer_id, reversal_id, when_spent=policy, actor_id=new_id()),
        await undo(
            book,
            award.transfer_id,
            reversal_id,
            when_spent=policy,
            reason=ReversalReason.DUPLICATE,
        ),
    ):
        assert statuses(conflict) == ["id_conflict"]
    assert await undo(book, award.transfer_id, reversal_id, when_spent=policy) == answer
    assert await balances(book, a, b) == [0, 15]


@pytest.mark.parametrize("policy", SpentPolicy)
@pytest.mark.parametrize("spent", [False, True])
async def test_of_reversals_at_once_one_is_posted(
    book: Book, policy: SpentPolicy, spent: bool
) -> None:
    a, b = await book.open_account(balance=5), await book.open_account()
    award = book.award(a, 10)
    await book.post_all(award)
    if spent and policy is SpentPolicy.DEBT:
        await book.post_all(book.transfer(a, b, 15))
    asked = [undo(book, award.transfer_id, when_spent=policy) for _ in range(6)]
    answers = sorted(statuses(outcomes)[-1] for outcomes in await asyncio.gather(*asked))
    assert answers == ["already_reversed"] * 5 + ["posted"]
    await assert_sums_to_zero(book)


@pytest.mark.parametrize("policy", SpentPolicy)
async def test_the_same_reversal_id_at_once_is_one_reversal(
    book: Book, policy: SpentPolicy
) -> None:
    a, b = await book.open_account(), await book.open_account()
    award, reversal_id = book.award(a, 10), new_id()
    await book.post_all(award)
    if policy is SpentPolicy.DEBT:
        await book.post_all(book.transfer(a, b, 6))
    asked = [undo(book, award.transfer_id, reversal_id, when_spent=policy) for _ in range(6)]
    first, *others = await asyncio.gather(*asked)
    assert set(statuses(first)) == {"posted"}
    assert others == [first] * 5


async def test_debts_of_one_wallet_at_once_share_one_account(book: Book) -> None:
    a, b = await book.open_account(), await book.open_account()
    awards = [book.award(a, 10) for _ in range(5)]
    await book.post_all(*awards, book.transfer(a, b, 50))
    await asyncio.gather(
        *(undo(book, award.transfer_id, when_spent=SpentPolicy.DEBT) for award in awards)
    )
    assert await balances(book, a, b) == [0, 50]
    assert await balance_of_debt(book, a) == -50
    await assert_sums_to_zero(book)


async def test_an_original_is_reversed_once_within_one_call_too(book: Book) -> None:
    a, b = await book.open_account(balance=10), await book.open_account()
    paid = book.transfer(a, b, 4)
    mirrors = [mirror_of(paid) for _ in range(2)]
    posted = await book.post(paid, *mirrors, mirror_of(mirrors[0]))
    assert posted == ["posted", "posted", "already_reversed", "original_is_reversal"]
    assert await balances(book, a, b) == [10, 0]


def mirror_of(original: Transfer) -> Transfer:
    """A reversal as posting takes it, for calls that mix it with other transfers."""
    return replace(
        original,
        transfer_id=new_id(),
        kind=TransferKind.REVERSAL,
        debit_account_id=original.credit_account_id,
        credit_account_id=original.debit_account_id,
        reverses_id=original.transfer_id,
        reason=ReversalReason.DUPLICATE,
    )


async def test_a_reversal_that_falls_with_its_chain_is_in_nobodys_way(book: Book) -> None:
    wallet = await book.open_account()
    award = book.award(wallet, 1)
    first, second, third = (mirror_of(award) for _ in range(3))
    too_much = book.transfer(wallet, await book.open_account(), 1)
    outcomes = await book.post_chains([award], [first, too_much], [second], [third], [second])
    assert statuses(outcomes) == [
        "posted",
        "chain_broken",
        "insufficient_balance",
        "posted",
        "already_reversed",
        "posted",
    ]


async def test_many_reversals_in_one_call_cost_as_much_each_as_few(book: Book) -> None:
    """Eight times as many: eight times the time, and not sixty-four."""

    async def seconds(count: int) -> float:
        wallet = await book.open_account()
        awards = [book.award(wallet, 1) for _ in range(count)]
        started = time.perf_counter()
        await book.post_chains(awards, [mirror_of(award) for award in awards])
        return time.perf_counter() - started

    times = [(await seconds(250), await seconds(2000)) for _ in range(3)]
    few, many = (min(column) for column in zip(*times, strict=True))
    assert many < 20 * few
    assert await book.balance(book.issuance[Unit.POINTS]) == 0
