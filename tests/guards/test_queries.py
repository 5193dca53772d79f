"""Every named query fits the schema and is used; every name that is used has its query."""

import ast
import re
from pathlib import Path

import asyncpg
import pytest

from timebank.db import SERVER_SETTINGS, load_queries
from timebank.embedded import Server

ROOT = Path(__file__).parents[2]
FOLDERS = {
    ".".join(path.parent.relative_to(ROOT).parts): path.parent
    for path in sorted((ROOT / "timebank").rglob("queries.sql"))
}


def strings(folder: Path) -> set[str]:
    """Return the string literals of the modules in this folder."""
    return {
        node.value
        for path in folder.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


@pytest.mark.parametrize("package", FOLDERS)
async def test_every_query_can_be_prepared(package: str, server: Server, own_database: str) -> None:
    login = "timebank_auditor" if package == "timebank.audit" else "timebank_app"
    connection = await asyncpg.connect(
        server.dsn(own_database, login), server_settings=SERVER_SETTINGS
    )
    faults = []
    try:
        for name, query in load_queries(package).items():
            # COMMENT takes a literal only: install_schema writes it in the same way.
            text = re.sub(r"^(COMMENT ON .*) \$1;$", r"\1 '';", query)
            try:
                await connection.prepare(text)
            except asyncpg.PostgresError as error:
                faults.append(f"{name}: {error}")
    finally:
        await connection.close()
    assert faults == []


@pytest.mark.parametrize("package", FOLDERS)
def test_every_query_is_used_by_its_package(package: str) -> None:
    assert load_queries(package).keys() - strings(FOLDERS[package]) == set()


@pytest.mark.parametrize("path", sorted((ROOT / "timebank").rglob("*.py")), ids=str)
def test_every_query_that_is_used_exists(path: Path) -> None:
    used = set(re.findall(r'_QUERIES\["(\w+)"\]', path.read_text("utf-8")))
    package = ".".join(path.parent.relative_to(ROOT).parts)
    assert used - (load_queries(package).keys() if used else set()) == set()


@pytest.mark.parametrize("package", FOLDERS)
def test_no_query_is_lost_in_loading(package: str) -> None:
    """A misspelt heading would hang one query on to another."""
    text = (FOLDERS[package] / "queries.sql").read_text("utf-8")
    headings = re.findall(r"^[ \t]*--[ \t]*name\b.*$", text, re.MULTILINE | re.IGNORECASE)
    assert headings == [f"-- name: {name}" for name in load_queries(package)]
