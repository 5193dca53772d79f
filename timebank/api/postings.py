"""From a body to the transfers it asks for, and from what the ledger decided to a refusal."""

from collections.abc import Sequence
from itertools import groupby
from uuid import UUID

from msgspec import Struct

from timebank.api.desk import Desk
from timebank.api.wire import AwardBody, AwardRow, TransferBody, TransferRow, as_utc
from timebank.domain.errors import InvalidInputError, TransferRefusedError
from timebank.domain.ledger import Account, Chain, Outcome, Transfer, TransferKind, TransferStatus
from timebank.ledger.ids import new_id
from timebank.people.access import Principal, check_may_give_from
from timebank.redemption.families import has_members


class Actor(Struct, frozen=True):
    """Who posts in which bank, and what it is about: an approval, or nothing but the request."""

    bank_id: int
    actor_id: UUID
    subject_id: UUID | None = None


def actor_of(principal: Principal) -> Actor:
    """Return the caller as the one who posts."""
    return Actor(principal.bank_id, principal.principal_id)


async def make_award(desk: Desk, actor: Actor, body: AwardBody, pointer: str = "") -> Transfer:
    """Return the award that a body asks for; `pointer` is where the body stands in the request."""
    unit, amount = body.unit_and_amount(pointer)
    return Transfer(
        transfer_id=new_id(),
        kind=TransferKind.AWARD,
        debit_account_id=await desk.issuance(actor.bank_id, unit),
        credit_account_id=body.account_id,
        amount=amount,
        actor_id=actor.actor_id,
        occurred_at=as_utc(body.occurred_at, f"{pointer}/occurred_at"),
        subject_id=actor.subject_id,
    )


async def make_transfer(
    desk: Desk, actor: Actor, body: TransferBody, pointer: str = ""
) -> Transfer:
    """Return the transfer from a pool that a body asks for.

    An account that is not there is left to the ledger, which answers account_not_found and
    remembers it. From a family's pool only what all have left behind is given, by four eyes.
    """
    unit, amount = body.unit_and_amount(pointer)
    if source := await desk.find_account(actor.bank_id, body.from_account_id):
        place = f"{pointer}/from_account_id"
        check_may_give_from(source, place)
        await _check_nobody_saves_there(desk, actor, source, place)
        if source.unit is not unit:
            raise TransferRefusedError(
                TransferStatus.UNIT_MISMATCH, f"The pool at {place} is not of this unit."
            )
    return Transfer(
        transfer_id=new_id(),
        kind=TransferKind.TRANSFER,
        debit_account_id=body.from_account_id,
        credit_account_id=body.to_account_id,
        amount=amount,
        actor_id=actor.actor_id,
        occurred_at=as_utc(body.occurred_at, f"{pointer}/occurred_at"),
        subject_id=actor.subject_id,
    )


async def _check_nobody_saves_there(desk: Desk, actor: Actor, source: Account, place: str) -> None:
    """Raise InvalidInputError for the pool of a family, unless it is left and two persons agree."""
    if source.owner_id is None or not await desk.is_family(actor.bank_id, source.owner_id):
        return
    if actor.subject_id is not None:
        async with desk.pool.acquire() as connection:
            if not await has_members(connection, actor.bank_id, source.owner_id):
                return
    raise InvalidInputError("A family's pool is spent by the family.", pointer=place)


async def make_chains(
    desk: Desk, actor: Actor, rows: Sequence[AwardRow | TransferRow]
) -> list[Chain]:
    """Return the rows of a batch as chains; neighbours with one label are one."""
    transfers = []
    for place, row in enumerate(rows):
        label = row.chain or place  # no label: a chain of its own
        if isinstance(row, AwardRow):
            transfer = await make_award(desk, actor, row, f"/rows/{place}")
        else:
            transfer = await make_transfer(desk, actor, row, f"/rows/{place}")
        transfers.append((label, transfer))
    return [
        [transfer for _, transfer in run] for _, run in groupby(transfers, key=lambda pair: pair[0])
    ]


def raise_if_refused(outcomes: Sequence[Outcome]) -> None:
    """Raise the refusal that says most: a chain's cause rather than its consequence."""
    refused = [outcome for outcome in outcomes if outcome.status is not TransferStatus.POSTED]
    refused.sort(key=lambda outcome: outcome.status is TransferStatus.CHAIN_BROKEN)
    if refused:
        raise TransferRefusedError(
            refused[0].status, f"Transfer {refused[0].transfer_id} was refused; nothing moved."
        )
