"""What the access matrix asks about: a resident, a merchant and all that is theirs, made on demand.

MAKERS say how each thing is made, by the name that paths and bodies have for it: a row that needs a
new kind of thing adds its maker here.
"""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from urllib.parse import quote
from uuid import UUID

import httpx
import msgspec

from tests.api.client import Caller, register, token_for
from tests.api.things_redemption import REDEMPTION_MAKERS
from tests.api.things_trade import TRADE_MAKERS
from tests.book import Book
from tests.places import open_branch, place
from timebank.domain.branches import ServicePointKind
from timebank.domain.ledger import AccountKind
from timebank.ledger.ids import new_id
from timebank.people.access import Action, Role
from timebank.people.approvals import Approval, propose
from timebank.people.branches import open_service_point
from timebank.people.grants import OPERATOR_ID, grant_role
from timebank.people.login.api_keys import get_system_grant, issue_key
from timebank.people.parties import PartyKind, register_parties


class Whose(StrEnum):
    """Whose things a caller asks about; the caller has a branch and perhaps a merchant."""

    OWN = "own"
    NEAR = "a neighbour's"  # of the same branch; for a merchant, another merchant's
    FAR = "another branch's"
    FOREIGN = "another bank's"


@dataclass
class Things:
    """A resident and a merchant of a branch, and what is theirs."""

    book: Book
    branch_id: UUID
    owner_id: UUID
    merchant_id: UUID
    made: dict[str, Any] = field(default_factory=dict)

    @classmethod
    async def at(cls, book: Book, branch_id: UUID) -> "Things":
        """Register a resident and a merchant on the branch."""
        owner_id, merchant_id = await register(book), new_id()
        async with book.pool.acquire() as connection:
            await register_parties(connection, book.bank_id, PartyKind.MERCHANT, [merchant_id])
        for party_id in (owner_id, merchant_id):
            await place(book, party_id, branch_id)
        return cls(book, branch_id, owner_id, merchant_id)

    async def get(self, name: str) -> Any:
        """Return the thing of this name, made at the first time."""
        if name not in self.made:
            self.made[name] = await MAKERS[name](self)
        return self.made[name]

    async def fill(self, template: Any) -> Any:
        """Return a body whose strings `$name` are replaced by things."""
        match template:
            case str() if template.startswith("$"):
                thing = await self.get(template[1:])
                return str(thing) if isinstance(thing, UUID) else thing
            case dict():
                return {key: await self.fill(value) for key, value in template.items()}
            case list():
                return [await self.fill(value) for value in template]
        return template

    async def fill_query(self, query: str) -> str:
        """Return a query whose `$name` are replaced by things."""
        for name in re.findall(r"\$(\w+)", query):
            query = query.replace(f"${name}", quote(str(await self.get(name))))
        return query


Maker = Callable[[Things], Awaitable[Any]]


async def _wallet(things: Things) -> UUID:
    return await things.book.open_account(owner_id=things.owner_id)


async def _pool(things: Things) -> UUID:
    return await things.book.open_account(AccountKind.POOL, balance=10, owner_id=things.branch_id)


async def _transfer(things: Things) -> UUID:
    award = things.book.award(await things.get("account_id"), 5)
    await things.book.post_all(award)
    return award.transfer_id


async def _owner(things: Things) -> UUID:
    return things.owner_id


async def _branch(things: Things) -> UUID:
    return things.branch_id


async def _merchant(things: Things) -> UUID:
    return things.merchant_id


async def _community(things: Things) -> UUID:
    return await open_branch(things.book, things.branch_id)


async def _sibling(things: Things) -> UUID:
    return await open_branch(things.book)


async def _service_point(things: Things) -> UUID:
    async with things.book.pool.acquire() as connection:
        return await open_service_point(
            connection, things.book.bank_id, things.branch_id, ServicePointKind.CENTRE, "中心"
        )


