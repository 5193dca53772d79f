"""`timebank staff`: the way in for people who run the programme, from the very first one on."""

import sys
from typing import Any
from uuid import UUID

import click
import httpx
import segno

from timebank.cli.running import ask, command, err, out, settings_from_environment
from timebank.database import open_database
from timebank.db import Connection, transaction
from timebank.domain.errors import NotFoundError, TimebankError
from timebank.ledger.banks import get_bank
from timebank.ledger.ids import new_id
from timebank.people.access import Role
from timebank.people.grants import OPERATOR_ID, grant_role, list_grants
from timebank.people.login.credentials import find_staff_member
from timebank.people.login.enrolments import INVITATION_LIFETIME, invite
from timebank.people.login.logins import STAFF_ROLES
from timebank.people.parties import PartyKind, register_parties

_ROLES = sorted(role.value for role in STAFF_ROLES)


@click.group()
def staff() -> None:
    """Coordinators, auditors and administrators: invite, enrol."""


@staff.command("invite")
@click.option("--bank", "bank_code", default="demo", show_default=True)
@click.option("--role", type=click.Choice(_ROLES), help="Of a new person.")
@click.option("--again", "staff_number", help="The number of one who lost password or telephone.")
@command
async def invite_staff(bank_code: str, role: str | None, staff_number: str | None) -> None:
    """Print a code, once, with which somebody chooses a password and takes a second factor.

    There is no password to begin with: whoever may run commands on this machine invites the first
    administrator, and nobody but the invited person ever knows what they chose. A merchant's people
    are invited over HTTP, by one person, and confirmed by another.

    \b
    Example:
      timebank staff invite --bank jianxi --role administrator
      timebank staff invite --bank jianxi --again 40718263
    """
    if (role is None) == (staff_number is None):
        raise click.UsageError("Give --role for a new person, or --again for a known one.")
    async with open_database(settings_from_environment()) as pool, transaction(pool) as connection:
        bank = await get_bank(connection, bank_code)
        if staff_number:
            person = await find_staff_member(connection, bank.bank_id, staff_number)
            if person is None or not await _is_staff(connection, bank.bank_id, person):
                raise NotFoundError(
                    f"Nobody who works for {bank_code} itself has the number {staff_number}."
                )
        else:
            person = await _make_person(connection, bank.bank_id, Role(str(role)))
        code = await invite(connection, bank.bank_id, person, OPERATOR_ID)
    hours = int(INVITATION_LIFETIME.total_seconds() // 3600)
    err.print(
        f"An invitation to {bank_code}, good for {hours} hours and one enrolment. Hand it over in "
        f"person; they run: timebank staff enrol --bank {bank_code}",
        soft_wrap=True,
    )
    click.echo(code)


async def _is_staff(connection: Connection, bank_id: int, person: UUID) -> bool:
    grants = await list_grants(connection, bank_id, person)
    return any(grant.role in STAFF_ROLES for grant in grants)


async def _make_person(connection: Connection, bank_id: int, role: Role) -> UUID:
    person = new_id()
    await register_parties(connection, bank_id, PartyKind.PERSON, [person])
    await grant_role(
        connection,
        bank_id,
        person,
        role,
        None,
        granted_by=OPERATOR_ID,
        approved_by=OPERATOR_ID,
    )
    return person


@staff.command()
@click.option("--bank", "bank_code", default="demo", show_default=True)
@click.option("--url", help="The service; http://127.0.0.1:8470, or as TIMEBANK_… say.")
@command
async def enrol(bank_code: str, url: str | None) -> None:
    """Choose a password and take the second factor into an authenticator program.

    Asks for the code of the invitation; may be run again until it has succeeded, and shows another
    second factor each time: the last one counts.

    \b
    Example:
      timebank staff enrol --bank jianxi
    """
    settings = settings_from_environment()
    url = url or f"http://{settings.host}:{settings.port}"
    given = {"bank": bank_code, "code": ask("Code of the invitation")}
    async with httpx.AsyncClient(base_url=url, timeout=30) as http:
        factor = await _post(http, "/api/v1/enrolments", given)
        segno.make(factor["otpauth_uri"]).terminal(out=sys.stdout, compact=True)
        out.print(
            f"Scan this with an authenticator program, or type in {factor['secret']}",
            soft_wrap=True,
        )
        given["password"] = ask(
            "Choose a password of 12 characters or more", hidden=True, twice=True
        )
        given["totp"] = ask("The six digits that the program shows now")
        done = await _post(http, "/api/v1/enrolments/completion", given)
    out.print(f"Done. Your number to log in with: {done['staff_number']}")


async def _post(http: httpx.AsyncClient, path: str, body: dict[str, str]) -> dict[str, Any]:
    try:
        answer = await http.post(path, json=body, headers={"Accept-Language": "en"})
    except httpx.TransportError as error:
        raise TimebankError(f"{http.base_url} cannot be reached; is it served?") from error
    content: dict[str, Any] = answer.json()
    if answer.is_error:
        raise TimebankError(content["detail"])
    return content
