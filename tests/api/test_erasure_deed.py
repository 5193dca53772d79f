"""Erasure over HTTP: two administrators, the day that a law sets, and then nothing is left."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import UUID

import httpx
import pytest

from tests.api.client import Api, Caller, check_problem, token_for
from tests.api.conftest import client_of
from tests.api.service import key_file
from tests.book import Book
from tests.guards.test_append_only import login
from tests.people.desk import resident_id_number
from tests.people.test_erasure import canaries, everything, found_in, sealed_of
from tests.places import open_branch, place
from timebank.app import create_app
from timebank.audit.reconcile import reconcile
from timebank.audit.snapshot import open_snapshot
from timebank.config import Settings
from timebank.domain.personal import IdDocument, IdType, PersonalData
from timebank.embedded import Server
from timebank.people.access import Role

NUMBER = resident_id_number(date(1953, 6, 29), 7)
PERSON = PersonalData(
    name="龘小犇",
    phone="13912348765",
    id_document=IdDocument(IdType.RESIDENT_ID, NUMBER),
    born_on=date(1953, 6, 29),
    address="涧西区长安路街道八八八号",
)
BODY: dict[str, Any] = {
    "name": PERSON.name,
    "phone": PERSON.phone,
    "id_document": {"type": "resident_id", "number": NUMBER},
    "born_on": "1953-06-29",
    "address": PERSON.address,
}


@pytest.fixture
async def own(server: Server, own_database: str, own_book: Book) -> AsyncIterator[Api]:
    """An app on a database of this test alone."""
    settings = Settings(
        database_url=server.dsn(own_database, "timebank_app"),
        master_key_file=key_file(),
        argon2_memory_kib=64,
    )
    async with client_of(create_app(settings)) as http:
        yield await Api.open(http, own_book)


@dataclass
class Office:
    """Two coordinators, two administrators, and a member whom they registered."""

    api: Api
    desks: list[Caller]
    admins: list[Caller]
    person_id: str
    wallet: UUID

    @classmethod
    async def open(cls, api: Api) -> "Office":
        desks, admins = [
            [Caller(api.http, await token_for(api.book, role)) for _ in range(2)]
            for role in (Role.COORDINATOR, Role.ADMINISTRATOR)
        ]
        answer = await desks[0].post("/residents", BODY)
        assert answer.status_code == 201, answer.text
        person_id = answer.json()["resident_id"]
        wallet = await api.book.open_account(owner_id=UUID(person_id), balance=40)
        return cls(api, desks, admins, person_id, wallet)

    async def propose(self, by: Caller) -> httpx.Response:
        """Propose to erase the member."""
        return await by.post("/approvals", {"deed": "erasure", "person_id": self.person_id})

    async def decide(self, by: Caller, proposal: httpx.Response) -> httpx.Response:
        """Approve what is proposed."""
        body = {"decision": "approved", "content_hash": proposal.json()["content_hash"]}
        return await by.post(f"/approvals/{proposal.json()['approval_id']}/decision", body)

    async def use_everything(self) -> None:
        """Let the member's data pass through all that takes or gives it."""
        desk, other = self.desks
        await desk.post("/residents", BODY)  # refused: registered already
        await desk.post("/residents", {**BODY, "is_another": True})
        for asked in ({"phone": PERSON.phone}, {"id_document": BODY["id_document"]}):
            answer = await desk.post("/residents/lookups", {"purpose": "contact", **asked})
            assert [one["resident_id"] for one in answer.json()["data"]] == [self.person_id]
        body = {"phone": PERSON.phone, "address": PERSON.address}
        answer = await desk.post(f"/persons/{self.person_id}/corrections", body, key=PERSON.phone)
        assert answer.status_code == 201
        for purpose in ("identification", "contact", "certificate"):
            path = f"/persons/{self.person_id}/personal"
            assert (await other.get(path, purpose=purpose)).status_code == 200


