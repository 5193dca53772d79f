"""The packages stand in one order; what is pure stays pure; SQL stays in SQL files."""

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "timebank"

# A module imports only from names before its own; names on one line never import one another.
LAYERS = """
    domain
    config logs files
    keeper
    cluster
    embedded
    db
    database
    ledger
    people
    service redemption webhooks
    audit
    bench jobs
    api web cli
    app
"""
RANK = {name: rank for rank, line in enumerate(LAYERS.split("\n")) for name in line.split()}

IMPURE_MODULES = {"os", "time", "asyncio", "asyncpg"}
CLOCKS = {"now", "utcnow", "today"}

# Upper case and a space after it: a word of prose or the bare name of a privilege is no statement.
SQL = re.compile(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH|CREATE|ALTER)\s")


def top_name(module: str) -> str:
    """Return the name right under timebank: `ledger` for `timebank.ledger.passbook`."""
    return [*module.split("."), "__init__"][1]


def imported_modules(source: str, module: str, *, is_package: bool = False) -> set[str]:
    """Return the full names of all that is imported, inside functions and for types as well."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = module.split(".")
                above = above[: len(above) + is_package - node.level]
                base = ".".join([*above, base]).rstrip(".")
            found.update(f"{base}.{alias.name}" for alias in node.names)
    return found


def layer_faults(source: str, module: str, *, is_package: bool = False) -> list[str]:
    """Return each import of timebank that this module may not make."""
    own = top_name(module)
    if own == "__main__":
        allowed = {"cli"}
    else:
        allowed = {name for name, rank in RANK.items() if rank < RANK.get(own, 0)} | {own}
    imported = {
        top_name(name)
        for name in imported_modules(source, module, is_package=is_package)
        if name.split(".")[0] == "timebank"
    }
    return [f"{module} imports {name}" for name in sorted(imported & RANK.keys() - allowed)]


def purity_faults(source: str) -> list[str]:
    """Return what in this source waits, or asks the system or the clock."""
    faults = [
        f"imports {name}"
        for name in sorted(imported_modules(source, "timebank.domain.x"))
        if name.split(".")[0] in IMPURE_MODULES
    ]
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.AsyncFunctionDef() | ast.AsyncFor() | ast.AsyncWith() | ast.Await():
                faults.append("is async")
            case ast.comprehension(is_async=1):
                faults.append("is async")
            case ast.Call(func=ast.Attribute(attr=name)) if name in CLOCKS:
                faults.append(f"asks the clock: {name}()")
    return faults


def sql_literals(source: str) -> list[str]:
    """Return the first line of each string that begins as an SQL statement does."""
    return [
        node.value.strip().splitlines()[0]
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and SQL.match(node.value)
    ]


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = [pytest.param(path, id=module_name(path)) for path in sorted(PACKAGE.rglob("*.py"))]


@pytest.mark.parametrize("path", MODULES)
def test_module_imports_only_from_the_left(path: Path) -> None:
    is_package = path.stem == "__init__"
    assert layer_faults(path.read_text("utf-8"), module_name(path), is_package=is_package) == []


def test_every_name_under_timebank_has_its_place() -> None:
    present = {top_name(module_name(path)) for path in PACKAGE.rglob("*.py")}
    assert present - RANK.keys() - {"__init__", "__main__"} == set()


@pytest.mark.parametrize("path", [param for param in MODULES if ".domain" in str(param.id)])
def test_domain_is_pure(path: Path) -> None:
    assert purity_faults(path.read_text("utf-8")) == []


# bench is excepted: it times statements the service never sends (rival forms, bulk loads), and
# each is read beside its number.
@pytest.mark.parametrize("path", [param for param in MODULES if ".bench" not in str(param.id)])
def test_sql_is_in_sql_files(path: Path) -> None:
    assert sql_literals(path.read_text("utf-8")) == []


@pytest.mark.parametrize(
    ("module", "source", "faults"),
    [
        ("timebank.ledger.passbook", "from timebank.domain import units", []),
        ("timebank.ledger.passbook", "from timebank.ledger import accounts", []),
        ("timebank.ledger.passbook", "from timebank import db, __version__", []),
        ("timebank.ledger.passbook", "import os, timebankers.people", []),
        ("timebank.ledger.passbook", "from . import accounts", []),
        ("timebank.ledger.passbook", "from .people import x", []),
        ("timebank.ledger.passbook", "from ..db import fetch", []),
        ("timebank.ledger.passbook", "import timebank.people.vault", ["people"]),
        ("timebank.ledger.passbook", "from timebank import audit, db, people", ["audit", "people"]),
        ("timebank.ledger.passbook", "from timebank.people.vault import open_", ["people"]),
        ("timebank.ledger.passbook", "from .. import people", ["people"]),
        ("timebank.ledger.passbook", "from ..people.vault import open_", ["people"]),
        ("timebank.ledger.passbook", "def f():\n    from ..people import x", ["people"]),
        ("timebank.ledger.passbook", "if TYPE_CHECKING:\n    import timebank.app", ["app"]),
        ("timebank.service.awards", "from timebank.redemption import holds", ["redemption"]),
        ("timebank.web.pages", "from timebank.api import errors", ["api"]),
        ("timebank.db", "from . import config", []),
        ("timebank.db", "from .ledger import accounts", ["ledger"]),
        ("timebank.__main__", "from timebank.cli.main import main", []),
        ("timebank.__main__", "from timebank import app", ["app"]),
        ("timebank.unlisted", "import timebank.domain", ["domain"]),
    ],
)
def test_layer_faults(module: str, source: str, faults: list[str]) -> None:
    assert layer_faults(source, module) == [f"{module} imports {name}" for name in faults]


def test_layer_faults_of_a_package_itself() -> None:
    source = "from .accounts import open_account\nfrom ..people import residents"
    faults = layer_faults(source, "timebank.ledger", is_package=True)
    assert faults == ["timebank.ledger imports people"]
    assert layer_faults("from .db import fetch", "timebank", is_package=True) == [
        "timebank imports db"
    ]


@pytest.mark.parametrize(
    "source",
    [
        "async def f(): ...",
        "x = [n async for n in g()]",
        "import os",
        "import os.path",
        "from time import monotonic",
        "def f():\n    import asyncio",
        "from asyncpg import Record",
        "from datetime import datetime\nx = datetime.now()",
        "import datetime\nx = datetime.date.today()",
    ],
)
def test_purity_faults(source: str) -> None:
    assert purity_faults(source) != []


def test_pure_source_has_no_faults() -> None:
    source = "from datetime import date\nfrom . import time\ndef f(today: date) -> None: ..."
    assert purity_faults(source) == []


@pytest.mark.parametrize(
    "source",
    [
        'x = "SELECT 1"',
        'x = """\n    WITH a AS (SELECT 1)\n"""',
        'x = f"UPDATE {table}"',
        'def f():\n    return run("DELETE\\nFROM hold")',
        'x = "CREATE " + "TABLE hold ()"',
    ],
)
def test_sql_literals(source: str) -> None:
    assert len(sql_literals(source)) == 1


@pytest.mark.parametrize("text", ["Select one.", "SELECT", "WITHOUT DELAY", "may SELECT all"])
def test_prose_is_no_sql(text: str) -> None:
    assert sql_literals(repr(text)) == []
