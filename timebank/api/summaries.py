"""What a resident has, over HTTP: confirmed service, hours and points, what expires, and why."""

from uuid import UUID

from litestar import Response, Router
from litestar.params import FromPath
from msgspec import UNSET

from timebank.api.call import Call
from timebank.api.operations import get
from timebank.api.reaching import check_reach
from timebank.api.records import check_resident
from timebank.api.wire_service_views import (
    ExpiryView,
    ExplanationView,
    SummaryView,
)
from timebank.db import Connection, transaction
from timebank.domain.errors import NotFoundError
from timebank.domain.explaining import list_subjects
from timebank.domain.languages import preferred_language
from timebank.domain.ledger import AccountKind, Unit
from timebank.domain.plain_words import explain_in_words
from timebank.ledger.accounts import find_account_of
from timebank.ledger.expiry import find_next_expiry
from timebank.ledger.explaining import explain_balance
from timebank.ledger.passbook import list_balances, list_blocked
from timebank.people.access import Action
from timebank.service.activities import list_titles
from timebank.service.awards import get_totals


@get(
    "/residents/{resident_id:uuid}/summary",
    opt={"action": Action.READ_RECORD},
    operation_id="get_summary",
)
async def read_summary(request: Call, resident_id: FromPath[UUID]) -> SummaryView:
    """Return what a resident has had confirmed, has now, and what of it expires first."""
    bank = await request.desk.bank(request.user.bank_id)
    async with transaction(request.desk.pool) as connection:
        await check_resident(connection, request, resident_id)
        totals = await get_totals(connection, bank.bank_id, resident_id)
        minutes, _ = await _wallet(connection, bank.bank_id, Unit.HOURS, resident_id)
        points, wallet = await _wallet(connection, bank.bank_id, Unit.POINTS, resident_id)
        expiry = await find_next_expiry(connection, bank, wallet) if wallet else None
        blocked = await list_blocked(connection, bank.bank_id, [wallet] if wallet else [])
    return SummaryView(
        resident_id=resident_id,
        records=totals.records,
        minutes_confirmed=totals.minutes,
        points_earned=totals.points,
        minutes=minutes,
        points=points,
        points_available=max(0, points - sum(blocked.values())),
        points_account_id=wallet,
        next_expiry=ExpiryView(expiry.expires_on, expiry.amount) if expiry else UNSET,
    )


async def _wallet(
    connection: Connection, bank_id: int, unit: Unit, owner_id: UUID
) -> tuple[int, UUID | None]:
    """Return what somebody's wallet holds, and which it is; nothing if they have none."""
    wallet = await find_account_of(connection, bank_id, unit, AccountKind.WALLET, owner_id)
    if wallet is None:
        return 0, None
    [balance] = await list_balances(connection, bank_id, [wallet.account_id])
    return balance.balance, wallet.account_id


@get(
    "/accounts/{account_id:uuid}/explanation",
    opt={"action": Action.READ_ACCOUNT},
    operation_id="explain_balance",
)
async def explain_a_balance(request: Call, account_id: FromPath[UUID]) -> Response[ExplanationView]:
    """Say which points paid for what, and where the rest comes from, as `Accept-Language` asks."""
    account = await request.desk.account_seen_by(request.user, account_id)
    if account.unit is not Unit.POINTS or account.kind not in {
        AccountKind.WALLET,
        AccountKind.POOL,
    }:
        raise NotFoundError
    bank = await request.desk.bank(request.user.bank_id)
    async with transaction(request.desk.pool) as connection:
        await check_reach(connection, request, account.owner_id)
        explanation = await explain_balance(connection, bank, account_id)
        titles = await list_titles(connection, bank.bank_id, list_subjects(explanation))
    language = preferred_language(request.headers.get("accept-language", ""))
    sentences = explain_in_words(explanation, language, titles)
    return Response(ExplanationView(language, sentences), headers={"Vary": "Accept-Language"})


router = Router("/", route_handlers=[read_summary, explain_a_balance])
