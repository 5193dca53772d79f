"""Certificates over HTTP: told once, checked by anybody, ended for all, verified without us."""

import asyncio
import json
import secrets
from datetime import date, timedelta
from io import BytesIO
from typing import Any
from uuid import UUID

import httpx
import msgspec
import pytest
from pypdf import PdfReader

from tests.api.client import Api, Caller, check_only_fault, check_problem, new_key, token_for
from tests.api.service import key_file
from tests.people.desk import Desk
from tests.people.desk import person as someone
from tests.places import open_branch, place
from tests.service.programme import CHECKER, MAKER, Programme
from tests.service.test_certificates import NINE, ORDER, Office
from timebank.domain.certificates import Document, PublicKeys, make_number, spell_code
from timebank.ledger.ids import new_id
from timebank.people.access import Role
from timebank.people.vault import Purpose, erase_person, list_accesses
from timebank.service.signing import make_signing_key, verify

BODY = {
    "from_on": "2026-01-01",
    "until_on": "2026-01-31",
    "in_charge": "负责人甲",
    "handler": "经办人乙",
    "contact": "0379-12345678",
    "notes": "备注丙",
}

UNPRINTABLE = ["\n", "\x85", "\u202e", "\u2066", "\u200b", "\ue000", "\ufeff"]


@pytest.fixture
async def office(api: Api) -> Office:
    """Who issues certificates of the bank that is called."""
    office = Office(await Programme.open(api.book), await Desk.open(api.book, key_file().parent))
    async with office.desk.at() as connection:
        await make_signing_key(connection, office.seals, api.book.bank_id, MAKER)
    return office


async def served(office: Office, branch_id: UUID, name: str = "王小英") -> UUID:
    """A member of the branch, with a confirmed record of 90 minutes."""
    person = await office.desk.member(someone(name=name))
    await place(office.desk.book, person, branch_id)
    record = await office.programme.record(person, NINE + timedelta(days=1), 90)
    await office.programme.confirm(record, by=CHECKER)
    return person


async def coordinator(api: Api, branch_id: UUID, who: UUID | None = None) -> Caller:
    """A coordinator of the branch."""
    return Caller(api.http, await token_for(api.book, Role.COORDINATOR, who, branch_id=branch_id))


def made(answer: httpx.Response) -> dict[str, Any]:
    """What was made."""
    assert answer.status_code == 201, answer.text
    assert "no-store" in answer.headers.get("cache-control", "no-store")
    return answer.json()  # type: ignore[no-any-return]


async def test_it_is_told_once_verified_without_us_and_stored_nowhere(
    api: Api, office: Office
) -> None:
    branch_id = await open_branch(api.book)
    person, here = await served(office, branch_id), await coordinator(api, branch_id)
    path, key = f"/residents/{person}/certificates", new_key()
    first = await here.post(path, BODY, key=key)
    document = msgspec.convert(made(first)["document"], Document)
    keys = await api.anybody.get(f"/certificate-keys/{api.book.bank.code}")
    assert keys.headers.get_list("cache-control") == ["public, max-age=300"]
    statement = verify(document, msgspec.json.decode(keys.content, type=PublicKeys))
    assert (statement.minutes, statement.number) == (90, first.json()["certificate"]["number"])
    name = (await office.desk.read(person)).name
    assert (document.printed.name, document.printed.notes) == (name, "备注丙")

    again = await here.post(path, BODY, key=key)
    assert again.headers["idempotent-replayed"] == "true"
    assert again.json() == {"certificate": first.json()["certificate"]}
    check_problem(await here.post(path, {**BODY, "notes": "x"}, key=key), "idempotency_key_reused")
    answers = await api.book.pool.fetch(
        "SELECT answer::text FROM request WHERE bank_id = $1", api.book.bank_id
    )
    [kept] = [row["answer"] for row in answers if row["answer"] and "certificate" in row["answer"]]
    assert json.loads(kept) == again.json()
    async with office.desk.at() as connection:
        log = await list_accesses(connection, api.book.bank_id, person)
    uses = [one.purpose for one in log if one.purpose is Purpose.CERTIFICATE]
    assert len(uses) == 1  # the repeat read nothing


