"""The public check of a certificate: number, period, total and status, and nothing of the person.

A number holds 80 random bits: who was not shown one finds none by trying.
"""

from datetime import date

from litestar import Router
from litestar.params import FromPath
from msgspec import Struct

from timebank.api.call import Call
from timebank.api.operations import find_in_public
from timebank.db import transaction
from timebank.domain.certificates import CertificateStatus
from timebank.people.access import Action
from timebank.service.certificates import check_number


class CertificateView(Struct, frozen=True, kw_only=True):
    """What anybody may know who has the number."""

    number: str
    from_on: date
    until_on: date
    minutes: int
    status: CertificateStatus


@find_in_public(
    "/certificates/{number:str}",
    opt={"action": Action.PUBLIC},
    operation_id="check_certificate",
)
async def check_certificate(request: Call, number: FromPath[str]) -> CertificateView:
    """Check a certificate by its number, without a token: does it stand, and for how much."""
    async with transaction(request.desk.pool) as connection:
        found = await check_number(connection, number)
    return CertificateView(
        number=found.number,
        from_on=found.from_on,
        until_on=found.until_on,
        minutes=found.minutes,
        status=found.status,
    )


router = Router("/", route_handlers=[check_certificate])
