"""`timebank import`: brings in what other programmes kept, all of a file or nothing."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import msgspec
from rich.progress import Progress as Bar

from timebank.cli.running import command, err, out, settings_from_environment
from timebank.database import open_database
from timebank.domain.errors import ImportRefusedError
from timebank.service.rota import Progress, RotaSummary, import_rota

MOST_FAULTS_SHOWN = 50

CSV_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group("import")
def import_files() -> None:
    """Import what other programmes kept."""


@import_files.command()
@click.argument("shifts", metavar="SHIFTS.csv", type=CSV_FILE)
@click.option(
    "--residents",
    metavar="VOLUNTEERS.csv",
    type=CSV_FILE,
    required=True,
    help="Columns hash, confirmed (a date, or empty for those who do not take part).",
)
@click.option("--bank", default="demo", show_default=True, help="Code of the bank to import into.")
@click.option("--dry-run", is_flag=True, help="Do everything, then take it back.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as one JSON object.")
@command
async def rota(shifts: Path, residents: Path, bank: str, dry_run: bool, as_json: bool) -> int:
    """Import the shifts of a rota extract and award hours and points for them.

    SHIFTS.csv has the columns date, shift_id, volunteer_hours (of all who came together),
    attended (how many came), event_id and event_name. Who came is drawn from the confirmed
    volunteers, the same at every import. A faulty row refuses the whole file; importing the same
    file again posts nothing. Only a bank without service records of its own takes new shifts.

    \b
    Example:
      timebank import rota shifts.csv --residents volunteers.csv --dry-run
      timebank import rota shifts.csv --residents volunteers.csv --bank demo --json
    """
    async with open_database(settings_from_environment()) as pool:
        try:
            with progress_bar("Importing shifts") as progress:
                summary = await import_rota(
                    pool, bank, shifts, residents, dry_run=dry_run, progress=progress
                )
        except ImportRefusedError as error:
            tell_faults(error)
            return 1
    _tell(summary, dry_run=dry_run, as_json=as_json)
    return 0


@contextmanager
def progress_bar(title: str) -> Iterator[Progress]:
    """Show a bar on stderr, where that is a terminal; what is yielded moves it."""
    with Bar(console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _tell(summary: RotaSummary, *, dry_run: bool, as_json: bool) -> None:
    if as_json:
        click.echo(msgspec.json.encode(summary))
    else:
        out.print(
            f"{summary.shifts:,} shifts of {summary.events:,} events, "
            f"{summary.attendances:,} attendances, {summary.minutes:,} minutes, "
            f"{summary.points:,} points; {summary.posted:,} transfers posted.",
            soft_wrap=True,
        )
    if dry_run:
        err.print("This was a dry run, nothing was written.")


def tell_faults(error: ImportRefusedError) -> None:
    """Print the first faulty rows and how many there are."""
    for fault in error.rows[:MOST_FAULTS_SHOWN]:
        err.print(str(fault), markup=False, soft_wrap=True)
    if len(error.rows) > MOST_FAULTS_SHOWN:
        err.print(f"… and {len(error.rows) - MOST_FAULTS_SHOWN:,} more")
    err.print("✗", str(error), style="red", markup=False, soft_wrap=True)
