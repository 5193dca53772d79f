"""Gifts over HTTP: to kin and pools, under caps, and nobody learns by them who exists."""

import asyncio
from collections import Counter as Count
from datetime import timedelta
from uuid import UUID

import httpx
import pytest

from tests.api.client import (
    Api,
    Caller,
    Resident,
    check_only_fault,
    check_problem,
    new_key,
    token_for,
)
from tests.api.counter import Counter
from tests.api.logins import Door
from tests.api.service import key_file
from tests.api.test_caps import agreed, two_of
from tests.api.test_minor_cap import Youth
from tests.book import Book
from tests.people.desk import Desk
from tests.people.test_kin import child_of, named
from tests.places import open_branch, place
from timebank.db import transaction
from timebank.domain.ledger import AccountKind, Unit
from timebank.domain.redemption import CapScope
from timebank.ledger.accounts import get_account_of
from timebank.ledger.blocks import place_block
from timebank.ledger.ids import new_id
from timebank.people.access import Role, SessionMethod
from timebank.people.cards import issue_card
from timebank.people.registration import get_membership
from timebank.people.sessions import LIMITS, open_session
from timebank.redemption.families import found_family


async def give(
    giver: Caller, points: int = 10, key: str | None = None, **to: object
) -> httpx.Response:
    return await giver.post("/gifts", {"points": points, **to}, key=key)


async def family_of(counter: Counter, *points: int) -> list[Resident]:
    """Residents of one family with so many points; the first may spend from its pool."""
    members = [await counter.api.resident(points=many) for many in points]
    async with counter.api.book.pool.acquire() as connection:
        rights = {member.resident_id: place == 0 for place, member in enumerate(members)}
        await found_family(connection, counter.api.book.bank_id, new_id(), rights)
    await counter.market.cap(CapScope.GIFT_DAY, None)
    return members


async def pool_of(api: Api, branch_id: UUID) -> int:
    async with api.book.pool.acquire() as connection:
        pool = await get_account_of(
            connection, api.book.bank_id, Unit.POINTS, AccountKind.POOL, branch_id
        )
    return await api.book.balance(pool.account_id)


async def test_a_resident_gives_to_kin_and_to_the_community(counter: Counter) -> None:
    giver, child = await family_of(counter, 50, 0)
    here = await open_branch(counter.api.book)
    await place(counter.api.book, giver.resident_id, here)
    key = new_key()
    first = await give(giver.caller, resident_id=str(child.resident_id), key=key)
    assert first.status_code == 201, first.text
    assert (first.json()["status"], first.json()["points"]) == ("done", 10)
    again = await give(giver.caller, resident_id=str(child.resident_id), key=key)
    assert again.headers["idempotent-replayed"] == "true"
    assert again.json() == first.json()
    for _ in range(2):
        assert (await give(giver.caller, community=True)).status_code == 201
    assert await pool_of(counter.api, here) == 20
    assert await counter.api.book.balance(giver.wallet) == 20
    assert await counter.api.book.balance(child.wallet) == 10
    answer = await give(giver.caller, 21, community=True)
    check_problem(answer, "insufficient_points")


async def test_what_is_blocked_is_not_given(counter: Counter) -> None:
    """Nor by way of the family's pool or the community's; what else there is goes."""
    giver, child = await family_of(counter, 4, 0)
    book = counter.api.book
    await place(book, giver.resident_id, await open_branch(book))
    award = book.award(giver.wallet, 10)
    await book.post_all(award)
    async with transaction(book.pool) as connection:
        await place_block(connection, book.bank, new_id(), {award.transfer_id: giver.wallet})
    to_child = {"resident_id": str(child.resident_id)}
    for to in (to_child, {"community": True}):
        check_problem(await give(giver.caller, 5, **to), "points_blocked")
    assert (await give(giver.caller, 4, **to_child)).status_code == 201
    check_problem(await give(giver.caller, 1, **to_child), "points_blocked")
    check_problem(await give(giver.caller, 11, **to_child), "insufficient_points")
    assert (await give(child.caller, 4, resident_id=str(giver.resident_id))).status_code == 201


