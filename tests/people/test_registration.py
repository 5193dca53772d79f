"""Registering and the way of a membership: who may decide, in what order, with which consent."""

import asyncio
from collections.abc import Awaitable
from datetime import date, timedelta
from typing import Any

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET
from msgspec.structs import replace

from tests.book import Book
from tests.people.desk import Desk, person
from tests.places import open_branch
from timebank.domain.errors import (
    ConsentMissingError,
    GuardianNeededError,
    InvalidInputError,
    MembershipRefusedError,
    NotFoundError,
    SecondPersonNeededError,
)
from timebank.domain.numbers import MEMBER_BODIES, add_check, parse_member_number
from timebank.domain.personal import PersonalData
from timebank.ledger.ids import new_id
from timebank.people import registration
from timebank.people.consents import ConsentKind, has_consent, list_consents, record_consents
from timebank.people.kin import list_kin, name_guardian
from timebank.people.parties import list_path_of
from timebank.people.registration import (
    MembershipState,
    Registered,
    apply_for_membership,
    find_resident_by_number,
    get_membership,
    list_memberships,
    local_today,
    move_memberships,
)
from timebank.people.residents import ensure_residents
from timebank.people.vault import Purpose, read_person

APPLIED, APPROVED, REJECTED, LEFT = MembershipState

LAWFUL = {
    None: {APPLIED},
    APPLIED: {APPROVED, REJECTED, LEFT},
    APPROVED: {LEFT},
    REJECTED: {APPLIED},
    LEFT: {APPLIED},
}


async def state_of(desk: Desk, resident_id: Any) -> MembershipState | None:
    async with desk.at() as connection:
        return (await get_membership(connection, desk.bank_id, resident_id)).state


async def test_a_resident_applies_and_another_person_approves(desk: Desk) -> None:
    data, sheet = person(), await desk.sheet()
    registered = await desk.apply(data, sheet=sheet)
    async with desk.at() as connection:
        found = await get_membership(connection, desk.bank_id, registered.resident_id)
        by_number = await find_resident_by_number(
            connection, desk.bank_id, parse_member_number(registered.member_number)
        )
        [consent] = await list_consents(connection, desk.bank_id, registered.resident_id)
    assert by_number == registered.resident_id
    assert (found.state, found.actor_id, found.is_minor) == (APPLIED, desk.clerk, False)
    assert (consent.kind, consent.given, consent.sheet, consent.by_id) == (
        ConsentKind.MEMBERSHIP, True, sheet, registered.resident_id,
    )  # fmt: skip
    await desk.move(registered.resident_id, APPROVED)
    assert await state_of(desk, registered.resident_id) is APPROVED
    assert await desk.read(registered.resident_id) == data


async def test_who_entered_it_and_who_applies_do_not_decide(desk: Desk) -> None:
    registered = await desk.apply()
    for state in (APPROVED, REJECTED):
        for actor_id in (desk.clerk, registered.resident_id):
            with pytest.raises(SecondPersonNeededError):
                await desk.move(registered.resident_id, state, actor_id)
    assert await state_of(desk, registered.resident_id) is APPLIED


async def test_one_who_comes_back_is_decided_on_by_another_than_entered_it_now(desk: Desk) -> None:
    resident_id = await desk.member()
    await desk.move(resident_id, LEFT)
    async with desk.at() as connection:
        await apply_for_membership(connection, desk.bank_id, {resident_id: None}, desk.checker)
    with pytest.raises(SecondPersonNeededError):
        await desk.move(resident_id, APPROVED)
    with pytest.raises(ConsentMissingError):  # the consent of before they left is spent
        await desk.move(resident_id, APPROVED, desk.clerk)
    async with desk.at() as connection:
        await record_consents(
            connection,
            desk.bank_id,
            resident_id,
            {ConsentKind.MEMBERSHIP: True},
            by_id=resident_id,
            recorded_by=desk.checker,
        )
    await desk.move(resident_id, APPROVED, desk.clerk)


