"""What every counter operation does with the signed sheet, and what the access log is told."""

from collections.abc import Sequence
from uuid import UUID

from timebank.api.call import Call
from timebank.api.people_wire import PaperBody
from timebank.api.reaching import check_reach
from timebank.api.request_ids import name_request
from timebank.db import Connection
from timebank.domain.errors import InvalidInputError, NotFoundError, SheetNotIssuedError
from timebank.domain.numbers import parse_sheet_number
from timebank.domain.service import Evidence
from timebank.people.access import Role
from timebank.people.sheets import SheetKind, check_sheets, enter_sheet, list_holders
from timebank.people.vault import Access, Purpose


def access_of(request: Call, purpose: Purpose) -> Access:
    """Return who asks for personal data here, and what for."""
    return Access(
        bank_id=request.user.bank_id,
        reader_id=request.user.principal_id,
        purpose=purpose,
        request_id=name_request(request.scope).decode(),
    )


def check_paper(request: Call, paper: PaperBody | None, by_id: UUID | None = None) -> None:
    """Raise InvalidInputError unless there is paper at a counter; a resident's login needs none."""
    at_counter = request.user.role is not Role.RESIDENT
    if at_counter and paper is None:
        raise InvalidInputError("Give the signed sheet and its witness.", pointer="/paper")
    if not at_counter and (paper or by_id):
        raise InvalidInputError("Your login stands for you.", pointer="/paper")


async def check_reaches_sheets(
    connection: Connection, request: Call, numbers: Sequence[int]
) -> None:
    """Raise NotFoundError unless the caller reaches all to whom these sheets were issued."""
    for holder in await list_holders(connection, request.user.bank_id, numbers):
        await check_reach(connection, request, holder)


async def check_were_issued(connection: Connection, request: Call, numbers: Sequence[int]) -> None:
    """Raise SheetNotIssuedError for sheets that others have to account for."""
    try:
        await check_reaches_sheets(connection, request, numbers)
    except NotFoundError as error:
        raise SheetNotIssuedError from error


async def check_attendance_sheets(
    connection: Connection, request: Call, evidence: Sequence[Evidence]
) -> None:
    """Check the sheets that records of service name; each has lines of many, so none is used up.

    SheetNotIssuedError, also for sheets of a branch out of reach; SheetUsedError for a voided one.
    """
    numbers = {int(one.sheet_number) // 100 for one in evidence if one.sheet_number}
    await check_were_issued(connection, request, sorted(numbers))
    await check_sheets(connection, request.user.bank_id, sorted(numbers), SheetKind.ATTENDANCE)


async def use_paper(
    connection: Connection,
    request: Call,
    paper: PaperBody | None,
    kind: SheetKind,
    member_id: UUID,
    *,
    subject_id: UUID | None = None,
) -> int | None:
    """Enter the sheet for this member and return its number; None where there is none.

    `subject_id` is what was recorded from it. As `enter_sheet`; a sheet that was given to a branch
    out of reach looks as if it had not been issued.
    """
    if paper is None:
        return None
    number = parse_sheet_number(paper.sheet)
    await check_were_issued(connection, request, [number])
    await enter_sheet(
        connection,
        request.user.bank_id,
        number,
        kind,
        member_id=member_id,
        operator_id=request.user.principal_id,
        witness_id=paper.witness_id,
        subject_id=subject_id,
    )
    return number
