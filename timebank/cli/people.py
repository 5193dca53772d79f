"""`timebank people`: lists of people from other programmes."""

from pathlib import Path
from uuid import UUID

import click
import msgspec
from rich.console import Console

from timebank.cli.importing import CSV_FILE, progress_bar, tell_faults
from timebank.cli.running import ask, command, err, out, settings_from_environment
from timebank.database import open_database
from timebank.domain.errors import ImportRefusedError
from timebank.ledger.ids import new_id
from timebank.people.import_approval import (
    PeopleLists,
    approve_import,
    import_alone,
    propose_import,
)
from timebank.people.person_import import PeopleSummary
from timebank.people.vault_keys import open_key_ring


@click.group()
def people() -> None:
    """The people of a bank."""


@people.command("import")
@click.argument("file", metavar="PEOPLE.csv", type=CSV_FILE)
@click.option("--bank", default="demo", show_default=True, help="Code of the bank to import into.")
@click.option("--dry-run", "way", flag_value="dry_run", help="Do everything, then take it back.")
@click.option("--propose", "way", flag_value="propose", help="Another decides, within 7 days.")
@click.option("--approve", "approval_id", type=click.UUID, help="What another person proposed.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as one JSON object.")
@command
async def import_list(
    file: Path, bank: str, way: str | None, approval_id: UUID | None, as_json: bool
) -> int:
    """Import people who apply for membership; another person approves them.

    PEOPLE.csv has the columns ref (what the other programme calls them), name, phone, id_type
    (resident_id if empty), id_number, birth_date, address, guardian_ref (of a minor: the ref of an
    adult here or imported before) and sheet (number of the signed form, printed here as a
    registration and used by nobody). Cells but ref and name may be empty; a birthday is needed, in
    birth_date or in the id number. A faulty row refuses the whole file; importing the same file
    again registers nobody.

    Two coordinators or administrators of the whole bank decide: one proposes, the other approves
    with the same file; each shows the token of a session they logged into, at the terminal or on
    stdin. While a bank has no two, whoever runs commands imports alone.

    \b
    Example:
      timebank people import people.csv --dry-run
      timebank people import people.csv --bank jianxi --propose
      timebank people import people.csv --bank jianxi --approve 0198f0c2-…
    """
    if way and approval_id:
        raise click.UsageError("Choose one of --dry-run, --propose and --approve.")
    dry_run, propose = way == "dry_run", way == "propose"
    token = ask("Token of your session", hidden=True) if propose or approval_id else ""
    settings = settings_from_environment()
    async with open_database(settings) as pool:
        try:
            with progress_bar("Registering people") as progress:
                lists = PeopleLists(
                    pool=pool,
                    ring=open_key_ring(settings),
                    bank_code=bank,
                    request_id=f"command {new_id()}",
                    progress=progress,
                )
                if propose:
                    proposal, summary = await propose_import(lists, file, token)
                elif approval_id:
                    summary = await approve_import(lists, file, approval_id, token)
                else:
                    summary = await import_alone(lists, file, dry_run=dry_run)
        except ImportRefusedError as error:
            tell_faults(error)
            return 1
    if propose:
        _tell(summary, dry_run=True, as_json=False, show=err)
        click.echo(proposal.approval_id)
    else:
        _tell(summary, dry_run=dry_run, as_json=as_json)
    return 0


def _tell(summary: PeopleSummary, *, dry_run: bool, as_json: bool, show: Console = out) -> None:
    if as_json:
        click.echo(msgspec.json.encode(summary))
    else:
        show.print(
            f"{summary.rows:,} rows: {summary.registered:,} people registered, "
            f"{summary.minors:,} of them minors; {summary.known:,} were known.",
            soft_wrap=True,
        )
    if dry_run:
        err.print("This was a dry run, nothing was written.")
