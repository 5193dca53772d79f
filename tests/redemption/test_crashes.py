"""kill -9 at every point: no half of an act, no acknowledged act lost, and the retry settles it."""

import asyncio
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from uuid import UUID

import asyncpg
import msgspec
import pytest

from tests.api.service import key_file
from tests.book import Book
from tests.races.checks import THOROUGH
from tests.redemption.checks import check_market
from tests.redemption.crash_client import Order, Point, Report
from tests.redemption.market import CLERK, Market, noon_zone
from tests.redemption.slip_desk import SlipDesk
from timebank.db import install_schema, open_pool
from timebank.domain.errors import DatabaseUnavailableError, OutcomeUnknownError
from timebank.domain.ledger import AccountKind
from timebank.domain.redemption import Answer, CapScope
from timebank.domain.slips import SlipResult
from timebank.embedded import Server, running
from timebank.ledger.ids import derive_id, new_id
from timebank.people.seals import Seals
from timebank.people.vault_keys import KeyRing

KILLS = 200 if THOROUGH else 20
SERVER_KILLS = 4 if THOROUGH else 1
ACTS = ["hold", "capture", "release", "refund", "slip"]
COMMITTED = {Point.BEFORE_THE_REPLY, Point.AFTER_THE_REPLY}


class Crasher:
    """Sends orders to the client that is killed."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def carry_out(self, order: Order) -> Report:
        """Have the act done and the client killed."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(msgspec.json.encode(order) + b"\n")
        await self._process.stdin.drain()
        async with asyncio.timeout(30):
            line = await self._process.stdout.readline()
        return msgspec.json.decode(line, type=Report)


@pytest.fixture
async def crasher() -> AsyncIterator[Crasher]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.redemption.crash_client"),
        cwd=Path(__file__).parents[2],
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    yield Crasher(process)
    assert process.stdin
    process.stdin.close()
    assert await process.wait() == 0


class Scene:
    """A market in which acts are prepared, killed, and tried again."""

    def __init__(self, market: Market, resident: tuple[UUID, UUID], soap: UUID) -> None:
        self.market = market
        self.resident = resident
        self.soap = soap
        self.desk = SlipDesk(market, Seals(KeyRing(key_file())))

    async def order(self, kind: str, point: Point, dsn: str) -> Order:
        """Prepare an act of this kind, ready to be done."""
        market, act_id = self.market, new_id()
        hold_id = act_id
        if kind == "slip":
            return await self.tell_of_a_slip(point, dsn)
        if kind != "hold":
            hold_id = await market.held(self.resident, 2, offer_id=self.soap)
        if kind == "refund":
            assert (await market.capture(hold_id)).status == "done"
        return Order(
            dsn=dsn,
            bank_id=market.bank_id,
            point=point,
            delay=random.choice([0.0, random.uniform(0, 0.01)]),
            kind=kind,
            act_id=act_id,
            actor_id=CLERK,
            merchant_id=market.merchant_id,
            hold_id=hold_id,
            wish=market.wish(self.resident, 2, offer_id=self.soap) if kind == "hold" else None,
            code=market.pickups.get(hold_id),
            points=3,
        )

    async def tell_of_a_slip(self, point: Point, dsn: str) -> Order:
        """Prepare an acceptance that the bank has not been told of."""
        slip, acceptance_id = await self.desk.issued(self.resident, 6), new_id()
        return Order(
            dsn=dsn,
            bank_id=self.market.bank_id,
            point=point,
            delay=random.choice([0.0, random.uniform(0, 0.01)]),
            kind="slip",
            act_id=derive_id(acceptance_id, f"slip {slip.number}"),
            actor_id=CLERK,
            merchant_id=self.market.merchant_id,
            hold_id=slip.slip_id,
            slip=await self.desk.text(slip),
            acceptance_id=acceptance_id,
            keys=await self.desk.keys(),
        )

    async def look(self) -> dict[str, int | None]:
        """What points and stock stand at."""
        market, (resident_id, _) = self.market, self.resident
        return {
            "wallet": await market.points_of(resident_id),
            "held": await market.points_of(resident_id, AccountKind.HELD),
            "till": await market.points_of(market.merchant_id, AccountKind.MERCHANT),
            "stock": await market.available(self.soap),
        }

    async def retry(self, order: Order) -> Answer | str:
        """The same act again; of a slip, whether it was paid for."""
        if order.acceptance_id:
            told = await self.desk.tell(order.slip, order.acceptance_id, keys=order.keys)
            paid = told.result in {SlipResult.CAPTURED, SlipResult.CAPTURED_BEFORE}
            return "done" if paid else str(told.result)
        market, act_id, hold_id = self.market, order.act_id, order.hold_id
        retries: dict[str, Callable[[], Awaitable[Answer]]] = {
            "hold": lambda: market.place(order.wish or market.wish(self.resident), act_id),
            "capture": lambda: market.capture(hold_id, capture_id=act_id),
            "release": lambda: market.release(hold_id, act_id),
            "refund": lambda: market.refund(hold_id, order.points, refund_id=act_id),
        }
        return await retries[order.kind]()

    async def is_known(self, act_id: UUID) -> bool:
        """Whether the act was decided and committed."""
        known: bool = await self.market.book.pool.fetchval(
            "SELECT EXISTS (SELECT FROM redemption_act WHERE bank_id = $1 AND act_id = $2)",
            self.market.bank_id,
            act_id,
        )
        return known


_SERVER_GONE = (
    OutcomeUnknownError,
    DatabaseUnavailableError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    OSError,
)

