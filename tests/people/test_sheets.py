"""Paper: sheets are printed in runs, entered once by two persons for a third, and accounted for."""

import asyncio
from typing import Any

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.book import Book
from tests.people.desk import Desk
from tests.people.test_kin import child_of
from timebank.db import repeat_on_conflict
from timebank.domain.errors import (
    InvalidInputError,
    NotFoundError,
    SecondPersonNeededError,
    SheetNotIssuedError,
    SheetUsedError,
)
from timebank.domain.numbers import SHEET_BODIES, add_check, parse_sheet_number
from timebank.ledger.ids import new_id
from timebank.people.consents import ConsentKind, record_consents
from timebank.people.parties import PartyKind, register_parties
from timebank.people.sheets import (
    LARGEST_RUN,
    SheetKind,
    SheetRun,
    VoidReason,
    enter_sheet,
    find_sheet,
    issue_sheets,
    list_missing,
    list_runs,
    void_sheets,
)

CONSENT = SheetKind.CONSENT


async def issue(desk: Desk, count: int = 10, kind: SheetKind = CONSENT) -> SheetRun:
    async with desk.at() as connection:
        return await issue_sheets(
            connection, desk.bank_id, count, kind, issued_to=desk.clerk, issued_by=desk.checker
        )


async def enter(desk: Desk, number: int, member_id: Any, **rest: Any) -> None:
    said = {"operator_id": desk.clerk, "witness_id": desk.checker} | rest
    kind = said.pop("kind", CONSENT)
    async with desk.at() as connection:
        await enter_sheet(connection, desk.bank_id, number, kind, member_id=member_id, **said)


async def void(desk: Desk, *numbers: int) -> None:
    async with desk.at() as connection:
        await void_sheets(
            connection, desk.bank_id, numbers, VoidReason.SPOILT, operator_id=desk.clerk
        )


async def missing(desk: Desk, run: SheetRun) -> list[int]:
    async with desk.at() as connection:
        return await list_missing(connection, desk.bank_id, run.first_number)


async def test_runs_follow_one_another(desk: Desk) -> None:
    runs = [await issue(desk, count) for count in (1, 500, 3)]
    assert [(run.first_number, run.last_number) for run in runs] == [
        (SHEET_BODIES.start, SHEET_BODIES.start),
        (SHEET_BODIES.start + 1, SHEET_BODIES.start + 500),
        (SHEET_BODIES.start + 501, SHEET_BODIES.start + 503),
    ]
    async with desk.at() as connection:
        assert await list_runs(connection, desk.bank_id) == runs
        assert await list_runs(connection, desk.bank_id, desk.clerk) == runs
        assert await list_runs(connection, desk.bank_id, desk.checker) == []


async def test_runs_issued_at_once_do_not_overlap(desk: Desk) -> None:
    runs = await asyncio.gather(*(issue(desk, 7) for _ in range(8)))
    numbers = [n for run in runs for n in range(run.first_number, run.last_number + 1)]
    assert sorted(numbers) == list(range(SHEET_BODIES.start, SHEET_BODIES.start + 56))


@pytest.mark.parametrize("count", [0, -1, LARGEST_RUN + 1])
async def test_a_run_has_its_bounds(desk: Desk, count: int) -> None:
    with pytest.raises(InvalidInputError):
        await issue(desk, count)


async def test_a_sheet_says_who_entered_what_for_whom(desk: Desk) -> None:
    run, member_id, record_id = await issue(desk), await desk.member(), new_id()
    printed = add_check(run.first_number)
    await enter(desk, parse_sheet_number(printed), member_id, subject_id=record_id)
    async with desk.at() as connection:
        sheet = await find_sheet(connection, desk.bank_id, run.first_number)
        assert await find_sheet(connection, desk.bank_id, run.last_number) is None
    assert sheet
    assert (sheet.fate, sheet.member_id, sheet.operator_id, sheet.witness_id) == (
        "entered", member_id, desk.clerk, desk.checker,
    )  # fmt: skip
    assert (sheet.subject_id, sheet.void_reason) == (record_id, None)


async def test_a_sheet_entered_twice_is_found(desk: Desk) -> None:
    run, member_id = await issue(desk), await desk.member()
    await enter(desk, run.first_number, member_id)
    for again in (member_id, await desk.member()):
        with pytest.raises(SheetUsedError):
            await enter(desk, run.first_number, again)
    with pytest.raises(SheetUsedError):
        await void(desk, run.first_number + 1, run.first_number)
    assert await missing(desk, run) == list(range(run.first_number + 1, run.last_number + 1))


async def test_a_sheet_entered_by_ten_at_once_counts_once(desk: Desk) -> None:
    run, member_id = await issue(desk), await desk.member()

    async def work(connection: Any) -> None:
        await enter_sheet(
            connection,
            desk.bank_id,
            run.first_number,
            CONSENT,
            member_id=member_id,
            operator_id=desk.clerk,
            witness_id=desk.checker,
        )

    answers = await asyncio.gather(
        *(repeat_on_conflict(desk.book.pool, work) for _ in range(10)), return_exceptions=True
    )
    assert sum(answer is None for answer in answers) == 1
    assert sum(isinstance(answer, SheetUsedError) for answer in answers) == 9


@pytest.mark.parametrize("same", ["operator_id", "witness_id", "both"])
async def test_operator_witness_and_member_are_three(desk: Desk, same: str) -> None:
    run, member_id = await issue(desk), await desk.member()
    rest = {"witness_id": desk.clerk} if same == "both" else {same: member_id}
    with pytest.raises(SecondPersonNeededError):
        await enter(desk, run.first_number, member_id, **rest)
    assert len(await missing(desk, run)) == 10


