"""`timebank anomalies`: service that looks invented."""

from datetime import UTC, datetime, timedelta

import click
import msgspec

from timebank.cli.running import command, out, settings_from_environment
from timebank.database import open_database
from timebank.db import transaction
from timebank.domain.languages import Language
from timebank.domain.suspicions import describe
from timebank.ledger.banks import get_bank
from timebank.service.anomalies import list_suspicions

_LANGUAGES = {"zh-Hans": Language.ZH_HANS, "zh-Hant": Language.ZH_HANT, "en": Language.EN}


@click.command()
@click.option("--bank", "code", default="demo", show_default=True, help="Code of the bank.")
@click.option("--since", type=click.DateTime(["%Y-%m-%d"]), help="Default: 31 days ago.")
@click.option("--language", type=click.Choice(list(_LANGUAGES)), default="zh-Hans")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
@command
async def anomalies(code: str, since: datetime | None, language: str, as_json: bool) -> int:
    """List service that looks as if it never happened; it decides nothing.

    Activities made after their end, records approved in haste or by night, check-ins without
    spread, too much written by one, the same names every time. Exit code 1 when something is found.

    \b
    Example:
      timebank anomalies --bank jianxi --since 2026-01-01
      timebank anomalies --bank jianxi --json
    """
    first_on = (since or datetime.now(UTC) - timedelta(days=31)).date()
    async with open_database(settings_from_environment()) as pool, transaction(pool) as connection:
        bank = await get_bank(connection, code)
        found = await list_suspicions(connection, bank.bank_id, first_on)
    told = [(one, describe(one, _LANGUAGES[language])) for one in found]
    if as_json:
        click.echo(msgspec.json.encode([msgspec.to_builtins(one) | {"why": w} for one, w in told]))
    else:
        for one, why in told:
            who = f" ({one.other_id})" if one.other_id else ""
            out.print(f"{one.reason}  {one.subject_id}{who}\n  {why}", markup=False)
        out.print(f"{len(told)} found since {first_on}.")
    return 1 if told else 0