EFFECTS = {
    "hold": {"wallet": -6, "held": 6, "till": 0, "stock": -2},
    "capture": {"wallet": 0, "held": -6, "till": 6, "stock": 0},
    "release": {"wallet": 6, "held": -6, "till": 0, "stock": 2},
    "refund": {"wallet": 3, "held": 0, "till": -3, "stock": 0},
    "slip": {"wallet": 0, "held": -6, "till": 6, "stock": 0},
}


def is_done(answer: Answer | str) -> bool:
    return (answer if isinstance(answer, str) else answer.status) == "done"


async def open_scene(book: Book) -> Scene:
    market = await Market.open(book)
    resident = await market.resident(10_000)
    scene = Scene(market, resident, await market.offer(price=3, stock=2_000))
    await scene.desk.make_key()
    await market.cap(CapScope.SLIP, 6)
    await market.cap(CapScope.SLIPS_OPEN, 1000)
    return scene


async def wait_for_silence(market: Market) -> None:
    """Wait until the server has noticed that clients are gone."""
    busy = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
        "AND pid <> pg_backend_pid() AND state <> 'idle'"
    )
    async with market.book.pool.acquire() as connection:
        for _ in range(2000):
            if not await connection.fetchval(busy):
                return
            await asyncio.sleep(0.005)
    raise AssertionError("the server is still at work")


async def test_a_killed_client_leaves_all_or_nothing(
    crasher: Crasher, server: Server, own_database: str, own_book: Book
) -> None:
    scene = await open_scene(await Book.open(own_book.pool, time_zone=noon_zone()))
    dsn = server.dsn(own_database, "timebank_app")
    told: Counter[tuple[Point, bool]] = Counter()
    for n in range(KILLS):
        point, kind = list(Point)[n % len(Point)], random.choice(ACTS)
        order = await scene.order(kind, point, dsn)
        before = await scene.look()
        report = await crasher.carry_out(order)
        assert report.killed
        await wait_for_silence(scene.market)
        known = await scene.is_known(order.act_id)
        after = await scene.look()
        effect = EFFECTS[kind] if known else dict.fromkeys(before, 0)
        assert after == {name: (before[name] or 0) + effect[name] for name in before}
        assert known is (point in COMMITTED)
        assert report.acknowledged == ("done" if point is Point.AFTER_THE_REPLY else None)
        told[point, known] += 1
        answer = await scene.retry(order)
        assert is_done(answer)
        settled = {name: (before[name] or 0) + EFFECTS[kind][name] for name in before}
        assert await scene.look() == settled
        assert await scene.retry(order) == answer
    assert len(told) == len(Point)
    await check_market(scene.market)


# ---- The server ----------------------------------------------------------------------------------


async def test_a_killed_server_forgets_nothing_it_acknowledged(open_dir: Path) -> None:
    """A backend or the postmaster is killed while eight clients are at work."""
    async with running(open_dir / "data", settings={"max_connections": "50"}) as server:
        superuser = await asyncpg.connect(server.dsn())
        await install_schema(superuser)
        await superuser.close()
        async with open_pool(server.dsn(user="timebank_app"), size=10) as pool:
            scene = await open_scene(await Book.open(pool, time_zone=noon_zone()))
        answered: list[tuple[Order, Answer | str | None]] = []
        for n in range(SERVER_KILLS):
            async with running(open_dir / "data"):  # whoever comes back starts it again
                await work_until_killed(server, scene, answered, postmaster=n % 2 == 1)
        async with running(open_dir / "data"):
            await settle(server, scene, answered)


async def work_until_killed(
    server: Server,
    scene: Scene,
    answered: list[tuple[Order, Answer | str | None]],
    *,
    postmaster: bool,
) -> None:
    """Hold, capture, release and refund until the server goes away."""
    dsn = server.dsn(user="timebank_app")
    async with open_pool(dsn, size=10) as pool:
        there = Market(
            Book(pool, scene.market.book.bank, scene.market.book.issuance),
            scene.market.merchant_id,
            scene.market.till,
            scene.market.pickups,
        )
        mine = Scene(there, scene.resident, scene.soap)

        enough = asyncio.Event()
        before = len(answered)

        async def client() -> None:
            with suppress(*_SERVER_GONE):
                while True:
                    order = await mine.order(random.choice(ACTS), Point.AFTER_THE_REPLY, dsn)
                    answered.append((order, None))
                    place = len(answered) - 1
                    answered[place] = (order, await mine.retry(order))
                    if len(answered) - before > 20:
                        enough.set()

        working = asyncio.gather(*(client() for _ in range(8)))
        async with asyncio.timeout(60):
            await enough.wait()
            await asyncio.sleep(random.uniform(0, 0.1))
            kill_one_of(server, postmaster=postmaster)
            await working


def kill_one_of(server: Server, *, postmaster: bool) -> None:
    """Kill -9 the postmaster of this data directory, or one of its clients' backends."""
    pid_file = server.data_dir / "cluster" / "postmaster.pid"
    main = int(pid_file.read_text().split()[0])
    if postmaster:
        os.kill(main, signal.SIGKILL)
        return
    children = Path(f"/proc/{main}/task/{main}/children").read_text().split()
    backends = [
        int(child)
        for child in children
        if b"timebank_app" in Path(f"/proc/{child}/cmdline").read_bytes()
    ]
    os.kill(random.choice(backends), signal.SIGKILL)


async def settle(
    server: Server, scene: Scene, answered: list[tuple[Order, Answer | str | None]]
) -> None:
    """Every answer given stands as it was given; what was not answered is settled by its retry."""
    async with open_pool(server.dsn(user="timebank_app"), size=10) as pool:
        scene.market.book = Book(pool, scene.market.book.bank, scene.market.book.issuance)
        for order, answer in answered:
            again = await scene.retry(order)
            assert is_done(again)
            assert answer in (None, again)
        assert sum(answer is not None for _, answer in answered) > 10 * SERVER_KILLS
        await check_market(scene.market)