@given(steps=st.lists(st.sampled_from(MembershipState), max_size=6))
async def test_only_lawful_steps_are_taken(worker_pool: asyncpg.Pool, steps: Any) -> None:
    book = await Book.open(worker_pool)
    resident_id, maker, checker = new_id(), new_id(), new_id()
    state: MembershipState | None = None
    async with book.pool.acquire() as connection:
        await connection.execute(
            "INSERT INTO resident (bank_id, resident_id) VALUES ($1, $2)",
            book.bank_id,
            resident_id,
        )
        await connection.execute(
            "INSERT INTO party (bank_id, party_id, kind) VALUES ($1, $2, 'person')",
            book.bank_id,
            resident_id,
        )
        said = {ConsentKind.MEMBERSHIP: True}
        for step in steps:
            await record_consents(
                connection, book.bank_id, resident_id, said, by_id=resident_id, recorded_by=maker
            )
            actor_id = maker if step is APPLIED else checker
            move = move_memberships(connection, book.bank_id, [resident_id], step, actor_id)
            if step in LAWFUL[state]:
                await move
                state = step
            else:
                with pytest.raises(asyncpg.CheckViolationError) as caught:
                    await move
                assert caught.value.constraint_name == "membership_step_is_lawful"
        assert (await get_membership(connection, book.bank_id, resident_id)).state is state


async def test_of_two_decisions_at_once_one_counts(desk: Desk) -> None:
    registered = await desk.apply()
    answers = await asyncio.gather(
        *(desk.move(registered.resident_id, state) for state in (APPROVED, REJECTED) * 4),
        return_exceptions=True,
    )
    assert sum(answer is None for answer in answers) == 1
    assert sum(isinstance(answer, MembershipRefusedError) for answer in answers) == 7


async def test_a_decision_waits_for_the_one_before_it(desk: Desk) -> None:
    registered = await desk.apply()
    async with desk.at() as connection:
        await move_memberships(
            connection, desk.bank_id, [registered.resident_id], APPROVED, desk.checker
        )
        other = asyncio.create_task(desk.move(registered.resident_id, REJECTED))
        await asyncio.sleep(0.2)
        assert not other.done()
    with pytest.raises(MembershipRefusedError):
        await other


async def test_nobody_unknown_becomes_a_member(desk: Desk) -> None:
    with pytest.raises(MembershipRefusedError):
        await desk.move(new_id(), APPROVED)
    async with desk.at() as connection:
        with pytest.raises(NotFoundError):
            await get_membership(connection, desk.bank_id, new_id())


async def test_without_consent_nobody_is_approved(desk: Desk) -> None:
    registered = await desk.apply(consents=[ConsentKind.PUBLICATION])
    resident_id = registered.resident_id
    with pytest.raises(ConsentMissingError):
        await desk.move(resident_id, APPROVED)
    for given_now in (True, False, True):
        async with desk.at() as connection:
            await record_consents(
                connection,
                desk.bank_id,
                resident_id,
                {ConsentKind.MEMBERSHIP: given_now},
                by_id=resident_id,
                recorded_by=desk.clerk,
            )
        if not given_now:
            with pytest.raises(ConsentMissingError):
                await desk.move(resident_id, APPROVED)
    await desk.move(resident_id, APPROVED)
    async with desk.at() as connection:
        said = await list_consents(connection, desk.bank_id, resident_id)
        assert not await has_consent(connection, desk.bank_id, resident_id, ConsentKind.HELPER)
    assert [one.given for one in said if one.kind is ConsentKind.MEMBERSHIP] == [True, False, True]


async def test_consent_is_nobody_elses(desk: Desk) -> None:
    registered = await desk.apply()
    with pytest.raises(GuardianNeededError):
        async with desk.at() as connection:
            await record_consents(
                connection,
                desk.bank_id,
                registered.resident_id,
                {ConsentKind.PUBLICATION: True},
                by_id=desk.clerk,
                recorded_by=desk.clerk,
            )


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"name": UNSET}, "/name"),
        ({"name": ""}, "/name"),
        ({"phone": "1"}, "/phone"),
        ({"born_on": UNSET, "id_document": UNSET}, "/born_on"),
    ],
)
async def test_a_form_that_is_not_in_order_is_refused_and_not_quoted(
    desk: Desk, fields: Any, pointer: str
) -> None:
    data = replace(person(), **fields)
    with pytest.raises(InvalidInputError) as caught:
        await desk.apply(data)
    assert caught.value.pointer == pointer
    assert str(data.name)[:2] not in str(caught.value) or data.name in (UNSET, "")


async def test_the_birthday_is_taken_from_the_id_number(desk: Desk) -> None:
    data = person(date(1960, 2, 29))
    registered = await desk.apply(replace(data, born_on=UNSET))
    assert (await desk.read(registered.resident_id)).born_on == date(1960, 2, 29)


