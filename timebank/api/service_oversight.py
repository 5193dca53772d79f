"""Service that looks invented, over HTTP: why somebody should look, and holding the activity.

Nothing is decided by a list. While an activity is held none of its records is confirmed, and the
points it brought before cannot be spent; two persons release it.
"""

from datetime import date, timedelta
from uuid import UUID

from litestar import Response, Router
from litestar.params import FromPath, FromQuery, JSONBody
from msgspec import Struct

from timebank.api.call import Call, IdempotencyKey
from timebank.api.once import Deed, do_once
from timebank.api.operations import get, post
from timebank.api.reaching import activity_reached
from timebank.api.wire_service import StepBody, check_days
from timebank.db import Connection, transaction
from timebank.domain.languages import Language, preferred_language
from timebank.domain.suspicions import Reason, describe
from timebank.ledger.expiry import read_today
from timebank.people.access import Action
from timebank.service.anomalies import (
    ActivityHold,
    hold_activity,
    list_held,
    list_suspicions,
    release_activity,
)

_LOOK_BACK = timedelta(days=31)


class SuspicionView(Struct, frozen=True, kw_only=True):
    """What a human should look at: `subject_id` is an activity, a shift or a person.

    Which it is follows from the reason; `other_id` is who did it. `words` name nobody.
    """

    reason: Reason
    words: str
    subject_id: UUID
    other_id: UUID | None
    times: int
    minutes: int


class SuspicionList(Struct, frozen=True):
    """What a human should look at, for each reason those with most service first."""

    data: list[SuspicionView]


class HoldActivityBody(Struct, forbid_unknown_fields=True):
    """Why it is to be examined."""

    reason: Reason


class HeldList(Struct, frozen=True):
    """What is held now, the longest first."""

    data: list[ActivityHold]


@get(
    "/service-anomalies",
    opt={"action": Action.READ_ANOMALIES},
    operation_id="list_service_anomalies",
)
async def read_suspicions(
    request: Call, since: FromQuery[date | None] = None
) -> Response[SuspicionList]:
    """List service since a local day that looks invented, 31 days back if none is given.

    Of a branch: what was served at its activities and wishes. Nothing is decided by it.
    """
    user = request.user
    bank = await request.desk.bank(user.bank_id)
    language = Language(preferred_language(request.headers.get("accept-language", "")))
    async with transaction(request.desk.pool) as connection:
        today = await read_today(connection, bank)
        since = since or today - _LOOK_BACK
        check_days(since, since, "since")
        found = await list_suspicions(connection, bank.bank_id, since, within=user.branch_id)
    views = [
        SuspicionView(
            reason=one.reason,
            words=describe(one, language),
            subject_id=one.subject_id,
            other_id=one.other_id,
            times=one.times,
            minutes=one.minutes,
        )
        for one in found
    ]
    return Response(SuspicionList(views), headers={"Vary": "Accept-Language"})


@post(
    "/activities/{activity_id:uuid}/hold",
    opt={"action": Action.HOLD_ACTIVITY},
    operation_id="hold_activity",
)
async def hold_an_activity(
    request: Call,
    activity_id: FromPath[UUID],
    data: JSONBody[HoldActivityBody],
    idempotency_key: IdempotencyKey,
) -> Response[ActivityHold]:
    """Hold an activity while it is examined; one that is held stays as it was."""

    async def work(connection: Connection) -> Deed[ActivityHold]:
        await activity_reached(connection, request, activity_id)
        held = await hold_activity(
            connection, request.user.bank_id, request.user.principal_id, activity_id, data.reason
        )
        return Deed(held, activity_id)

    return await do_once(request, ActivityHold, work)


@post(
    "/activities/{activity_id:uuid}/release",
    opt={"action": Action.RELEASE_ACTIVITY},
    operation_id="release_activity",
)
async def release_an_activity(
    request: Call,
    activity_id: FromPath[UUID],
    data: JSONBody[StepBody],
    idempotency_key: IdempotencyKey,
) -> Response[ActivityHold]:
    """Propose the release, or release what another proposed.

    Neither made the activity, wrote or decided a record of it or has one, was there, or let
    somebody in or out.
    """

    async def work(connection: Connection) -> Deed[ActivityHold]:
        await activity_reached(connection, request, activity_id)
        held = await release_activity(
            connection, request.user.bank_id, request.user.principal_id, activity_id
        )
        return Deed(held, activity_id)

    return await do_once(request, ActivityHold, work)


@get(
    "/held-activities",
    opt={"action": Action.READ_ANOMALIES},
    operation_id="list_held_activities",
)
async def read_held(request: Call) -> HeldList:
    """List the activities that are held now, within the caller's branch."""
    async with transaction(request.desk.pool) as connection:
        held = await list_held(connection, request.user.bank_id, within=request.user.branch_id)
    return HeldList(held)


router = Router(
    "/",
    route_handlers=[read_suspicions, hold_an_activity, release_an_activity, read_held],
)