async def test_two_requests_of_one_key_issue_one_certificate(api: Api, office: Office) -> None:
    branch_id = await open_branch(api.book)
    person, here = await served(office, branch_id), await coordinator(api, branch_id)
    path, key = f"/residents/{person}/certificates", new_key()
    answers = await asyncio.gather(*(here.post(path, BODY, key=key) for _ in range(4)))
    done = [answer.json() for answer in answers if answer.status_code == 201]
    assert {answer.status_code for answer in answers} <= {201, 409}
    assert sum("document" in one for one in done) == 1
    listed = (await here.get(path)).json()["data"]
    assert [one["certificate_id"] for one in listed] == [done[0]["certificate"]["certificate_id"]]


async def test_what_cannot_be_certified(api: Api, office: Office) -> None:
    branch_id = await open_branch(api.book)
    person = await served(office, branch_id)
    here, oneself = await coordinator(api, branch_id), await coordinator(api, branch_id, person)
    path = f"/residents/{person}/certificates"
    check_problem(await oneself.post(path, BODY), "second_person_needed")
    empty = {**BODY, "from_on": "2026-01-20"}
    check_problem(await here.post(path, empty), "nothing_to_certify")
    tomorrow = str(date.today() + timedelta(days=2))  # noqa: DTZ011 - in every time zone
    for until_on in ("2025-12-31", tomorrow):
        check_only_fault(await here.post(path, {**BODY, "until_on": until_on}), "/until_on")
    for text in ("", "x" * 65, "two\nlines", *(f"王{sign}" for sign in UNPRINTABLE)):
        check_only_fault(await here.post(path, {**BODY, "handler": text}), "/handler")
    for sign in UNPRINTABLE:
        check_only_fault(await here.post(path, {**BODY, "notes": sign}), "/notes")
    check_problem(await here.post(f"/residents/{new_id()}/certificates", BODY), "not_found")


async def test_without_a_key_one_is_made_by_an_administrator_of_the_whole_bank(api: Api) -> None:
    office = Office(await Programme.open(api.book), await Desk.open(api.book, key_file().parent))
    branch_id = await open_branch(api.book)
    person, here = await served(office, branch_id), await coordinator(api, branch_id)
    path = f"/residents/{person}/certificates"
    check_problem(await here.post(path, BODY), "signing_key_missing")
    admin, local = [
        Caller(api.http, await token_for(api.book, Role.ADMINISTRATOR, branch_id=branch))
        for branch in (None, branch_id)
    ]
    check_problem(await local.post("/certificate-keys", {}), "forbidden")
    key = new_key()
    first = made(await admin.post("/certificate-keys", {}, key=key))
    assert made(await admin.post("/certificate-keys", {}, key=key)) == first
    made(await here.post(path, BODY))
    second = made(await admin.post("/certificate-keys", {}))
    shown = (await api.anybody.get(f"/certificate-keys/{api.book.bank.code}")).json()
    assert shown == {"bank": api.book.bank.code, "keys": [second, first]}
    check_problem(await api.anybody.get("/certificate-keys/nowhere"), "not_found")


async def test_a_revoked_one_is_revoked_for_all(api: Api, office: Office) -> None:
    branch_id = await open_branch(api.book)
    person, here = await served(office, branch_id), await coordinator(api, branch_id)
    resident = Caller(api.http, await token_for(api.book, Role.RESIDENT, person))
    path = f"/residents/{person}/certificates"
    issued = made(await here.post(path, BODY))["certificate"]
    one = f"/issued-certificates/{issued['certificate_id']}"
    signed = (await resident.get(one)).json()
    assert signed["certificate"] == issued
    assert json.loads(signed["statement"])["lines"][0]["minutes"] == 90
    check_problem(await here.post(f"{one}/revocation", {"reason": "because"}), "invalid_input")
    ended = made(await here.post(f"{one}/revocation", {"reason": "lost"}))
    assert ended == {**issued, "status": "revoked", "revoked_for": "lost"}
    assert made(await here.post(f"{one}/revocation", {"reason": "fraud"})) == ended
    assert (await resident.get(path)).json()["data"] == [ended]
    checked = await api.anybody.get(f"/certificates/{issued['number']}")
    assert checked.json()["status"] == "revoked"
    assert str(person) not in checked.text


