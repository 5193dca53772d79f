"""Awards: hours and points in one chain, once; rosters whole; reversals exact."""

import asyncio
from datetime import timedelta
from uuid import UUID

import pytest

from tests.book import STAFF
from tests.races.checks import check_books
from tests.service.programme import CHECKER, MAKER, OTHER_CHECKER, Programme, at, new_person
from timebank.domain.errors import NotFoundError, TransferRefusedError
from timebank.domain.ledger import (
    AccountKind,
    ReversalReason,
    SpentPolicy,
    Transfer,
    TransferKind,
    TransferStatus,
    Unit,
)
from timebank.domain.service_errors import AwardOfRecordError, RecordOverlapError, WrongStepError
from timebank.ledger.accounts import get_account_of
from timebank.ledger.passbook import get_balance
from timebank.ledger.transfers import list_chain, post
from timebank.service.awards import check_not_of_record, confirm_records, reverse_record

NINE = at("2026-01-02 09:00")
HOUR = timedelta(hours=1)


async def spend(programme: Programme, person: UUID, points: int) -> None:
    """Give a person's points to a pool."""
    async with programme.book.pool.acquire() as connection:
        wallet = await get_account_of(
            connection, programme.book.bank_id, Unit.POINTS, AccountKind.WALLET, person
        )
    pool = await programme.book.open_account(AccountKind.POOL)
    await programme.book.post_all(programme.book.transfer(wallet.account_id, pool, points))


async def test_hours_and_points_in_one_chain(programme: Programme) -> None:
    person = new_person()
    shift = await programme.make_shift()
    record_id = await programme.record(
        person, NINE, 65, wish_id=None, activity_id=shift.activity_id, shift_id=shift.shift_id
    )
    [award] = await programme.confirm(record_id)
    assert (award.minutes, award.points) == (65, 10)
    assert (award.remainder_before, award.remainder_after) == (0, 50)
    chain = await programme.run(list_chain, award.hours_transfer_id)
    assert [(entry.transfer_id, entry.amount) for entry in chain] == [
        (award.hours_transfer_id, 65),
        (award.points_transfer_id, 10),
    ]
    for entry in chain:
        assert (entry.kind, entry.actor_id) == (TransferKind.AWARD, CHECKER)
        assert (entry.occurred_at, entry.subject_id) == (NINE, shift.activity_id)
    assert await programme.wallets(person) == (65, 10)
    await check_books(programme.book)


async def test_the_rest_is_carried_to_the_next_record(programme: Programme) -> None:
    person = new_person()
    records = await programme.record_all(
        [(person, NINE, 5), (person, NINE + HOUR, 1), (person, NINE + 2 * HOUR, 5)]
    )
    awards = await programme.confirm(*records)
    assert [award.points for award in awards] == [0, 1, 0]
    assert [award.remainder_after for award in awards] == [50, 0, 50]
    [award] = await programme.confirm(await programme.record(person, NINE + 3 * HOUR, 1))
    assert (award.remainder_before, award.points) == (50, 1)
    other = await programme.open_category("tutoring")
    [award] = await programme.confirm(
        await programme.record(person, NINE + 4 * HOUR, 5, category_id=other)
    )
    assert (award.remainder_before, award.points) == (0, 0)


async def test_whoever_confirms_again_gets_the_same_answer(programme: Programme) -> None:
    person = new_person()
    record_id = await programme.record(person, NINE, 60)
    first = await programme.confirm(record_id)
    for by in (CHECKER, OTHER_CHECKER, MAKER):
        assert await programme.confirm(record_id, by=by) == first
    assert await programme.confirm(record_id, record_id) == first
    assert await programme.wallets(person) == (60, 10)


async def test_a_crowd_of_approvers_confirms_once(programme: Programme) -> None:
    person = new_person()
    records = await programme.record_all(
        [(person, NINE + n * HOUR, 60) for n in range(5)]
        + [(new_person(), NINE, 60) for _ in range(5)]
    )
    answers = await asyncio.gather(
        *(programme.confirm(*records[:: 1 - 2 * (n % 2)], by=new_person()) for n in range(8))
    )
    assert all(sorted(answer, key=key) == sorted(answers[0], key=key) for answer in answers)
    assert await programme.wallets(person) == (300, 50)
    await check_books(programme.book)


def key(award: object) -> str:
    return str(getattr(award, "record_id"))  # noqa: B009 - an id to sort by


async def test_a_roster_is_awarded_whole_or_not_at_all(programme: Programme) -> None:
    people = [new_person() for _ in range(4)]
    roster = await programme.record_all([(person, NINE, 60) for person in people])
    bad = await programme.record(people[0], NINE, 30)
    with pytest.raises(RecordOverlapError):
        await programme.confirm(*roster, bad)
    with pytest.raises(NotFoundError):
        await programme.confirm(*roster, new_person())
    assert [await programme.wallets(person) for person in people] == [(0, 0)] * 4
    awards = await programme.confirm(*roster)
    assert [award.record_id for award in awards] == roster
    assert [await programme.wallets(person) for person in people] == [(60, 10)] * 4


async def test_what_the_ledger_refuses_undoes_the_whole_roster(programme: Programme) -> None:
    """Issuance has points left for one of two."""
    a, b = new_person(), new_person()
    await programme.book.open_account(balance=2**53 - 15)
    roster = await programme.record_all([(a, NINE, 60), (b, NINE, 60)])
    with pytest.raises(TransferRefusedError, match="insufficient_balance"):
        await programme.confirm(*roster)
    assert await programme.wallets(a) == (0, 0)
    await check_books(programme.book)


# ---- Reversing ---------------------------------------------------------------------------------


