"""Four eyes over HTTP: propose a deed, see what is proposed, decide, and the deed is done."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

import msgspec
from litestar import Response, Router
from litestar.params import FromPath, JSONBody, QueryParameter
from msgspec import Meta, Struct

from timebank.api.accounts import Cursor, Limit
from timebank.api.call import Call, IdempotencyKey
from timebank.api.cursors import make_cursor, read_cursor
from timebank.api.deed_kinds import ACTIONS, StoredDeed
from timebank.api.deed_kinds import Deed as ProposedDeed
from timebank.api.deeds import examine, perform, prepare
from timebank.api.once import Deed, once, was_answered
from timebank.api.operations import get, post
from timebank.api.wire import END
from timebank.db import Connection, transaction
from timebank.domain.errors import InvalidInputError
from timebank.domain.ledger import Chain
from timebank.people.access import POLICY, Action, check_may
from timebank.people.approvals import (
    Approval,
    ApprovalState,
    decide,
    get_approval,
    list_approvals,
    propose,
)
from timebank.people.import_approval import PeopleImport
from timebank.people.targets import check_reaches_party


class DecisionBody(Struct, forbid_unknown_fields=True):
    """What is decided about the content whose hash the decider saw."""

    decision: Literal["approved", "rejected"]
    content_hash: Annotated[str, Meta(pattern="^[0-9a-f]{64}" + END)]


class ApprovalView(Struct, frozen=True, kw_only=True):
    """A proposal and what became of it; `content_hash` is what a decision must name."""

    approval_id: UUID
    content: msgspec.Raw
    content_hash: str
    branch_id: UUID
    maker_id: UUID
    proposed_at: datetime
    lapses_at: datetime
    state: ApprovalState
    checker_id: UUID | None
    decided_at: datetime | None


class ApprovalPage(Struct, frozen=True):
    """Proposals, newest first."""

    data: list[ApprovalView]
    next_cursor: str | None
    has_more: bool


@post("/approvals", opt={"action": Action.PROPOSE}, operation_id="propose")
async def propose_a_deed(
    request: Call, data: JSONBody[ProposedDeed], idempotency_key: IdempotencyKey
) -> Response[ApprovalView]:
    """Propose what needs a second person; it lapses after 7 days."""
    seen = None if await was_answered(request) else await examine(request, data)

    async def work(connection: Connection) -> Deed[ApprovalView]:
        examined = seen or await examine(request, data)
        made = await propose(
            connection,
            request.user.bank_id,
            deed=str(data.__struct_config__.tag),
            content=msgspec.json.encode(data, order="sorted"),
            branch_id=examined.branch_id,
            maker_id=request.user.principal_id,
            beneficiaries=examined.beneficiaries,
        )
        return Deed(_view(made), made.approval_id)

    view, headers = await once(request, ApprovalView, work)
    return Response(view, status_code=201, headers=headers)


@post(
    "/approvals/{approval_id:uuid}/decision",
    opt={"action": Action.DECIDE},
    status_code=200,
    operation_id="decide",
)
async def decide_a_proposal(
    request: Call,
    approval_id: FromPath[UUID],
    data: JSONBody[DecisionBody],
    idempotency_key: IdempotencyKey,
) -> Response[ApprovalView]:
    """Approve, and the deed is done in the same commit; or reject."""
    bank_id = request.user.bank_id
    proposed = await _get_seen(request, approval_id, Action.DECIDE)
    deed = msgspec.json.decode(proposed.content, type=StoredDeed)
    chains: list[Chain] = []
    if isinstance(deed, PeopleImport):
        _check_rejects_import(request, data)
    elif not await was_answered(request):  # what was done may be out of reach now, as who is erased
        await examine(request, deed)
        if data.decision == "approved":
            chains = await prepare(request, proposed, deed)

    async def work(connection: Connection) -> Deed[ApprovalView]:
        await decide(
            connection,
            bank_id,
            approval_id,
            checker_id=request.user.principal_id,
            content_hash=bytes.fromhex(data.content_hash),
            state=ApprovalState(data.decision),
            roles=POLICY[ACTIONS[type(deed)]].keys(),
        )
        decided = await get_approval(connection, bank_id, approval_id)
        if decided.state is ApprovalState.APPROVED and not isinstance(deed, PeopleImport):
            await perform(connection, request, decided, deed, chains)
        return Deed(_view(decided), approval_id)

    view, headers = await once(request, ApprovalView, work)
    return Response(view, headers=headers)


@get(
    "/approvals/{approval_id:uuid}",
    opt={"action": Action.READ_APPROVALS},
    operation_id="get_approval",
)
async def read_approval(request: Call, approval_id: FromPath[UUID]) -> ApprovalView:
    """Return a proposal."""
    return _view(await _get_seen(request, approval_id, Action.READ_APPROVALS))


@get("/approvals", opt={"action": Action.READ_APPROVALS}, operation_id="list_approvals")
async def list_proposals(
    request: Call,
    in_state: Annotated[ApprovalState | None, QueryParameter(name="state")] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> ApprovalPage:
    """List proposals of the caller's branch and below, newest first."""
    principal = request.user
    bank = await request.desk.bank(principal.bank_id)
    listed = f"approvals {in_state} within {principal.branch_id}"
    before = UUID(read_cursor(bank.cursor_key, listed, cursor)) if cursor else None
    async with transaction(request.desk.pool) as connection:
        found = await list_approvals(
            connection,
            bank.bank_id,
            state=in_state,
            within=principal.branch_id,
            before=before,
            limit=limit + 1,
        )
    page, more = found[:limit], len(found) > limit
    next_cursor = make_cursor(bank.cursor_key, listed, str(page[-1].approval_id)) if more else None
    return ApprovalPage([_view(approval) for approval in page], next_cursor, more)


def _check_rejects_import(request: Call, data: DecisionBody) -> None:
    """Refuse to approve what needs the list itself, which is kept nowhere."""
    check_may(request.user, Action.IMPORT_PEOPLE)
    if data.decision == "approved":
        raise InvalidInputError(
            "Approve a list of people with the list: timebank people import --approve.",
            pointer="/decision",
        )


async def _get_seen(request: Call, approval_id: UUID, action: Action) -> Approval:
    async with transaction(request.desk.pool) as connection:
        approval = await get_approval(connection, request.user.bank_id, approval_id)
        await check_reaches_party(connection, request.user, action, approval.branch_id)
    return approval


def _view(approval: Approval) -> ApprovalView:
    return ApprovalView(
        approval_id=approval.approval_id,
        content=msgspec.Raw(approval.content),
        content_hash=approval.content_hash.hex(),
        branch_id=approval.branch_id,
        maker_id=approval.maker_id,
        proposed_at=approval.proposed_at,
        lapses_at=approval.lapses_at,
        state=approval.state,
        checker_id=approval.checker_id,
        decided_at=approval.decided_at,
    )


router = Router(
    "/", route_handlers=[propose_a_deed, decide_a_proposal, read_approval, list_proposals]
)
