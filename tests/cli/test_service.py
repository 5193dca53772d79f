"""`timebank service`: closing what nobody checked out of, once."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from tests.book import Book
from tests.cli.test_cli import REFUSED, USED, check_one_line, run
from tests.service.programme import CHECKER, Programme, new_person
from timebank.embedded import Server
from timebank.service.attendance import check_in, list_attendances


@pytest.fixture
def url(server: Server, worker_database: str) -> str:
    """Where the command finds the database."""
    return server.dsn(worker_database, "timebank_app")


async def test_what_nobody_ended_is_closed_once(book: Book, url: str) -> None:
    programme = await Programme.open(book)
    start = datetime.now(UTC) - timedelta(days=1)
    local = start.astimezone(book.bank.zone).replace(tzinfo=None, second=0, microsecond=0)
    shift = await programme.make_shift(first_start=local)
    who = new_person()
    await programme.run(check_in, CHECKER, shift_id=shift.shift_id, person_id=who, now=start)
    words = ("service", "close-open", "--bank", book.bank.code)
    told = [await asyncio.to_thread(run, *words, DATABASE_URL=url) for _ in range(2)]
    assert [one.exit_code for one in told] == [USED, USED]
    assert [one.stdout.split()[0] for one in told] == ["1", "0"]
    [closed] = await programme.run(list_attendances, shift.shift_id)
    assert (closed.is_pending, closed.checked_out_at) == (True, shift.ends_at)


async def test_a_bank_that_is_none_is_refused(url: str) -> None:
    told = await asyncio.to_thread(
        run, "service", "close-open", "--bank", "nowhere", DATABASE_URL=url
    )
    check_one_line(told, "bank")
    assert told.exit_code == REFUSED
