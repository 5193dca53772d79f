"""`timebank reconcile`: the auditor's command."""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import click
import msgspec
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from timebank.audit.findings import Finding
from timebank.audit.reconcile import OnProgress, Report
from timebank.audit.reconcile import reconcile as reconcile_books
from timebank.audit.snapshot import open_snapshot
from timebank.cli.running import drop_what_nobody_reads, err, out, settings_from_environment
from timebank.cluster import EmbeddedPostgresError
from timebank.config import Settings
from timebank.database import Login, name_database, open_database
from timebank.domain.errors import TimebankError


@click.command()
@click.option("--bank", "bank_code", metavar="CODE", help="Only this bank's book; else all banks.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    default=100,
    show_default=True,
    help="List at most so many findings; all are counted.",
)
def reconcile(bank_code: str | None, as_json: bool, limit: int) -> None:
    """Replay the journal from row one and compare everything with everything.

    Every passbook line is set beside its transfer and folded anew; numbers, balances, floors,
    chains, reversals, requests, totals and the guards of the database are checked against it. It
    reads as timebank_auditor, one snapshot of one instant, and writes nothing; the service may go
    on meanwhile. A finding names the row.

    \b
    Exit code: 0 the books agree, 1 there are findings,
               2 it could not be done or told (misuse, no such bank, no database,
               nobody who reads stdout).

    \b
    Example:
        timebank reconcile --bank jianxi
        timebank reconcile --json > report.json
    """
    try:
        settings = settings_from_environment()
        report = asyncio.run(_run(settings, bank_code, limit))
        if as_json:
            click.echo(msgspec.json.encode(report))
        else:
            _print_report(report, name_database(settings, Login.AUDITOR))
        code = 0 if report.ok else 1
    except KeyboardInterrupt:
        code = 130
    except Exception as error:  # whatever it is: not a verdict on the books, which is what 1 means
        with suppress(OSError):
            _tell_why(error)
        code = 2
    drop_what_nobody_reads()
    sys.exit(code)


def _tell_why(error: Exception) -> None:
    if isinstance(error, (TimebankError, EmbeddedPostgresError)):
        err.print("✗", str(error), style="red", markup=False, soft_wrap=True)
    elif not isinstance(error, BrokenPipeError):
        err.print_exception()


async def _run(settings: Settings, bank_code: str | None, limit: int) -> Report:
    with _progress() as on_progress:
        async with (
            open_database(settings, Login.AUDITOR) as pool,
            open_snapshot(pool) as connection,
        ):
            return await reconcile_books(
                connection, bank_code, limit=limit, on_progress=on_progress
            )


@contextmanager
def _progress() -> Iterator[OnProgress]:
    """Show a bar on stderr when that is a terminal."""
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        console=err,
        transient=True,
        disable=not err.is_terminal,
    ) as progress:
        task = progress.add_task("Opening the books", total=None)

        def on_progress(what: str, done: int, total: int) -> None:
            progress.update(task, description=what, completed=done, total=total)

        yield on_progress


def _print_report(report: Report, database: str) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("", width=1)
    table.add_column("No.", justify="right")
    table.add_column("Invariant")
    table.add_column("Findings", justify="right")
    for check in report.checks:
        mark = Text("✗", "red") if check.found else Text("✓", "green")
        style = "red" if check.found else ""
        table.add_row(mark, str(check.number), check.sentence, f"{check.found:,}", style=style)
    out.print(table)
    for finding in report.findings:
        out.print(_describe(finding), soft_wrap=True)
    if report.found > len(report.findings):
        more = _count(report.found - len(report.findings), "more finding")
        out.print(f"… and {more}")
    read = (
        f"{_count(report.transfers, 'transfer')}, {_count(report.postings, 'posting')}, "
        f"{_count(report.accounts, 'account')} and {_count(report.banks, 'bank')} "
        f"as of {report.read_at}, in {report.seconds:.1f} s"
    )
    verdict = (
        "[green]✓ The books agree[/green]"
        if report.ok
        else f"[red]✗ {_count(report.found, 'finding')}[/red]"
    )
    out.print(f"\n{verdict}: {read}", soft_wrap=True)
    out.print(Text(f"Read from {database}."), soft_wrap=True)  # perhaps not the one that was meant


def _describe(finding: Finding) -> Text:
    where = f"bank {finding.bank}, {finding.row}" if finding.bank else finding.row
    return Text.assemble(
        (f"\n{finding.invariant} {finding.name}: ", "red"),
        (where, "bold"),
        f"\n  expected {finding.expected}\n  found    {finding.found}",
    )


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"
