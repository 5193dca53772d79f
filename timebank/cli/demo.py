"""`timebank demo`: the main job from nothing: a bank, real shifts, proven balances, the API."""

import socket
from datetime import timedelta
from importlib import resources
from uuid import NAMESPACE_URL, UUID

import click
import uvicorn
from msgspec import Struct
from rich.table import Table

from timebank.cli.importing import progress_bar
from timebank.cli.running import command, err, out, settings_from_environment
from timebank.cli.serving import base_url, server_config
from timebank.database import open_database
from timebank.db import Pool, transaction
from timebank.domain.errors import InvalidInputError
from timebank.domain.ledger import AccountKind, TrialBalanceRow, Unit
from timebank.ledger.accounts import get_account_of, get_largest_wallet
from timebank.ledger.banks import ensure_bank
from timebank.ledger.ids import derive_id, new_id
from timebank.ledger.passbook import get_balance, list_trial_balance
from timebank.people.access import Role
from timebank.people.tokens import issue_token
from timebank.service.rota import RotaSummary, import_rota

BANK_CODE = "demo"
BANK_NAME = "涧贤银行（演示）"
SYSTEM_ID = derive_id(NAMESPACE_URL, "timebank demo system")
"""The same at every run: what this caller sent under a key before is answered as before."""

TOKEN_LIFETIME = timedelta(days=7)


class Shown(Struct, frozen=True):
    """What the demo tells its reader: the import, the books, and the resident with most points."""

    summary: RotaSummary
    trial_balance: list[TrialBalanceRow]
    resident_id: UUID
    wallet_id: UUID
    points: int
    minutes: int
    system_token: str
    resident_token: str


@click.command()
@click.option("--no-serve", is_flag=True, help="Stop after the import.")
@click.option("--port", type=click.IntRange(1, 65535), help="Default 8470, or a free one.")
@click.option("--external", is_flag=True, help="Write into the database of TIMEBANK_DATABASE_URL.")
@command
async def demo(no_serve: bool, port: int | None, external: bool) -> None:
    """Set up a demo bank, import sample shifts, and serve the API on loopback until Ctrl-C.

    Running it again imports nothing twice. What it writes stays for ever, so it writes into a
    database of yours only if told to.

    \b
    Example:
      timebank demo
      timebank demo --no-serve
    """
    settings = settings_from_environment()
    if settings.database_url and not external:
        raise InvalidInputError(
            "TIMEBANK_DATABASE_URL is set, and a demo bank in that database would stay there for "
            "ever. Unset it, or say --external."
        )
    err.print("Starting PostgreSQL (the first time takes a few seconds) …")
    async with open_database(settings) as pool:
        shown = await _set_up(pool)
        _tell(shown)
        if no_serve:
            out.print(
                "Serve it: [bold]scripts/demo[/bold]. Prove it: [bold]scripts/reconcile[/bold]."
            )
            return
        port = port or _free_port(settings.host, settings.port)
        _tell_what_to_try(shown, base_url(settings.host, port))
        await uvicorn.Server(server_config(settings, settings.host, port)).serve()


async def _set_up(pool: Pool) -> Shown:
    async with transaction(pool) as connection:
        bank = await ensure_bank(connection, BANK_CODE, BANK_NAME)
    summary = await _import_sample(pool)
    async with transaction(pool) as connection:
        wallet = await get_largest_wallet(connection, bank.bank_id, Unit.POINTS)
        resident_id = wallet.owner_id or new_id()
        hours = await get_account_of(
            connection, bank.bank_id, Unit.HOURS, AccountKind.WALLET, resident_id
        )
        return Shown(
            summary,
            await list_trial_balance(connection, bank.bank_id),
            resident_id,
            wallet.account_id,
            (await get_balance(connection, bank.bank_id, wallet.account_id)).balance,
            (await get_balance(connection, bank.bank_id, hours.account_id)).balance,
            await issue_token(connection, bank.bank_id, Role.INTEGRATOR, SYSTEM_ID, TOKEN_LIFETIME),
            await issue_token(connection, bank.bank_id, Role.RESIDENT, resident_id, TOKEN_LIFETIME),
        )


async def _import_sample(pool: Pool) -> RotaSummary:
    with (
        resources.as_file(resources.files("timebank") / "sample") as folder,
        progress_bar("Importing shifts") as progress,
    ):
        return await import_rota(
            pool, BANK_CODE, folder / "shifts.csv", folder / "volunteers.csv", progress=progress
        )


def _tell(shown: Shown) -> None:
    summary = shown.summary
    out.print(
        f"[bold]{BANK_NAME}[/bold]: {summary.shifts} shifts of {summary.events} activities, "
        f"{summary.attendances} attendances, {summary.minutes:,} minutes, "
        f"{summary.points:,} points; {summary.posted:,} transfers posted by this run.",
        soft_wrap=True,
    )
    table = Table("unit", "kind", "accounts", "debit", "credit", title="Trial balance 试算平衡表")
    for row in shown.trial_balance:
        table.add_row(row.unit, row.kind, f"{row.accounts:,}", f"{row.debit:,}", f"{row.credit:,}")
    out.print(table)
    hours, minutes = divmod(shown.minutes, 60)
    out.print(
        f"Resident {shown.resident_id} has {shown.points:,} points "
        f"for {hours} hours {minutes} minutes of service.",
        soft_wrap=True,
    )


def _tell_what_to_try(shown: Shown, base: str) -> None:
    balance = f"{base}/api/v1/accounts/{shown.wallet_id}"
    out.print("\n[bold]Try next[/bold] (tokens last 7 days):", soft_wrap=True)
    for line in (
        f"SYSTEM={shown.system_token}",
        f"RESIDENT={shown.resident_token}",
        f'curl -H "Authorization: Bearer $RESIDENT" {balance}/balance',
        f'curl -H "Authorization: Bearer $RESIDENT" {balance}/passbook.csv',
        f'curl -H "Authorization: Bearer $SYSTEM" {base}/api/v1/trial-balance',
        f"open {base}/docs",
        "scripts/reconcile",
    ):
        out.print(f"  {line}", soft_wrap=True, markup=False)
    out.print("Serving until Ctrl-C.")


def _free_port(host: str, preferred: int) -> int:
    """Return the preferred port, or any free one when somebody listens there already."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for port in (preferred, 0):
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                refusal = error
            else:
                chosen: int = probe.getsockname()[1]
                return chosen
    raise InvalidInputError(f"Nothing can listen on {host}, which is TIMEBANK_HOST: {refusal}")
