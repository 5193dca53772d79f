"""Codes pay once, within a minute, and open a hold at one merchant; guessing is stopped."""

from datetime import timedelta

import pytest

from tests.guards.test_append_only import accepted, login
from tests.redemption.market import HOUR, INSTANT, Market, open_merchant
from timebank.domain.errors import NotFoundError
from timebank.domain.redemption import (
    DIGITS,
    Channel,
    CodeKind,
    RedemptionStatus,
    Wish,
    read_code,
)
from timebank.embedded import Server
from timebank.ledger.ids import new_id
from timebank.redemption import codes, holds
from timebank.redemption.codes import PaymentCode, new_code

WRONG = "00000000"


def by_code(market: Market, code: str, quantity: int = 1) -> Wish:
    """What a clerk types in."""
    return Wish(
        merchant_id=market.merchant_id,
        quantity=quantity,
        lifetime=HOUR,
        channel=Channel.CODE,
        code=code,
    )


async def payment_code(market: Market, points: int = 10, **named: timedelta) -> PaymentCode:
    resident = await market.resident(points)
    issued: PaymentCode = await market.run(codes.issue_payment_code, *resident, **named)
    return issued


@pytest.mark.parametrize("form", ["digits", "full width", "groups", "token", "address"])
async def test_a_code_pays_however_it_is_read(market: Market, form: str) -> None:
    code = (await payment_code(market)).code
    text = {
        "digits": code.digits,
        "full width": "".join(chr(ord(digit) + 0xFEE0) for digit in code.digits),
        "groups": f" {code.digits[:4]} {code.digits[4:]} ",
        "token": code.token,
        "address": code.address("https://bank.example/"),
    }[form]
    placed = await market.place(by_code(market, text, 4))
    assert placed.status is RedemptionStatus.DONE
    hold = await market.get(placed.act_id)
    assert (hold.channel, hold.points) == (Channel.CODE, 4)
    assert (await market.capture(placed.act_id)).status == "done"


async def test_a_code_pays_once_even_when_refused(market: Market) -> None:
    code = (await payment_code(market, 10)).code
    first, hold_id = by_code(market, code.digits, 11), new_id()
    refused = await market.place(first, hold_id)
    assert refused.status == "insufficient_points"
    assert (await market.place(by_code(market, code.digits, 1))).status == "code_not_valid"
    assert (await market.place(by_code(market, code.token, 1))).status == "code_not_valid"
    assert await market.place(first, hold_id) == refused


async def test_a_code_is_over_after_its_time_and_after_the_next(market: Market) -> None:
    late = (await payment_code(market, lifetime=INSTANT)).code
    assert (await market.place(by_code(market, late.digits))).status == "code_not_valid"
    resident = await market.resident(10)
    before = await market.run(codes.issue_payment_code, *resident)
    after = await market.run(codes.issue_payment_code, *resident)
    wish = by_code(market, before.code.digits)
    assert (await market.place(wish)).status == "code_not_valid"
    assert (await market.place(by_code(market, after.code.digits))).status == "done"


async def test_guessing_is_stopped_for_the_clerk_and_then_for_the_shop(market: Market) -> None:
    code = (await payment_code(market)).code
    statuses = [(await market.place(by_code(market, WRONG))).status for _ in range(6)]
    assert statuses == ["code_not_valid"] * 5 + ["too_many_wrong_codes"]
    assert (await market.place(by_code(market, code.digits))).status == "too_many_wrong_codes"

    async def find(actor_id: object, text: str = "000000") -> RedemptionStatus:
        status, _ = await market.run(codes.find_pickup, market.merchant_id, text, actor_id=actor_id)
        return RedemptionStatus(status)

    for clerk in (new_id(), new_id()):
        assert [await find(clerk) for _ in range(5)] == ["code_not_valid"] * 5
    assert await find(new_id()) == "too_many_wrong_codes"


