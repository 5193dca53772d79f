"""Callers of the API for tests: a token, a bank of their own, and short words for requests."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any
from uuid import UUID

import httpx

from tests.book import Book
from tests.families import enlist
from timebank.api.problems import PROBLEM_KINDS
from timebank.ledger.ids import new_id
from timebank.people.access import Role
from timebank.people.parties import PartyKind, register_parties
from timebank.people.tokens import issue_token

V1 = "/api/v1"
NINETY_DAYS = timedelta(days=90)


@dataclass(frozen=True)
class Caller:
    """Somebody with a token (or none), calling one app."""

    http: httpx.AsyncClient
    token: str | None

    @property
    def headers(self) -> dict[str, str]:
        """Who calls."""
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    async def get(
        self, path: str, headers: Mapping[str, str] | None = None, **params: Any
    ) -> httpx.Response:
        """GET a path below /api/v1; a parameter of None is left out."""
        given = {name: value for name, value in params.items() if value is not None}
        sent = {**self.headers, **(headers or {})}
        return await self.http.get(V1 + path, params=given, headers=sent)

    async def post(
        self,
        path: str,
        body: Any = None,
        *,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """POST JSON to a path below /api/v1, under a new key unless one is given."""
        sent = {**self.headers, "Idempotency-Key": key or new_key(), **(headers or {})}
        return await self.http.post(V1 + path, json=body, headers=sent)

    async def send(self, method: str, path: str, body: Any = None) -> httpx.Response:
        """Send a request of any method; one that writes goes under a new key."""
        sent = {**self.headers, **({} if method == "GET" else {"Idempotency-Key": new_key()})}
        content = {} if body is None else {"json": body}
        return await self.http.request(method, V1 + path, headers=sent, **content)

    async def post_raw(
        self, path: str, content: Any, headers: Mapping[str, str | bytes] | None = None
    ) -> httpx.Response:
        """POST a body as it is, called JSON unless the headers say otherwise."""
        sent = {
            **self.headers,
            "Idempotency-Key": new_key(),
            "Content-Type": "application/json",
            **(headers or {}),
        }
        kept = [(name, value) for name, value in sent.items() if value]
        return await self.http.post(V1 + path, content=content, headers=kept)


@dataclass(frozen=True)
class Resident:
    """A registered resident with a wallet of points."""

    caller: Caller
    resident_id: UUID
    wallet: UUID


@dataclass(frozen=True)
class Api:
    """One app and one new bank on it."""

    http: httpx.AsyncClient
    book: Book
    system: Caller
    auditor: Caller

    @classmethod
    async def open(cls, http: httpx.AsyncClient, book: Book) -> "Api":
        """Issue the tokens of the bank's integrator and auditor."""
        system, auditor = [await token_for(book, role) for role in (Role.INTEGRATOR, Role.AUDITOR)]
        return cls(http, book, Caller(http, system), Caller(http, auditor))

    @property
    def anybody(self) -> Caller:
        """A caller without a token."""
        return Caller(self.http, None)

    async def resident(self, *, points: int = 0) -> Resident:
        """Register a resident and open a wallet."""
        resident_id = await register(self.book)
        token = await token_for(self.book, Role.RESIDENT, resident_id)
        wallet = await self.book.open_account(owner_id=resident_id, balance=points)
        return Resident(Caller(self.http, token), resident_id, wallet)

    async def member(self, *, points: int = 0) -> Resident:
        """Register a resident whose membership is approved."""
        resident = await self.resident(points=points)
        async with self.book.pool.acquire() as connection:
            await enlist(connection, self.book.bank_id, resident.resident_id)
        return resident

    async def pool(self, *, points: int = 0) -> UUID:
        """Open the bank's pool of points."""
        answer = await self.system.post("/accounts", {"kind": "pool", "unit": "points"})
        pool = UUID(answer.json()["account_id"])
        if points:
            await self.book.post_all(self.book.award(pool, points))
        return pool

    async def trial_balance(self) -> dict[str, Any]:
        """Return the bank's books in short."""
        return (await self.auditor.get("/trial-balance")).json()


def new_key() -> str:
    """Return an Idempotency-Key that was never used."""
    return secrets.token_hex(16)


async def token_for(
    book: Book,
    role: Role,
    principal_id: UUID | None = None,
    lifetime: timedelta = NINETY_DAYS,
    **rest: Any,
) -> str:
    """Issue a token of the book's bank; `rest` is branch_id and merchant_id."""
    async with book.pool.acquire() as connection:
        return await issue_token(
            connection, book.bank_id, role, principal_id or new_id(), lifetime, **rest
        )


async def register(book: Book) -> UUID:
    """Put a new resident into the registry."""
    resident_id = new_id()
    async with book.pool.acquire() as connection:
        await register_parties(connection, book.bank_id, PartyKind.PERSON, [resident_id])
        await connection.execute(
            "INSERT INTO resident (bank_id, resident_id, source_ref, confirmed_on) "
            "VALUES ($1, $2, $3, $4)",
            book.bank_id,
            resident_id,
            str(resident_id),
            date(2026, 5, 1),
        )
    return resident_id


def check_problem(answer: httpx.Response, code: str, status: int | None = None) -> dict[str, Any]:
    """Assert that the answer is the whole problem of this code, and return its body."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    problem: dict[str, Any] = answer.json()
    kind = PROBLEM_KINDS[problem["code"]]
    assert problem["code"] == code, problem
    assert answer.status_code == problem["status"] == kind.status == (status or kind.status)
    assert problem["type"] == f"/problems/{code}"
    assert problem["title"] in {kind.zh_hans, kind.zh_hant, kind.en}
    assert problem["detail"]
    assert problem["instance"].startswith("/")
    assert set(problem) - {"errors"} == {"type", "title", "status", "code", "detail", "instance"}
    assert all(set(fault) == {"pointer", "detail"} for fault in problem.get("errors", []))
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-request-id"]
    assert ("www-authenticate" in answer.headers) == (answer.status_code == 401)
    assert ("retry-after" in answer.headers) == (answer.status_code in {429, 503})
    assert "Traceback" not in answer.text
    return problem


def check_only_fault(answer: httpx.Response, pointer: str) -> None:
    """Assert that the answer is an invalid_input whose one fault is at this pointer."""
    problem = check_problem(answer, "invalid_input")
    assert [fault["pointer"] for fault in problem.get("errors", [])] == [pointer]
