"""Slips at the bank: one hold each, captured once by whoever is first, never given back early."""

import asyncio
import random
import time
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import pytest

from tests.redemption.checks import check_market
from tests.redemption.market import CLERK, INSTANT, Market, open_merchant
from tests.redemption.slip_desk import SlipDesk
from timebank.domain.errors import InvalidInputError, NotFoundError
from timebank.domain.ledger import AccountKind
from timebank.domain.numbers import add_check
from timebank.domain.redemption import CapScope, Channel, HoldState
from timebank.domain.service_errors import SigningKeyMissingError
from timebank.domain.slip_errors import SlipTooShortError
from timebank.ledger.ids import new_id
from timebank.people.seals import Seals
from timebank.people.signing_keys import SigningPurpose, open_key
from timebank.redemption import codes, holds, slips
from timebank.redemption.anomalies import AnomalyReason, list_anomalies
from timebank.redemption.slip_checker import Journal, accept, verify

SECOND = timedelta(seconds=1)


@pytest.fixture
async def desk(market: Market, tmp_path: Path) -> SlipDesk:
    return await SlipDesk.open(market, tmp_path)


async def test_a_slip_is_a_hold_and_a_signature(desk: SlipDesk) -> None:
    resident = await desk.market.resident(30)
    slip = await desk.issued(resident, 12)
    assert await desk.market.points_of(resident[0]) == 18
    assert await desk.market.points_of(resident[0], AccountKind.HELD) == 12
    assert slip.held_until - slip.expires_at >= timedelta(days=7)
    assert slip.expires_at - slip.issued_at == timedelta(days=7)
    assert add_check(slip.number // 100) == str(slip.number)
    text = await desk.text(slip)
    facts = verify(text, await desk.keys())
    assert facts == slips.facts_of(desk.market.book.bank, slip)
    await desk.make_key()
    assert await desk.text(slip) == text
    assert verify(await desk.text(await desk.issued(resident, 1)), await desk.keys())
    hold = await desk.market.get(slip.slip_id)
    assert (hold.channel, hold.quantity, hold.unit_price) == (Channel.SLIP, 12, 1)
    await check_market(desk.market)


async def test_the_text_holds_nothing_of_a_person(desk: SlipDesk) -> None:
    resident = await desk.market.resident(30)
    slip = await desk.issued(resident)
    packed = slips.pack(slips.facts_of(desk.market.book.bank, slip))
    assert resident[0].bytes not in packed
    assert resident[1].bytes not in packed
    assert slip.slip_id.bytes not in packed


async def test_asked_again_it_is_the_same_slip(desk: SlipDesk) -> None:
    resident, slip_id = await desk.market.resident(30), uuid4()
    order = desk.order(resident)
    first = await desk.ask(order, slip_id)
    number = (await desk.get(slip_id)).number
    assert await desk.ask(order, slip_id) == first
    assert (await desk.get(slip_id)).number == number
    assert (await desk.ask(desk.order(resident, 11), slip_id)).status == "id_conflict"
    assert await desk.market.points_of(resident[0]) == 20


async def test_the_first_acceptance_has_the_points_and_no_other(desk: SlipDesk) -> None:
    resident = await desk.market.resident(30)
    slip = await desk.issued(resident, 12)
    text, first = await desk.text(slip), uuid4()
    told = await desk.tell(text, first)
    assert (told.result, told.number, told.points) == ("captured", slip.number, 12)
    assert told.slip_id == slip.slip_id
    assert (await desk.tell(text, first, actor_id=new_id())).result == "captured_before"
    for _ in range(2):
        assert (await desk.tell(text)).result == "captured_by_another"
    assert (await desk.tell(text, first)).result == "captured_before"
    assert await desk.market.points_of(desk.market.merchant_id, AccountKind.MERCHANT) == 12
    listed = await desk.market.run(list_anomalies, datetime.now(UTC).date() - timedelta(days=2))
    assert [(one.reason, one.subject_id, one.other_id, one.times) for one in listed] == [
        (AnomalyReason.SLIPS_AGAIN, desk.market.merchant_id, resident[0], 2)
    ]
    assert (await desk.get(slip.slip_id)).state is HoldState.CAPTURED
    assert (await desk.market.refund(slip.slip_id, 12)).status == "done"
    assert await desk.market.points_of(resident[0]) == 30
    await check_market(desk.market)


async def test_another_merchant_has_nothing_of_it(desk: SlipDesk) -> None:
    text = await desk.text(await desk.issued(await desk.market.resident(30)))
    other, _ = await open_merchant(desk.market.book)
    told = await desk.tell(text, merchant_id=other)
    assert (told.result, told.slip_id) == ("unknown", None)
    assert (await desk.tell(text)).result == "captured"


async def test_what_we_did_not_sign_is_forged(desk: SlipDesk, market: Market) -> None:
    text = await desk.text(await desk.issued(await market.resident(30)))
    for forged in (text[:-1], text + "0", "", text[::-1], "1" * len(text)):
        assert (await desk.tell(forged)).result == "forged"
    keys = await desk.keys()
    assert (await desk.tell(text, keys={key: keys[key] for key in ()})).result == "captured"


async def test_a_key_alone_makes_no_slip_of_a_number(desk: SlipDesk) -> None:
    """What is told has to be what was issued, by the key it was issued with."""
    resident = await desk.market.resident(30)
    bank, old = desk.market.book.bank, await desk.issued(resident, 1)
    await desk.make_key()
    slip = await desk.issued(resident, 12)
    facts = slips.facts_of(bank, slip)
    later = facts.expires_at + 86_400
    for changed in (
        {"key_id": old.key_id},
        {"points": 13},
        {"expires_at": later},
        {"issued_at": facts.issued_at - 1},
    ):
        async with desk.market.book.pool.acquire() as connection:
            signer = changed.get("key_id", slip.key_id)
            _, private = await open_key(
                connection, desk.seals, bank.bank_id, SigningPurpose.SLIP, key_id=signer
            )
        told = await desk.tell(slips.sign(facts._replace(**changed), private))
        assert (told.result, told.slip_id) == ("forged", None), changed
    assert await desk.market.points_of(desk.market.merchant_id, AccountKind.MERCHANT) == 0
    unknown = slips.sign(facts._replace(number=facts.number - 97), private)
    assert (await desk.tell(unknown)).result == "unknown"
    assert (await desk.tell(await desk.text(slip))).result == "captured"


async def test_a_slip_of_another_bank_is_told_there(
    desk: SlipDesk, market: Market, tmp_path: Path
) -> None:
    """Two banks and one journal: told to the wrong one first, it is not lost."""
    other = await SlipDesk.open(
        await Market.open(await type(market.book).open(market.book.pool)), tmp_path
    )
    text = await other.text(await other.issued(await other.market.resident(30)))
    told = await desk.tell(text)
    assert (told.result, told.number) == ("unknown", None)
    Journal(path := tmp_path / "till.journal", new=True).close()
    with closing(Journal(path)) as journal:
        taken = accept(
            journal, text, await other.keys(), other.market.merchant_id, int(time.time())
        )
        assert taken.taken
        assert journal.list_unsettled(market.book.bank.code) == []
        [one] = journal.list_unsettled(other.market.book.bank.code)
    assert (await other.tell(one.slip, UUID(one.acceptance_id))).result == "captured"


async def test_nobody_has_the_points_back_before_the_grace_is_over(desk: SlipDesk) -> None:
    """Printed expiry is past and a till took it in time: neither release nor sweep comes first."""
    resident = await desk.market.resident(30)
    slip = await desk.issued(resident, lifetime=SECOND)
    await asyncio.sleep(1.1)
    assert slip.expires_at < datetime.now(UTC)
    assert (await desk.market.release(slip.slip_id)).status == "slip_outstanding"
    assert await holds.sweep(desk.market.book.pool, desk.market.bank_id) == 0
    assert (await desk.market.capture(slip.slip_id)).status == "code_not_valid"
    with pytest.raises(NotFoundError):
        await desk.market.run(codes.renew_pickup_code, slip.slip_id)
    assert await desk.market.points_of(resident[0]) == 20
    assert (await desk.tell(await desk.text(slip))).result == "captured"


async def test_after_the_grace_the_points_are_back_and_a_late_till_has_none(
    desk: SlipDesk,
) -> None:
    resident = await desk.market.resident(30)
    slip = await desk.issued(resident, lifetime=SECOND, grace=INSTANT)
    text = await desk.text(slip)
    await asyncio.sleep(1.1)
    assert (await desk.tell(text)).result == "expired"
    assert await holds.sweep(desk.market.book.pool, desk.market.bank_id) == 1
    assert (await desk.tell(text)).result == "expired"
    assert (await desk.market.release(slip.slip_id)).status == "hold_expired"
    assert await desk.market.points_of(resident[0]) == 30


async def test_caps_of_a_slip(desk: SlipDesk) -> None:
    market, resident = desk.market, await desk.market.resident(500)
    refused = await desk.ask(desk.order(resident, 101))
    assert (refused.status, refused.cap) == ("cap_exceeded", CapScope.SLIP)
    open_slips = [await desk.issued(resident, 100) for _ in range(3)]
    refused = await desk.ask(desk.order(resident, 1))
    assert (refused.status, refused.cap) == ("cap_exceeded", CapScope.SLIPS_OPEN)
    await desk.tell(await desk.text(open_slips[0]))
    assert (await desk.ask(desk.order(resident, 1))).status == "done"
    await market.cap(CapScope.SLIPS_OPEN, 4)
    await market.cap(CapScope.PERSON_DAY, 302)
    assert (await desk.ask(desk.order(resident, 2))).cap == CapScope.PERSON_DAY
    assert (await desk.ask(desk.order(resident, 1))).status == "done"
    await check_market(market)


async def test_without_a_cap_there_are_no_slips(market: Market, tmp_path: Path) -> None:
    desk = SlipDesk(market, (await SlipDesk.open(market, tmp_path)).seals)
    await market.cap(CapScope.SLIP, 0)
    refused = await desk.ask(desk.order(await market.resident(5), 1))
    assert (refused.status, refused.cap) == ("cap_exceeded", CapScope.SLIP)


async def test_a_clerks_day_does_not_stop_what_was_handed_out(desk: SlipDesk) -> None:
    await desk.market.cap(CapScope.CLERK_DAY, 5)
    text = await desk.text(await desk.issued(await desk.market.resident(30)))
    assert (await desk.tell(text)).result == "captured"
    await check_market(desk.market)


async def test_who_can_have_no_slip(desk: SlipDesk, tmp_path: Path) -> None:
    market, resident = desk.market, await desk.market.resident(5)
    assert (await desk.ask(desk.order(resident, 6))).status == "insufficient_points"
    stranger = desk.order(resident, 5, merchant_id=new_id())
    assert (await desk.ask(stranger)).status == "merchant_not_active"
    for wrong in ({"points": 0}, {"lifetime": timedelta(days=15)}, {"lifetime": INSTANT}):
        with pytest.raises(InvalidInputError):
            await desk.ask(desk.order(resident, **{"points": 5, **wrong}))
    soon = datetime.now(UTC) + timedelta(days=6)
    for left in (timedelta(), timedelta(days=1, minutes=1), timedelta(days=1, hours=23)):
        leaving, _ = await open_merchant(market.book, valid_until=soon + left)
        with pytest.raises(SlipTooShortError):
            await desk.ask(desk.order(resident, 5, merchant_id=leaving))
        assert await market.points_of(resident[0]) == 5
    brief = await desk.issued(resident, 1, merchant_id=leaving, lifetime=timedelta(hours=2))
    assert brief.expires_at - brief.issued_at == timedelta(hours=2)
    staying, _ = await open_merchant(market.book, valid_until=soon + timedelta(days=2, minutes=1))
    slip = await desk.issued(resident, 4, merchant_id=staying)
    assert slip.expires_at < soon - timedelta(days=4)


async def test_a_key_for_slips_is_needed(market: Market, tmp_path: Path) -> None:
    desk = await SlipDesk.open(market, tmp_path)
    other = SlipDesk(await Market.open(await type(market.book).open(market.book.pool)), desk.seals)
    with pytest.raises(SigningKeyMissingError):
        await other.ask(other.order(await other.market.resident(5), 5))
    assert isinstance(desk.seals, Seals)


async def test_no_hold_of_a_slip_without_one(market: Market) -> None:
    """Placed as any other hold it could never be captured: the commit is refused."""
    await market.cap(CapScope.SLIP, 10)
    wish = market.wish(await market.resident(5), 5, channel=Channel.SLIP)
    with pytest.raises(asyncpg.CheckViolationError) as refused:
        await market.place(wish)
    assert refused.value.constraint_name == "hold_of_a_slip_has_one"
    assert await market.points_of(wish.resident_id or market.merchant_id) == 5


async def test_twenty_tills_tell_of_one_slip(desk: SlipDesk) -> None:
    resident = await desk.market.resident(100)
    texts = [await desk.text(await desk.issued(resident, 10)) for _ in range(2)]
    keys, same = await desk.keys(), uuid4()
    clones = await asyncio.gather(*(desk.tell(texts[0], keys=keys) for _ in range(20)))
    assert Counter(told.result for told in clones) == {"captured": 1, "captured_by_another": 19}
    repeats = await asyncio.gather(*(desk.tell(texts[1], same, keys=keys) for _ in range(20)))
    assert Counter(told.result for told in repeats) == {"captured": 1, "captured_before": 19}
    assert await desk.market.points_of(desk.market.merchant_id, AccountKind.MERCHANT) == 20
    await check_market(desk.market)


async def test_the_sweeper_and_a_late_till_meet(desk: SlipDesk) -> None:
    market, keys = desk.market, await desk.keys()
    for _ in range(3):
        resident = await market.resident(10)
        slip = await desk.issued(resident, 10, lifetime=SECOND, grace=timedelta(seconds=0.05))
        text = await desk.text(slip)
        await asyncio.sleep(1)

        async def late(text: str = text) -> str:
            await asyncio.sleep(random.uniform(0, 0.06))
            return str((await desk.tell(text, keys=keys)).result)

        async def swept() -> int:
            await asyncio.sleep(random.uniform(0, 0.06))
            return len(await market.run(holds.expire_holds))

        results = Counter(
            await asyncio.gather(*(late() for _ in range(5)), *(swept() for _ in range(5)))
        )
        await asyncio.sleep(0.05)
        await holds.sweep(market.book.pool, market.bank_id)
        captured = results["captured"]
        assert await market.points_of(resident[0]) == (0 if captured else 10)
        assert (await market.get(slip.slip_id)).state == ("captured" if captured else "expired")
    await check_market(market)


async def test_slips_of_two_wallets_stay_within_the_cap(desk: SlipDesk) -> None:
    """Ten at once, from one's own wallet and from a pool: three, however they come."""
    resident = await desk.market.resident(100)
    pool = await desk.market.book.open_account(AccountKind.POOL, balance=100)
    orders = [desk.order((resident[0], source), 1) for source in (resident[1], pool)] * 5
    answers = await asyncio.gather(*(desk.ask(order) for order in orders))
    assert Counter(answer.status for answer in answers) == {"done": 3, "cap_exceeded": 7}
    listed = await desk.market.run(slips.list_slips, resident[0])
    assert len(listed) == 3
    assert [one.slip_id for one in await desk.market.run(slips.list_slips, resident[0], limit=1)]
    assert CLERK
