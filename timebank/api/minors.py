"""What minors may do for themselves: how old the resident is about whom a request is."""

from datetime import datetime
from uuid import UUID

from timebank.api.call import Call
from timebank.api.once import was_answered
from timebank.api.paper import access_of
from timebank.db import transaction
from timebank.domain.ages import AgeBand
from timebank.people.kin import find_age_band, is_minor
from timebank.people.vault import Purpose


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
