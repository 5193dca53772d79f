"""`timebank bench`: how fast it is here, beside yardsticks of the same server and the same run."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from time import monotonic

import click
import msgspec
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from timebank.bench import http as over_http
from timebank.bench import post as posting
from timebank.bench.book import Shape
from timebank.bench.machine import Machine
from timebank.bench.place import open_place
from timebank.bench.ratios import Aim, Verdict
from timebank.cli.running import command, err, out, settings_from_environment
from timebank.cli.serving import Server, server_config
from timebank.config import Settings

_COLOURS = {Verdict.MET: "green", Verdict.WITHIN_NOISE: "yellow", Verdict.NOT_MET: "red"}


@click.group()
def bench() -> None:
    """Measure speed, in databases made for it and dropped afterwards.

    Without TIMEBANK_DATABASE_URL a PostgreSQL is started for the measurement alone, with the
    durable settings of production. No real data is read or written.
    """


_quick = click.option("--quick", is_flag=True, help="Shorter runs: done within 40 seconds.")
_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
_external = click.option(
    "--external",
    is_flag=True,
    help="Use the server of TIMEBANK_DATABASE_URL, in databases of our own.",
)


@bench.command()
@_quick
@_json
@_external
@command
async def post(quick: bool, as_json: bool, external: bool) -> None:
    """Measure durable transfers a second, against pgbench and COPY.

    At 1, 100, 1,000 and 5,000 a call, on 1 and 4 connections, between random accounts and out of
    one hot account.

    \b
    Example:
      timebank bench post --quick
      timebank bench post --json > post.json
    """
    started = monotonic()
    plan = posting.QUICK if quick else posting.PostPlan()
    url = _external_url(external)
    with _progress(plan.steps()) as tell:
        async with open_place(url) as place:
            report = await posting.bench_post(place, plan, tell, started)
    if as_json:
        click.echo(msgspec.json.encode(report))
        return
    _print_machine(report.machine)
    _print_runs(report.runs)
    _print_figures(report.yardsticks)
    _print_ratios(posting.AIMS, report.ratios)


@bench.command()
@_quick
@_json
@_external
@command
async def http(quick: bool, as_json: bool, external: bool) -> None:
    """Measure single requests over HTTP, on 64 connections to one service process.

    A balance GET against the same web framework without a database; an authenticated, idempotent,
    durable award POST against pgbench.

    \b
    Example:
      timebank bench http --quick
      timebank bench http --json > http.json
    """
    started = monotonic()
    plan = over_http.QUICK if quick else over_http.HttpPlan()
    url = _external_url(external)
    with _progress(plan.steps()) as tell:
        async with open_place(url) as place:
            report = await over_http.bench_http(place, plan, tell, started)
    if as_json:
        click.echo(msgspec.json.encode(report))
        return
    _print_machine(report.machine)
    figures = msgspec.to_builtins(report)
    for name in ("get_balance", "bare", "post_award"):
        took = report.latencies[name]
        out.print(
            f"{name}: {figures[name + '_per_s']:,.0f} a second, "
            f"half within {took.p50_ms:.1f} ms, 99 % within {took.p99_ms:.1f} ms"
        )
    _print_figures({"pgbench_tpcb_8": report.pgbench_tpcb_8})
    _print_ratios(over_http.AIMS, report.ratios)


@bench.command(hidden=True)
@click.option("--port", type=click.IntRange(1, 65535), required=True)
def bare(port: int) -> None:
    """Serve balances without a database, as `serve` serves them: the yardstick of `http`."""
    config = server_config(Settings(), "127.0.0.1", port)
    config.app = "timebank.bench.bare:create_bare_app"
    Server(config).run()


def _external_url(external: bool) -> str | None:
    """Return the server to use, None for one of our own; UsageError if it is not quite clear."""
    url = settings_from_environment().database_url
    if url and not external:
        raise click.UsageError(
            "TIMEBANK_DATABASE_URL is set. Unset it to measure on a server of the bench's own, or "
            "add --external to make databases on that one; its login must be able to."
        )
    if external and not url:
        raise click.UsageError("--external needs TIMEBANK_DATABASE_URL.")
    return url


@contextmanager
def _progress(steps: int) -> Iterator[posting.Tell]:
    """Show each step that is told, and how many there are, on stderr."""
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}", markup=False),
    )
    with Progress(*columns, console=err, transient=True) as progress:
        task = progress.add_task("starting the server", total=steps)

        def tell(step: str) -> None:
            progress.update(task, description=step)
            progress.advance(task)

        yield tell


def _print_machine(machine: Machine) -> None:
    out.print(
        f"{machine.cores} cores, Python {machine.python}, PostgreSQL {machine.postgresql}, "
        f"fsync {machine.fsync}, synchronous_commit {machine.synchronous_commit}"
    )
    if machine.page_syncs_per_s:
        out.print(
            f"The disk takes {machine.page_syncs_per_s:,.0f} single pages a second "
            f"({machine.wal_sync_method})."
        )


def _print_runs(runs: Sequence[posting.Run]) -> None:
    table = Table(title="Durable transfers a second", title_justify="left")
    table.add_column("a call", justify="right")
    table.add_column("connections", justify="right")
    for shape in Shape:
        table.add_column(shape, justify="right")
    rows: dict[tuple[int, int], list[str]] = {}
    for run in runs:
        rows.setdefault((run.batch, run.connections), []).append(f"{run.transfers_per_s:,.0f}")
    for (batch, connections), figures in rows.items():
        table.add_row(f"{batch:,}", str(connections), *figures)
    out.print(table)


def _print_figures(figures: Mapping[str, float]) -> None:
    for name, figure in figures.items():
        out.print(f"{name}: {figure:,.1f}")


def _print_ratios(aims: Sequence[Aim], ratios: Mapping[str, float]) -> None:
    table = Table(title="Ratios", title_justify="left")
    for heading in ("ratio", "measured", "aim", ""):
        table.add_column(heading, justify="right" if heading in ("measured", "aim") else "left")
    for aim in aims:
        if aim.ratio in ratios:
            verdict = aim.judge(ratios[aim.ratio])
            table.add_row(
                aim.ratio,
                f"{ratios[aim.ratio]:.2f}",
                f"≥ {aim.at_least:g}",
                verdict,
                style=_COLOURS[verdict],
            )
    out.print(table)
