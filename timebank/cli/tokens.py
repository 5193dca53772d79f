"""`timebank bank` and `timebank token`: what must exist before anybody can call."""

import sys
import zoneinfo
from datetime import timedelta
from uuid import UUID

import asyncpg
import click

from timebank.cli.running import command, err, out, settings_from_environment
from timebank.database import open_database
from timebank.db import transaction
from timebank.domain.errors import InvalidInputError, NotFoundError
from timebank.ledger.banks import ensure_bank, get_bank
from timebank.ledger.ids import new_id
from timebank.people.access import Role
from timebank.people.residents import is_registered
from timebank.people.sessions import revoke_token
from timebank.people.tokens import issue_another_token, issue_token


@click.group()
def bank() -> None:
    """Banks: one programme, one book."""


@bank.command("open")
@click.argument("code")
@click.option("--name", required=True, help="What the pages call it.")
@click.option("--time-zone", default="Asia/Shanghai", show_default=True, help="An IANA name.")
@click.option("--points-per-hour", type=click.IntRange(0, 1000), default=10, show_default=True)
@command
async def open_bank(code: str, name: str, time_zone: str, points_per_hour: int) -> None:
    """Open a bank with its issuance accounts; nothing happens if it exists.

    \b
    Example:
      timebank bank open jianxi --name 涧贤银行
    """
    if time_zone not in zoneinfo.available_timezones():
        raise InvalidInputError(f"There is no time zone {time_zone}; one is Asia/Shanghai.")
    try:
        async with (
            open_database(settings_from_environment()) as pool,
            transaction(pool) as connection,
        ):
            opened = await ensure_bank(
                connection, code, name, time_zone=time_zone, points_per_hour=points_per_hour
            )
    except asyncpg.CheckViolationError as error:
        raise InvalidInputError(
            "A code is a-z, 0-9 and -, at most 32, a letter first; a name has 1 to 80 characters."
        ) from error
    out.print(
        f"bank {opened.code}: {opened.name}, {opened.time_zone}, "
        f"{opened.points_per_hour} points an hour",
        markup=False,
    )


_ROLES = [role.value for role in Role if role not in {Role.CLERK, Role.MERCHANT}]
"""A merchant's people log in, and issue keys to their systems themselves."""


@click.group()
def token() -> None:
    """Bearer tokens for the HTTP API."""


@token.command()
@click.option("--bank", "bank_code", default="demo", show_default=True)
@click.option("--role", type=click.Choice(_ROLES), required=True)
@click.option("--resident", type=click.UUID, help="Whose token it is; needed for role resident.")
@click.option("--system", type=click.UUID, help="An integrator that needs another token.")
@click.option("--days", type=click.IntRange(1, 3650), default=90, show_default=True)
@command
async def issue(
    bank_code: str, role: str, resident: UUID | None, system: UUID | None, days: int
) -> None:
    """Issue a token and print it on stdout, once; only its hash is kept.

    Without --system an integrator is a new one: what another sent under an Idempotency-Key and
    sends again with this token is done again.

    \b
    Example:
      timebank token issue --role integrator
      timebank token issue --role integrator --system 0198f0c2-…
      timebank token issue --role resident --resident 0198f0c2-…
    """
    if (role == Role.RESIDENT) != (resident is not None):
        raise click.UsageError("--resident goes with --role resident, and only with it.")
    if system and role != Role.INTEGRATOR:
        raise click.UsageError("--system goes with --role integrator only.")
    lifetime, party_id = timedelta(days=days), resident or system or new_id()
    async with open_database(settings_from_environment()) as pool, transaction(pool) as connection:
        opened = await get_bank(connection, bank_code)
        if resident and not await is_registered(connection, opened.bank_id, resident):
            raise NotFoundError(f"No resident {resident} is registered in {bank_code}.")
        issued = await (
            issue_another_token(connection, opened.bank_id, system, lifetime)
            if system
            else issue_token(connection, opened.bank_id, Role(role), party_id, lifetime)
        )
    err.print(f"A token for role {role}, good for {days} days. Keep it; it is not shown again.")
    if role == Role.INTEGRATOR:
        err.print(f"Another one for the same system: --system {party_id}", soft_wrap=True)
    click.echo(issued)


@token.command()
@command
async def revoke() -> int:
    """Revoke the token read from stdin: it is useless from the next request on.

    \b
    Example:
      timebank token revoke < token.txt
    """
    given = sys.stdin.readline().strip()
    async with open_database(settings_from_environment()) as pool, transaction(pool) as connection:
        revoked = await revoke_token(connection, given)
    err.print("Revoked." if revoked else "No such token, or it was revoked before.")
    return 0 if revoked else 1
