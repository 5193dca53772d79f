"""Attendance over HTTP: checking in and out, scan lists, and what waits for a review."""

from uuid import UUID

from litestar import Response, Router
from litestar.params import FromPath, JSONBody

from timebank.api.call import Call, IdempotencyKey
from timebank.api.clock import now
from timebank.api.once import Deed, do_once
from timebank.api.operations import get, post
from timebank.api.reaching import check_reach, person_named, shift_reached
from timebank.api.wire import as_utc
from timebank.api.wire_service import (
    CheckBody,
    CheckInBody,
    CodeBody,
    ReviewBody,
    ScanBody,
    ScansBody,
    StepBody,
)
from timebank.api.wire_service_views import (
    AttendanceList,
    ClosedView,
    ScanResult,
    ScanResults,
    ShownCodeView,
)
from timebank.db import Connection, transaction
from timebank.domain.attendance import CODE_SECONDS
from timebank.domain.errors import NotFoundError
from timebank.domain.service import Attendance, Scan, ScanOutcome
from timebank.people.access import Action
from timebank.service import attendance
from timebank.service.scans import upload_scans


@get(
    "/shifts/{shift_id:uuid}/attendances",
    opt={"action": Action.READ_ROSTER},
    operation_id="list_attendances",
)
async def list_who_came(request: Call, shift_id: FromPath[UUID]) -> AttendanceList:
    """List who came to a shift."""
    async with transaction(request.desk.pool) as connection:
        await shift_reached(connection, request, shift_id)
        found = await attendance.list_attendances(connection, request.user.bank_id, shift_id)
    return AttendanceList(found)


@get("/shifts/{shift_id:uuid}/code", opt={"action": Action.SHOW_CODE}, operation_id="get_code")
async def show_code(request: Call, shift_id: FromPath[UUID]) -> Response[ShownCodeView]:
    """Return the code to show at the activity now."""
    at = now()
    async with transaction(request.desk.pool) as connection:
        await shift_reached(connection, request, shift_id)
        code = await attendance.get_code(connection, request.user.bank_id, shift_id, at)
    left = CODE_SECONDS - int(at.timestamp()) % CODE_SECONDS
    return Response(ShownCodeView(code, left), headers={"Cache-Control": "no-store"})


@post("/shifts/{shift_id:uuid}/check-ins", opt={"action": Action.CHECK_IN}, operation_id="check_in")
async def check_somebody_in(
    request: Call,
    shift_id: FromPath[UUID],
    data: JSONBody[CheckInBody],
    idempotency_key: IdempotencyKey,
) -> Response[Attendance]:
    """Check a person in whom the coordinator sees; the server's time counts."""

    async def work(connection: Connection) -> Deed[Attendance]:
        await shift_reached(connection, request, shift_id)
        came = await attendance.check_in(
            connection,
            request.user.bank_id,
            request.user.principal_id,
            shift_id=shift_id,
            person_id=await person_named(connection, request, data.card, data.resident_id),
            team_id=data.team_id,
            now=now(),
        )
        return Deed(came, came.attendance_id)

    return await do_once(request, Attendance, work)


@post(
    "/shifts/{shift_id:uuid}/check-outs", opt={"action": Action.CHECK_IN}, operation_id="check_out"
)
async def check_somebody_out(
    request: Call,
    shift_id: FromPath[UUID],
    data: JSONBody[CheckBody],
    idempotency_key: IdempotencyKey,
) -> Response[Attendance]:
    """Check a person out whom the coordinator sees."""

    async def work(connection: Connection) -> Deed[Attendance]:
        await shift_reached(connection, request, shift_id)
        came = await attendance.check_out(
            connection,
            request.user.bank_id,
            request.user.principal_id,
            shift_id=shift_id,
            person_id=await person_named(connection, request, data.card, data.resident_id),
            now=now(),
        )
        return Deed(came, came.attendance_id)

    return await do_once(request, Attendance, work)


@post(
    "/shifts/{shift_id:uuid}/check-ins/by-code",
    opt={"action": Action.CHECK_IN_BY_CODE},
    operation_id="check_in_by_code",
)
async def check_oneself_in(
    request: Call,
    shift_id: FromPath[UUID],
    data: JSONBody[CodeBody],
    idempotency_key: IdempotencyKey,
) -> Response[Attendance]:
    """Check oneself in with the code that is shown at the activity."""
    person_id = request.user.principal_id

    async def work(connection: Connection) -> Deed[Attendance]:
        await check_reach(connection, request, person_id)
        came = await attendance.check_in_by_code(
            connection,
            request.user.bank_id,
            shift_id=shift_id,
            person_id=person_id,
            code=data.code,
            now=now(),
        )
        return Deed(came, came.attendance_id)

    return await do_once(request, Attendance, work)


