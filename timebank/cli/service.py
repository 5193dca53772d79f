"""`timebank service`: what is done about service by a clock and no person."""

from datetime import UTC, datetime

import click

from timebank.cli.running import command, out, settings_from_environment
from timebank.database import open_database
from timebank.db import transaction
from timebank.ledger.banks import get_bank
from timebank.service.attendance import close_forgotten


@click.group()
def service() -> None:
    """Service: attendance that nobody ended."""


@service.command("close-open")
@click.option("--bank", "bank_code", default="demo", show_default=True, metavar="CODE")
@command
async def close_open(bank_code: str) -> None:
    """Close at the planned end what nobody checked out of within two hours after it.

    Run it hourly or daily: again is harmless. What it closes waits for a coordinator's review
    (待核) before it becomes a record.

    \b
    Example:
      timebank service close-open --bank jianxi
    """
    async with open_database(settings_from_environment()) as pool, transaction(pool) as connection:
        bank = await get_bank(connection, bank_code)
        closed = await close_forgotten(connection, bank.bank_id, datetime.now(UTC))
    out.print(f"{len(closed):,} attendances closed at the planned end; they wait for a review.")
