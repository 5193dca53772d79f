"""Rates and caps over HTTP, and what if they were others; they change through four eyes only."""

from typing import Annotated
from uuid import UUID

import msgspec
from litestar import Router
from litestar.params import FromPath, QueryParameter

from timebank.api.accounts import Cursor, Limit
from timebank.api.activities import FromDay, UntilDay
from timebank.api.call import Call
from timebank.api.cursors import cut_page, read_day_and_id
from timebank.api.operations import get
from timebank.api.reaching import check_reach
from timebank.api.wire_service import check_days
from timebank.api.wire_service_views import CapsList, RatePage
from timebank.db import transaction
from timebank.domain.errors import InvalidInputError
from timebank.domain.rates import HIGHEST_RATE
from timebank.people.access import Action
from timebank.service import rates
from timebank.service.categories import get_category
from timebank.service.what_if import WhatIf, what_if

RateQuestion = Annotated[
    list[str],
    QueryParameter(
        name="rate",
        min_items=1,
        max_items=50,
        description="category_id:points_per_hour, once for each category asked about",
    ),
]


@get(
    "/categories/{category_id:uuid}/rates",
    opt={"action": Action.READ_PROGRAMME},
    operation_id="list_rates",
)
async def list_rates(
    request: Call, category_id: FromPath[UUID], cursor: Cursor = None, limit: Limit = 50
) -> RatePage:
    """List the versions of a category's rate, proposed or approved, by the day they begin."""
    bank = await request.desk.bank(request.user.bank_id)
    listed = f"rates of {category_id}"
    after = read_day_and_id(bank.cursor_key, listed, cursor) if cursor else None
    async with transaction(request.desk.pool) as connection:
        await get_category(connection, bank.bank_id, category_id)
        found = await rates.list_rates(
            connection, bank.bank_id, category_id, after=after, limit=limit + 1
        )
    return RatePage(
        *cut_page(found, limit, bank.cursor_key, listed, lambda r: f"{r.effective_on} {r.rate_id}")
    )


@get(
    "/service-caps",
    opt={"action": Action.READ_PROGRAMME},
    operation_id="list_service_caps",
)
async def list_service_caps(request: Call) -> CapsList:
    """List how much may be confirmed of a day, by the day from which on."""
    async with transaction(request.desk.pool) as connection:
        return CapsList(await rates.list_caps(connection, request.user.bank_id))


@get("/what-if", opt={"action": Action.ASK_WHAT_IF}, operation_id="what_if")
async def ask_what_if(
    request: Call, rate: RateQuestion, from_on: FromDay, until_on: UntilDay
) -> WhatIf:
    """Replay confirmed service under other rates; nothing is written."""
    check_days(from_on, until_on, "until")
    asked = dict(_read_rate(one) for one in rate)
    async with transaction(request.desk.pool) as connection:
        await check_reach(connection, request, None)
        for category_id in asked:
            await get_category(connection, request.user.bank_id, category_id)
        return await what_if(connection, request.user.bank_id, asked, from_on, until_on)


def _read_rate(text: str) -> tuple[UUID, int]:
    """Return category and points of a question; InvalidInputError unless it is one."""
    category, _, points = text.partition(":")
    try:
        category_id = msgspec.convert(category, UUID)
        per_hour = int(points) if points.isascii() and points.isdigit() else -1
    except (ValueError, msgspec.ValidationError) as error:
        raise InvalidInputError("Write category_id:points_per_hour.", pointer="rate") from error
    if not 0 <= per_hour <= HIGHEST_RATE:
        raise InvalidInputError(f"A rate is from 0 to {HIGHEST_RATE:,}.", pointer="rate")
    return category_id, per_hour


router = Router("/", route_handlers=[list_rates, list_service_caps, ask_what_if])