async def test_what_is_printed_is_what_was_signed(api: Api, office: Office) -> None:
    branch_id = await open_branch(api.book)
    person, here = await served(office, branch_id), await coordinator(api, branch_id)
    document = made(await here.post(f"/residents/{person}/certificates", BODY))["document"]
    page = await here.post("/certificates/prints", {**document, "form": "html"})
    assert page.headers["content-type"].startswith("text/html")
    assert document["printed"]["name"] in page.text
    other = {**document, "printed": {**document["printed"], "name": "别人"}}
    more = {**document, "statement": document["statement"].replace('"minutes":90', '"minutes":91')}
    for forged in (
        other,
        more,
        {**document, "signature": "0" * 128},
        {**document, "statement": ""},
    ):
        refused = await here.post("/certificates/prints", {**forged, "form": "html"})
        check_problem(refused, "certificate_forged")
    elsewhere = await coordinator(api, await open_branch(api.book))
    check_problem(await elsewhere.post("/certificates/prints", document), "not_found")


@pytest.mark.parametrize("form", ["pdf", "html"])
async def test_what_was_ended_is_not_printed_again(api: Api, office: Office, form: str) -> None:
    branch_id = await open_branch(api.book)
    here, person = await coordinator(api, branch_id), await served(office, branch_id)
    revoked = await office.issue(person)
    await office.revoke(revoked.certificate.certificate_id)
    superseded = await office.issue(person)
    record_id = await api.book.pool.fetchval(
        "SELECT record_id FROM certificate_line WHERE certificate_id = $1",
        superseded.certificate.certificate_id,
    )
    await office.programme.reverse(record_id)
    for ended in (revoked, superseded):
        body = {**msgspec.to_builtins(ended.document), "form": form}
        check_problem(await here.post("/certificates/prints", body), "certificate_ended")


async def test_nothing_is_printed_of_who_was_erased(api: Api, office: Office) -> None:
    branch_id = await open_branch(api.book)
    here, person = await coordinator(api, branch_id), await served(office, branch_id)
    document = msgspec.to_builtins((await office.issue(person)).document)
    body = {**document, "form": "html"}
    assert (await here.post("/certificates/prints", body)).status_code == 200
    async with office.desk.at() as connection:
        await erase_person(connection, office.desk.access(Purpose.SUBJECT_ACCESS), person)
    check_problem(await here.post("/certificates/prints", body), "not_found")


async def test_a_pdf_is_made_of_it_or_told_why_not(api: Api, office: Office) -> None:
    branch_id = await open_branch(api.book)
    here = await coordinator(api, branch_id)
    answers = []
    for name in ("王小英", "王龘"):  # the fonts of the tests lack the last sign
        person = await served(office, branch_id, name)
        document = made(await here.post(f"/residents/{person}/certificates", BODY))["document"]
        answers.append(await here.post("/certificates/prints", document))
    printed, refused = answers
    assert printed.headers["content-type"] == "application/pdf"
    assert printed.headers["cache-control"] == "no-store"
    [page] = PdfReader(BytesIO(printed.content)).pages
    assert "姓名 王小英" in page.extract_text()
    assert "龘" not in json.dumps(check_problem(refused, "font_missing"), ensure_ascii=False)


async def test_anybody_may_check_a_number(api: Api, office: Office) -> None:
    person = await served(office, await open_branch(api.book))
    issued = await office.issue(person)
    number = issued.certificate.number
    shown = {
        "number": number,
        "from_on": str(ORDER.from_on),
        "until_on": str(ORDER.until_on),
        "minutes": 90,
        "status": "valid",
    }
    answer = await api.anybody.get(f"/certificates/{number}")
    assert answer.json() == shown
    assert answer.headers["cache-control"] == "private, no-store"  # it is asked whether it stands
    bank, code = number[:-19], number[-19:].lower()
    for typed in (f"{bank}{code}", number.upper(), number.replace("-", " ")):
        assert (await api.anybody.get(f"/certificates/{typed}")).json() == shown


@pytest.mark.parametrize("number", ["x", "demo-1", "数字", "a" * 300, "prints/x"])
async def test_what_is_no_number_is_not_found(api: Api, number: str) -> None:
    check_problem(await api.anybody.get(f"/certificates/{number}"), "not_found")


async def test_a_guessed_number_finds_nothing(api: Api) -> None:
    guess = make_number(api.book.bank.code, spell_code(secrets.token_bytes(10)))
    check_problem(await api.anybody.get(f"/certificates/{guess}"), "not_found")
