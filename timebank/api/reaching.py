"""Whose service it is: activities, shifts, records and wishes within a caller's reach.

A thing of service belongs to the branch of its activity or wish; without one, to the whole bank.
"""

from collections.abc import Sequence
from uuid import UUID

from timebank.api.call import Call
from timebank.db import Connection
from timebank.domain.errors import BranchNotFoundError, InvalidInputError, NotFoundError
from timebank.domain.service import Activity, ServiceRecord, Shift, Wish
from timebank.people import branches
from timebank.people.access import Action, Role
from timebank.people.cards import find_card_holder, parse_card_token
from timebank.people.targets import check_reaches_party
from timebank.service.activities import get_activity, get_shift
from timebank.service.records import list_records
from timebank.service.wishes import get_wish


def action_of(request: Call) -> Action:
    """Return what the operation does."""
    return Action(request.route_handler.opt["action"])


async def check_reach(connection: Connection, request: Call, party_id: UUID | None) -> None:
    """Raise NotFoundError unless the caller reaches what the party owns; None is the bank."""
    await check_reaches_party(connection, request.user, action_of(request), party_id)


async def activity_reached(connection: Connection, request: Call, activity_id: UUID) -> Activity:
    """Return the activity; NotFoundError if it is absent or out of the caller's reach."""
    activity = await get_activity(connection, request.user.bank_id, activity_id)
    await check_reach(connection, request, activity.branch_id)
    return activity


async def shift_reached(connection: Connection, request: Call, shift_id: UUID) -> Shift:
    """Return the shift; NotFoundError if it is absent or out of the caller's reach."""
    shift = await get_shift(connection, request.user.bank_id, shift_id)
    await activity_reached(connection, request, shift.activity_id)
    return shift


async def wish_reached(connection: Connection, request: Call, wish_id: UUID) -> Wish:
    """Return the wish; NotFoundError if it is absent or out of the caller's reach."""
    wish = await get_wish(connection, request.user.bank_id, wish_id)
    await check_reach(connection, request, wish.branch_id)
    return wish


async def records_reached(
    connection: Connection, request: Call, record_ids: Sequence[UUID]
) -> list[ServiceRecord]:
    """Return the records; NotFoundError if one is absent or out of the caller's reach."""
    records = await list_records(connection, request.user.bank_id, record_ids)
    if {record.record_id for record in records} != set(record_ids):
        raise NotFoundError
    if request.user.role is Role.RESIDENT:
        for person_id in {record.person_id for record in records}:
            await check_reach(connection, request, person_id)
        return records
    of_each = {(record.activity_id, record.wish_id): record for record in records}
    for record in of_each.values():
        place = await place_of_record(connection, request.user.bank_id, record)
        await check_reach(connection, request, place)
    return records


async def place_of_record(
    connection: Connection, bank_id: int, record: ServiceRecord
) -> UUID | None:
    """Return the branch that a record belongs to: that of its activity or wish."""
    if record.activity_id:
        return (await get_activity(connection, bank_id, record.activity_id)).branch_id
    return record.wish_id and (await get_wish(connection, bank_id, record.wish_id)).branch_id


async def named_branch(
    connection: Connection, request: Call, branch_id: UUID | None
) -> UUID | None:
    """Return the branch that a body names, else the caller's.

    BranchNotFoundError unless it is within the caller's reach.
    """
    place = branch_id or request.user.branch_id
    if place is None:
        return None
    try:
        await branches.get_branch(connection, request.user.bank_id, place)
        await check_reach(connection, request, place)
    except NotFoundError as error:
        raise BranchNotFoundError from error
    return place


async def person_named(
    connection: Connection, request: Call, card: str | None, resident_id: UUID | None
) -> UUID:
    """Return who is meant, by the text of a card or by id; exactly one is given.

    NotFoundError for a card that is not in use here.
    """
    if (card is None) == (resident_id is None):
        raise InvalidInputError("Give exactly one of card and resident_id.", pointer="/card")
    if resident_id is not None:
        return resident_id
    holder = await find_card_holder(connection, parse_card_token(card or ""))
    if holder is None or holder.bank_id != request.user.bank_id:
        raise NotFoundError("No card in use has this text.")
    return holder.resident_id
