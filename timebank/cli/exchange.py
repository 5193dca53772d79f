"""`timebank exchange`: caps of what is given in a day, and shops that only fill up."""

import click
import msgspec
from msgspec.structs import replace

from timebank.cli.running import command, err, out, settings_from_environment
from timebank.database import open_database
from timebank.db import transaction
from timebank.domain.redemption import CapScope
from timebank.ledger.banks import get_bank
from timebank.people.grants import OPERATOR_ID
from timebank.redemption.caps import set_cap
from timebank.redemption.exchange import find_saturation_bounds, list_saturated

BANK = click.option("--bank", "bank_code", default="demo", show_default=True, metavar="CODE")
SCOPES = {"gifts": CapScope.GIFT_DAY, "reissues": CapScope.REISSUE_DAY}


@click.group()
def exchange() -> None:
    """Points that are given: by residents to kin and pools, by merchants to residents."""


@exchange.command()
@BANK
@click.argument("what", type=click.Choice(sorted(SCOPES)))
@click.option("--points", type=click.IntRange(0), help="The most in a day; 0 allows none.")
@click.option("--no-cap", is_flag=True, help="As much as there is.")
@command
async def cap(bank_code: str, what: str, points: int | None, no_cap: bool) -> None:
    """Set what a resident gives, or a merchant gives on, in a day; it is 0 until it is set.

    \b
    Example:
      timebank exchange cap gifts --bank jianxi --points 50
      timebank exchange cap reissues --bank jianxi --points 500
    """
    if no_cap == (points is not None):
        raise click.UsageError("Give either --points or --no-cap.")
    async with open_database(settings_from_environment()) as pool, transaction(pool) as connection:
        bank = await get_bank(connection, bank_code)
        await set_cap(connection, bank.bank_id, SCOPES[what], points, set_by=OPERATOR_ID)
    out.print(f"bank {bank.code}: {what} have {'no cap' if no_cap else f'a cap of {points:,}'}")


@exchange.command()
@BANK
@click.option("--days", type=click.IntRange(1, 3660), help="How far to look back.")
@click.option("--balance", type=click.IntRange(1), help="Full from so many points on.")
@click.option(
    "--percent-out",
    type=click.IntRange(0, 100),
    help="Full when so much of what came in, or less, went out.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else.")
@command
async def saturated(
    bank_code: str,
    days: int | None,
    balance: int | None,
    percent_out: int | None,
    as_json: bool,
) -> None:
    """List shops that only fill up: reason, merchant, balance, in, out. It changes nothing.

    Settle with them, or let them give points on. What is not said is as the bank has set it.

    \b
    Example:
      timebank exchange saturated --bank jianxi --days 30 --balance 1000
    """
    async with open_database(settings_from_environment()) as pool, transaction(pool) as connection:
        bank = await get_bank(connection, bank_code)
        bounds = await find_saturation_bounds(connection, bank.bank_id)
        said = {"days": days, "balance": balance, "percent_out": percent_out}
        bounds = replace(bounds, **{name: one for name, one in said.items() if one is not None})
        rows = await list_saturated(connection, bank.bank_id, bounds, limit=1000)
    if as_json:
        click.echo(msgspec.json.encode(rows))
        return
    for row in rows:
        words = f"{row.reason}  {row.merchant_id}  {row.balance:,}  {row.came_in:,}"
        out.print(f"{words}  {row.went_out:,}", soft_wrap=True)
    err.print(f"{len(rows):,} full.")
