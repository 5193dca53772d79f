"""What must hold of service however calls interleave; test_broken_service shows their worth.

As in checks.py: each lays out a programme of its own and raises AssertionError saying what broke.
"""

from datetime import date, timedelta

import asyncpg

from tests.book import Book
from tests.races.checks import answers_of, check_books, connections, expect, hold_up
from tests.service.programme import CHECKER, MAKER, OTHER_CHECKER, Programme, at, new_person
from timebank.domain.errors import SecondPersonNeededError, TimebankError
from timebank.domain.service import Award, Caps, RecordStatus
from timebank.service.awards import confirm_records
from timebank.service.rates import approve_rate, propose_rate, set_caps
from timebank.service.records import reject_records
from timebank.service.sign_ups import list_roster, sign_up

NINE = at("2026-01-02 09:00")
HOUR = timedelta(hours=1)


async def check_overlap_is_refused_to_the_second_approver(book: Book) -> None:
    """Two approvers confirm two records of one person that overlap."""
    programme = await Programme.open(book)
    person = new_person()
    one, other = await programme.record_all([(person, NINE, 60), (person, NINE + HOUR / 2, 60)])
    async with connections(book, 2) as (first, second):
        async with first.transaction():
            await confirm_records(first, book.bank_id, CHECKER, [one])
            work = confirm_records(second, book.bank_id, OTHER_CHECKER, [other])
            waiting = await hold_up(book, second, work)
        expect(await answers_of(waiting), ["ExclusionViolationError: record_no_overlap"])
    expect(await programme.wallets(person), (60, 10))
    await check_books(book)


async def check_two_approvers_award_once(book: Book) -> None:
    """Two approvers confirm the same record; the second is answered as the first was."""
    programme = await Programme.open(book)
    person = new_person()
    record_id = await programme.record(person, NINE, 60)
    async with connections(book, 2) as (first, second):
        async with first.transaction():
            award = await confirm_records(first, book.bank_id, CHECKER, [record_id])
            work = confirm_records(second, book.bank_id, OTHER_CHECKER, [record_id])
            waiting = await hold_up(book, second, work)
        expect(await answers_of(waiting), [award])
    expect(await programme.wallets(person), (60, 10))
    await check_books(book)


async def check_a_rejection_waits_for_the_confirmation(book: Book) -> None:
    """One confirms what another is just rejecting."""
    programme = await Programme.open(book)
    record_id = await programme.record(new_person(), NINE, 60)
    async with connections(book, 2) as (first, second):
        async with first.transaction():
            await confirm_records(first, book.bank_id, CHECKER, [record_id])
            work = reject_records(second, book.bank_id, OTHER_CHECKER, [record_id])
            waiting = await hold_up(book, second, work)
        expect(await answers_of(waiting), ["CheckViolationError: record_step"])


async def check_the_rest_is_carried_between_approvers(book: Book) -> None:
    """Two approvers confirm five minutes each of one person: the second completes a point."""
    programme = await Programme.open(book)
    person = new_person()
    one, other = await programme.record_all([(person, NINE, 5), (person, NINE + HOUR, 5)])
    async with connections(book, 2) as (first, second):
        async with first.transaction():
            await confirm_records(first, book.bank_id, CHECKER, [one])
            work = confirm_records(second, book.bank_id, OTHER_CHECKER, [other])
            waiting = await hold_up(book, second, work)
        await answers_of(waiting)
    expect(await programme.wallets(person), (10, 1))
    await check_books(book)


async def check_the_cap_of_a_day_holds_between_approvers(book: Book) -> None:
    """Two approvers confirm an hour each, where a day may have one."""
    programme = await Programme.open(book)
    caps = Caps(effective_on=date(2026, 1, 1), minutes_per_activity=None, minutes_per_day=60)
    await programme.run(set_caps, MAKER, caps)
    person = new_person()
    one, other = await programme.record_all([(person, NINE, 60), (person, NINE + HOUR, 60)])
    async with connections(book, 2) as (first, second):
        async with first.transaction():
            await confirm_records(first, book.bank_id, CHECKER, [one])
            work = confirm_records(second, book.bank_id, OTHER_CHECKER, [other])
            waiting = await hold_up(book, second, work)
        expect(await answers_of(waiting), ["CheckViolationError: record_within_cap_of_day"])
    expect(await programme.wallets(person), (60, 10))


async def check_a_record_is_confirmed_by_a_third_person(book: Book) -> None:
    """Neither who made it nor who served."""
    programme = await Programme.open(book)
    person = new_person()
    record_id = await programme.record(person, NINE, 60)
    for own in (MAKER, person):
        expect(await _refusal(programme, record_id, own), SecondPersonNeededError)
    expect(await programme.wallets(person), (0, 0))


async def _refusal(programme: Programme, record_id: object, by: object) -> type | list[Award]:
    try:
        return await programme.run(confirm_records, by, [record_id])
    except TimebankError as error:
        return type(error)


async def check_a_record_begins_undecided(book: Book) -> None:
    """Nobody writes a record that is confirmed already."""
    programme = await Programme.open(book)
    try:
        times = [(new_person(), NINE, 60)]
        await programme.record_all(times, status=RecordStatus.CONFIRMED)
    except (TimebankError, asyncpg.IntegrityConstraintViolationError) as error:
        expect(type(error).__name__, "WrongStepError")
    else:
        expect("written", "refused")


async def check_the_last_place_is_taken_once(book: Book) -> None:
    """Two sign up for one place; the second waits for the first's commit, then for a place."""
    programme = await Programme.open(book)
    shift = await programme.make_shift(capacity=1)
    a, b = new_person(), new_person()
    now = NINE - HOUR
    async with connections(book, 2) as (first, second):
        async with first.transaction():
            await sign_up(first, book.bank_id, a, shift_id=shift.shift_id, person_id=a, now=now)
            work = sign_up(second, book.bank_id, b, shift_id=shift.shift_id, person_id=b, now=now)
            waiting = await hold_up(book, second, work)
        [entry] = await answers_of(waiting)
        expect(getattr(entry, "has_place", entry), False)
    roster = await programme.run(list_roster, shift.shift_id)
    expect([(one.person_id, one.has_place) for one in roster], [(a, True), (b, False)])


async def check_a_rate_waits_for_awards_under_way(book: Book) -> None:
    """A rate is approved for a day whose service is just being confirmed by the old one."""
    programme = await Programme.open(book)
    record_id = await programme.record(new_person(), NINE, 60)
    rate = await programme.run(
        propose_rate,
        MAKER,
        category_id=programme.category_id,
        points_per_hour=1,
        effective_on=date(2026, 1, 1),
    )
    async with connections(book, 2) as (first, second):
        async with first.transaction():
            await confirm_records(first, book.bank_id, CHECKER, [record_id])
            work = approve_rate(second, book.bank_id, CHECKER, rate.rate_id)
            waiting = await hold_up(book, second, work)
        expect(await answers_of(waiting), ["CheckViolationError: rate_after_confirmed_service"])