async def test_two_administrators_erase_and_nothing_is_left(
    server: Server, own_database: str, own: Api
) -> None:
    office = await Office.open(own)
    await office.use_everything()
    resident = Caller(own.http, await token_for(own.book, Role.RESIDENT, UUID(office.person_id)))
    assert (await resident.get("/me")).json()["name"] == PERSON.name
    async with login(server, own_database) as superuser:
        sealed = await sealed_of(superuser, UUID(office.person_id))
        assert len(sealed) == 1 + 5 + 3

        for desk in office.desks:
            check_problem(await office.propose(desk), "forbidden")
        proposal = await office.propose(office.admins[0])
        assert proposal.status_code == 201, proposal.text
        check_problem(await office.decide(office.admins[0], proposal), "second_person_needed")
        check_problem(await office.decide(office.desks[0], proposal), "forbidden")
        assert (await resident.get("/me")).status_code == 200
        answer = await office.decide(office.admins[1], proposal)
        assert (answer.status_code, answer.json()["state"]) == (200, "approved")

        left = await everything(superuser)
        assert await sealed_of(superuser, UUID(office.person_id)) == [(None, "wrapped_key")]
    assert found_in(left, canaries(PERSON)) == []
    for row in sealed:
        assert row["bytes"].hex().encode() not in left
    assert office.person_id.encode() in left  # the search sees what is there
    check_problem(await resident.get("/me"), "unauthenticated")
    path = f"/persons/{office.person_id}/personal"
    check_problem(await office.desks[0].get(path, purpose="contact"), "person_erased", 410)
    answer = await office.desks[0].post(
        "/residents/lookups", {"purpose": "registration", "phone": PERSON.phone}
    )
    assert answer.json() == {"data": []}
    assert await own.book.balance(office.wallet) == 40
    async with open_snapshot(own.book.pool) as snapshot:
        assert (await reconcile(snapshot)).ok
    check_problem(await office.propose(office.admins[0]), "not_found")


async def test_what_a_law_asks_to_keep_is_not_erased_before_its_day(own: Api) -> None:
    office = await Office.open(own)
    path = f"/persons/{office.person_id}"
    for until in ("2036-12-31", None):  # a later freeze without a day does not shorten it
        answer = await office.admins[0].post(f"{path}/freeze", {"retain_until": until})
        assert answer.status_code == 201
    proposal = await office.propose(office.admins[0])
    check_problem(await office.decide(office.admins[1], proposal), "retention_runs", 409)
    shown = await office.admins[0].get(f"/approvals/{proposal.json()['approval_id']}")
    assert shown.json()["state"] == "proposed"
    check_problem(
        await office.desks[0].get(f"{path}/personal", purpose="contact"), "person_frozen", 409
    )
    answer = await office.admins[0].get(f"{path}/personal", purpose="legal_duty")
    assert answer.json()["name"] == PERSON.name


async def test_nobody_decides_on_erasing_themselves(own: Api) -> None:
    office = await Office.open(own)
    themselves = await token_for(own.book, Role.ADMINISTRATOR, UUID(office.person_id))
    me = Caller(own.http, themselves)
    check_problem(await office.propose(me), "second_person_needed")
    proposal = await office.propose(office.admins[0])
    check_problem(await office.decide(me, proposal), "second_person_needed")


async def test_an_administrator_of_a_branch_erases_there_only(own: Api) -> None:
    office = await Office.open(own)
    here, there = [await open_branch(own.book) for _ in range(2)]
    await place(own.book, UUID(office.person_id), here)
    near, far = [
        Caller(own.http, await token_for(own.book, Role.ADMINISTRATOR, branch_id=branch))
        for branch in (here, there)
    ]
    check_problem(await office.propose(far), "not_found")
    proposal = await office.propose(near)
    check_problem(await office.decide(far, proposal), "not_found")
    assert (await office.decide(office.admins[1], proposal)).status_code == 200


async def test_a_decision_that_is_sent_again_is_answered_again(own: Api) -> None:
    office = await Office.open(own)
    proposal = (await office.propose(office.admins[0])).json()
    path = f"/approvals/{proposal['approval_id']}/decision"
    body = {"decision": "approved", "content_hash": proposal["content_hash"]}
    first, again = [await office.admins[1].post(path, body, key="erase-once") for _ in range(2)]
    assert (first.status_code, again.status_code) == (200, 200), again.text
    assert first.json() == again.json()
    assert again.headers["idempotent-replayed"] == "true"
