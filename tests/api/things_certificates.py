"""What the access matrix asks about certificates: who served, and what was signed of it."""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from uuid import UUID

from tests.api.things import Maker, Things
from tests.api.things_people import ring
from timebank.db import transaction
from timebank.ledger.ids import new_id
from timebank.people.seals import Seals
from timebank.service.certificates import Issued, Order, issue_certificate
from timebank.service.signing import make_signing_key


def today(things: Things) -> date:
    """The day it is at the bank."""
    return datetime.now(UTC).astimezone(things.book.bank.zone).date()


async def _served(things: Things) -> UUID:
    """A member with a confirmed record, of a bank that can sign."""
    await things.get("resident_id")
    await things.get("confirmed_id")
    async with transaction(things.book.pool) as connection:
        await make_signing_key(connection, Seals(ring()), things.book.bank_id, new_id())
    return things.owner_id


async def _issued(things: Things) -> Issued:
    order = Order(
        person_id=await things.get("served_id"),
        from_on=date(2020, 1, 1),
        until_on=today(things),
        issued_on=today(things),
        in_charge="甲",
        handler="乙",
        contact="丙",
    )
    return await issue_certificate(
        things.book.pool, ring(), things.book.bank, order, actor_id=new_id(), request_id="matrix"
    )


async def _certificate(things: Things) -> UUID:
    return (await things.get("issued")).certificate.certificate_id


async def _statement(things: Things) -> str:
    return (await things.get("issued")).document.statement


async def _signature(things: Things) -> str:
    return (await things.get("issued")).document.signature


async def _printed(things: Things) -> dict[str, str]:
    printed = (await things.get("issued")).document.printed
    return {name: getattr(printed, name) for name in printed.__struct_fields__}


async def _today(things: Things) -> str:
    return str(today(things))


CERTIFICATE_MAKERS: Mapping[str, Maker] = {
    "certificate_id": _certificate,
    "issued": _issued,
    "printed": _printed,
    "served_id": _served,
    "signature": _signature,
    "statement": _statement,
    "today": _today,
}
