"""`timebank points`: rules of expiry, the expiry run, who is to be warned, a balance explained."""

from datetime import datetime
from uuid import UUID

import click
import msgspec

from timebank.cli.importing import progress_bar
from timebank.cli.running import command, err, out, settings_from_environment
from timebank.database import open_database
from timebank.db import transaction
from timebank.domain.expiry import FEWEST_MONTHS, WARNING_DAYS, ExpiryRule
from timebank.domain.explaining import list_subjects
from timebank.domain.languages import Language
from timebank.domain.plain_words import explain_in_words
from timebank.ledger.banks import get_bank
from timebank.ledger.expiry import (
    ExpiryRun,
    expire_points,
    list_expiring,
    preview_expiry,
    set_expiry_rule,
)
from timebank.ledger.explaining import explain_balance
from timebank.people.grants import OPERATOR_ID
from timebank.service.activities import list_titles

DAY = click.DateTime(["%Y-%m-%d"])
BANK = click.option("--bank", "bank_code", default="demo", show_default=True, metavar="CODE")
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else.")


@click.group()
def points() -> None:
    """Points: when they expire, and what they were spent on."""


@points.command()
@BANK
@click.option("--from", "starts_on", type=DAY, required=True, help="Tomorrow or later.")
@click.option("--months", type=click.IntRange(FEWEST_MONTHS, 1200), help="At least twelve.")
@click.option("--off", is_flag=True, help="Nothing expires from that day on.")
@click.option("--grace-days", type=click.IntRange(0, 366), default=30, show_default=True)
@command
async def rule(
    bank_code: str, starts_on: datetime, months: int | None, off: bool, grace_days: int
) -> None:
    """Let unspent points expire after so many months, at the end of the month; or never.

    A bank without a rule lets nothing expire. A rule counts for points earned before it too, but
    only from its first day, and never shortens what an earlier rule promised. What is given back
    after its last day is good for the grace days. A rule is never edited: add another.

    \b
    Example:
      timebank points rule --bank jianxi --from 2027-01-01 --months 24 --grace-days 30
      timebank points rule --bank jianxi --from 2028-01-01 --off
    """
    if off == (months is not None):
        raise click.UsageError("Give either --months or --off.")
    async with open_database(settings_from_environment()) as pool, transaction(pool) as connection:
        bank = await get_bank(connection, bank_code)
        new = ExpiryRule(starts_on.date(), months, grace_days)
        await set_expiry_rule(connection, bank, new, OPERATOR_ID)
    what = f"good for {months} months" if months else "good for ever"
    out.print(f"bank {bank.code}: from {new.starts_on} points are {what}", markup=False)


@points.command()
@BANK
@click.option("--dry-run", is_flag=True, help="Only say what would be taken.")
@click.option("--on", type=DAY, help="With --dry-run: as if it were this day.")
@AS_JSON
@command
async def expire(bank_code: str, dry_run: bool, on: datetime | None, as_json: bool) -> None:
    """Take the points that are past their last day, neither spent nor held.

    Run it daily or monthly: running it twice, or two at once, is harmless, and what was broken off
    is taken up by the next. Nothing happens while no rule is in force.

    \b
    Example:
      timebank points expire --bank jianxi --dry-run
      timebank points expire --bank jianxi --json
    """
    if on and not dry_run:
        raise click.UsageError("--on goes with --dry-run, and only with it.")
    async with open_database(settings_from_environment()) as pool:
        async with transaction(pool) as connection:
            bank = await get_bank(connection, bank_code)
        with progress_bar("Expiring points") as on_progress:
            if dry_run:
                async with transaction(pool) as connection:
                    day = on.date() if on else None
                    run = await preview_expiry(connection, bank, day, on_progress=on_progress)
            else:
                run = await expire_points(pool, bank, on_progress=on_progress)
    _tell_run(run, dry_run=dry_run, as_json=as_json)


@points.command()
@BANK
@click.option(
    "--days",
    type=click.IntRange(0, 366),
    default=max(WARNING_DAYS),
    show_default=True,
    help="How far to look ahead.",
)
@AS_JSON
@command
async def expiring(bank_code: str, days: int, as_json: bool) -> None:
    """List what expires soon unless it is spent: account, last good day, points.

    \b
    Example:
      timebank points expiring --bank jianxi --days 7
    """
    async with open_database(settings_from_environment()) as pool, transaction(pool) as connection:
        bank = await get_bank(connection, bank_code)
        rows = await list_expiring(connection, bank, days)
    if as_json:
        click.echo(msgspec.json.encode(rows))
        return
    for row in rows:
        out.print(f"{row.account_id}  {row.expires_on}  {row.amount:,}", soft_wrap=True)
    err.print(f"{len(rows):,} to be warned.")


@points.command()
@BANK
@click.argument("wallet", type=click.UUID)
@click.option(
    "--language",
    type=click.Choice([language.value for language in Language]),
    default=Language.ZH_HANS.value,
    show_default=True,
)
@AS_JSON
@command
async def explain(bank_code: str, wallet: UUID, language: str, as_json: bool) -> None:
    """Say which service paid for which redemption, and where the points left come from.

    \b
    Example:
      timebank points explain 0198f0c2-… --bank jianxi --language en
    """
    async with open_database(settings_from_environment()) as pool, transaction(pool) as connection:
        bank = await get_bank(connection, bank_code)
        explanation = await explain_balance(connection, bank, wallet)
        titles = await list_titles(connection, bank.bank_id, list_subjects(explanation))
    if as_json:
        click.echo(msgspec.json.encode(explanation))
        return
    for sentence in explain_in_words(explanation, Language(language), titles):
        out.print(sentence, markup=False, soft_wrap=True)


def _tell_run(run: ExpiryRun, *, dry_run: bool, as_json: bool) -> None:
    if as_json:
        click.echo(msgspec.json.encode(run))
    elif not run.in_force:
        out.print(f"On {run.on} no rule of expiry is in force: nothing expires.")
    else:
        out.print(f"{run.on}: {run.points:,} points of {run.wallets:,} accounts expired.")
    if dry_run:
        err.print("This was a dry run, nothing was taken.")
