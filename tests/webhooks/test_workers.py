"""Workers as processes of their own: killed outright, and the one inside the service."""

import asyncio
import os
import signal
import sys
from pathlib import Path
from uuid import UUID

import asyncpg

from tests.api.service import key_file, serving
from tests.book import Book
from tests.redemption.market import Market
from tests.webhooks.listening import Listening, open_at
from tests.webhooks.receiver import Authority, Got, accept
from tests.webhooks.worker_process import LEASE
from timebank.domain.webhooks import DeliveryState, Outcome
from timebank.embedded import Server
from timebank.people.seals import Seals
from timebank.people.vault_keys import KeyRing
from timebank.webhooks.endpoints import ping_endpoint
from timebank.webhooks.events import list_attempts, list_events


async def test_a_worker_killed_after_it_sent_loses_nothing(
    server: Server, worker_database: str, market: Market, tls: Authority
) -> None:
    """kill -9 while the receivers have the requests and nobody has noted it."""
    seals = Seals(KeyRing(key_file()))
    async with tls.receiver() as receiver:
        listening = await Listening.open(market, seals, tls, receiver)
        resident = await market.resident(3)
        for _ in range(3):
            await market.held(resident, 1)
        ids = {event.event_id for event in await listening.events()}
        killed = asyncio.Event()

        async def hang(got: Got) -> bytes:
            await killed.wait()
            return b""

        receiver.answer = hang
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "tests.webhooks.worker_process"),
            server.dsn(worker_database, "timebank_app"),
            *(str(key_file()), str(tls.ca_file), str(receiver.port), str(market.bank_id)),
        )
        async with asyncio.timeout(60):
            while len(receiver.got) < 3:  # noqa: ASYNC110 - of a process
                await asyncio.sleep(0.05)
        process.kill()
        await process.wait()
        killed.set()
        receiver.answer = accept
        async with asyncio.timeout(LEASE.total_seconds() * 5):
            while len(receiver.got) < 6:
                await listening.deliver()
                await asyncio.sleep(0.2)
        assert {UUID(got.event_id) for got in receiver.got[3:]} == ids
        assert {event.state for event in await listening.events()} == {DeliveryState.DELIVERED}


async def test_the_service_delivers_by_itself(
    server: Server, own_database: str, own_book: Book, tmp_path: Path
) -> None:
    """To nowhere: the name is unknown, and that is noted."""
    market = await Market.open(own_book)
    endpoint, _ = await open_at(market, Seals(KeyRing(key_file())), "https://no-such.invalid/")
    event_id = await market.run(ping_endpoint, endpoint.endpoint_id)
    environment = {
        "TIMEBANK_DATABASE_URL": server.dsn(own_database, "timebank_app"),
        "TIMEBANK_WEBHOOK_SECONDS": "1",
    }
    async with serving(tmp_path, environment), asyncio.timeout(60):
        while not await market.run(  # noqa: ASYNC110 - of a process
            list_attempts, endpoint.endpoint_id, event_id
        ):
            await asyncio.sleep(0.1)
    (attempt,) = await market.run(list_attempts, endpoint.endpoint_id, event_id)
    assert attempt.outcome is Outcome.NAME_UNKNOWN


async def test_the_command_delivers_what_is_due(
    server: Server, own_database: str, own_book: Book
) -> None:
    market = await Market.open(own_book)
    endpoint, _ = await open_at(market, Seals(KeyRing(key_file())), "https://no-such.invalid/")
    await market.run(ping_endpoint, endpoint.endpoint_id)
    for attempts in (1, 0):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "timebank", "webhooks", "deliver"),
            env={
                **os.environ,
                "TIMEBANK_DATABASE_URL": server.dsn(own_database, "timebank_app"),
                "TIMEBANK_MASTER_KEY_FILE": str(key_file()),
            },
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        told = await process.communicate()
        assert (process.returncode, told) == (0, (f"{attempts} attempts\n".encode(), b""))
    (event,) = await market.run(list_events, endpoint.endpoint_id)
    assert (event.state, event.attempts) == (DeliveryState.WAITING, 1)


async def test_the_command_goes_on_when_the_database_failed_for_a_moment(
    server: Server, own_database: str, own_book: Book, superuser: asyncpg.Connection
) -> None:
    market = await Market.open(own_book)
    endpoint, _ = await open_at(market, Seals(KeyRing(key_file())), "https://no-such.invalid/")
    event_id = await market.run(ping_endpoint, endpoint.endpoint_id)
    await superuser.execute("REVOKE EXECUTE ON FUNCTION claim_deliveries FROM timebank_app")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "timebank", "webhooks", "deliver", "--forever"),
        env={
            **os.environ,
            "TIMEBANK_DATABASE_URL": server.dsn(own_database, "timebank_app"),
            "TIMEBANK_MASTER_KEY_FILE": str(key_file()),
        },
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr
    try:
        async with asyncio.timeout(60):
            await process.stderr.readuntil(b"deliveries_failed")
            await superuser.execute("GRANT EXECUTE ON FUNCTION claim_deliveries TO timebank_app")
            while not await market.run(  # noqa: ASYNC110 - of a process
                list_attempts, endpoint.endpoint_id, event_id
            ):
                await asyncio.sleep(0.1)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
        await process.communicate()
    assert process.returncode == 130