async def test_nobody_learns_who_exists(door: Door) -> None:
    """A stranger, another bank's member and nobody are answered alike, by number, card and id."""
    counter = await Counter.open(door.api)
    [giver] = await family_of(counter, 50)
    stranger = await door.desk.member()
    elsewhere = await Desk.open(await Book.open(door.book.pool), key_file().parent)
    foreigner = await elsewhere.member()
    answers = []
    for desk, person in ((door.desk, stranger), (elsewhere, foreigner)):
        async with desk.at() as connection:
            member = await get_membership(connection, desk.book.bank_id, person)
            card = await issue_card(connection, desk.book.bank_id, person, issued_by=new_id())
        answers.append(await give(giver.caller, member_number=member.member_number))
        answers.append(await give(giver.caller, card=card))
        answers.append(await give(giver.caller, resident_id=str(person)))
    answers.append(await give(giver.caller, card="0" * 26))
    answers.append(await give(giver.caller, resident_id=str(new_id())))
    answers.append(await give(giver.caller, resident_id=str(giver.resident_id)))
    answers.append(await give(giver.caller, family_id=str(new_id())))
    for answer in answers:
        check_problem(answer, "not_found")
    assert len({answer.text for answer in answers}) == 1
    assert await door.book.balance(giver.wallet) == 50


async def test_a_guardian_gives_to_the_child_by_number_and_card(youth: Youth) -> None:
    """And the child may give to the guardian, within the cap of minors."""
    counter, desk, book = youth.counter, youth.door.desk, youth.door.book
    await counter.market.cap(CapScope.GIFT_DAY, None)
    await book.open_account(owner_id=youth.guardian_id, balance=50)
    async with desk.at() as connection:
        member = await get_membership(connection, book.bank_id, youth.minor_id)
        card = await issue_card(connection, book.bank_id, youth.minor_id, issued_by=new_id())
    for to in ({"member_number": member.member_number}, {"card": card}):
        answer = await give(youth.guardian, 5, **to)
        assert answer.status_code == 201, answer.text
    assert await book.balance(youth.wallet) == 110
    back = {"resident_id": str(youth.guardian_id)}
    check_problem(await give(youth.minor, 1, **back), "guardian_needed")
    await youth.cap(10, 15)
    assert (await give(youth.minor, 10, **back)).status_code == 201
    check_problem(await give(youth.minor, 6, **back), "guardian_needed")
    check_problem(await youth.hold(6), "guardian_needed")  # one cap for what is held and given
    assert (await youth.hold(5)).status_code == 201
    check_problem(await give(youth.minor, 1, **back), "guardian_needed")


@pytest.fixture
async def youth(door: Door) -> Youth:
    """A minor of a new bank."""
    return await Youth.at(door)


async def test_a_helper_and_whom_they_help_are_kin(door: Door) -> None:
    counter = await Counter.open(door.api)
    await counter.market.cap(CapScope.GIFT_DAY, None)
    helped, helper = [await door.desk.member() for _ in range(2)]
    callers = []
    for person in (helped, helper):
        await door.book.open_account(owner_id=person, balance=10)
        callers.append(Caller(door.api.http, await token_for(door.book, Role.RESIDENT, person)))
    check_problem(await give(callers[1], resident_id=str(helped)), "not_found")
    await named(door.desk, helped, helper, timedelta(days=1))
    assert (await give(callers[1], 3, resident_id=str(helped))).status_code == 201
    assert (await give(callers[0], 4, resident_id=str(helper))).status_code == 201
    ended = await callers[0].send("DELETE", f"/residents/{helped}/helpers/{helper}")
    assert ended.status_code == 204
    check_problem(await give(callers[1], resident_id=str(helped)), "not_found")


async def test_gifts_of_minors_at_once_stay_within_the_cap(youth: Youth) -> None:
    await youth.counter.market.cap(CapScope.GIFT_DAY, None)
    await youth.cap(3, 10)
    body = {"resident_id": str(youth.guardian_id)}
    answers = await asyncio.gather(*(give(youth.minor, 3, **body) for _ in range(10)))
    assert Count(answer.status_code for answer in answers) == {201: 3, 409: 7}


async def test_a_pin_gives_nothing(counter: Counter) -> None:
    giver, child = await family_of(counter, 50, 0)
    async with counter.api.book.pool.acquire() as connection:
        token = await open_session(
            connection,
            counter.api.book.bank_id,
            giver.resident_id,
            Role.RESIDENT,
            method=SessionMethod.PIN,
            limits=LIMITS[Role.RESIDENT, SessionMethod.PIN],
        )
    answer = await give(Caller(counter.api.http, token), resident_id=str(child.resident_id))
    check_problem(answer, "stronger_login_needed")


async def test_a_guardian_gives_nothing_of_the_childs(counter: Counter, door: Door) -> None:
    """There is no word for it: a gift is from the giver's own wallet."""
    youth = await Youth.at(door)
    body = {"points": 1, "community": True, "account_id": str(youth.wallet)}
    check_only_fault(await youth.guardian.post("/gifts", body), "/account_id")


