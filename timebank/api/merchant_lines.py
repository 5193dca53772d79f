"""A merchant's own lines over HTTP, for its system to read without missing one."""

from typing import Annotated
from uuid import UUID

from litestar import Router
from litestar.params import FromPath, QueryParameter

from timebank.api.accounts import Limit
from timebank.api.call import Call
from timebank.api.merchants import check_reaches_merchant
from timebank.api.operations import get
from timebank.api.wire_webhooks import MerchantLinePage, MerchantLineView
from timebank.db import transaction
from timebank.domain.ledger import LARGEST_AMOUNT
from timebank.people.access import Action
from timebank.redemption.merchants import list_lines


@get(
    "/merchants/{merchant_id:uuid}/lines",
    opt={"action": Action.READ_MERCHANT_LINES},
    operation_id="list_merchant_lines",
)
async def read_lines(
    request: Call,
    merchant_id: FromPath[UUID],
    after: Annotated[int, QueryParameter(ge=0, le=LARGEST_AMOUNT)] = 0,
    limit: Limit = 50,
) -> MerchantLinePage:
    """List captures, refunds and what else moved a merchant's points, numbered without gap.

    Lines come after that of number `after`. A number that was seen has none before it that comes
    later, so whoever asks from the last one on misses nothing, and has nothing twice.
    """
    async with transaction(request.desk.pool) as connection:
        await check_reaches_merchant(connection, request, Action.READ_MERCHANT_LINES, merchant_id)
        found = await list_lines(
            connection, request.user.bank_id, merchant_id, after=after, limit=limit + 1
        )
    page = found[:limit]
    views = [
        MerchantLineView(
            seq=line.seq,
            recorded_at=line.recorded_at,
            kind=line.kind,
            transfer_id=line.transfer_id,
            hold_id=line.hold_id,
            points=line.points,
        )
        for line in page
    ]
    return MerchantLinePage(views, page[-1].seq if page else after, len(found) > limit)


router = Router("/", route_handlers=[read_lines])
