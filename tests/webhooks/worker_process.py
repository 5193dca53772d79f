"""A worker that can be killed: `python -m tests.webhooks.worker_process DSN KEYS CA PORT BANK`."""

import asyncio
import ssl
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from tests.webhooks.receiver import is_loopback
from timebank.db import open_pool
from timebank.people.seals import Seals
from timebank.people.vault_keys import KeyRing
from timebank.webhooks.delivery import Worker, deliver_due
from timebank.webhooks.sending import Sender

LEASE = timedelta(seconds=2)


async def work(dsn: str, keys: str, ca: str, port: int, bank_id: int) -> None:
    """Deliver what is due in a bank to a receiver on this port."""

    async def resolve(host: str, wanted: int) -> Sequence[tuple[str, int]]:
        return [("127.0.0.1", port)]

    tls = ssl.create_default_context(cafile=ca)
    async with open_pool(dsn) as pool:
        worker = Worker(
            pool=pool,
            seals=Seals(KeyRing(Path(keys))),
            sender=Sender(resolve=resolve, is_allowed=is_loopback, tls=tls),
            lease=LEASE,
        )
        await deliver_due(worker, [bank_id])


if __name__ == "__main__":
    asyncio.run(work(*sys.argv[1:4], *map(int, sys.argv[4:6])))