@pytest.mark.parametrize(
    "to",
    [{}, {"community": True, "resident_id": str(new_id())}, {"member_number": "1", "card": "x"}],
)
async def test_a_gift_is_to_exactly_one(counter: Counter, to: dict[str, object]) -> None:
    giver = await counter.api.resident(points=5)
    check_problem(await give(giver.caller, **to), "invalid_input")


async def test_the_cap_of_gifts_is_passed_by_two(counter: Counter) -> None:
    giver, child = await family_of(counter, 90, 0)
    administrators = await two_of(counter, Role.ADMINISTRATOR)
    await agreed(*administrators, {"deed": "cap_rule", "scope": "gift_day", "points": 10})
    to = {"resident_id": str(child.resident_id)}
    check_problem(await give(giver.caller, 11, **to), "cap_exceeded")
    override = {
        "deed": "pass_cap",
        "scope": "gift_day",
        "subject_id": str(giver.resident_id),
        "amount": 20,
        "reason": "hardship",
    }
    override_id = await agreed(*(await two_of(counter, Role.COORDINATOR)), override)
    answer = await give(giver.caller, 20, override_id=override_id, **to)
    assert answer.status_code == 201, answer.text
    auditor = counter.api.auditor
    for asked, found in ((None, 1), ("true", 1), ("false", 0)):
        listed = (await auditor.get("/overrides", is_used=asked)).json()["data"]
        assert len(listed) == found
    [used] = (await auditor.get("/overrides")).json()["data"]
    assert used["used_by"] == answer.json()["act_id"]
    assert (used["reason"], used["amount"], used["offer_id"]) == ("hardship", 20, None)
    assert used["maker_id"] != used["checker_id"]
    check_problem(await counter.coordinator.get("/overrides"), "forbidden")


async def test_twenty_gifts_at_once_of_the_same_points(counter: Counter) -> None:
    giver, child = await family_of(counter, 100, 0)
    to = {"resident_id": str(child.resident_id)}
    answers = await asyncio.gather(*(give(giver.caller, 15, **to) for _ in range(20)))
    codes = Count(answer.json().get("code", "done") for answer in answers)
    assert codes == {"done": 6, "insufficient_points": 14}
    assert await counter.api.book.balance(giver.wallet) == 10
    assert await counter.api.book.balance(child.wallet) == 90


# ---- What merchants give on --------------------------------------------------------------------


async def test_a_merchant_gives_to_members_and_the_community(door: Door) -> None:
    counter = await Counter.open(door.api)
    resident = await door.api.resident(points=40)
    await counter.captured(resident, 40)
    member_id = await door.desk.member()
    async with door.desk.at() as connection:
        membership = await get_membership(connection, door.book.bank_id, member_id)
        card = await issue_card(connection, door.book.bank_id, member_id, issued_by=new_id())
    number = {"member_number": membership.member_number}
    check_problem(await counter.clerk.post("/reissues", {"points": 1, **number}), "cap_exceeded")
    await counter.market.cap(CapScope.REISSUE_DAY, 30)
    key = new_key()
    for _ in range(2):
        given = await counter.clerk.post("/reissues", {"points": 5, **number}, key=key)
        assert given.status_code == 201, given.text
    for body in ({"card": card}, {"community": True}):
        given = await counter.system.post("/reissues", {"points": 10, **body})
        assert given.status_code == 201, given.text
    over = await counter.system.post("/reissues", {"points": 6, "community": True})
    check_problem(over, "cap_exceeded")
    async with door.book.pool.acquire() as connection:
        wallet = await get_account_of(
            connection, door.book.bank_id, Unit.POINTS, AccountKind.WALLET, member_id
        )
    assert await door.book.balance(wallet.account_id) == 15
    assert await door.book.balance(counter.market.till) == 15


async def test_a_merchant_guesses_only_a_few_numbers(door: Door) -> None:
    counter = await Counter.open(door.api)
    answers = [
        await counter.clerk.post("/reissues", {"points": 1, "card": "0" * 26}) for _ in range(6)
    ]
    assert [answer.status_code for answer in answers] == [404] * 5 + [429]


async def test_nobody_of_the_merchant_is_given_what_it_takes_in(door: Door) -> None:
    """Neither a clerk nor a clerk's child."""
    counter = await Counter.open(door.api)
    await counter.captured(await door.api.resident(points=40), 40)
    await counter.market.cap(CapScope.REISSUE_DAY, None)
    clerk_id = UUID((await counter.clerk.get("/sessions/me")).json()["party_id"])
    child_id = await child_of(door.desk, clerk_id)
    async with door.desk.at() as connection:
        membership = await get_membership(connection, door.book.bank_id, child_id)
    body = {"points": 1, "member_number": membership.member_number}
    check_problem(await counter.clerk.post("/reissues", body), "forbidden")
