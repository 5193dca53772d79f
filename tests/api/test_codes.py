"""Codes over HTTP: they pay or open once, at one merchant, and are not found by guessing."""

import asyncio
import secrets
from hashlib import sha256

from tests.api.client import Caller, check_problem, new_key
from tests.api.counter import Counter, clerk_of
from tests.api.service import PUBLIC_URL
from tests.redemption.market import open_merchant
from timebank.domain.redemption import COUNTER_LIFETIME, CapScope, Channel, CodeKind
from timebank.redemption.codes import digest_typed


def not_(code: str) -> str:
    """Another code of the same length."""
    return f"{(int(code) + 1 + secrets.randbelow(10**4)) % 10 ** len(code):0{len(code)}}"


async def test_a_payment_code_pays_once(counter: Counter) -> None:
    resident, key = await counter.api.resident(points=30), new_key()
    code = await counter.payment_code(resident)
    body = {"code": code, "points": 12}
    for _ in range(2):
        charged = await counter.clerk.post("/charges", body, key=key)
        assert charged.status_code == 201, charged.text
        assert charged.json()["hold"]["points_captured"] == 12
        assert str(resident.resident_id) not in charged.text
    check_problem(await counter.clerk.post("/charges", body), "code_not_valid")
    assert await counter.api.book.balance(resident.wallet) == 18
    assert await counter.api.book.balance(counter.market.till) == 12


async def test_a_payment_code_is_used_up_even_when_refused(counter: Counter) -> None:
    resident = await counter.api.resident(points=30)
    code = await counter.payment_code(resident)
    problem = check_problem(
        await counter.clerk.post("/charges", {"code": code, "points": 31}), "insufficient_points"
    )
    assert "30" not in problem["detail"]  # not enough, and not how much there is
    check_problem(
        await counter.clerk.post("/charges", {"code": code, "points": 1}), "code_not_valid"
    )
    assert await counter.api.book.balance(resident.wallet) == 30


async def test_what_a_clerk_may_not_capture_is_not_held_either(counter: Counter) -> None:
    resident = await counter.api.resident(points=30)
    await counter.market.cap(CapScope.CLERK_DAY, 5)
    code = await counter.payment_code(resident)
    answer = await counter.clerk.post("/charges", {"code": code, "points": 6})
    assert "clerk_day" in check_problem(answer, "cap_exceeded")["detail"]
    assert await counter.api.book.balance(resident.wallet) == 30
    check_problem(
        await counter.clerk.post("/charges", {"code": code, "points": 1}), "code_not_valid"
    )


async def test_a_new_payment_code_ends_the_one_before(counter: Counter) -> None:
    resident = await counter.api.resident(points=30)
    old, new = [await counter.payment_code(resident) for _ in range(2)]
    check_problem(
        await counter.clerk.post("/charges", {"code": old, "points": 1}), "code_not_valid"
    )
    assert (await counter.clerk.post("/charges", {"code": new, "points": 1})).status_code == 201


async def test_an_address_from_a_qr_and_spoken_digits_are_codes_too(counter: Counter) -> None:
    resident = await counter.api.resident(points=30)
    shown = (await resident.caller.post("/payment-codes", {})).json()
    assert shown["qr"] == f"{PUBLIC_URL}/pay#{shown['token']}"
    scanned = {"code": shown["qr"], "points": 1}
    assert (await counter.system.post("/charges", scanned)).status_code == 201
    digits = await counter.payment_code(resident)
    spoken = {"code": f"{digits[:4]} {digits[4:]}", "points": 1}
    assert (await counter.system.post("/charges", spoken)).status_code == 201


async def test_guessing_pickup_codes_ends_in_429(counter: Counter) -> None:
    resident = await counter.api.resident(points=30)
    hold_id, code = await counter.held(resident)
    for _ in range(5):
        guess = await counter.clerk.post("/pickups", {"code": not_(code)})
        check_problem(guess, "code_not_valid")
    for path in ("/pickups", f"/holds/{hold_id}/captures"):
        answer = await counter.clerk.post(path, {"code": code})
        check_problem(answer, "too_many_wrong_codes", 429)
        assert int(answer.headers["retry-after"]) > 0
    colleague = await clerk_of(counter.api, counter.market.merchant_id)
    assert (await colleague.post("/pickups", {"code": code})).status_code == 200


async def test_guessing_payment_codes_ends_in_429(counter: Counter) -> None:
    resident = await counter.api.resident(points=30)
    code = await counter.payment_code(resident)
    for _ in range(5):
        guess = await counter.clerk.post("/charges", {"code": not_(code), "points": 1})
        check_problem(guess, "code_not_valid")
    answer = await counter.clerk.post("/charges", {"code": code, "points": 1})
    check_problem(answer, "too_many_wrong_codes", 429)