async def test_a_pseudonym_of_a_rota_becomes_a_member_with_the_same_accounts(desk: Desk) -> None:
    async with desk.at() as connection:
        known = await ensure_residents(connection, desk.bank_id, {"a": date(2022, 12, 17)})
        before = await get_membership(connection, desk.bank_id, known["a"])
    assert (before.state, before.member_number) == (None, None)
    registered = await desk.apply(resident_id=known["a"])
    assert registered.resident_id == known["a"]
    await desk.move(known["a"], APPROVED)
    async with desk.at() as connection:
        again = await ensure_residents(connection, desk.bank_id, {"a": date(2022, 12, 17)})
    assert again == known


async def test_a_resident_hangs_on_the_branch_of_their_application(desk: Desk) -> None:
    branch_id = await open_branch(desk.book)
    registered = await desk.apply(branch_id=branch_id)
    await desk.apply()
    async with desk.at() as connection:
        path = await list_path_of(connection, desk.bank_id, registered.resident_id)
        within = await list_memberships(connection, desk.bank_id, APPLIED, within=branch_id)
        everywhere = await list_memberships(connection, desk.bank_id, APPLIED)
        rest = await list_memberships(
            connection, desk.bank_id, APPLIED, after=everywhere[0].resident_id
        )
    assert path[0] == branch_id
    assert [one.resident_id for one in within] == [registered.resident_id]
    assert [one.resident_id for one in everywhere[1:]] == [one.resident_id for one in rest]
    assert len(everywhere) == 2


async def test_member_numbers_are_random_and_nobody_has_anothers(desk: Desk) -> None:
    numbers = [(await desk.apply()).member_number for _ in range(12)]
    assert len(set(numbers)) == 12
    assert numbers != sorted(numbers)
    assert all(parse_member_number(number) == number for number in numbers)
    with pytest.raises(asyncpg.CheckViolationError, match="resident_member_number_checked"):
        await desk.book.pool.execute(
            "INSERT INTO resident (bank_id, resident_id, member_number) VALUES ($1, $2, $3)",
            desk.bank_id, new_id(), "1234567890",
        )  # fmt: skip


async def test_a_number_that_is_taken_is_drawn_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    draws = iter([5, 5, 7])
    monkeypatch.setattr(registration.secrets, "randbelow", lambda _: next(draws))
    numbers = []
    for _ in range(2):
        async with desk.at() as connection:
            numbers += await registration._draw_numbers(connection, desk.bank_id, 1)
            await connection.execute(
                "INSERT INTO resident (bank_id, resident_id, member_number) VALUES ($1, $2, $3)",
                desk.bank_id,
                new_id(),
                numbers[-1],
            )
    assert numbers == [add_check(MEMBER_BODIES.start + n) for n in (5, 7)]


async def test_registering_is_all_or_nothing(desk: Desk) -> None:
    """A minor without a guardian leaves nothing of the form behind."""
    child = person(local_today(desk.book.bank) - timedelta(days=3000))
    with pytest.raises(GuardianNeededError):
        await desk.apply(child)
    rows = await desk.book.pool.fetchval(
        "SELECT (SELECT count(*) FROM resident WHERE bank_id = $1)"
        " + (SELECT persons FROM vault.count_persons($1))",
        desk.bank_id,
    )
    assert rows == 0
    access = desk.access(Purpose.IDENTIFICATION)
    with pytest.raises(NotFoundError):
        await read_person(desk.book.pool, desk.ring, access, new_id())


@pytest.mark.parametrize("first", ["named", "approved"])
async def test_a_guardian_named_while_it_is_decided_is_let_in(desk: Desk, first: str) -> None:
    """Whichever comes first waits for the other, so nobody is forgotten."""
    parents = [await desk.person() for _ in range(2)]
    child = person(local_today(desk.book.bank) - timedelta(days=3000))
    child_id = (await desk.apply(child, guardian_id=parents[0])).resident_id

    async def name() -> None:
        async with desk.at() as connection:
            await name_guardian(connection, desk.bank_id, child_id, parents[1], named_by=desk.clerk)
            await asyncio.sleep(0.3)

    async def approve() -> None:
        async with desk.at() as connection:
            await move_memberships(connection, desk.bank_id, [child_id], APPROVED, desk.checker)
            await asyncio.sleep(0.3)

    async def soon(work: Awaitable[None]) -> None:
        await asyncio.sleep(0.1)
        await work

    works = (name(), soon(approve())) if first == "named" else (approve(), soon(name()))
    await asyncio.gather(*works)
    async with desk.at() as connection:
        assert await list_kin(connection, desk.bank_id, child_id) == set(parents)


def test_what_registration_returns_is_not_personal() -> None:
    assert not set(PersonalData.__struct_fields__) & set(Registered.__struct_fields__)
