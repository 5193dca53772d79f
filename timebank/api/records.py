"""Service records over HTTP: drafted, handed in, decided by another, and taken back."""

from collections.abc import Awaitable, Callable, Iterable
from typing import TypeAlias
from uuid import UUID

from litestar import Response, Router
from litestar.params import FromPath, JSONBody

from timebank.api.accounts import Cursor, Limit
from timebank.api.call import Call, IdempotencyKey
from timebank.api.cursors import cut_page, read_cursor, read_day_and_id
from timebank.api.once import Deed, do_once
from timebank.api.operations import get, post
from timebank.api.paper import check_attendance_sheets
from timebank.api.reaching import check_reach, records_reached, shift_reached
from timebank.api.wire import as_utc
from timebank.api.wire_service import (
    ClaimsBody,
    RecordIdsBody,
    RecordReversalBody,
    StepBody,
)
from timebank.api.wire_service_views import (
    AwardList,
    RecordList,
    RecordPage,
    RecordView,
    view_record,
)
from timebank.db import Connection, transaction
from timebank.domain.ledger import Unit
from timebank.domain.service import Claim, ServiceRecord
from timebank.people.access import Action
from timebank.people.approvals import check_reversal_alone
from timebank.people.parties import check_persons, list_persons_behind
from timebank.service import records
from timebank.service.awards import AwardReversal, confirm_records, find_award, reverse_record

Step: TypeAlias = Callable[[Connection], Awaitable[Iterable[ServiceRecord]]]


async def _take_step(
    request: Call, record_ids: list[UUID], step: Step, object_id: UUID | None = None
) -> Response[RecordList]:
    """Take a step with all these records within the caller's reach, or none."""

    async def work(connection: Connection) -> Deed[RecordList]:
        if record_ids:
            await records_reached(connection, request, record_ids)
        return Deed(_view(await step(connection)), object_id)

    return await do_once(request, RecordList, work)


def _view(found: Iterable[ServiceRecord]) -> RecordList:
    return RecordList([view_record(record) for record in found])


@post(
    "/shifts/{shift_id:uuid}/records",
    opt={"action": Action.WRITE_RECORD},
    operation_id="record_attendances",
)
async def record_a_roster(
    request: Call,
    shift_id: FromPath[UUID],
    data: JSONBody[StepBody],
    idempotency_key: IdempotencyKey,
) -> Response[RecordList]:
    """Draft a record of each attendance at a shift that has none yet."""

    async def step(connection: Connection) -> Iterable[ServiceRecord]:
        await shift_reached(connection, request, shift_id)
        return await records.record_attendances(
            connection, request.user.bank_id, request.user.principal_id, shift_id
        )

    return await _take_step(request, [], step, shift_id)


@post("/service-records", opt={"action": Action.WRITE_RECORD}, operation_id="claim_service")
async def claim_service(
    request: Call, data: JSONBody[ClaimsBody], idempotency_key: IdempotencyKey
) -> Response[RecordList]:
    """Draft back-filled records, and those of a sheet of paper: all of them, or none."""
    claims = [
        Claim(
            person_id=one.resident_id,
            shift_id=one.shift_id,
            started_at=as_utc(one.started_at, f"/claims/{place}/started_at"),
            ended_at=as_utc(one.ended_at, f"/claims/{place}/ended_at"),
            evidence=one.evidence.as_evidence(),
        )
        for place, one in enumerate(data.claims)
    ]

    async def step(connection: Connection) -> Iterable[ServiceRecord]:
        for shift_id in {claim.shift_id for claim in claims}:
            await shift_reached(connection, request, shift_id)
        await check_attendance_sheets(connection, request, [claim.evidence for claim in claims])
        return await records.claim_service(
            connection, request.user.bank_id, request.user.principal_id, claims
        )

    return await _take_step(request, [], step)


@post(
    "/service-records/submission",
    opt={"action": Action.WRITE_RECORD},
    operation_id="submit_records",
)
async def submit_records(
    request: Call, data: JSONBody[RecordIdsBody], idempotency_key: IdempotencyKey
) -> Response[RecordList]:
    """Hand drafts in for somebody else to decide: all of them, or none."""

    async def step(connection: Connection) -> Iterable[ServiceRecord]:
        return await records.submit_records(connection, request.user.bank_id, data.record_ids)

    return await _take_step(request, data.record_ids, step)


@post(
    "/service-records/rejection",
    opt={"action": Action.DECIDE_RECORD},
    operation_id="reject_records",
)
async def reject_records(
    request: Call, data: JSONBody[RecordIdsBody], idempotency_key: IdempotencyKey
) -> Response[RecordList]:
    """Decide that records do not count: all of them, or none."""

    async def step(connection: Connection) -> Iterable[ServiceRecord]:
        return await records.reject_records(
            connection, request.user.bank_id, request.user.principal_id, data.record_ids
        )

    return await _take_step(request, data.record_ids, step)


