"""The command `timebank` and its subcommands; exit code 0 done, 1 refused or findings, 2 misuse."""

from typing import Any

import click

from timebank import __version__
from timebank.cli.anomalies import anomalies
from timebank.cli.benching import bench
from timebank.cli.branches import branch
from timebank.cli.certificates import certificate, keys
from timebank.cli.demo import demo
from timebank.cli.exchange import exchange
from timebank.cli.importing import import_files
from timebank.cli.people import people
from timebank.cli.points import points
from timebank.cli.reconcile import reconcile
from timebank.cli.running import COMMANDS_CONTEXT, print_in_any_encoding
from timebank.cli.schema import schema
from timebank.cli.serving import serve
from timebank.cli.settlement import settlement
from timebank.cli.slips import slip
from timebank.cli.staff import staff
from timebank.cli.tokens import bank, token
from timebank.cli.vault import vault
from timebank.cli.webhooks import webhooks


class _Timebank(click.Group):
    """Fits stdout before the first line, which may be of help."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        print_in_any_encoding()
        return super().main(*args, **kwargs)


@click.group(cls=_Timebank, context_settings=COMMANDS_CONTEXT)
@click.version_option(__version__)
def main() -> None:
    """Timebank: a volunteer time bank on an append-only ledger in PostgreSQL.

    \b
    timebank demo          try it: a bank, sample data, the API on loopback
    timebank reconcile     prove the books
    timebank COMMAND -h    what a command does, with an example
    """


for subcommand in (
    demo,
    serve,
    bank,
    branch,
    people,
    staff,
    vault,
    token,
    import_files,
    points,
    anomalies,
    keys,
    certificate,
    slip,
    exchange,
    settlement,
    webhooks,
    reconcile,
    bench,
    schema,
):
    main.add_command(subcommand)
