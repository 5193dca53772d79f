"""`timebank bench post`: posting by shape, size of call and connections, beside its yardsticks.

Everything is measured in rounds, each with its yardsticks, and the median of the rounds counts:
what else the machine does meanwhile then weighs on all figures alike.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from statistics import median

from msgspec import Struct

from timebank.bench.book import Shape, open_book
from timebank.bench.budget import Budget
from timebank.bench.machine import Machine, describe_machine
from timebank.bench.place import Place
from timebank.bench.posting import Case, measure_posting
from timebank.bench.ratios import Aim, find_ratios
from timebank.bench.yardsticks import (
    Copies,
    measure_copy,
    measure_pgbench,
    open_copies,
    prepare_pgbench,
)
from timebank.db import open_pool

Tell = Callable[[str], None]
"""Is told the name of each step before it begins."""

_RUN_OVERHEAD = 0.5
_COPY_SECONDS = 4.0

AIMS = (
    Aim("random_1000_vs_pgbench", "random_1000_1", "pgbench_tpcb_8", 8),
    Aim("hot_1000_vs_pgbench", "hot_1000_1", "pgbench_tpcb_8", 8),
    Aim("hot_1000_vs_random_1000", "hot_1000_1", "random_1000_1", 1),
    Aim("random_1000_vs_copy_by_1000", "random_1000_1", "copy_by_1000_transfers_per_s", 0.5),
    Aim("random_1000_vs_copy", "random_1000_1", "copy_transfers_per_s", 0.5),
    Aim("random_1000_4_vs_1", "random_1000_4", "random_1000_1", 1),
    Aim("hot_1000_4_vs_1", "hot_1000_4", "hot_1000_1", 1),
)
"""`random_1000_4` is 1,000 a call on 4 connections; unless it says otherwise, one connection.

COPY is compared twice: in commits of 1,000 rows, as our calls are, and in one commit of them all.
"""


class PostPlan(Struct, frozen=True):
    """How much to measure. `all_within` shortens the runs so that the bench ends in that time."""

    wallets: int = 10_000
    rounds: int = 3
    seconds: float = 1.5
    pgbench_seconds: int = 4
    copied: int = 50_000
    all_within: float | None = None
    batches: tuple[int, ...] = (1, 100, 1000, 5000)
    connections: tuple[int, ...] = (1, 4)

    def cases(self) -> Iterator[Case]:
        """Yield what is to be measured; what is compared stands side by side."""
        for batch in self.batches:
            for connections in self.connections:
                for shape in Shape:
                    yield Case(shape, batch, connections)

    def steps(self) -> int:
        """Return how many steps will be told."""
        return 2 + self.rounds * (2 + len(list(self.cases())))


QUICK = PostPlan(
    wallets=2000, rounds=1, seconds=1.0, pgbench_seconds=3, copied=20_000, all_within=29
)


class Run(Struct, frozen=True):
    """One shape, size of call and number of connections, and what came of it."""

    shape: Shape
    batch: int
    connections: int
    transfers_per_s: float


class PostReport(Struct, frozen=True):
    """All figures are transfers (pgbench: transactions) a second."""

    runs: list[Run]
    yardsticks: dict[str, float]
    ratios: dict[str, float]
    machine: Machine


async def bench_post(place: Place, plan: PostPlan, tell: Tell, started: float) -> PostReport:
    """Measure posting in `place`; `plan.all_within` counts from `started`, a monotonic instant.

    Raises BenchFailedError.
    """
    reserved = plan.all_within and plan.all_within - _COPY_SECONDS
    budget = Budget(started, reserved)
    rates: dict[Case, list[float]] = {case: [] for case in plan.cases()}
    yardsticks: dict[str, list[float]] = defaultdict(list)
    tell("a bank with funded wallets")
    machine = await describe_machine(place.admin_url, place.folder)
    async with (
        open_pool(place.ledger_url, size=max(plan.connections)) as pool,
        AsyncExitStack() as later,
    ):
        book = await open_book(pool, plan.wallets)
        tell("pgbench --initialize")
        await prepare_pgbench(place.pgbench_url)
        copies: Copies | None = None
        for round_ in range(1, plan.rounds + 1):
            tell(f"round {round_} of {plan.rounds}: pgbench, TPC-B-like, 8 clients")
            per_s = await measure_pgbench(place.pgbench_url, plan.pgbench_seconds)
            yardsticks["pgbench_tpcb_8"].append(per_s)
            for done, (case, found) in enumerate(rates.items()):
                tell(f"round {round_} of {plan.rounds}: {case}")
                runs_left = len(rates) * (plan.rounds + 1 - round_) - done
                seconds = budget.share(plan.seconds, runs_left=runs_left, overhead=_RUN_OVERHEAD)
                found.append(await measure_posting(pool, book, case, seconds))
            tell(f"round {round_} of {plan.rounds}: COPY of the same rows")
            if copies is None:  # there are rows to copy now
                opened = open_copies(place.admin_url, book, plan.copied)
                copies = await later.enter_async_context(opened)
            for name, per_s in (await measure_copy(copies)).items():
                yardsticks[name].append(per_s)
    runs = [
        Run(case.shape, case.batch, case.connections, median(found))
        for case, found in rates.items()
    ]
    medians = {name: median(found) for name, found in yardsticks.items()}
    return PostReport(runs, medians, _ratios(runs, medians), machine)


def _ratios(runs: Sequence[Run], yardsticks: Mapping[str, float]) -> dict[str, float]:
    figures = {f"{run.shape}_{run.batch}_{run.connections}": run.transfers_per_s for run in runs}
    return find_ratios(AIMS, {**figures, **yardsticks})