async def _approval(things: Things) -> Approval:
    """An award that another coordinator of the branch has proposed."""
    content = {"deed": "award", "account_id": await things.get("account_id"), "points": 1}
    maker_id = new_id()
    await token_for(things.book, Role.COORDINATOR, maker_id, branch_id=things.branch_id)
    async with things.book.pool.acquire() as connection:
        return await propose(
            connection,
            things.book.bank_id,
            deed="award",
            content=msgspec.json.encode(content),
            branch_id=things.branch_id,
            maker_id=maker_id,
            beneficiaries=[things.owner_id],
        )


async def _approval_id(things: Things) -> UUID:
    return (await things.get("approval")).approval_id


async def _content_hash(things: Things) -> str:
    return (await things.get("approval")).content_hash.hex()


async def _grant(things: Things) -> UUID:
    person = new_id()
    async with things.book.pool.acquire() as connection:
        await register_parties(connection, things.book.bank_id, PartyKind.PERSON, [person])
        return await grant_role(
            connection,
            things.book.bank_id,
            person,
            Role.AUDITOR,
            things.branch_id,
            granted_by=OPERATOR_ID,
            approved_by=OPERATOR_ID,
        )


async def _system_grant(things: Things) -> UUID:
    """The role of a system of the merchant."""
    system = new_id()
    async with things.book.pool.acquire() as connection:
        await register_parties(connection, things.book.bank_id, PartyKind.SYSTEM, [system])
        return await grant_role(
            connection,
            things.book.bank_id,
            system,
            Role.MERCHANT,
            things.branch_id,
            granted_by=OPERATOR_ID,
            approved_by=OPERATOR_ID,
            merchant_id=things.merchant_id,
        )


async def _clerk(things: Things) -> UUID:
    """A person who works for the merchant."""
    return await _work_for(things, Role.CLERK)


async def _work_for(things: Things, role: Role) -> UUID:
    person = new_id()
    await token_for(things.book, role, person, merchant_id=things.merchant_id)
    return person


async def _api_key(things: Things) -> UUID:
    grant_id, runs_it = await things.get("system_grant_id"), await _work_for(things, Role.MERCHANT)
    async with things.book.pool.acquire() as connection, connection.transaction():
        grant = await get_system_grant(connection, things.book.bank_id, grant_id)
        return (
            await issue_key(
                connection,
                things.book.bank_id,
                grant,
                scopes=[Action.READ_SESSION],
                lifetime_days=1,
                issued_by=runs_it,
            )
        )[0]


MAKERS: dict[str, Maker] = {
    "account_id": _wallet,
    "api_key_id": _api_key,
    "approval": _approval,
    "approval_id": _approval_id,
    "branch_id": _branch,
    "clerk_id": _clerk,
    "community_id": _community,
    "content_hash": _content_hash,
    "grant_id": _grant,
    "merchant_id": _merchant,
    "owner_id": _owner,
    "pool_id": _pool,
    "service_point_id": _service_point,
    "sibling_id": _sibling,
    "system_grant_id": _system_grant,
    "transfer_id": _transfer,
    **REDEMPTION_MAKERS,
    **TRADE_MAKERS,
}


@dataclass(frozen=True)
class World:
    """A caller with what is theirs, and the things they ask about."""

    caller: Caller
    things: Things
    own: Things

    @classmethod
    async def of(cls, http: httpx.AsyncClient, book: Book, role: Role, whose: Whose) -> "World":
        """Make what one cell of the matrix needs."""
        here = await open_branch(book)
        own = await Things.at(book, here)
        things = own
        match whose:
            case Whose.NEAR:
                things = await Things.at(book, here)
            case Whose.FAR:
                things = await Things.at(book, await open_branch(book))
            case Whose.FOREIGN:
                elsewhere = await Book.open(book.pool)
                things = await Things.at(elsewhere, await open_branch(elsewhere))
        token = await token_for(
            book,
            role,
            own.owner_id if role is Role.RESIDENT else None,
            branch_id=here if role is Role.COORDINATOR else None,
            merchant_id=own.merchant_id if role in {Role.CLERK, Role.MERCHANT} else None,
        )
        return cls(Caller(http, token), things, own)
