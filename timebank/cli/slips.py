"""`timebank slip`: the keys that slips are signed with, and the till's checker as a command."""

import sys

import click
import msgspec

from timebank.cli.running import command, out, settings_from_environment
from timebank.database import open_database
from timebank.db import transaction
from timebank.ledger.banks import get_bank
from timebank.people.grants import OPERATOR_ID
from timebank.people.seals import Seals
from timebank.people.signing_keys import SigningPurpose, make_key, publish_keys
from timebank.people.vault_keys import open_key_ring
from timebank.redemption import slip_checker

_BANK = click.option("--bank", "code", default="demo", show_default=True, help="Code of the bank.")
_CHECKER = {"ignore_unknown_options": True}


@click.group()
def slip() -> None:
    """Offline slips 离线凭单: points for one merchant's till without a network."""


@slip.command("make-key")
@_BANK
@command
async def make_slip_key(code: str) -> None:
    """Make a key that signs slips from now on; slips of the keys before stay good.

    Tills know it once they have fetched the keys again, so make it when they are online.

    \b
    Example:
      timebank slip make-key --bank jianxi
    """
    settings = settings_from_environment()
    async with open_database(settings) as pool, transaction(pool) as connection:
        bank = await get_bank(connection, code)
        seals = Seals(open_key_ring(settings))
        made = await make_key(connection, seals, bank.bank_id, SigningPurpose.SLIP, OPERATOR_ID)
    out.print(
        f"{made.key_id} signs slips from now on. Tills need: timebank slip keys --bank {code}"
    )


@slip.command("keys")
@_BANK
@command
async def print_keys(code: str) -> None:
    """Print the public keys as JSON, for the tills; /api/v1/slip-keys/CODE tells the same.

    \b
    Example:
      timebank slip keys --bank jianxi > keys.new && mv keys.new keys.json
    """
    async with open_database(settings_from_environment()) as pool, transaction(pool) as connection:
        bank = await get_bank(connection, code)
        published = await publish_keys(connection, bank, SigningPurpose.SLIP)
    click.echo(msgspec.json.encode(published))


@slip.command("check", context_settings=_CHECKER)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def check(arguments: tuple[str, ...]) -> None:
    """Run the till's checker, which tills have as a file of its own; its --help lists more.

    \b
    Example:
      timebank slip check init --journal till.journal
      timebank slip check accept --keys keys.json --merchant 0198f0c2-… --journal till.journal
      timebank slip check export --journal till.journal > sync.json
      timebank slip check settle --journal till.journal answer.json
    """
    sys.exit(slip_checker.main(arguments))
