"""What minors may do for themselves: how old the resident is, and what they redeemed today."""

from datetime import datetime
from uuid import UUID

from timebank.api.call import Call
from timebank.api.once import was_answered
from timebank.api.paper import access_of
from timebank.api.reaching import check_reach
from timebank.db import Connection, transaction
from timebank.domain.ages import AgeBand
from timebank.domain.redemption import Wish
from timebank.people.kin import check_may_redeem, find_age_band, is_minor, lock_resident
from timebank.people.vault import Purpose
from timebank.redemption import holds
from timebank.redemption.caps import get_used_today


async def check_guardian(connection: Connection, request: Call, wish: Wish, band: AgeBand) -> None:
    """Raise GuardianNeededError for what a minor's guardian has to redeem.

    The cap counts all that the minor holds today, whoever did it. Call it first in the transaction
    of the hold: the lock on the resident makes holds of one minor take turns. Who turned out to
    have come of age has no guardian any more: NotFoundError.
    """
    bank_id, resident_id = request.user.bank_id, wish.resident_id
    if resident_id is None or band is AgeBand.ADULT:
        await check_reach(connection, request, resident_id)
        return
    await lock_resident(connection, bank_id, resident_id)
    quoted = await holds.quote(connection, bank_id, wish)
    await check_may_redeem(
        connection,
        bank_id,
        resident_id,
        band,
        actor_id=request.user.principal_id,
        points=quoted.points or wish.quantity,
        redeemed_today=await get_used_today(connection, bank_id, resident_id),
    )


async def find_band(request: Call, resident_id: UUID | None) -> AgeBand:
    """Return what a resident may do for themselves; the vault is asked about minors only."""
    bank = await request.desk.bank(request.user.bank_id)
    if resident_id is None:
        return AgeBand.ADULT
    async with transaction(request.desk.pool) as connection:
        if not await is_minor(connection, bank.bank_id, resident_id):
            return AgeBand.ADULT
    if request.scope.get("auth") and await was_answered(request):
        return AgeBand.CHILD  # answered again, whatever the vault says now; if not, not let through
    return await find_age_band(
        request.desk.pool,
        request.desk.ring,
        access_of(request, Purpose.AGE_RULE),
        resident_id,
        datetime.now(bank.zone).date(),
        zone=bank.zone,
    )
