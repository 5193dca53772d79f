"""`timebank branch`: import, demo, type, list and show as a person or a script runs them."""

import asyncio
import csv
import io
import json
from pathlib import Path

import pytest
from click.testing import Result

from tests.book import Book
from tests.cli.test_cli import MISUSED, REFUSED, USED, check_one_line, run
from timebank.embedded import Server


@pytest.fixture
def url(server: Server, worker_database: str) -> str:
    """The worker's database, as the service sees it."""
    return server.dsn(worker_database, "timebank_app")


@pytest.fixture
def code(book: Book) -> str:
    """The code of a new bank."""
    return book.bank.code


def branch(url: str, code: str, *words: str) -> Result:
    return run("branch", *words, "--bank", code, DATABASE_URL=url)


def test_a_tree_of_a_districts_size_in_one_command(url: str, code: str) -> None:
    first = branch(url, code, "demo")
    assert (first.exit_code, first.stdout) == (
        USED,
        "666 branches: 666 opened, 0 moved, 0 renamed; 258 service points opened.\n",
    )
    again = json.loads(branch(url, code, "demo", "--json").stdout)
    assert again["branches"] == 666
    assert not any(done for name, done in again.items() if name != "branches")
    listed = branch(url, code, "list", "--within", "c01").stdout.splitlines()
    assert listed[:2] == ["c01  1号社区 [a]", "  x001  1号小区"]
    shown = branch(url, code, "show", "s01")
    assert "s01  1号街道: subdistrict" in shown.stdout
    assert "14号党群服务中心" in shown.stdout


def test_the_demo_is_a_file_for_import(url: str, code: str, tmp_path: Path) -> None:
    for name in "abcd":
        assert branch(url, code, "type", name, "--name", f"{name}类").exit_code == USED
    assert branch(url, code, "type").stdout.splitlines()[0] == "a  a类"
    path = tmp_path / "tree.csv"
    path.write_text(branch(url, code, "demo", "--csv").stdout, "utf-8")
    assert len(list(csv.DictReader(io.StringIO(path.read_text("utf-8"))))) == 666
    tried = branch(url, code, "import", str(path), "--dry-run", "--json")
    assert json.loads(tried.stdout)["opened"] == 666
    assert "dry run, nothing was written" in tried.stderr
    assert json.loads(branch(url, code, "list", "--json").stdout)[1:] == []
    assert "666 opened" in branch(url, code, "import", str(path)).stdout
    assert "666 branches: 0 opened" in branch(url, code, "demo").stdout


def test_faulty_rows_are_named_by_file_and_line(url: str, code: str, tmp_path: Path) -> None:
    path = tmp_path / "tree.csv"
    path.write_text(
        "code,name,level,parent_code,community_type,service_points\n"
        f"s1,一,subdistrict,{code},,\nc1,二,village,s1,,\n",
        "utf-8",
    )
    refused = branch(url, code, "import", str(path))
    assert (refused.exit_code, refused.stdout) == (REFUSED, "")
    assert f"{path}:3: level is one of" in refused.stderr
    assert "Nothing was imported" in refused.stderr


async def test_what_a_branch_holds_now_and_then(url: str, book: Book) -> None:
    before = await book.pool.fetchval("SELECT clock_timestamp()")
    await book.open_account(balance=1250)
    now = await asyncio.to_thread(branch, url, book.bank.code, "show")
    assert "1,250" in now.stdout
    assert "-1,250" in now.stdout
    words = ("show", "--as-of", before.isoformat(), "--json")
    then = await asyncio.to_thread(branch, url, book.bank.code, *words)
    assert [one["balance"] for one in json.loads(then.stdout)["total"]] == [0, 0]


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["show", "nowhere"], "no branch nowhere"),
        (["list", "--within", "nowhere"], "no branch nowhere"),
        (["show", "--as-of", "2030-01-01"], "with its offset"),
        (["show", "--as-of", "9000-01-01T00:00:00Z"], "up to now"),
    ],
)
def test_what_cannot_be_shown_is_one_line(url: str, code: str, words: list[str], part: str) -> None:
    check_one_line(branch(url, code, *words), part)


def test_an_unknown_bank_is_one_line(url: str) -> None:
    check_one_line(branch(url, "nowhere", "demo"), "There is no bank nowhere")


def test_a_type_needs_both_code_and_name(url: str, code: str) -> None:
    assert branch(url, code, "type", "old").exit_code == MISUSED
