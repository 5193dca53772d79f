"""Moving amounts over HTTP: awards, transfers from pools, batches, reversals, the journal."""

from collections.abc import Sequence
from contextlib import suppress
from itertools import groupby
from uuid import UUID

from litestar import Response, Router
from litestar.params import FromPath, JSONBody

from timebank.api.call import Call, IdempotencyKey
from timebank.api.desk import Desk
from timebank.api.once import Deed, once, replay_header
from timebank.api.operations import get, post
from timebank.api.wire import (
    AwardBody,
    AwardRow,
    BatchBody,
    BatchView,
    PostedView,
    ReversalBody,
    ReversalView,
    RowResult,
    TransferBody,
    TransferRow,
    TransferView,
    TrialBalanceRowView,
    TrialBalanceView,
    as_utc,
)
from timebank.db import Connection, transaction
from timebank.domain.errors import NotFoundError, TransferRefusedError
from timebank.domain.ledger import (
    Chain,
    JournalEntry,
    Outcome,
    Transfer,
    TransferKind,
    TransferStatus,
)
from timebank.ledger.ids import derive_id, new_id
from timebank.ledger.passbook import list_trial_balance
from timebank.ledger.requests import KeyUse, PostingRequest
from timebank.ledger.reversals import reverse
from timebank.ledger.transfers import get_transfer
from timebank.people.access import Action, Principal, check_may_give_from


@post("/awards", opt={"action": Action.AWARD}, operation_id="award")
async def award(
    request: Call,
    data: JSONBody[AwardBody],
    idempotency_key: IdempotencyKey,
) -> Response[PostedView]:
    """Award minutes or points to an account, from the bank's issuance account."""
    return await _post_one(request, await _award(request.desk, request.user, data))


@post("/transfers", opt={"action": Action.TRANSFER_FROM_POOL}, operation_id="transfer")
async def transfer_from_pool(
    request: Call,
    data: JSONBody[TransferBody],
    idempotency_key: IdempotencyKey,
) -> Response[PostedView]:
    """Give from a pool to any other account of its unit."""
    return await _post_one(request, await _transfer(request.desk, request.user, data))


@post("/batches", opt={"action": Action.AWARD}, status_code=200, operation_id="post_batch")
async def post_batch(
    request: Call,
    data: JSONBody[BatchBody],
    idempotency_key: IdempotencyKey,
) -> Response[BatchView]:
    """Post up to 5,000 awards and transfers in one commit, with a result for each row."""
    chains = await _chains(request.desk, request.user, data.rows)
    answer = await request.desk.post(request.user.bank_id, PostingRequest(request.auth, chains))
    results = [
        RowResult(row, outcome.transfer_id, outcome.status, outcome.recorded_at)
        for row, outcome in enumerate(answer.outcomes)
    ]
    posted = sum(result.status is TransferStatus.POSTED for result in results)
    return Response(
        BatchView(posted, len(results) - posted, results),
        headers=replay_header(answer.use is KeyUse.REPLAYED),
    )


@post(
    "/transfers/{transfer_id:uuid}/reversal",
    opt={"action": Action.REVERSE},
    operation_id="reverse_transfer",
)
async def reverse_transfer(
    request: Call,
    transfer_id: FromPath[UUID],
    data: JSONBody[ReversalBody],
    idempotency_key: IdempotencyKey,
) -> Response[ReversalView]:
    """Take back a transfer and its whole chain, once, with a reason."""
    principal = request.user
    reversal_id = derive_id(principal.principal_id, f"reversal {request.auth.key}")

    async def work(connection: Connection) -> Deed[list[Outcome]]:
        outcomes = await reverse(
            connection,
            principal.bank_id,
            transfer_id,
            reversal_id=reversal_id,
            actor_id=principal.principal_id,
            reason=data.reason,
            when_spent=data.when_spent,
        )
        return Deed(outcomes, transfer_id)

    outcomes, headers = await once(request, list[Outcome], work)
    _raise_if_refused(outcomes)
    return Response(
        ReversalView([_posted_view(outcome) for outcome in outcomes]),
        status_code=201,
        headers=headers,
    )