@post(
    "/shifts/{shift_id:uuid}/check-outs/by-code",
    opt={"action": Action.CHECK_IN_BY_CODE},
    operation_id="check_out_by_code",
)
async def check_oneself_out(
    request: Call,
    shift_id: FromPath[UUID],
    data: JSONBody[CodeBody],
    idempotency_key: IdempotencyKey,
) -> Response[Attendance]:
    """Check oneself out with the code that is shown at the activity."""
    person_id = request.user.principal_id

    async def work(connection: Connection) -> Deed[Attendance]:
        await check_reach(connection, request, person_id)
        came = await attendance.check_out_by_code(
            connection,
            request.user.bank_id,
            shift_id=shift_id,
            person_id=person_id,
            code=data.code,
            now=now(),
        )
        return Deed(came, came.attendance_id)

    return await do_once(request, Attendance, work)


@post("/scans", opt={"action": Action.UPLOAD_SCANS}, operation_id="upload_scans")
async def upload_a_scan_list(
    request: Call, data: JSONBody[ScansBody], idempotency_key: IdempotencyKey
) -> Response[ScanResults]:
    """Upload what a device kept while it was offline; each scan counts once."""

    async def work(connection: Connection) -> Deed[ScanResults]:
        outcomes: dict[UUID, ScanOutcome] = {}
        known: list[Scan] = []
        reached: dict[UUID, bool] = {}
        for place, row in enumerate(data.scans):
            if row.shift_id not in reached:
                reached[row.shift_id] = await _reaches(connection, request, row.shift_id)
            scan = await _scan(connection, request, row, f"/scans/{place}")
            if not reached[row.shift_id]:
                outcomes[row.scan_id] = ScanOutcome.SHIFT_NOT_FOUND
            elif scan is None:
                outcomes[row.scan_id] = ScanOutcome.PERSON_NOT_FOUND
            else:
                known.append(scan)
        results = await upload_scans(
            connection, request.user.bank_id, request.user.principal_id, known, now()
        )
        outcomes |= {scan.scan_id: result for scan, result in zip(known, results, strict=True)}
        told = [ScanResult(row.scan_id, outcomes[row.scan_id]) for row in data.scans]
        return Deed(ScanResults(told), None)

    return await do_once(request, ScanResults, work)


async def _reaches(connection: Connection, request: Call, shift_id: UUID) -> bool:
    try:
        await shift_reached(connection, request, shift_id)
    except NotFoundError:
        return False
    return True


async def _scan(connection: Connection, request: Call, row: ScanBody, pointer: str) -> Scan | None:
    """Return the scan of a row; None if its card is nobody's."""
    at = as_utc(row.scanned_at, f"{pointer}/scanned_at")
    try:
        person_id = await person_named(connection, request, row.card, row.resident_id)
    except NotFoundError:
        return None
    return Scan(
        scan_id=row.scan_id,
        shift_id=row.shift_id,
        person_id=person_id,
        is_arrival=row.is_arrival,
        scanned_at=at,
    )


@post(
    "/attendances/closing",
    opt={"action": Action.REVIEW_ATTENDANCE},
    operation_id="close_forgotten_attendances",
)
async def close_forgotten(
    request: Call, data: JSONBody[StepBody], idempotency_key: IdempotencyKey
) -> Response[ClosedView]:
    """Close at the planned end what nobody checked out of in time; it then waits for a review.

    Whoever asks, it is done for the whole bank: what it writes is what the rules say.
    """

    async def work(connection: Connection) -> Deed[ClosedView]:
        closed = await attendance.close_forgotten(connection, request.user.bank_id, now())
        return Deed(ClosedView(len(closed)), None)

    return await do_once(request, ClosedView, work)


@post(
    "/attendances/{attendance_id:uuid}/review",
    opt={"action": Action.REVIEW_ATTENDANCE},
    operation_id="review_attendance",
)
async def review_an_attendance(
    request: Call,
    attendance_id: FromPath[UUID],
    data: JSONBody[ReviewBody],
    idempotency_key: IdempotencyKey,
) -> Response[Attendance]:
    """Say when somebody left whose check-out was forgotten (待核)."""
    left_at = as_utc(data.checked_out_at, "/checked_out_at")

    async def work(connection: Connection) -> Deed[Attendance]:
        came = await attendance.get_attendance(connection, request.user.bank_id, attendance_id)
        await shift_reached(connection, request, came.shift_id)
        reviewed = await attendance.review_attendance(
            connection, request.user.bank_id, request.user.principal_id, attendance_id, left_at
        )
        return Deed(reviewed, attendance_id)

    return await do_once(request, Attendance, work)


router = Router(
    "/",
    route_handlers=[
        list_who_came,
        show_code,
        check_somebody_in,
        check_somebody_out,
        check_oneself_in,
        check_oneself_out,
        upload_a_scan_list,
        close_forgotten,
        review_an_attendance,
    ],
)