async def test_another_merchants_pickup_code_is_a_wrong_one(counter: Counter) -> None:
    resident = await counter.api.resident(points=30)
    _, code = await counter.held(resident)
    other_id, _ = await open_merchant(counter.api.book)
    other = await clerk_of(counter.api, other_id)
    for _ in range(5):
        check_problem(await other.post("/pickups", {"code": code}), "code_not_valid")
    check_problem(await other.post("/pickups", {"code": code}), "too_many_wrong_codes")


async def test_a_hold_from_home_needs_its_own_code(counter: Counter) -> None:
    resident = await counter.api.resident(points=30)
    hold_id, code = await counter.held(resident)
    _, of_another = await counter.held(resident)
    for body in ({}, {"code": of_another}, {"code": not_(code)}, {"code": "王小英"}):
        answer = await counter.clerk.post(f"/holds/{hold_id}/captures", body)
        check_problem(answer, "code_not_valid")
    captured = await counter.clerk.post(f"/holds/{hold_id}/captures", {"code": code})
    assert captured.status_code == 201


async def test_a_new_pickup_code_ends_the_one_before(counter: Counter) -> None:
    resident = await counter.api.resident(points=30)
    hold_id, old = await counter.held(resident)
    renewed = await resident.caller.post(f"/holds/{hold_id}/pickup-codes", {})
    assert renewed.headers["cache-control"] == "no-store"
    check_problem(await counter.clerk.post("/pickups", {"code": old}), "code_not_valid")
    new = {"code": renewed.json()["token"]}
    assert (await counter.clerk.post("/pickups", new)).json()["hold_id"] == hold_id


async def test_codes_are_shown_to_those_they_serve(counter: Counter) -> None:
    resident, other = await counter.api.resident(points=30), await counter.api.resident()
    hold_id, _ = await counter.held(resident)
    callers: list[tuple[Caller, str]] = [
        (other.caller, "not_found"),
        (counter.clerk, "forbidden"),
        (counter.api.auditor, "forbidden"),
    ]
    for caller, code in callers:
        check_problem(await caller.post(f"/holds/{hold_id}/pickup-codes", {}), code)
    check_problem(await counter.coordinator.post("/payment-codes", {}), "forbidden")


async def test_tills_charge_and_capture_at_once(counter: Counter) -> None:
    """Also about the same residents, and by card, where no code makes the acts take turns."""
    await counter.market.cap(CapScope.CARD_DAY, 100)
    residents = [await counter.api.resident(points=30) for _ in range(4)]
    acts = []
    for resident in residents:
        wish = counter.market.wish(
            (resident.resident_id, resident.wallet), 10, channel=Channel.CARD
        )
        by_card = (await counter.market.place(wish)).hold_id
        hold_id, code = await counter.held(resident)
        paid = {"code": await counter.payment_code(resident), "points": 10}
        acts += [
            ("/charges", paid),
            (f"/holds/{by_card}/captures", {}),
            (f"/holds/{hold_id}/captures", {"code": code}),
        ]
    answers = await asyncio.gather(*(counter.system.post(*act) for act in acts))
    assert [answer.status_code for answer in answers] == [201] * len(acts)
    assert await counter.api.book.balance(counter.market.till) == 120


async def test_a_code_cannot_be_tried_out_from_what_is_stored_of_a_request(
    counter: Counter,
) -> None:
    """No fingerprint of a request or an act is a plain hash of what one could guess."""
    resident = await counter.api.resident(points=30)
    hold_id, pickup = await counter.held(resident)
    code = await counter.payment_code(resident)
    sent = [
        await counter.clerk.post(f"/holds/{hold_id}/captures", {"code": pickup, "quantity": 99}),
        await counter.clerk.post("/charges", {"code": code, "points": 99}),
    ]
    assert [answer.status_code for answer in sent] == [409, 409]
    pool, bank_id = counter.api.book.pool, counter.api.book.bank_id
    stored = {
        row[0]
        for row in await pool.fetch(
            "SELECT fingerprint FROM request WHERE bank_id = $1 UNION "
            "SELECT fingerprint FROM redemption_act WHERE bank_id = $1",
            bank_id,
        )
    }
    assert len(stored) == 6  # with the hold that the resident placed
    for answer in sent:
        said = f"POST {answer.request.url.path}?\n".encode() + answer.request.content
        assert sha256(said).digest() not in stored
    guessed = await pool.fetchval(
        "SELECT array_agg(sha256(convert_to(CASE kind "
        "WHEN 'capture' THEN ROW('capture', hold_id, merchant_id, 99::bigint, override_id, "
        "actor_id, $2::bytea)::text "
        "ELSE ROW('hold', NULL::uuid, NULL::uuid, merchant_id, offer_id, NULL::uuid, quantity, "
        "$4::interval, 'code', override_id, actor_id, $3::bytea)::text END, 'UTF8'))) "
        "FROM redemption_act WHERE bank_id = $1 AND status <> 'done'",
        bank_id,
        digest_typed(pickup, CodeKind.PICKUP),
        digest_typed(code, CodeKind.PAYMENT),
        COUNTER_LIFETIME,
    )
    assert len(guessed) == 2
    assert not stored & set(guessed)
