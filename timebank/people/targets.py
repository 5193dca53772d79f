"""Finding what a decision needs to know of an object, and no more than the principal's reach asks.

Most calls are about one's own things or by roles for the whole bank: they ask nothing.
"""

from uuid import UUID

from timebank.db import Connection
from timebank.domain.errors import NotFoundError
from timebank.people.access import Action, Principal, Reach, Target, check_reaches, reach_of
from timebank.people.kin import list_kin
from timebank.people.parties import PartyKind, is_party, list_path_of


async def check_reaches_party(
    connection: Connection,
    principal: Principal,
    action: Action,
    owner_id: UUID | None,
    merchant_id: UUID | None = None,
) -> None:
    """Raise NotFoundError unless the principal may do this to what the party owns.

    `owner_id` None is the bank itself; `merchant_id` is at whom it is, if at a merchant's.
    """
    target = Target(owner_id=owner_id, merchant_id=merchant_id)
    if not needs_look(principal, action, owner_id):
        pass
    elif owner_id and reach_of(principal, action) is Reach.KIN:
        kin = await list_kin(connection, principal.bank_id, owner_id)
        target = Target(owner_id=owner_id, kin=kin)
    else:
        path = await list_path_of(connection, principal.bank_id, owner_id)
        target = Target(owner_id=owner_id, path=path)
    check_reaches(principal, action, target)


async def check_reaches_person(
    connection: Connection, principal: Principal, action: Action, person_id: UUID
) -> None:
    """Raise NotFoundError unless this is a person, not erased, whom the principal reaches."""
    if not await is_party(connection, principal.bank_id, person_id, PartyKind.PERSON):
        raise NotFoundError
    await check_reaches_party(connection, principal, action, person_id)


def needs_look(principal: Principal, action: Action, owner_id: UUID | None) -> bool:
    """Return whether deciding about this owner's things needs to ask the registry."""
    match reach_of(principal, action):
        case Reach.BRANCH:
            return principal.branch_id is not None
        case Reach.KIN:
            return owner_id is not None and owner_id != principal.principal_id
    return False
