"""A merchant's counter: a masked name, enough or not, and nothing to be guessed."""

import asyncio
from datetime import timedelta
from uuid import UUID

import httpx
import pytest

from tests.api.client import Api, Caller, check_problem, token_for
from tests.api.counter_desk import CounterDesk
from tests.api.logins import Door
from tests.people.desk import person
from timebank.db import transaction
from timebank.domain.numbers import MEMBER_BODIES, add_check
from timebank.ledger.blocks import place_block
from timebank.ledger.ids import new_id
from timebank.people.access import Role
from timebank.people.cards import new_card_token


@pytest.fixture
async def desk(api: Api) -> CounterDesk:
    return await CounterDesk.open(api)


async def clerk_of(api: Api, role: Role = Role.CLERK) -> Caller:
    return Caller(api.http, await token_for(api.book, role, merchant_id=new_id()))


async def check(clerk: Caller, points: int = 1, **asked: str) -> httpx.Response:
    return await clerk.post("/counter-checks", {"points": points, **asked})


def numbers_of_nobody() -> list[str]:
    """Well-formed numbers that are drawn by nobody here (about one in ninety million)."""
    return [add_check(MEMBER_BODIES.start + new_id().int % len(MEMBER_BODIES)) for _ in range(40)]


@pytest.mark.parametrize("role", [Role.CLERK, Role.MERCHANT])
async def test_a_merchant_learns_a_masked_name_and_whether_it_is_enough(
    desk: CounterDesk, role: Role
) -> None:
    member = await desk.member(person(name="欧阳小英"))
    await desk.api.book.open_account(owner_id=UUID(member.resident_id), balance=50)
    clerk = await clerk_of(desk.api, role)
    card = (await desk.operator.post(f"{member.path}/card", {})).json()["typed"]
    for asked in ({"card": card}, {"member_number": member.number}):
        for points, enough in ((50, True), (51, False)):
            answer = await check(clerk, points, **asked)
            assert answer.json() == {"masked_name": "欧阳*英", "enough": enough}
            assert answer.headers["cache-control"] == "no-store"
    for path in (member.path, f"{member.person}/personal?purpose=identification", "/accounts"):
        check_problem(await clerk.get(path), "forbidden")
    mine = await member.log_in()
    lines = (await mine.get("/me/accesses")).json()["data"]
    assert [one["fields"] for one in lines if one["purpose"] == "identification"] == [["name"]] * 4


async def test_what_is_blocked_is_not_enough(desk: CounterDesk) -> None:
    member, book = await desk.member(), desk.api.book
    wallet = await book.open_account(owner_id=UUID(member.resident_id), balance=5)
    award = book.award(wallet, 10)
    await book.post_all(award)
    async with transaction(book.pool) as connection:
        await place_block(connection, book.bank, new_id(), {award.transfer_id: wallet})
    clerk = await clerk_of(desk.api)
    for points, enough in ((5, True), (6, False)):
        answer = await check(clerk, points, member_number=member.number)
        assert answer.json()["enough"] is enough


async def test_without_a_wallet_nothing_is_enough(desk: CounterDesk) -> None:
    member = await desk.member()
    answer = await check(await clerk_of(desk.api), member_number=member.number)
    assert (answer.status_code, answer.json()["enough"]) == (200, False)


async def test_whoever_is_no_member_here_looks_like_nobody(desk: CounterDesk, api: Api) -> None:
    elsewhere = await CounterDesk.open(
        await Api.open(api.http, await type(api.book).open(api.book.pool))
    )
    stranger = await elsewhere.member()
    foreign = (await elsewhere.operator.post(f"{stranger.path}/card", {})).json()["typed"]
    applicant = (await desk.apply()).json()
    frozen, gone = await desk.member(), await desk.member()
    dead = (await desk.operator.post(f"{gone.path}/card", {})).json()["typed"]
    await desk.operator.post(f"{gone.path}/leave", {})
    await desk.admin.post(f"{frozen.person}/freeze", {})
    shapes = set()
    for asked in (
        {"member_number": numbers_of_nobody()[0]},
        {"member_number": stranger.number},
        {"member_number": applicant["member_number"]},
        {"member_number": frozen.number},
        {"member_number": gone.number},
        {"card": new_card_token()},
        {"card": foreign},
        {"card": dead},
    ):
        answer = await check(await clerk_of(desk.api), **asked)
        check_problem(answer, "not_found", 404)
        shapes.add(answer.text)
    assert len(shapes) == 1


async def test_guesses_run_out_and_hits_do_not_bring_them_back(desk: CounterDesk) -> None:
    member, clerk = await desk.member(), await clerk_of(desk.api)
    statuses = []
    for guess in numbers_of_nobody():
        statuses.append((await check(clerk, member_number=guess)).status_code)
        if len(statuses) == 3:
            assert (await check(clerk, member_number=member.number)).status_code == 200
    assert statuses[:5] == [404] * 5
    assert set(statuses[5:]) == {429}
    # Once they have run out a hit is not told from a miss.
    answer = await check(clerk, member_number=member.number)
    check_problem(answer, "too_many_attempts", 429)
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    assert (await check(await clerk_of(desk.api), member_number=member.number)).status_code == 200


async def test_many_at_once_get_no_more_guesses(desk: CounterDesk) -> None:
    clerk = await clerk_of(desk.api)
    answers = await asyncio.gather(
        *(check(clerk, member_number=guess) for guess in numbers_of_nobody())
    )
    assert sorted(answer.status_code for answer in answers) == [404] * 5 + [429] * 35


async def test_what_a_member_has_is_not_found_out_by_asking_on(desk: CounterDesk) -> None:
    """Ten questions would tell a balance below 1,024; one clerk gets five at once."""
    member, clerk = await desk.member(), await clerk_of(desk.api)
    answers = [await check(clerk, points, member_number=member.number) for points in range(1, 8)]
    assert [answer.status_code for answer in answers] == [200] * 5 + [429] * 2
    other = await desk.member()
    assert (await check(clerk, member_number=other.number)).status_code == 200


async def test_time_brings_questions_back(door: Door) -> None:
    desk = await CounterDesk.open(door.api)
    member, clerk = await desk.member(), await clerk_of(door.api)
    for guess in numbers_of_nobody()[:6]:
        await check(clerk, member_number=guess)
    check_problem(await check(clerk, member_number=member.number), "too_many_attempts")
    await door.admin.execute(
        "UPDATE allowance SET free_at = free_at - $2::interval WHERE bank_id = $1",
        door.book.bank_id,
        timedelta(seconds=61),
    )
    assert (await check(clerk, member_number=member.number)).status_code == 200


async def test_a_slip_of_the_finger_costs_nothing(desk: CounterDesk) -> None:
    member, clerk = await desk.member(), await clerk_of(desk.api)
    wrong = member.number[:-1] + str((int(member.number[-1]) + 1) % 10)
    for _ in range(8):
        check_problem(await check(clerk, member_number=wrong), "number_mistyped")
    for body in ({}, {"card": "x", "member_number": member.number}):
        check_problem(await check(clerk, **body), "invalid_input")
    assert (await check(clerk, member_number=member.number)).status_code == 200
