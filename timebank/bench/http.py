"""`timebank bench http`: single requests on 64 connections to one service process.

A balance GET stands beside a service without a database behind it, a durable award POST beside
pgbench. What is compared takes turns, and the median of the turns counts.
"""

import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from statistics import median
from typing import Literal

from msgspec import Struct

from timebank.bench.book import BenchBook, open_book
from timebank.bench.budget import Budget
from timebank.bench.load import LoadPlan, LoadResult
from timebank.bench.machine import Machine, describe_machine
from timebank.bench.place import BenchFailedError, Place
from timebank.bench.post import Tell
from timebank.bench.processes import fetch_body, run_load_process, serving
from timebank.bench.ratios import Aim, find_ratios
from timebank.bench.yardsticks import measure_pgbench, prepare_pgbench
from timebank.db import Pool, open_pool
from timebank.ledger.ids import new_id
from timebank.ledger.passbook import get_balance
from timebank.people.access import Role
from timebank.people.tokens import issue_token

AIMS = (
    Aim("get_balance_vs_bare", "get_balance_per_s", "bare_per_s", 0.8),
    Aim("post_award_vs_pgbench", "post_award_per_s", "pgbench_tpcb_8", 1.2),
)


class HttpPlan(Struct, frozen=True):
    """How much to measure. `all_within` shortens the loads so that the bench ends in that time."""

    wallets: int = 10_000
    rounds: int = 3
    seconds: float = 3.0
    warm_up: float = 0.7
    pgbench_seconds: int = 4
    connections: int = 64
    all_within: float | None = None

    def steps(self) -> int:
        """Return how many steps will be told."""
        return 3 + 4 * self.rounds


QUICK = HttpPlan(wallets=2000, rounds=2, seconds=1.5, warm_up=0.5, pgbench_seconds=2, all_within=36)

_LOAD_OVERHEAD = 1.0
"""What a load takes besides warm-up and seconds: mostly the start of its process."""


class Latency(Struct, frozen=True):
    """Milliseconds from asking to the whole answer, at full load."""

    p50_ms: float
    p99_ms: float


class HttpReport(Struct, frozen=True):
    """Answers a second (pgbench: transactions), and how long they took."""

    get_balance_per_s: float
    bare_per_s: float
    post_award_per_s: float
    pgbench_tpcb_8: float
    latencies: dict[str, Latency]
    ratios: dict[str, float]
    machine: Machine


class _Rig(Struct, frozen=True):
    """What the measurements share: the book, and the two services on their ports."""

    plan: HttpPlan
    tell: Tell
    budget: Budget
    place: Place
    pool: Pool
    book: BenchBook
    token: str
    port: int
    bare_port: int


async def bench_http(place: Place, plan: HttpPlan, tell: Tell, started: float) -> HttpReport:
    """Measure the service over HTTP; `plan.all_within` counts from `started`, a monotonic instant.

    BenchFailedError if the answers or the books are wrong.
    """
    machine = await describe_machine(place.admin_url, place.folder)
    budget = Budget(started, plan.all_within)
    async with _open_rig(place, plan, tell, budget) as rig:
        reads, bare = await _measure_reads(rig)
        awards, pgbench = await _measure_awards(rig)
    figures = {
        "get_balance_per_s": median(result.per_s for result in reads),
        "bare_per_s": median(result.per_s for result in bare),
        "post_award_per_s": median(result.per_s for result in awards),
        "pgbench_tpcb_8": median(pgbench),
    }
    return HttpReport(
        **figures,
        latencies={
            "get_balance": _latency(reads),
            "bare": _latency(bare),
            "post_award": _latency(awards),
        },
        ratios=find_ratios(AIMS, figures),
        machine=machine,
    )


@asynccontextmanager
async def _open_rig(
    place: Place, plan: HttpPlan, tell: Tell, budget: Budget
) -> AsyncIterator[_Rig]:
    async with open_pool(place.ledger_url, size=2) as pool:
        tell("a bank with funded wallets")
        book = await open_book(pool, plan.wallets)
        async with pool.acquire() as connection:
            token = await issue_token(
                connection, book.bank_id, Role.INTEGRATOR, new_id(), timedelta(hours=1)
            )
        tell("pgbench --initialize")
        await prepare_pgbench(place.pgbench_url)
        tell("a service, and one without a database")
        async with (
            serving(["serve"], {"TIMEBANK_DATABASE_URL": place.ledger_url}) as port,
            serving(["bench", "bare"]) as bare_port,
        ):
            yield _Rig(plan, tell, budget, place, pool, book, token, port, bare_port)


async def _measure_reads(rig: _Rig) -> tuple[list[LoadResult], list[LoadResult]]:
    """Measure the balance GET of the service and of the bare one, turn by turn."""
    path = f"/api/v1/accounts/{rig.book.wallets[0]}/balance"
    if await fetch_body(rig.port, path, rig.token) != await fetch_body(rig.bare_port, path):
        raise BenchFailedError("The service and its yardstick answer different bodies.")
    reads, bare = [], []
    for round_ in range(1, rig.plan.rounds + 1):
        rig.tell(f"round {round_} of {rig.plan.rounds}: GET balance")
        loads_left = 4 * rig.plan.rounds - 2 * (round_ - 1)
        reads.append(await run_load_process(_load(rig, "balance", rig.port, loads_left)))
        rig.tell(f"round {round_} of {rig.plan.rounds}: GET without a database")
        bare.append(await run_load_process(_load(rig, "balance", rig.bare_port, loads_left - 1)))
    return reads, bare


async def _measure_awards(rig: _Rig) -> tuple[list[LoadResult], list[float]]:
    """Measure the award POST and pgbench, turn by turn; check the books afterwards."""
    before = await _issued(rig)
    awards, pgbench = [], []
    for round_ in range(1, rig.plan.rounds + 1):
        rig.tell(f"round {round_} of {rig.plan.rounds}: pgbench, TPC-B-like, 8 clients")
        pgbench.append(await measure_pgbench(rig.place.pgbench_url, rig.plan.pgbench_seconds))
        rig.tell(f"round {round_} of {rig.plan.rounds}: POST award")
        loads_left = 2 * (rig.plan.rounds - round_) + 1
        awards.append(await run_load_process(_load(rig, "award", rig.port, loads_left)))
    issued = await _issued(rig) - before
    answered = sum(result.points for result in awards)
    if issued != answered:
        raise BenchFailedError(f"{answered} points were answered as awarded, {issued} were issued.")
    return awards, pgbench


def _load(rig: _Rig, kind: Literal["balance", "award"], port: int, runs_left: int) -> LoadPlan:
    """Return the next load; a turn of pgbench counts as one of `runs_left`."""
    plan = rig.plan
    overhead = _LOAD_OVERHEAD + plan.warm_up
    return LoadPlan(
        kind=kind,
        port=port,
        accounts=[str(wallet) for wallet in rig.book.wallets],
        token=rig.token,
        key_prefix=secrets.token_hex(8),
        connections=plan.connections,
        warm_up=plan.warm_up,
        seconds=rig.budget.share(plan.seconds, runs_left=runs_left, overhead=overhead),
    )


async def _issued(rig: _Rig) -> int:
    async with rig.pool.acquire() as connection:
        return -(await get_balance(connection, rig.book.bank_id, rig.book.issuance)).balance


def _latency(results: Sequence[LoadResult]) -> Latency:
    return Latency(
        median(result.p50_ms for result in results), median(result.p99_ms for result in results)
    )