async def test_the_stop_ends_after_a_while(
    market: Market, server: Server, worker_database: str
) -> None:
    code = (await payment_code(market)).code
    for _ in range(5):
        await market.place(by_code(market, WRONG))
    assert (await market.place(by_code(market, code.digits))).status == "too_many_wrong_codes"
    async with login(server, worker_database) as superuser:
        await superuser.execute(
            "UPDATE code_attempts SET since = since - interval '15 minutes' WHERE bank_id = $1",
            market.bank_id,
        )
    assert (await market.place(by_code(market, WRONG))).status == "code_not_valid"
    assert (await market.place(by_code(market, code.token))).status == "done"


async def test_a_pickup_code_opens_one_hold_at_one_merchant(market: Market) -> None:
    resident = await market.resident(10)
    other, _ = await open_merchant(market.book)
    hold_id = await market.held(resident)
    digits = market.pickups[hold_id]
    clerk = new_id()
    found = await market.run(codes.find_pickup, market.merchant_id, digits, actor_id=clerk)
    assert found == (RedemptionStatus.DONE, hold_id)
    elsewhere = await market.run(codes.find_pickup, other, digits, actor_id=clerk)
    absent = await market.run(codes.find_pickup, other, "000000", actor_id=clerk)
    assert elsewhere == absent == (RedemptionStatus.CODE_NOT_VALID, None)
    assert (await market.capture(hold_id, code=None)).status == "code_not_valid"
    wrong = f"{(int(digits) + 1) % 10**6:06}"
    assert (await market.capture(hold_id, code=wrong)).status == "code_not_valid"
    assert (await market.capture(hold_id)).status == "done"
    assert (await market.capture(hold_id)).status == "hold_already_captured"


async def test_wrong_pickup_codes_are_counted(market: Market) -> None:
    hold_id = await market.held(await market.resident(10))
    wrong = "000000" if market.pickups[hold_id] != "000000" else "111111"
    statuses = [(await market.capture(hold_id, code=wrong)).status for _ in range(6)]
    assert statuses == ["code_not_valid"] * 5 + ["too_many_wrong_codes"]
    assert (await market.capture(hold_id)).status == "too_many_wrong_codes"
    assert (await market.capture(hold_id, actor_id=new_id())).status == "done"


async def test_a_pickup_code_can_be_made_anew(market: Market) -> None:
    hold_id = await market.held(await market.resident(10))
    renewed = await market.run(codes.renew_pickup_code, hold_id)
    assert renewed.kind is CodeKind.PICKUP
    assert (await market.capture(hold_id)).status == "code_not_valid"
    assert (await market.capture(hold_id, code=renewed.token)).status == "done"
    with pytest.raises(NotFoundError):
        await market.run(codes.renew_pickup_code, hold_id)


async def test_a_repeated_hold_comes_without_a_code(market: Market) -> None:
    wish, hold_id, actor_id = market.wish(await market.resident(10)), new_id(), new_id()
    for expected in (True, False):
        placed = await market.run(holds.place_hold, hold_id, wish, actor_id=actor_id)
        assert (placed.pickup is not None) is expected


async def test_no_login_reads_a_code_and_none_is_kept(
    market: Market, server: Server, worker_database: str
) -> None:
    code = (await payment_code(market)).code
    for user in ("timebank_app", "timebank_auditor"):
        async with login(server, worker_database, user) as connection:
            tables = [
                f"SELECT FROM {table}" for table in ("payment_code", "pickup_code", "code_key")
            ]
            assert await accepted(connection, tables) == []
    async with login(server, worker_database) as superuser:
        rows = await superuser.fetch("SELECT digits_hash, token_hash FROM payment_code")
    plain = {codes.digest(code.digits), codes.digest(code.token)}
    assert rows
    assert not plain & {value for row in rows for value in row}


def test_codes_look_as_they_should() -> None:
    for kind in CodeKind:
        code = new_code(kind)
        assert len(code.digits) == DIGITS[kind]
        for text in (code.digits, code.token, code.address("https://bank.example")):
            assert read_code(text) in {(kind, code.digits), (kind, code.token)}


@pytest.mark.parametrize(
    "text", ["", "1234567", "abcdefgh", "１２３", "x" * 23, "https://bank.example/c/", "²²²²²²²²"]
)
def test_what_is_no_code(text: str) -> None:
    assert read_code(text) in (None, (CodeKind.PAYMENT, "22222222"))