@get(
    "/transfers/{transfer_id:uuid}",
    opt={"action": Action.READ_JOURNAL},
    operation_id="get_transfer",
)
async def read_transfer(request: Call, transfer_id: FromPath[UUID]) -> TransferView:
    """Return the journal's entry of a transfer, posted or refused."""
    async with transaction(request.desk.pool) as connection:
        entry = await get_transfer(connection, request.user.bank_id, transfer_id)
    await _check_may_read(request, entry)
    return TransferView(
        transfer_id=entry.transfer_id,
        kind=entry.kind,
        status=entry.status,
        from_account_id=entry.debit_account_id,
        to_account_id=entry.credit_account_id,
        amount=entry.amount,
        occurred_at=entry.occurred_at,
        recorded_at=entry.recorded_at,
        chain_id=entry.chain_id,
        subject_id=entry.subject_id,
        reverses_id=entry.reverses_id,
        reason=entry.reason,
    )


@get("/trial-balance", opt={"action": Action.READ_TRIAL_BALANCE}, operation_id="get_trial_balance")
async def read_trial_balance(request: Call) -> TrialBalanceView:
    """Return the debits and credits of each unit and kind of account."""
    async with transaction(request.desk.pool) as connection:
        rows = await list_trial_balance(connection, request.user.bank_id)
    net: dict[str, int] = {}
    for row in rows:
        net[row.unit] = net.get(row.unit, 0) + row.credit - row.debit
    return TrialBalanceView(
        not any(net.values()),
        [
            TrialBalanceRowView(row.unit, row.kind, row.accounts, row.debit, row.credit)
            for row in rows
        ],
    )


async def _check_may_read(request: Call, entry: JournalEntry) -> None:
    """Raise NotFoundError unless the caller reaches one side of the transfer."""
    desk, principal = request.desk, request.user
    try:
        await desk.account_seen_by(principal, entry.debit_account_id, Action.READ_JOURNAL)
    except NotFoundError:
        await desk.account_seen_by(principal, entry.credit_account_id, Action.READ_JOURNAL)


async def _post_one(request: Call, transfer: Transfer) -> Response[PostedView]:
    answer = await request.desk.post(
        request.user.bank_id, PostingRequest(request.auth, [[transfer]])
    )
    _raise_if_refused(answer.outcomes)
    return Response(
        _posted_view(answer.outcomes[0]),
        status_code=201,
        headers=replay_header(answer.use is KeyUse.REPLAYED),
    )


def _raise_if_refused(outcomes: Sequence[Outcome]) -> None:
    """Raise the refusal that says most: a chain's cause rather than its consequence."""
    refused = [outcome for outcome in outcomes if outcome.status is not TransferStatus.POSTED]
    refused.sort(key=lambda outcome: outcome.status is TransferStatus.CHAIN_BROKEN)
    if refused:
        raise TransferRefusedError(
            refused[0].status, f"Transfer {refused[0].transfer_id} was refused; nothing moved."
        )


def _posted_view(outcome: Outcome) -> PostedView:
    return PostedView(outcome.transfer_id, outcome.status, outcome.recorded_at)


async def _award(desk: Desk, principal: Principal, body: AwardBody, pointer: str = "") -> Transfer:
    unit, amount = body.unit_and_amount(pointer)
    return Transfer(
        transfer_id=new_id(),
        kind=TransferKind.AWARD,
        debit_account_id=await desk.issuance(principal.bank_id, unit),
        credit_account_id=body.account_id,
        amount=amount,
        actor_id=principal.principal_id,
        occurred_at=as_utc(body.occurred_at, f"{pointer}/occurred_at"),
    )


async def _transfer(
    desk: Desk, principal: Principal, body: TransferBody, pointer: str = ""
) -> Transfer:
    unit, amount = body.unit_and_amount(pointer)
    with suppress(NotFoundError):  # the ledger answers account_not_found, and remembers it
        source = await desk.account_seen_by(principal, body.from_account_id)
        place = f"{pointer}/from_account_id"
        check_may_give_from(source, place)
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
        actor_id=principal.principal_id,
        occurred_at=as_utc(body.occurred_at, f"{pointer}/occurred_at"),
    )


async def _chains(
    desk: Desk, principal: Principal, rows: Sequence[AwardRow | TransferRow]
) -> list[Chain]:
    transfers = []
    for place, row in enumerate(rows):
        label = row.chain or place  # no label: a chain of its own
        if isinstance(row, AwardRow):
            transfer = await _award(desk, principal, row, f"/rows/{place}")
        else:
            transfer = await _transfer(desk, principal, row, f"/rows/{place}")
        transfers.append((label, transfer))
    return [
        [transfer for _, transfer in run] for _, run in groupby(transfers, key=lambda pair: pair[0])
    ]


router = Router(
    "/",
    route_handlers=[
        award,
        transfer_from_pool,
        post_batch,
        reverse_transfer,
        read_transfer,
        read_trial_balance,
    ],
)
