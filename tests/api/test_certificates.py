"""The public check: who has the number learns that it stands, and nothing about the person."""

import secrets
from datetime import timedelta
from pathlib import Path

import pytest

from tests.api.client import Api, check_problem
from tests.people.desk import Desk
from tests.service.programme import CHECKER, MAKER, Programme
from tests.service.test_certificates import NINE, ORDER, Office
from timebank.domain.certificates import make_number, spell_code
from timebank.service.certificates import revoke_certificate
from timebank.service.signing import make_signing_key


@pytest.fixture
async def office(api: Api, tmp_path: Path) -> Office:
    """Who issues certificates of the bank that is called."""
    office = Office(await Programme.open(api.book), await Desk.open(api.book, tmp_path))
    async with office.desk.at() as connection:
        await make_signing_key(connection, office.seals, api.book.bank_id, MAKER)
    return office


async def test_anybody_may_check_a_number(api: Api, office: Office) -> None:
    person = await office.desk.member()
    record = await office.programme.record(person, NINE + timedelta(days=1), 90)
    await office.programme.confirm(record, by=CHECKER)
    issued = await office.issue(person)
    number = issued.certificate.number
    shown = {
        "number": number,
        "from_on": str(ORDER.from_on),
        "until_on": str(ORDER.until_on),
        "minutes": 90,
        "status": "valid",
    }
    assert (await api.anybody.get(f"/certificates/{number}")).json() == shown
    bank, code = number[:-19], number[-19:].lower()
    assert (await api.anybody.get(f"/certificates/{bank}{code}")).json() == shown
    await office.programme.run(revoke_certificate, MAKER, issued.certificate.certificate_id)
    answer = await api.anybody.get(f"/certificates/{number}")
    assert answer.json() == shown | {"status": "revoked"}
    assert str(person) not in answer.text


@pytest.mark.parametrize("number", ["x", "demo-1", "数字", "a" * 300])
async def test_what_is_no_number_is_not_found(api: Api, number: str) -> None:
    check_problem(await api.anybody.get(f"/certificates/{number}"), "not_found")


async def test_a_guessed_number_finds_nothing(api: Api) -> None:
    guess = make_number(api.book.bank.code, spell_code(secrets.token_bytes(10)))
    check_problem(await api.anybody.get(f"/certificates/{guess}"), "not_found")
