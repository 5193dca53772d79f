"""`timebank vault`: personal data by command: a copy, a freeze, erasure, and its master key."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from uuid import UUID

import click
import msgspec

from timebank.cli.importing import progress_bar
from timebank.cli.running import command, err, out, settings_from_environment
from timebank.database import open_database
from timebank.db import Pool, transaction
from timebank.ledger.banks import get_bank
from timebank.ledger.ids import new_id
from timebank.people.grants import OPERATOR_ID
from timebank.people.own_data import export_own_data
from timebank.people.vault import (
    Access,
    Purpose,
    erase_person,
    freeze_person,
    list_accesses,
    unfreeze_person,
)
from timebank.people.vault_keys import open_key_ring
from timebank.people.vault_rotation import rotate_keys


@click.group()
def vault() -> None:
    """Personal data, which is sealed: every use stands in its access log."""


_bank = click.option("--bank", "code", default="demo", show_default=True, help="Code of the bank.")
_person = click.argument("person_id", metavar="PERSON", type=click.UUID)
_by = click.option("--by", "actor_id", type=click.UUID, help="Who asks; the operator, if not said.")


@asynccontextmanager
async def _asking(
    code: str, actor_id: UUID | None, purpose: Purpose
) -> AsyncIterator[tuple[Pool, Access]]:
    async with open_database(settings_from_environment()) as pool:
        async with transaction(pool) as connection:
            bank = await get_bank(connection, code)
        yield (
            pool,
            Access(
                bank_id=bank.bank_id,
                reader_id=actor_id or OPERATOR_ID,
                purpose=purpose,
                request_id=f"command {new_id()}",
            ),
        )


@vault.command()
@_person
@_bank
@_by
@command
async def export(person_id: UUID, code: str, actor_id: UUID | None) -> None:
    """Print all that is known of a person as JSON, for that person.

    \b
    Example:
      timebank vault export 0198f0c2-… --bank jianxi > copy.json
    """
    async with _asking(code, actor_id, Purpose.SUBJECT_ACCESS) as (pool, access):
        ring = open_key_ring(settings_from_environment())
        click.echo(await export_own_data(pool, ring, access, person_id))


@vault.command()
@_person
@click.option(
    "--until",
    type=click.DateTime(["%Y-%m-%d"]),
    help="The last day on which a law asks to keep the data; it is not erased before.",
)
@click.option("--lift", is_flag=True, help="End the freeze; the day of --until stays.")
@_bank
@_by
@command
async def freeze(
    person_id: UUID, until: datetime | None, lift: bool, code: str, actor_id: UUID | None
) -> None:
    """Make a person's data unreadable but for legal duties and their own wishes.

    \b
    Example:
      timebank vault freeze 0198f0c2-… --until 2036-12-31 --bank jianxi
      timebank vault freeze 0198f0c2-… --lift --bank jianxi
    """
    if lift and until:
        raise click.UsageError("--lift ends a freeze, --until dates one: not both.")
    async with (
        _asking(code, actor_id, Purpose.LEGAL_DUTY) as (pool, access),
        transaction(pool) as connection,
    ):
        if lift:
            await unfreeze_person(connection, access, person_id)
        else:
            await freeze_person(connection, access, person_id, until.date() if until else None)
    out.print("Lifted." if lift else "Frozen.")


@vault.command()
@_person
@click.option("--yes", is_flag=True, help="Do not ask again.")
@_bank
@_by
@command
async def erase(person_id: UUID, yes: bool, code: str, actor_id: UUID | None) -> None:
    """Destroy a person's key, so that their data can never be read again; the ledger stays.

    Backups from before still hold the wrapped key. `timebank vault rotate-key --forget`, once the
    erased are many or the wish is urgent, makes those backups unreadable too.

    \b
    Example:
      timebank vault erase 0198f0c2-… --bank jianxi
    """
    if not yes:
        click.confirm(f"Erase {person_id} for good?", abort=True, err=True)
    async with (
        _asking(code, actor_id, Purpose.SUBJECT_ACCESS) as (pool, access),
        transaction(pool) as connection,
    ):
        await erase_person(connection, access, person_id)
    out.print("Erased.")


@vault.command()
@click.option("--person", "person_id", type=click.UUID, help="Only the use of one person's data.")
@_bank
@command
async def accesses(person_id: UUID | None, code: str) -> None:
    """Print who used whose data, which fields and what for: one JSON object a line.

    \b
    Example:
      timebank vault accesses --bank jianxi --person 0198f0c2-…
    """
    async with (
        _asking(code, None, Purpose.LEGAL_DUTY) as (pool, access),
        transaction(pool) as connection,
    ):
        for line in await list_accesses(connection, access.bank_id, person_id):
            click.echo(msgspec.json.encode(line))


@vault.command("rotate-key")
@click.option("--forget", is_flag=True, help="Take the old keys out of the file at the end.")
@_by
@command
async def rotate_key(forget: bool, actor_id: UUID | None) -> None:
    """Put all personal data and login secrets under a new master key, while the service goes on.

    The new key is made and put first in the key file; put one there yourself where the file cannot
    be written. What is interrupted goes on at the next run. Keep a copy of the file afterwards.
    With --forget, no backup from before can be read again.

    \b
    Example:
      timebank vault rotate-key
      timebank vault rotate-key --forget
    """
    settings = settings_from_environment()
    async with open_database(settings) as pool:
        with progress_bar("Wrapping keys anew") as progress:
            done = await rotate_keys(
                pool,
                open_key_ring(settings),
                reader_id=actor_id or OPERATOR_ID,
                request_id=f"command {new_id()}",
                forget=forget,
                progress=progress,
            )
    out.print(
        f"Master key {done.key_id}: {done.persons:,} persons and {done.sealed:,} secrets of "
        f"{done.banks:,} banks."
    )
    if done.forgotten:
        err.print(f"Keys taken out of the file: {done.forgotten:,}.")
