"""`timebank staff`: who may be invited, and what is refused in one line."""

import asyncio
import re
from pathlib import Path

import pytest

from tests.api.service import free_port
from tests.book import Book
from tests.cli.test_cli import MISUSED, check_one_line, run, url
from timebank.people.access import Role
from timebank.people.grants import list_grants
from timebank.people.login.enrolments import get_invitation

__all__ = ["url"]


@pytest.mark.parametrize(
    "words",
    [
        "invite",
        "invite --role integrator",
        "invite --role resident",
        "invite --role clerk",
        "invite --role merchant",
        "invite --role auditor --again 12345678",
        "enrol now",
    ],
)
def test_misuse_exits_with_2(words: str) -> None:
    result = run("staff", *words.split())
    assert result.exit_code == MISUSED
    assert result.stdout == ""


@pytest.mark.parametrize("role", ["administrator", "auditor", "coordinator"])
async def test_an_invitation_is_printed_alone(book: Book, url: str, role: str) -> None:
    result = await asyncio.to_thread(
        run, "staff", "invite", "--bank", book.bank.code, "--role", role, DATABASE_URL=url
    )
    [code] = result.stdout.splitlines()
    assert code not in result.stderr
    async with book.pool.acquire() as connection:
        invitation = await get_invitation(connection, book.bank_id, code)
        [grant] = await list_grants(connection, book.bank_id, invitation.party_id)
    assert grant.role == Role(role)
    assert invitation.staff_number is None
    stored = await book.pool.fetch("SELECT e::text FROM enrolment e")
    assert not any(re.sub("-", "", code) in row[0] for row in stored)


def test_who_is_not_known_is_not_invited(book: Book, url: str) -> None:
    again = ("staff", "invite", "--again", "12345678")
    check_one_line(run(*again, "--bank", book.bank.code, DATABASE_URL=url), "12345678")
    check_one_line(run(*again, "--bank", "nowhere", DATABASE_URL=url), "nowhere")


def test_enrolling_needs_the_service(tmp_path: Path) -> None:
    at = ("staff", "enrol", "--url", f"http://127.0.0.1:{free_port()}")
    check_one_line(run(*at, stdin="X\n", DATA_DIR=str(tmp_path)), "cannot be reached")
