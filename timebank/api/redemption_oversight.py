"""What staff look at: caps, overrides, full shops, and what a human should look into.

Caps are set, and passed once, as deeds of four eyes.
"""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

from litestar import Router
from litestar.params import FromQuery

from timebank.api.accounts import Cursor, Limit
from timebank.api.call import Call
from timebank.api.cursors import make_cursor, read_cursor
from timebank.api.operations import get
from timebank.api.wire_exchange import (
    OverridePage,
    OverrideView,
    SaturationList,
    SaturationView,
)
from timebank.api.wire_redemption import (
    AnomalyList,
    AnomalyView,
    CapList,
    CapView,
    MinorCapView,
)
from timebank.db import Connection, transaction
from timebank.domain.languages import preferred_language
from timebank.domain.redemption import EVERYONE
from timebank.people.access import Action
from timebank.people.kin import find_minor_cap
from timebank.people.parties import list_path_of
from timebank.redemption import caps
from timebank.redemption.anomalies import Anomaly, AnomalyReason, list_anomalies
from timebank.redemption.exchange import (
    SaturationReason,
    find_saturation_bounds,
    list_saturated,
)

_LOOK_BACK = timedelta(days=30)

_WORDS: Mapping[AnomalyReason, Mapping[str, str]] = {
    AnomalyReason.NEAR_CAP: {
        "zh_hans": "有 {} 天几乎用满当日限额",
        "zh_hant": "有 {} 天幾乎用滿當日限額",
        "en": "On {} days nearly all of a day's cap was used",
    },
    AnomalyReason.SAME_PAIR: {
        "zh_hans": "同一店员为同一储户兑换了 {} 次",
        "zh_hant": "同一店員為同一儲戶兌換了 {} 次",
        "en": "The same clerk served the same resident {} times",
    },
    AnomalyReason.FOR_ONESELF: {
        "zh_hans": "为自己兑换了 {} 次",
        "zh_hant": "為自己兌換了 {} 次",
        "en": "Redeemed for themselves {} times",
    },
    AnomalyReason.REFUND_OF_ANOTHERS: {
        "zh_hans": "退了别的店员办理的兑换 {} 次",
        "zh_hant": "退了別的店員辦理的兌換 {} 次",
        "en": "Refunded what another clerk had captured {} times",
    },
    AnomalyReason.REFUNDS_TO_ONE: {
        "zh_hans": "向同一储户退还积分 {} 次",
        "zh_hant": "向同一儲戶退還積分 {} 次",
        "en": "Refunded to the same resident {} times",
    },
    AnomalyReason.GUESSED_CODES: {
        "zh_hans": "输入错误兑换码 {} 次",
        "zh_hant": "輸入錯誤兌換碼 {} 次",
        "en": "Entered wrong codes {} times",
    },
    AnomalyReason.SLIPS_AGAIN: {
        "zh_hans": "同一储户的离线凭单被重复收取 {} 次",
        "zh_hant": "同一儲戶的離線憑單被重複收取 {} 次",
        "en": "Slips of the same resident were taken again {} times",
    },
}

_FULL: Mapping[SaturationReason, Mapping[str, str]] = {
    SaturationReason.ONLY_FILLS: {
        "zh_hans": "收入 {} 分，没有支出：请结算或回赠",
        "zh_hant": "收入 {} 分，沒有支出：請結算或回贈",
        "en": "{} points came in and none went out: settle, or let it give on",
    },
    SaturationReason.FILLS_FASTER: {
        "zh_hans": "收入 {} 分，只支出 {} 分：请结算或回赠",
        "zh_hant": "收入 {} 分，只支出 {} 分：請結算或回贈",
        "en": "{} points came in and only {} went out: settle, or let it give on",
    },
}


@get("/caps", opt={"action": Action.READ_CAPS}, operation_id="list_caps")
async def list_caps(request: Call) -> CapList:
    """List all versions of all caps; caps of an offer stand in the offer."""
    async with transaction(request.desk.pool) as connection:
        found = await caps.list_caps(connection, request.user.bank_id)
    return CapList(
        [
            CapView(
                scope=cap.scope,
                subject_id=cap.subject_id,
                points=cap.points,
                in_force_from=cap.in_force_from,
                set_by=cap.set_by,
            )
            for cap in found
        ]
    )


