"""Residents with cards, staff with second factors, and how they log in, for tests of login."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pyotp

from tests.api.client import V1, Api, Caller, token_for
from tests.book import Book
from tests.people.desk import Desk
from timebank.db import Connection
from timebank.ledger.ids import new_id
from timebank.people.access import Role
from timebank.people.cards import issue_card
from timebank.people.grants import OPERATOR_ID, grant_role
from timebank.people.login.enrolments import confirm, invite
from timebank.people.parties import PartyKind, register_parties

PIN = "492716"
WRONG_PIN = "731946"
PASSWORD = "four quiet lanterns"  # noqa: S105 - made up here
ORIGIN = {"Origin": "http://timebank.test"}
COOKIE = "__Host-timebank"


@dataclass(frozen=True)
class Door:
    """The bank's logins; `admin` is the database's superuser, for what only time could do."""

    api: Api
    desk: Desk
    admin: Connection

    @property
    def book(self) -> Book:
        """The bank."""
        return self.api.book

    async def post(
        self, path: str, headers: Mapping[str, str] | None = None, **body: Any
    ) -> httpx.Response:
        """POST without a session, to this bank unless the body names another."""
        given = {"bank": self.book.bank.code, **body}
        return await self.api.http.post(V1 + path, json=given, headers=dict(headers or {}))

    async def log_in(self, headers: Mapping[str, str] | None = None, **body: Any) -> httpx.Response:
        """POST /sessions."""
        return await self.post("/sessions", headers, **body)

    def caller(self, answer: httpx.Response) -> Caller:
        """Whoever a login gave this token."""
        assert answer.status_code == 201, answer.text
        return Caller(self.api.http, answer.json()["token"])

    async def coordinator(self) -> Caller:
        """A coordinator of the whole bank, by a token."""
        return Caller(self.api.http, await token_for(self.book, Role.COORDINATOR))

    async def code_for(self, resident_id: UUID) -> str:
        """Let a coordinator issue a one-time code."""
        coordinator = await self.coordinator()
        answer = await coordinator.post("/one-time-codes", {"resident_id": str(resident_id)})
        assert answer.status_code == 201, answer.text
        code: str = answer.json()["code"]
        return code

    async def card_holder(self, pin: str | None = PIN) -> "CardHolder":
        """Register a resident with a card, and a PIN by way of a one-time code."""
        resident_id = await self.desk.member()
        async with self.desk.at() as connection:
            card = await issue_card(
                connection, self.book.bank_id, resident_id, issued_by=self.desk.clerk
            )
        holder = CardHolder(self, resident_id, card)
        if pin:
            caller = self.caller(await holder.log_in_by_code())
            answer = await caller.post("/credentials/pin", {"pin": pin})
            assert answer.status_code == 204, answer.text
        return holder

    async def invited(
        self, role: Role = Role.COORDINATOR, merchant_id: UUID | None = None
    ) -> tuple[UUID, str]:
        """Grant a new person a role and return their enrolment code."""
        person = new_id()
        async with self.book.pool.acquire() as connection:
            await register_parties(connection, self.book.bank_id, PartyKind.PERSON, [person])
            await grant_role(
                connection,
                self.book.bank_id,
                person,
                role,
                None,
                granted_by=OPERATOR_ID,
                approved_by=OPERATOR_ID,
                merchant_id=merchant_id,
            )
            return person, await invite(connection, self.book.bank_id, person, OPERATOR_ID)

    async def member(
        self, role: Role = Role.COORDINATOR, merchant_id: UUID | None = None
    ) -> "Member":
        """Invite and enrol a member of staff; no time step is spent."""
        person, code = await self.invited(role, merchant_id)
        secret = (await self.post("/enrolments", code=code)).json()["secret"]
        answer = await self.post(
            "/enrolments/completion", code=code, totp=pyotp.TOTP(secret).now(), password=PASSWORD
        )
        assert answer.status_code == 201, answer.text
        found = Member(self, person, answer.json()["staff_number"], secret)
        if merchant_id:
            async with self.book.pool.acquire() as connection:
                await confirm(connection, self.book.bank_id, found.staff_number, new_id())
        await found.forget_steps()
        return found

    async def let_pass(self, time: timedelta) -> None:
        """Let so much time pass for those who have to wait."""
        await self.admin.execute(
            "UPDATE login_failure SET free_at = free_at - $2::interval, "
            "last_failed_at = last_failed_at - $2::interval WHERE bank_id = $1",
            self.book.bank_id,
            time,
        )

    async def audit_lines(self, action: str) -> list[tuple[UUID | None, str]]:
        """Actor and result of each line about this action."""
        records = await self.admin.fetch(
            "SELECT actor_id, result FROM audit_log WHERE bank_id = $1 AND action = $2 "
            "ORDER BY recorded_at",
            self.book.bank_id,
            action,
        )
        return [(record["actor_id"], record["result"]) for record in records]


@dataclass(frozen=True)
class CardHolder:
    """A resident with a card."""

    door: Door
    resident_id: UUID
    card: str

    async def log_in(self, pin: str = PIN, **more: Any) -> httpx.Response:
        """Log in with card and PIN."""
        return await self.door.log_in(type="card_pin", card=self.card, pin=pin, **more)

    async def log_in_by_code(self, code: str | None = None, **more: Any) -> httpx.Response:
        """Log in with card and one-time code, a new one unless given."""
        code = code or await self.door.code_for(self.resident_id)
        return await self.door.log_in(type="one_time_code", card=self.card, code=code, **more)


@dataclass(frozen=True)
class Member:
    """A member of staff who was enrolled."""

    door: Door
    party_id: UUID
    staff_number: str
    secret: str

    def totp(self, *, steps: int = 0) -> str:
        """The six digits of now, or of some steps of 30 seconds later."""
        return pyotp.TOTP(self.secret).at(datetime.now(UTC) + timedelta(seconds=30 * steps))

    async def log_in(self, **change: Any) -> httpx.Response:
        """Log in with what is right, but for what is changed."""
        given = {
            "type": "password",
            "staff_number": self.staff_number,
            "password": PASSWORD,
            "totp": self.totp(),
        }
        return await self.door.log_in(**(given | change))

    async def forget_steps(self) -> None:
        """Let the time steps that were spent count again."""
        await self.door.admin.execute(
            "UPDATE staff_login SET last_step = 0 WHERE party_id = $1", self.party_id
        )


def set_cookie(answer: httpx.Response) -> str:
    """Return the session's token from the cookie of an answer, and check the cookie's words."""
    (cookie,) = answer.headers.get_list("set-cookie")
    name, _, rest = cookie.partition("=")
    token, *attributes = rest.split("; ")
    kept = {word.lower() for word in attributes if not word.lower().startswith("max-age")}
    assert name == COOKIE
    assert kept == {"path=/", "secure", "httponly", "samesite=strict"}
    return token.strip('"')
