"""What slips must hold at the bank; test_broken_slips shows what each check is worth."""

import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import asyncpg

from tests.book import STAFF, Book
from tests.races.checks import (
    answers_of,
    check_books,
    connections,
    errors_are_faults,
    expect,
    hold_up,
)
from tests.redemption.checks import open_market
from tests.redemption.market import CLERK, open_merchant
from tests.redemption.slip_desk import SlipDesk
from timebank.db import Connection
from timebank.domain.errors import RedemptionRefusedError
from timebank.domain.ledger import AccountKind
from timebank.domain.numbers import add_check
from timebank.domain.slip_errors import SlipTooShortError
from timebank.domain.slips import SLIP_BODIES, SYNC_GRACE
from timebank.people.signing_keys import SigningPurpose, make_key
from timebank.redemption import slips


async def open_desk(book: Book) -> SlipDesk:
    """A market whose bank signs slips, in another bank of the same database."""
    with tempfile.TemporaryDirectory() as folder:
        return await SlipDesk.open(await open_market(book), Path(folder))


async def check_second_acceptance_waits(book: Book) -> None:
    """Two cloned tills tell at once: one has the points, the other a code."""
    desk = await open_desk(book)
    text = await desk.text(await desk.issued(await desk.market.resident(10)))
    other = await desk.text(await desk.issued(await desk.market.resident(10)))
    await desk.tell(other)  # so that the accounts are there
    keys = await desk.keys()

    async def tell(connection: Connection) -> str:
        told = await slips.capture_slip(
            connection,
            desk.market.bank_id,
            keys,
            text,
            uuid4(),
            merchant_id=desk.market.merchant_id,
            actor_id=CLERK,
        )
        return str(told.result)

    async with connections(book, 2) as (first, second):
        async with first.transaction():
            expect(await tell(first), "captured")
            waiting = await hold_up(book, second, tell(second))
        expect(await answers_of(waiting), ["captured_by_another"])
    expect(await desk.market.points_of(desk.market.merchant_id, AccountKind.MERCHANT), 20)
    await check_books(book)


async def check_an_acceptance_is_answered_as_before(book: Book) -> None:
    """Told again, by whoever: the same acceptance was captured before."""
    desk = await open_desk(book)
    text = await desk.text(await desk.issued(await desk.market.resident(10)))
    same = uuid4()
    results = []
    with errors_are_faults():
        for _ in range(2):
            try:
                results.append(str((await desk.tell(text, same, actor_id=uuid4())).result))
            except RedemptionRefusedError as refused:
                results.append(refused.status)
    expect(results, ["captured", "captured_before"])


async def check_a_slip_is_its_merchants(book: Book) -> None:
    """Another merchant captures nothing, though it knows the number."""
    desk = await open_desk(book)
    slip = await desk.issued(await desk.market.resident(10))
    other, _ = await open_merchant(desk.market.book)
    status = await book.pool.fetchval(
        "SELECT (act).status FROM capture_slip($1, $2, $3, $4, $5)",
        desk.market.bank_id,
        uuid4(),
        slip.number,
        other,
        CLERK,
    )
    expect(str(status), "hold_not_found")


async def check_a_slip_is_never_called_back(book: Book) -> None:
    """A till offline may have taken it."""
    desk = await open_desk(book)
    slip = await desk.issued(await desk.market.resident(10))
    expect(str((await desk.market.release(slip.slip_id)).status), "slip_outstanding")


async def check_only_the_slip_captures(book: Book) -> None:
    """Who sees the hold at the till and no slip has no points."""
    desk = await open_desk(book)
    slip = await desk.issued(await desk.market.resident(10))
    expect(str((await desk.market.capture(slip.slip_id)).status), "code_not_valid")


async def check_a_slip_does_not_outlive_its_hold(book: Book) -> None:
    """Or a till would take what the bank has given back."""
    desk = await open_desk(book)
    order = desk.order(await desk.market.resident(10))
    refused = None
    try:
        await desk.ask(order, grace=-timedelta(hours=1))
    except asyncpg.CheckViolationError as error:
        refused = error.constraint_name
    expect(refused, "hold_of_a_slip_has_one")


async def check_a_slip_is_signed_with_its_key(book: Book) -> None:
    """Neither a key that is not there nor one for certificates signs slips, whoever calls."""
    desk = await open_desk(book)
    market, resident = desk.market, await desk.market.resident(10)
    async with market.book.pool.acquire() as connection, connection.transaction():
        other = await make_key(
            connection, desk.seals, market.bank_id, SigningPurpose.CERTIFICATE, STAFF
        )
    number = int(add_check(SLIP_BODIES.start))
    for key_id in ("0" * 16, other.key_id):
        refused = None
        try:
            await book.pool.fetch(
                "SELECT is_new FROM place_slip("
                "$1, $2, $3, $4, $5, 5, '1 day', '7 days', NULL, $3, $6, $7)",
                market.bank_id,
                uuid4(),
                *resident,
                market.merchant_id,
                number,
                key_id,
            )
        except asyncpg.CheckViolationError as error:
            refused = error.constraint_name
        expect(refused, "slip_is_signed_with_its_key")


async def check_a_slip_is_good_for_a_day(book: Book) -> None:
    """Or points would stand for a week for a slip that no till takes any more."""
    desk = await open_desk(book)
    resident = await desk.market.resident(10)
    ends = datetime.now(UTC) + SYNC_GRACE + timedelta(minutes=1)
    leaving, _ = await open_merchant(desk.market.book, valid_until=ends)
    refused = None
    try:
        await desk.ask(desk.order(resident, merchant_id=leaving))
    except SlipTooShortError as error:
        refused = error.code
    expect(refused, "slip_too_short")
    expect(await desk.market.points_of(resident[0]), 10)


async def check_slips_wait_for_a_cap(book: Book) -> None:
    """A slip can be lost: a bank has none until it says how much."""
    desk = await open_desk(await Book.open(book.pool))
    silent = SlipDesk(await open_market(book), desk.seals)
    await silent.make_key()
    answer = await silent.ask(silent.order(await silent.market.resident(10), 1))
    expect((str(answer.status), str(answer.cap)), ("cap_exceeded", "slip"))