@get("/minor-cap", opt={"action": Action.READ_CAPS}, operation_id="get_minor_cap")
async def read_minor_cap(request: Call) -> MinorCapView:
    """Return what residents from 14 to 17 may redeem without their guardian; 0 is nothing."""
    async with transaction(request.desk.pool) as connection:
        cap = await find_minor_cap(connection, request.user.bank_id)
    return MinorCapView(cap.points_at_once, cap.points_a_day)


@get("/anomalies", opt={"action": Action.READ_ANOMALIES}, operation_id="list_anomalies")
async def read_anomalies(request: Call, since: FromQuery[date | None] = None) -> AnomalyList:
    """List what a human should look at since a local day, 30 days ago if none is given.

    Of a branch: what is about somebody of the branch or below it. Nothing is decided by it.
    """
    bank_id = request.user.bank_id
    language = preferred_language(request.headers.get("accept-language", ""))
    since = since or datetime.now(UTC).date() - _LOOK_BACK
    async with transaction(request.desk.pool) as connection:
        found = await list_anomalies(connection, bank_id, since)
        if (within := request.user.branch_id) is not None:
            found = [one for one in found if await _is_within(connection, bank_id, one, within)]
    return AnomalyList(
        [
            AnomalyView(
                reason=one.reason,
                words=_WORDS[one.reason][language].format(one.times),
                subject_id=one.subject_id,
                other_id=one.other_id,
                times=one.times,
            )
            for one in found
        ]
    )


@get("/overrides", opt={"action": Action.READ_OVERRIDES}, operation_id="list_overrides")
async def list_overrides(
    request: Call,
    is_used: FromQuery[bool | None] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> OverridePage:
    """List who let whom pass which cap, why, and which act used it; those proposed last first."""
    bank = await request.desk.bank(request.user.bank_id)
    listed = f"overrides used {is_used}"
    before = UUID(read_cursor(bank.cursor_key, listed, cursor)) if cursor else caps.AFTER_ALL
    async with transaction(request.desk.pool) as connection:
        found = await caps.list_overrides(
            connection, bank.bank_id, is_used=is_used, before=before, limit=limit + 1
        )
    page, more = found[:limit], len(found) > limit
    last = str(page[-1].override_id) if more else ""
    next_cursor = make_cursor(bank.cursor_key, listed, last) if more else None
    return OverridePage([_override_view(one) for one in page], next_cursor, more)


def _override_view(override: caps.Override) -> OverrideView:
    return OverrideView(
        override_id=override.override_id,
        scope=override.scope,
        subject_id=override.subject_id,
        offer_id=None if override.offer_id == EVERYONE else override.offer_id,
        amount=override.amount,
        reason=override.reason,
        maker_id=override.maker_id,
        checker_id=override.checker_id,
        granted_at=override.granted_at,
        expires_at=override.expires_at,
        used_by=override.used_by,
        used_at=override.used_at,
    )


@get("/saturation", opt={"action": Action.READ_ANOMALIES}, operation_id="list_saturated")
async def read_saturation(request: Call) -> SaturationList:
    """List shops that only fill up, by the bounds that the bank has set; of a branch, its own."""
    bank_id, within = request.user.bank_id, request.user.branch_id
    language = preferred_language(request.headers.get("accept-language", ""))
    async with transaction(request.desk.pool) as connection:
        bounds = await find_saturation_bounds(connection, bank_id)
        found = await list_saturated(connection, bank_id, bounds, limit=1000)
        if within is not None:
            found = [
                one
                for one in found
                if within in await list_path_of(connection, bank_id, one.merchant_id)
            ]
    return SaturationList(
        days=bounds.days,
        points=bounds.balance,
        percent_out=bounds.percent_out,
        data=[
            SaturationView(
                reason=one.reason,
                words=_FULL[one.reason][language].format(one.came_in, one.went_out),
                merchant_id=one.merchant_id,
                balance=one.balance,
                came_in=one.came_in,
                went_out=one.went_out,
            )
            for one in found
        ],
    )


async def _is_within(
    connection: Connection, bank_id: int, anomaly: Anomaly, branch_id: UUID
) -> bool:
    about = filter(None, (anomaly.subject_id, anomaly.other_id))
    return any([branch_id in await list_path_of(connection, bank_id, party) for party in about])


router = Router(
    "/",
    route_handlers=[list_caps, read_minor_cap, read_anomalies, list_overrides, read_saturation],
)
