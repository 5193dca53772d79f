"""Paper over HTTP: runs of numbered sheets, entered or voided, and the numbers that are missing."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from litestar import Response, Router
from litestar.params import FromPath, FromQuery, JSONBody
from msgspec import Meta, Struct

from timebank.api.call import Call, IdempotencyKey
from timebank.api.once import Deed, once
from timebank.api.operations import get, post
from timebank.api.paper import check_reaches_sheets, check_were_issued, use_paper
from timebank.api.people_wire import PaperBody, SheetNumber
from timebank.db import Connection, transaction
from timebank.domain.errors import NotFoundError
from timebank.domain.numbers import add_check, parse_sheet_number
from timebank.people.access import Action
from timebank.people.parties import PartyKind, is_party
from timebank.people.sheets import (
    LARGEST_RUN,
    SheetKind,
    SheetRun,
    VoidReason,
    issue_sheets,
    list_missing,
    list_runs,
    void_sheets,
)
from timebank.people.targets import check_reaches_party, check_reaches_person


class IssueSheetsBody(Struct, forbid_unknown_fields=True):
    """How many sheets of which form, for which branch, that has to account for every one."""

    count: Annotated[int, Meta(ge=1, le=LARGEST_RUN)]
    kind: SheetKind
    issued_to: UUID


class SheetRunView(Struct, frozen=True, kw_only=True):
    """A run; the numbers to print are those that `missing` lists at first."""

    first_number: str
    last_number: str
    count: int
    kind: SheetKind
    issued_to: UUID
    issued_at: datetime


class SheetRunList(Struct, frozen=True):
    """Runs in the order of their numbers."""

    data: list[SheetRunView]


class MissingList(Struct, frozen=True):
    """Numbers that were neither entered, named by a record of service, nor voided."""

    data: list[str]


class EnterSheetBody(Struct, forbid_unknown_fields=True):
    """A sheet that is typed in for a member, before a witness."""

    kind: SheetKind
    member_id: UUID
    paper: PaperBody


class SheetView(Struct, frozen=True):
    """The sheet that was entered."""

    sheet: str


class VoidSheetsBody(Struct, forbid_unknown_fields=True):
    """Which sheets will never be entered, and why."""

    sheets: Annotated[list[SheetNumber], Meta(min_length=1, max_length=1000)]
    reason: VoidReason


class VoidedView(Struct, frozen=True):
    """How many were voided."""

    voided: int


@post("/sheet-runs", opt={"action": Action.ISSUE_SHEETS}, operation_id="issue_sheets")
async def issue(
    request: Call, data: JSONBody[IssueSheetsBody], idempotency_key: IdempotencyKey
) -> Response[SheetRunView]:
    """Take the next run of numbers, to be printed for a branch."""
    principal = request.user

    async def work(connection: Connection) -> Deed[SheetRunView]:
        if not await is_party(connection, principal.bank_id, data.issued_to, PartyKind.BRANCH):
            raise NotFoundError
        await check_reaches_party(connection, principal, Action.ISSUE_SHEETS, data.issued_to)
        run = await issue_sheets(
            connection,
            principal.bank_id,
            data.count,
            data.kind,
            issued_to=data.issued_to,
            issued_by=principal.principal_id,
        )
        return Deed(_run_view(run), data.issued_to)

    view, headers = await once(request, SheetRunView, work)
    return Response(view, status_code=201, headers=headers)


@get("/sheet-runs", opt={"action": Action.READ_SHEETS}, operation_id="list_sheet_runs")
async def read_runs(request: Call, issued_to: FromQuery[UUID | None] = None) -> SheetRunList:
    """List the runs within the caller's branch, of one branch if given."""
    async with transaction(request.desk.pool) as connection:
        runs = await list_runs(
            connection, request.user.bank_id, issued_to, within=request.user.branch_id
        )
    return SheetRunList([_run_view(run) for run in runs])


@get(
    "/sheet-runs/{first_number:str}/missing",
    opt={"action": Action.READ_SHEETS},
    operation_id="list_missing_sheets",
)
async def read_missing(request: Call, first_number: FromPath[str]) -> MissingList:
    """List the numbers of a run that were neither entered, named by a record, nor voided."""
    number, principal = parse_sheet_number(first_number), request.user
    async with transaction(request.desk.pool) as connection:
        await check_reaches_sheets(connection, request, [number])
        missing = await list_missing(connection, principal.bank_id, number)
    return MissingList([add_check(one) for one in missing])


@post("/sheets/entries", opt={"action": Action.ENTER_SHEET}, operation_id="enter_sheet")
async def enter(
    request: Call, data: JSONBody[EnterSheetBody], idempotency_key: IdempotencyKey
) -> Response[SheetView]:
    """Note that a member's sheet was typed in; one that was entered or voided before is found."""

    async def work(connection: Connection) -> Deed[SheetView]:
        await check_reaches_person(connection, request.user, Action.ENTER_SHEET, data.member_id)
        number = await use_paper(connection, request, data.paper, data.kind, data.member_id)
        return Deed(SheetView(add_check(number or 0)), data.member_id)

    view, headers = await once(request, SheetView, work)
    return Response(view, status_code=201, headers=headers)


@post("/sheets/voids", opt={"action": Action.VOID_SHEETS}, operation_id="void_sheets")
async def void(
    request: Call, data: JSONBody[VoidSheetsBody], idempotency_key: IdempotencyKey
) -> Response[VoidedView]:
    """Take sheets out of use for good, all or none."""
    principal = request.user
    numbers = sorted({parse_sheet_number(sheet) for sheet in data.sheets})

    async def work(connection: Connection) -> Deed[VoidedView]:
        await check_were_issued(connection, request, numbers)
        await void_sheets(
            connection,
            principal.bank_id,
            numbers,
            data.reason,
            operator_id=principal.principal_id,
        )
        return Deed(VoidedView(len(numbers)), None)

    view, headers = await once(request, VoidedView, work)
    return Response(view, status_code=201, headers=headers)


def _run_view(run: SheetRun) -> SheetRunView:
    return SheetRunView(
        first_number=add_check(run.first_number),
        last_number=add_check(run.last_number),
        count=run.last_number - run.first_number + 1,
        kind=run.kind,
        issued_to=run.issued_to,
        issued_at=run.issued_at,
    )


router = Router("/", route_handlers=[issue, read_runs, read_missing, enter, void])