@post(
    "/service-records/confirmation",
    opt={"action": Action.DECIDE_RECORD},
    operation_id="confirm_records",
)
async def confirm_a_roster(
    request: Call, data: JSONBody[RecordIdsBody], idempotency_key: IdempotencyKey
) -> Response[AwardList]:
    """Confirm records and award their hours and points: all of them, or none.

    Whoever wrote a record down or served does not confirm it.
    """

    async def work(connection: Connection) -> Deed[AwardList]:
        await records_reached(connection, request, data.record_ids)
        awards = await confirm_records(
            connection, request.user.bank_id, request.user.principal_id, data.record_ids
        )
        return Deed(AwardList(awards), None)

    return await do_once(request, AwardList, work)


@post(
    "/service-records/{record_id:uuid}/reversal",
    opt={"action": Action.REVERSE_RECORD},
    operation_id="reverse_record",
)
async def reverse_a_record(
    request: Call,
    record_id: FromPath[UUID],
    data: JSONBody[RecordReversalBody],
    idempotency_key: IdempotencyKey,
) -> Response[AwardReversal]:
    """Take a confirmed record back with its hours and points; a large one needs a second person."""
    user = request.user

    async def work(connection: Connection) -> Deed[AwardReversal]:
        [record] = await records_reached(connection, request, [record_id])
        award = await find_award(connection, user.bank_id, record_id)
        points = award.points if award else 0
        check_reversal_alone(
            user.principal_id,
            await list_persons_behind(connection, user.bank_id, [record.person_id]),
            [(Unit.HOURS, record.minutes), (Unit.POINTS, points)],
        )
        taken_back = await reverse_record(
            connection,
            user.bank_id,
            user.principal_id,
            record_id,
            reason=data.reason,
            when_spent=data.when_spent,
        )
        return Deed(taken_back, record_id)

    return await do_once(request, AwardReversal, work)


@get(
    "/service-records/{record_id:uuid}",
    opt={"action": Action.READ_RECORD},
    operation_id="get_record",
)
async def read_record(request: Call, record_id: FromPath[UUID]) -> RecordView:
    """Return a record."""
    async with transaction(request.desk.pool) as connection:
        [record] = await records_reached(connection, request, [record_id])
    return view_record(record)


@get(
    "/shifts/{shift_id:uuid}/records",
    opt={"action": Action.READ_ROSTER},
    operation_id="list_records_of_shift",
)
async def list_records_of_shift(
    request: Call, shift_id: FromPath[UUID], cursor: Cursor = None, limit: Limit = 50
) -> RecordPage:
    """List the records of a shift, of any status, in the order in which they were made."""
    bank = await request.desk.bank(request.user.bank_id)
    listed = f"records of shift {shift_id}"
    after = UUID(read_cursor(bank.cursor_key, listed, cursor)) if cursor else None
    async with transaction(request.desk.pool) as connection:
        await shift_reached(connection, request, shift_id)
        found = await records.list_records_of_shift(
            connection, bank.bank_id, shift_id, after=after, limit=limit + 1
        )
    page, next_cursor, more = cut_page(
        found, limit, bank.cursor_key, listed, lambda record: str(record.record_id)
    )
    return RecordPage([view_record(record) for record in page], next_cursor, more)


@get(
    "/residents/{resident_id:uuid}/service-records",
    opt={"action": Action.READ_RECORD},
    operation_id="list_records_of_resident",
)
async def list_records_of_resident(
    request: Call, resident_id: FromPath[UUID], cursor: Cursor = None, limit: Limit = 50
) -> RecordPage:
    """List a resident's records of any status, the latest day first."""
    bank = await request.desk.bank(request.user.bank_id)
    listed = f"records of resident {resident_id}"
    before = read_day_and_id(bank.cursor_key, listed, cursor) if cursor else None
    async with transaction(request.desk.pool) as connection:
        await check_resident(connection, request, resident_id)
        found = await records.list_records_of_person(
            connection, bank.bank_id, resident_id, before=before, limit=limit + 1
        )
    page, next_cursor, more = cut_page(
        found,
        limit,
        bank.cursor_key,
        listed,
        lambda record: f"{record.served_on} {record.record_id}",
    )
    return RecordPage([view_record(record) for record in page], next_cursor, more)


async def check_resident(connection: Connection, request: Call, resident_id: UUID) -> None:
    """Raise NotFoundError unless there is such a person within the caller's reach."""
    await check_reach(connection, request, resident_id)
    await check_persons(connection, request.user.bank_id, [resident_id])


router = Router(
    "/",
    route_handlers=[
        record_a_roster,
        claim_service,
        submit_records,
        reject_records,
        confirm_a_roster,
        reverse_a_record,
        read_record,
        list_records_of_shift,
        list_records_of_resident,
    ],
)