async def test_a_reversal_takes_back_both(programme: Programme) -> None:
    person = new_person()
    record_id = await programme.record(person, NINE, 65)
    await programme.confirm(record_id)
    first = await programme.reverse(record_id)
    assert (first.extra_points, first.remainder_after) == (0, 0)
    assert await programme.reverse(record_id) == first
    assert await programme.wallets(person) == await programme.totals(person) == (0, 0)
    with pytest.raises(WrongStepError):
        await programme.run(
            reverse_record, STAFF, record_id, reason=ReversalReason.SERVICE_NOT_GIVEN
        )
    with pytest.raises(WrongStepError):
        await programme.confirm(record_id)
    with pytest.raises(NotFoundError):
        await programme.reverse(new_person())
    with pytest.raises(WrongStepError):
        await programme.reverse(await programme.record(person, NINE, 65))
    await check_books(programme.book)


async def test_a_point_made_with_the_rest_of_others_goes_with_it(programme: Programme) -> None:
    person = new_person()
    five, one = await programme.record_all([(person, NINE, 5), (person, NINE + HOUR, 1)])
    await programme.confirm(five, one)
    assert await programme.wallets(person) == (6, 1)
    undone = await programme.reverse(five)  # it earned nothing itself, and the one minute no more
    assert (undone.extra_points, undone.remainder_after) == (1, 10)
    assert await programme.wallets(person) == (1, 0)
    await check_books(programme.book)


async def test_a_point_that_the_rest_makes_without_it_comes_back(programme: Programme) -> None:
    person = new_person()
    times = [(person, NINE, 5), (person, NINE + HOUR, 5), (person, NINE + 2 * HOUR, 5)]
    _, second, _ = records = await programme.record_all(times)
    awards = await programme.confirm(*records)
    assert [award.points for award in awards] == [0, 1, 1]
    undone = await programme.reverse(second)  # ten minutes are left: one point and 40 sixtieths
    assert (undone.extra_points, undone.remainder_after) == (0, 40)
    short = await programme.record(person, NINE, 5, category_id=programme.category_id)
    assert await programme.wallets(person) == (10, 1)
    with pytest.raises(RecordOverlapError):
        await programme.confirm(short)


@pytest.mark.parametrize("spent", [1, 10])
async def test_points_already_spent_refuse_a_reversal_or_are_owed(
    programme: Programme, spent: int
) -> None:
    person = new_person()
    record_id = await programme.record(person, NINE, 60)
    await programme.confirm(record_id)
    await spend(programme, person, spent)
    with pytest.raises(TransferRefusedError, match="insufficient_balance"):
        await programme.reverse(record_id)
    assert await programme.totals(person) == (60, 10)
    await programme.reverse(record_id, SpentPolicy.DEBT)
    assert await programme.wallets(person) == (0, 0)
    async with programme.book.pool.acquire() as connection:
        debt = await get_account_of(
            connection, programme.book.bank_id, Unit.POINTS, AccountKind.DEBT, person
        )
        balance = await get_balance(connection, programme.book.bank_id, debt.account_id)
    assert balance.balance == -spent
    await check_books(programme.book)


async def test_a_spent_extra_point_is_owed_too(programme: Programme) -> None:
    person = new_person()
    five, one = await programme.record_all([(person, NINE, 5), (person, NINE + HOUR, 1)])
    await programme.confirm(five, one)
    await spend(programme, person, 1)
    with pytest.raises(TransferRefusedError, match="insufficient_balance"):
        await programme.reverse(five)
    undone = await programme.reverse(five, SpentPolicy.DEBT)
    assert undone.extra_points == 1
    assert await programme.wallets(person) == (1, 0)
    await check_books(programme.book)


async def test_an_award_is_not_reversed_behind_its_record(programme: Programme) -> None:
    [award] = await programme.confirm(await programme.record(new_person(), NINE, 60))
    for transfer_id in (award.hours_transfer_id, award.points_transfer_id):
        with pytest.raises(AwardOfRecordError):
            await programme.run(check_not_of_record, transfer_id)
    await programme.run(check_not_of_record, new_person())


async def test_reversals_at_once_reverse_once(programme: Programme) -> None:
    person = new_person()
    records = await programme.record_all([(person, NINE + n * HOUR, 55) for n in range(4)])
    await programme.confirm(*records)
    work = [programme.reverse(record) for record in records for _ in range(3)]
    answers = await asyncio.gather(*work)
    assert len({answer.record_id for answer in answers}) == 4
    assert await programme.wallets(person) == (0, 0)
    await check_books(programme.book)


async def test_confirming_and_spending_at_once_do_not_deadlock(programme: Programme) -> None:
    """Awards and ordinary postings lock the same wallets, in one order."""
    people = [new_person() for _ in range(3)]
    for hour in range(4):
        roster = await programme.record_all([(p, NINE + hour * HOUR, 60) for p in people])
        await programme.confirm(*roster)
    async with programme.book.pool.acquire() as connection:
        wallets = [
            (
                await get_account_of(
                    connection, programme.book.bank_id, Unit.POINTS, AccountKind.WALLET, person
                )
            ).account_id
            for person in people
        ]

    def gift(n: int) -> Transfer:
        return programme.book.transfer(wallets[n % 3], wallets[(n + 1) % 3], 1)

    roster = await programme.record_all([(p, NINE + 5 * HOUR, 60) for p in people])
    done = await asyncio.gather(
        *(programme.run(confirm_records, CHECKER, roster[:: 1 - 2 * (n % 2)]) for n in range(4)),
        *(programme.run(post, [[gift(n)], [gift(n + 1)], [gift(n + 2)]]) for n in range(12)),
    )
    assert {outcome.status for outcomes in done[4:] for outcome in outcomes} == {
        TransferStatus.POSTED
    }
    assert sum([(await programme.wallets(person))[1] for person in people]) == 150
    await check_books(programme.book)
