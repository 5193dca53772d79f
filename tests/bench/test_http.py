"""`timebank bench http`: service, yardstick and load are real; nothing here is about speed."""

from time import monotonic

import pytest
from msgspec import to_builtins

from timebank.bench.http import AIMS, HttpPlan, bench_http
from timebank.bench.load import LoadPlan
from timebank.bench.place import BenchFailedError, open_place
from timebank.bench.processes import run_load_process, serving
from timebank.embedded import Server

TINY = HttpPlan(wallets=20, rounds=1, seconds=0.3, warm_up=0.2, pgbench_seconds=1, connections=4)


async def test_bench_http_reports_and_the_books_agree(server: Server) -> None:
    told: list[str] = []
    async with open_place(server.dsn()) as place:
        report = await bench_http(place, TINY, told.append, monotonic())
    assert len(told) == TINY.steps()
    shown = to_builtins(report)
    figures = ("get_balance_per_s", "bare_per_s", "post_award_per_s", "pgbench_tpcb_8")
    assert all(shown[figure] > 0 for figure in figures)
    assert shown["ratios"].keys() == {aim.ratio for aim in AIMS}
    assert all(took["p50_ms"] <= took["p99_ms"] for took in shown["latencies"].values())


async def test_answers_that_are_not_success_are_no_speed() -> None:
    async with serving(["bench", "bare"]) as port:
        plan = LoadPlan(
            kind="balance", port=port, accounts=["no-uuid"], connections=2, warm_up=0, seconds=0.1
        )
        with pytest.raises(BenchFailedError, match="404"):
            await run_load_process(plan)


async def test_a_service_that_does_not_start_is_a_failure() -> None:
    with pytest.raises(BenchFailedError, match="did not start"):
        async with serving(["serve"], {"TIMEBANK_DATABASE_URL": "postgresql://127.0.0.1:1/none"}):
            raise AssertionError("it cannot have started")
