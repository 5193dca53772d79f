"""Moving amounts over HTTP: awards, transfers from pools, batches, reversals, the journal."""

from uuid import UUID

from litestar import Response, Router
from litestar.params import FromPath, JSONBody

from timebank.api.call import Call, IdempotencyKey
from timebank.api.deeds import check_reaches_chain
from timebank.api.once import Deed, once, replay_header, was_answered
from timebank.api.operations import get, post
from timebank.api.postings import (
    actor_of,
    make_award,
    make_chains,
    make_transfer,
    raise_if_refused,
)
from timebank.api.wire import (
    AwardBody,
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
)
from timebank.db import Connection, transaction
from timebank.domain.errors import NotFoundError
from timebank.domain.ledger import JournalEntry, Outcome, Transfer, TransferStatus
from timebank.ledger.ids import derive_id
from timebank.ledger.passbook import list_trial_balance
from timebank.ledger.requests import KeyUse, PostingRequest
from timebank.ledger.reversals import reverse
from timebank.ledger.transfers import get_transfer
from timebank.people.access import Action, Role, check_may
from timebank.people.approvals import check_reversal_alone
from timebank.people.parties import list_persons_behind
from timebank.service.awards import check_not_of_record


@post("/awards", opt={"action": Action.AWARD, "direct": True}, operation_id="award")
async def award(
    request: Call,
    data: JSONBody[AwardBody],
    idempotency_key: IdempotencyKey,
) -> Response[PostedView]:
    """Award minutes or points to an account, from the bank's issuance account."""
    return await _post_one(request, await make_award(request.desk, actor_of(request.user), data))


@post(
    "/transfers",
    opt={"action": Action.TRANSFER_FROM_POOL, "direct": True},
    operation_id="transfer",
)
async def transfer_from_pool(
    request: Call,
    data: JSONBody[TransferBody],
    idempotency_key: IdempotencyKey,
) -> Response[PostedView]:
    """Give from a pool to any other account of its unit."""
    return await _post_one(request, await make_transfer(request.desk, actor_of(request.user), data))


@post("/batches", opt={"action": Action.AWARD}, status_code=200, operation_id="post_batch")
async def post_batch(
    request: Call,
    data: JSONBody[BatchBody],
    idempotency_key: IdempotencyKey,
) -> Response[BatchView]:
    """Post up to 5,000 awards and transfers in one commit, with a result for each row."""
    if any(isinstance(row, TransferRow) for row in data.rows):
        check_may(request.user, Action.TRANSFER_FROM_POOL)
    chains = await make_chains(request.desk, actor_of(request.user), data.rows)
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

    if principal.role is Role.COORDINATOR and not await was_answered(request):
        await _check_may_reverse_alone(request, transfer_id)

    async def work(connection: Connection) -> Deed[list[Outcome]]:
        await check_not_of_record(connection, principal.bank_id, transfer_id)
        outcomes = await reverse(
            connection,
            principal.bank_id,
            transfer_id,
            reversal_id=reversal_id,
            actor_id=principal.principal_id,
            reason=data.reason,
            when_spent=data.when_spent,
        )
        is_done = all(outcome.status is TransferStatus.POSTED for outcome in outcomes)
        return Deed(outcomes, transfer_id, is_done=is_done)

    outcomes, headers = await once(request, list[Outcome], work)
    raise_if_refused(outcomes)
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


async def _check_may_reverse_alone(request: Call, transfer_id: UUID) -> None:
    touched = await check_reaches_chain(request.desk, request.user, transfer_id)
    async with request.desk.pool.acquire() as connection:
        served = await list_persons_behind(connection, request.user.bank_id, touched.owners)
    check_reversal_alone(request.user.principal_id, served, touched.amounts)


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
    raise_if_refused(answer.outcomes)
    return Response(
        _posted_view(answer.outcomes[0]),
        status_code=201,
        headers=replay_header(answer.use is KeyUse.REPLAYED),
    )


def _posted_view(outcome: Outcome) -> PostedView:
    return PostedView(outcome.transfer_id, outcome.status, outcome.recorded_at)


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
