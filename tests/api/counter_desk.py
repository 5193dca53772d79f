"""A service point over HTTP for tests: two coordinators, sheets, and members whom they register."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx

from tests.api.client import Api, Caller, token_for
from tests.people.desk import person
from timebank.domain.numbers import add_check, parse_sheet_number
from timebank.domain.personal import IdDocument, PersonalData
from timebank.ledger.ids import new_id
from timebank.people.access import Role


def body_of(data: PersonalData) -> dict[str, Any]:
    """What a counter sends of somebody."""
    document = data.id_document
    assert isinstance(document, IdDocument)
    return {
        "name": data.name,
        "phone": data.phone,
        "id_document": {"type": document.type.value, "number": document.number},
        "born_on": str(data.born_on),
        "address": data.address,
    }


@dataclass
class Member:
    """Somebody who was registered over HTTP."""

    desk: "CounterDesk"
    resident_id: str
    number: str
    data: PersonalData

    @property
    def path(self) -> str:
        """Their path as a resident."""
        return f"/residents/{self.resident_id}"

    @property
    def person(self) -> str:
        """Their path in the vault."""
        return f"/persons/{self.resident_id}"

    async def log_in(self) -> Caller:
        """The member with a strong session."""
        token = await token_for(self.desk.api.book, Role.RESIDENT, UUID(self.resident_id))
        return Caller(self.desk.api.http, token)


@dataclass
class CounterDesk:
    """`operator` registers, `checker` decides, `witness_id` stands by; all of one branch."""

    api: Api
    operator: Caller
    checker: Caller
    admin: Caller
    witness_id: UUID
    branch_id: UUID
    _sheets: dict[str, list[str]]

    @classmethod
    async def open(cls, api: Api, branch_id: UUID | None = None) -> "CounterDesk":
        """Seat two coordinators and an administrator, of the whole bank or a branch."""
        witness_id, book = new_id(), api.book
        tokens = [
            await token_for(book, Role.COORDINATOR, branch_id=branch_id),
            await token_for(book, Role.COORDINATOR, witness_id, branch_id=branch_id),
            await token_for(book, Role.ADMINISTRATOR, branch_id=branch_id),
        ]
        callers = [Caller(api.http, token) for token in tokens]
        return cls(api, *callers, witness_id, branch_id or book.bank.root_id, {})

    async def sheet(self, kind: str = "consent") -> str:
        """The number of a sheet that nobody has used."""
        if not self._sheets.get(kind):
            run = {"count": 20, "kind": kind, "issued_to": str(self.branch_id)}
            answer = await self.operator.post("/sheet-runs", run)
            assert answer.status_code == 201, answer.text
            first = parse_sheet_number(answer.json()["first_number"])
            self._sheets[kind] = [add_check(first + place) for place in range(20)]
        return self._sheets[kind].pop(0)

    async def paper(self, kind: str = "consent") -> dict[str, str]:
        """A signed sheet with its witness."""
        return {"sheet": await self.sheet(kind), "witness_id": str(self.witness_id)}

    async def operator_id(self) -> UUID:
        """Who the operator is."""
        return UUID((await self.operator.get("/sessions/me")).json()["party_id"])

    async def apply(self, data: PersonalData | None = None, **more: Any) -> httpx.Response:
        """Register somebody with a signed sheet."""
        body = {
            **body_of(data or person()),
            "consents": ["membership"],
            "paper": await self.paper("registration"),
        }
        return await self.operator.post("/residents", {**body, **more})

    async def member(self, data: PersonalData | None = None, **more: Any) -> Member:
        """Register somebody and have them approved."""
        data = data or person()
        answer = await self.apply(data, **more)
        assert answer.status_code == 201, answer.text
        made = answer.json()
        found = Member(self, made["resident_id"], made["member_number"], data)
        answer = await self.checker.post(f"{found.path}/decision", {"decision": "approved"})
        assert (answer.status_code, answer.json().get("state")) == (201, "approved"), answer.text
        return found
