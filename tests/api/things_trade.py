"""What the access matrix asks about settlements, gifts and families."""

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any
from uuid import UUID

from tests.redemption.market import Market
from tests.redemption.test_settlements import approve, clock, draft
from timebank.domain.redemption import CapScope
from timebank.domain.settlement import Settlement
from timebank.ledger.ids import new_id
from timebank.people.grants import OPERATOR_ID
from timebank.redemption.caps import set_cap
from timebank.redemption.families import found_family, invite_to_family, join_family

if TYPE_CHECKING:
    from tests.api.things import Things


async def _earning(things: "Things") -> UUID:
    """The merchant, who has taken points in."""
    await things.get("captured_id")
    return things.merchant_id


async def _cut_off(things: "Things") -> str:
    """An instant after what the merchant took in."""
    await things.get("captured_id")
    market: Market = await things.get("market")
    return (await clock(market)).isoformat()


async def _settlement(things: "Things") -> Settlement:
    await things.get("captured_id")
    return await draft(await things.get("market"))


async def _settlement_id(things: "Things") -> UUID:
    settlement: Settlement = await things.get("settlement")
    return settlement.settlement_id


async def _hash(things: "Things") -> str:
    settlement: Settlement = await things.get("settlement")
    return settlement.content_hash.hex()


async def _approved(things: "Things") -> UUID:
    approved = await approve(await things.get("market"), await things.get("settlement"))
    return approved.settlement_id


async def _uncapped(things: "Things", scope: CapScope) -> None:
    async with things.book.pool.acquire() as connection:
        await set_cap(connection, things.book.bank_id, scope, None, set_by=OPERATOR_ID)


async def _family(things: "Things") -> UUID:
    """A family that the resident has founded."""
    family_id = new_id()
    async with things.book.pool.acquire() as connection:
        await found_family(connection, things.book.bank_id, family_id, {things.owner_id: True})
    return family_id


async def _founder(things: "Things") -> UUID:
    await things.get("family_id")
    return things.owner_id


async def _invitation(things: "Things") -> str:
    family_id = await things.get("family_id")
    async with things.book.pool.acquire() as connection:
        invitation = await invite_to_family(
            connection,
            things.book.bank_id,
            family_id,
            may_hold=False,
            invited_by=things.owner_id,
        )
    return invitation.token


async def _kin(things: "Things") -> UUID:
    """Somebody of the resident's family, where gifts have no cap."""
    family_id, bank_id, kin_id = await things.get("family_id"), things.book.bank_id, new_id()
    await things.book.open_account(owner_id=kin_id)
    async with things.book.pool.acquire() as connection:
        await join_family(connection, bank_id, family_id, kin_id, may_hold=False)
    await _uncapped(things, CapScope.GIFT_DAY)
    return kin_id


async def _reissuing(things: "Things") -> UUID:
    """The merchant, who has points and no cap on what it gives on."""
    await things.get("captured_id")
    await _uncapped(things, CapScope.REISSUE_DAY)
    return things.merchant_id


TRADE_MAKERS: Mapping[str, Callable[["Things"], Awaitable[Any]]] = {
    "approved_settlement_id": _approved,
    "cut_off": _cut_off,
    "earning_id": _earning,
    "family_id": _family,
    "founder_id": _founder,
    "invitation": _invitation,
    "kin_id": _kin,
    "reissuing_id": _reissuing,
    "settlement": _settlement,
    "settlement_hash": _hash,
    "settlement_id": _settlement_id,
}
