"""`timebank bench post` measures what it says and cleans up; nothing here is about speed."""

from time import monotonic

import asyncpg
import pytest
from click.testing import CliRunner
from msgspec import to_builtins

from tests.book import Book
from timebank.bench.book import FUNDS, Shape, open_book, post_in_one_commit
from timebank.bench.budget import Budget
from timebank.bench.place import BenchFailedError, open_place
from timebank.bench.post import AIMS, PostPlan, bench_post
from timebank.bench.posting import Case, measure_posting
from timebank.bench.ratios import Aim, Verdict, find_ratios
from timebank.bench.yardsticks import measure_pgbench
from timebank.cli.main import main
from timebank.database import connect
from timebank.domain.ledger import TransferStatus
from timebank.embedded import Server
from timebank.ledger.passbook import get_balance

TINY = PostPlan(
    wallets=20,
    rounds=1,
    seconds=0.02,
    pgbench_seconds=1,
    copied=500,
    batches=(1, 1000),
    connections=(1, 4),
)


async def databases(server: Server) -> set[str]:
    connection = await connect(server.dsn())
    try:
        rows = await connection.fetch("SELECT datname FROM pg_database")
    finally:
        await connection.close()
    return {row["datname"] for row in rows if "bench" in row["datname"]}


async def test_bench_post_reports_every_case_and_leaves_nothing(server: Server) -> None:
    told: list[str] = []
    async with open_place(server.dsn()) as place:
        report = await bench_post(place, TINY, told.append, monotonic())
        made = place.ledger_url.rpartition("/")[2].partition("?")[0]
        assert made in await databases(server)
    assert made not in await databases(server)
    assert len(told) == TINY.steps()
    shown = to_builtins(report)
    assert [(run["shape"], run["batch"], run["connections"]) for run in shown["runs"]] == [
        (shape.value, batch, connections)
        for batch in (1, 1000)
        for connections in (1, 4)
        for shape in Shape
    ]
    assert all(run["transfers_per_s"] > 0 for run in shown["runs"])
    assert shown["yardsticks"].keys() == {
        "pgbench_tpcb_8",
        "copy_transfers_per_s",
        "copy_by_1000_transfers_per_s",
        "copy_encoded_transfers_per_s",
    }
    assert all(figure > 0 for figure in shown["yardsticks"].values())
    assert shown["ratios"].keys() == {aim.ratio for aim in AIMS}


async def test_what_is_counted_is_in_the_books(worker_pool: asyncpg.Pool) -> None:
    book = await open_book(worker_pool, 10)
    for shape in Shape:
        transfers = book.draw(shape, 200)
        outcomes = await post_in_one_commit(worker_pool, book.bank_id, transfers)
        assert {outcome.status for outcome in outcomes} == {TransferStatus.POSTED}
    async with worker_pool.acquire() as connection:
        issued = await get_balance(connection, book.bank_id, book.issuance)
    assert -issued.balance == 10 * FUNDS + sum(transfer.amount for transfer in transfers)


async def test_shapes(worker_pool: asyncpg.Pool) -> None:
    book = await open_book(worker_pool, 3)
    hot = book.draw(Shape.HOT, 50)
    assert {transfer.debit_account_id for transfer in hot} == {book.issuance}
    random = book.draw(Shape.RANDOM, 200)
    pairs = {(transfer.debit_account_id, transfer.credit_account_id) for transfer in random}
    assert pairs == {(a, b) for a in book.wallets for b in book.wallets if a != b}


async def test_a_run_is_bounded_by_its_seconds(worker_pool: asyncpg.Pool) -> None:
    book = await open_book(worker_pool, 10)
    begun = monotonic()
    rate = await measure_posting(worker_pool, book, Case(Shape.HOT, 10, 2), 0.1)
    assert rate > 0
    assert monotonic() - begun < 30


async def test_pgbench_without_its_tables_is_a_failure(server: Server, book: Book) -> None:
    with pytest.raises(BenchFailedError, match="pgbench"):
        await measure_pgbench(server.dsn("postgres"), 1)


def test_case_reads_as_a_sentence() -> None:
    assert str(Case(Shape.RANDOM, 5000, 4)) == "random, 5,000 a call, 4 connections"
    assert str(Case(Shape.HOT, 1, 1)) == "hot, 1 a call, 1 connection"


def test_ratios_of_what_was_measured() -> None:
    aims = [Aim("a_vs_b", "a", "b", 2), Aim("a_vs_c", "a", "c", 1), Aim("a_vs_0", "a", "zero", 1)]
    assert find_ratios(aims, {"a": 10.0, "b": 4.0, "zero": 0.0}) == {"a_vs_b": 2.5}


@pytest.mark.parametrize(
    ("ratio", "verdict"),
    [(2.0, Verdict.MET), (1.9, Verdict.WITHIN_NOISE), (1.89, Verdict.NOT_MET)],
)
def test_verdicts(ratio: float, verdict: Verdict) -> None:
    assert Aim("r", "f", "y", 2).judge(ratio) is verdict


def test_budget_shortens_what_comes_last() -> None:
    now = monotonic()
    assert Budget(now, None).share(4, runs_left=100, overhead=1) == 4
    assert Budget(now, 20).share(4, runs_left=2, overhead=1) == 4
    assert Budget(now, 20).share(4, runs_left=10, overhead=1) == pytest.approx(1, abs=0.1)
    assert Budget(now - 60, 20).share(4, runs_left=10, overhead=1) == 0.1


@pytest.mark.parametrize("command", ["post", "http"])
@pytest.mark.parametrize(
    ("options", "url", "says"),
    [
        ([], "postgresql://nobody@localhost/real", "--external"),
        (["--external"], "", "TIMEBANK_DATABASE_URL"),
    ],
)
def test_another_server_must_be_meant(
    command: str, options: list[str], url: str, says: str
) -> None:
    environment = {"TIMEBANK_DATABASE_URL": url or None}
    result = CliRunner().invoke(main, ["bench", command, *options], env=environment)
    assert result.exit_code == 2
    assert says in result.output


@pytest.mark.parametrize("command", ["post", "http"])
def test_help_has_an_example(command: str) -> None:
    result = CliRunner().invoke(main, ["bench", command, "--help"])
    assert f"timebank bench {command} --quick" in result.output