async def test_a_witness_is_a_person_of_the_bank(desk: Desk) -> None:
    run, member_id = await issue(desk), await desk.member()
    async with desk.at() as connection:
        branch_id = new_id()
        await register_parties(connection, desk.bank_id, PartyKind.BRANCH, [branch_id])
    for nobody in (new_id(), branch_id):
        with pytest.raises(NotFoundError):
            await enter(desk, run.first_number, member_id, witness_id=nobody)
    with pytest.raises(NotFoundError):
        await enter(desk, run.first_number, new_id())


async def test_only_printed_sheets_of_the_right_kind_are_entered(desk: Desk) -> None:
    run, member_id = await issue(desk), await desk.member()
    with pytest.raises(SheetNotIssuedError):
        await enter(desk, run.last_number + 1, member_id)
    with pytest.raises(SheetNotIssuedError):
        await enter(desk, run.first_number, member_id, kind=SheetKind.REDEMPTION)
    with pytest.raises(SheetNotIssuedError):
        await void(desk, run.first_number, run.last_number + 1)
    lines = await issue(desk, kind=SheetKind.ATTENDANCE)  # which has lines of many
    with pytest.raises(SheetNotIssuedError):
        await enter(desk, lines.first_number, member_id, kind=SheetKind.ATTENDANCE)
    assert len(await missing(desk, run)) == len(await missing(desk, lines)) == 10
    other = await Book.open(desk.book.pool)
    async with desk.at() as connection:
        with pytest.raises(NotFoundError):
            await list_missing(connection, other.bank_id, run.first_number)


async def test_a_voided_sheet_is_accounted_for_and_never_entered(desk: Desk) -> None:
    run, member_id = await issue(desk, 3), await desk.member()
    await void(desk, run.first_number, run.last_number, run.first_number)
    assert await missing(desk, run) == [run.first_number + 1]
    with pytest.raises(SheetUsedError):
        await enter(desk, run.first_number, member_id)
    async with desk.at() as connection:
        sheet = await find_sheet(connection, desk.bank_id, run.first_number)
    assert sheet
    assert (sheet.fate, sheet.void_reason, sheet.witness_id) == ("voided", VoidReason.SPOILT, None)


async def test_who_consents_for_a_minor_does_not_witness_it(desk: Desk) -> None:
    """Whatever comes first, the consent or its sheet; the guardian was one before."""
    guardian_id = await desk.person()
    minor_id, run = await child_of(desk, guardian_id), await issue(desk)
    await enter(desk, run.first_number, minor_id, witness_id=guardian_id)

    async def consent(connection: Any, sheet: int) -> None:
        await record_consents(
            connection, desk.bank_id, minor_id, {ConsentKind.MEMBERSHIP: True},
            by_id=guardian_id, recorded_by=desk.clerk, sheet=sheet,
        )  # fmt: skip

    with pytest.raises(SecondPersonNeededError):
        async with desk.at() as connection:
            await consent(connection, run.first_number)
    with pytest.raises(SecondPersonNeededError):
        async with desk.at() as connection:
            await consent(connection, run.last_number)
            await enter_sheet(
                connection, desk.bank_id, run.last_number, SheetKind.CONSENT,
                member_id=minor_id, operator_id=desk.clerk, witness_id=guardian_id,
            )  # fmt: skip


async def test_a_consent_names_a_sheet_that_is_nobody_elses(desk: Desk) -> None:
    run, lines = await issue(desk), await issue(desk, kind=SheetKind.ATTENDANCE)
    person_id, other_id = await desk.person(), await desk.person()
    signed_by_other, voided = run.first_number, run.first_number + 1
    await enter(desk, signed_by_other, other_id)
    await void(desk, voided)

    async def consent(party_id: Any, sheet: int) -> None:
        async with desk.at() as connection:
            await record_consents(
                connection,
                desk.bank_id,
                party_id,
                {ConsentKind.PUBLICATION: True},
                by_id=party_id,
                recorded_by=desk.clerk,
                sheet=sheet,
            )

    for sheet, error in (
        (signed_by_other, SheetUsedError),
        (voided, SheetUsedError),
        (lines.first_number, SheetNotIssuedError),
        (lines.last_number + 1, SheetNotIssuedError),
    ):
        with pytest.raises(error):
            await consent(person_id, sheet)
    named = run.last_number
    await consent(person_id, named)
    assert named not in await missing(desk, run)
    for attempt in (void(desk, named), consent(other_id, named), enter(desk, named, other_id)):
        with pytest.raises(SheetUsedError):
            await attempt
    await consent(person_id, named)
    await enter(desk, named, person_id)


@given(used=st.lists(st.tuples(st.integers(0, 19), st.booleans()), max_size=12))
async def test_what_is_missing_is_what_was_neither_entered_nor_voided(
    worker_pool: asyncpg.Pool, used: list[tuple[int, bool]]
) -> None:
    book = await Book.open(worker_pool)
    operator_id, witness_id, member_id = people = [new_id() for _ in range(3)]
    async with book.pool.acquire() as connection:
        await register_parties(connection, book.bank_id, PartyKind.PERSON, people)
        run = await issue_sheets(
            connection, book.bank_id, 20, CONSENT, issued_to=operator_id, issued_by=witness_id
        )
        left = set(range(run.first_number, run.last_number + 1))
        for place, entered in used:
            number = run.first_number + place
            if number not in left:
                continue
            left.discard(number)
            if entered:
                await enter_sheet(
                    connection, book.bank_id, number, CONSENT, member_id=member_id,
                    operator_id=operator_id, witness_id=witness_id,
                )  # fmt: skip
            else:
                await void_sheets(
                    connection, book.bank_id, [number], VoidReason.LOST, operator_id=operator_id
                )
        assert await list_missing(connection, book.bank_id, run.first_number) == sorted(left)
