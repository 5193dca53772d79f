"""`timebank people`: lists of people from other programmes."""

from pathlib import Path
from uuid import UUID

import click
import msgspec

from timebank.cli.importing import CSV_FILE, progress_bar, tell_faults
from timebank.cli.running import command, err, out, settings_from_environment
from timebank.database import open_database
from timebank.domain.errors import ImportRefusedError
from timebank.ledger.ids import new_id
from timebank.people.grants import OPERATOR_ID
from timebank.people.person_import import PeopleSummary, import_people
from timebank.people.vault_keys import open_key_ring


@click.group()
def people() -> None:
    """The people of a bank."""


@people.command("import")
@click.argument("file", metavar="PEOPLE.csv", type=CSV_FILE)
@click.option("--bank", default="demo", show_default=True, help="Code of the bank to import into.")
@click.option("--by", "actor_id", type=click.UUID, help="Who imports; the operator, if not said.")
@click.option("--dry-run", is_flag=True, help="Do everything, then take it back.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as one JSON object.")
@command
async def import_list(
    file: Path, bank: str, actor_id: UUID | None, dry_run: bool, as_json: bool
) -> int:
    """Import people who apply for membership; another person approves them.

    PEOPLE.csv has the columns ref (what the other programme calls them), name, phone, id_type
    (resident_id if empty), id_number, birth_date, address, guardian_ref (of a minor: the ref of an
    adult here or imported before) and sheet (number of the signed form). Cells but ref and name
    may be empty; a birthday is needed, in birth_date or in the id number. A faulty row refuses the
    whole file; importing the same file again registers nobody.

    \b
    Example:
      timebank people import people.csv --dry-run
      timebank people import people.csv --bank jianxi --json
    """
    settings = settings_from_environment()
    async with open_database(settings) as pool:
        try:
            with progress_bar("Registering people") as progress:
                summary = await import_people(
                    pool,
                    open_key_ring(settings),
                    bank,
                    file,
                    actor_id=actor_id or OPERATOR_ID,
                    request_id=f"command {new_id()}",
                    dry_run=dry_run,
                    progress=progress,
                )
        except ImportRefusedError as error:
            tell_faults(error)
            return 1
    _tell(summary, dry_run=dry_run, as_json=as_json)
    return 0


def _tell(summary: PeopleSummary, *, dry_run: bool, as_json: bool) -> None:
    if as_json:
        click.echo(msgspec.json.encode(summary))
    else:
        out.print(
            f"{summary.rows:,} rows: {summary.registered:,} people registered, "
            f"{summary.minors:,} of them minors; {summary.known:,} were known.",
            soft_wrap=True,
        )
    if dry_run:
        err.print("This was a dry run, nothing was written.")
