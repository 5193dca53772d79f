"""`timebank webhooks`: tell merchants' systems what is due, where the service does not."""

import asyncio

import click

from timebank.cli.running import command, out, settings_from_environment
from timebank.database import open_database
from timebank.jobs import running_deliveries
from timebank.logs import set_up_logs
from timebank.people.seals import Seals
from timebank.people.vault_keys import open_key_ring
from timebank.webhooks.delivery import Worker, deliver_due
from timebank.webhooks.sending import Sender

_LOOK_EVERY_SECONDS = 2


@click.group()
def webhooks() -> None:
    """What happened at merchants, told to their systems."""


@webhooks.command()
@click.option(
    "--forever", is_flag=True, help="Go on until Ctrl-C, looking every 2 seconds, whatever fails."
)
@command
async def deliver(forever: bool) -> None:
    """Deliver what is due in all banks, until none is. Several of it do no harm.

    \b
    Example:
      timebank webhooks deliver
      TIMEBANK_WEBHOOK_SECONDS=0 timebank serve & timebank webhooks deliver --forever
    """
    settings = settings_from_environment()
    set_up_logs(settings.log_level)
    async with open_database(settings) as pool:
        ring = open_key_ring(settings)
        if forever:
            async with running_deliveries(pool, lambda: ring, _LOOK_EVERY_SECONDS):
                await asyncio.Event().wait()
        made = await deliver_due(Worker(pool=pool, seals=Seals(ring), sender=Sender()))
    out.print(f"{made:,} attempts")
