"""Files, functions and lines stay short enough to be read in one go."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

LONE_FILE = ROOT / "timebank/redemption/slip_checker.py"
"""Tills get it alone, so it is one file, however many."""

FILE_LINES = 400
LONE_FILE_LINES = 500
FUNCTION_LINES = 60
TEMPLATE_LINES = 150
SQL_FUNCTION_LINES = 80
COLUMNS = 100

TEMPLATES = {".html", ".jinja", ".j2"}


def is_python(path: Path) -> bool:
    """Tell a module, or a script that names Python in its first line."""
    if path.suffix:
        return path.suffix == ".py"
    first = path.read_bytes().partition(b"\n")[0]
    return first.startswith(b"#!") and b"python" in first


def long_lines(text: str) -> list[int]:
    """Return the numbers of lines with too many characters, a Chinese one counted as one."""
    return [n for n, line in enumerate(text.splitlines(), 1) if len(line) > COLUMNS]


def long_functions(source: str) -> list[str]:
    """Return the names of functions and methods with too many lines."""
    return [
        node.name
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno + 1 > FUNCTION_LINES
    ]


SQL_FUNCTION = re.compile(
    r"""
    ^CREATE\s+(?:OR\s+REPLACE\s+)?(?:FUNCTION|PROCEDURE)\s+(?P<name>[\w.]+)
    .*?
    (?: (?P<quote>\$\w*\$).*?(?P=quote)   # a quoted body, to its closing quote
      | \bBEGIN\s+ATOMIC\b.*?^END;        # a standard body
      | ^\s*RETURN\b.*?;                  # one expression
    )
    """,
    re.VERBOSE | re.MULTILINE | re.DOTALL | re.IGNORECASE,
)


def sql_functions(text: str) -> Iterator[tuple[str, int]]:
    """Yield each SQL function's name and its lines, from CREATE to the end of the body."""
    for match in SQL_FUNCTION.finditer(text):
        yield match["name"], match[0].count("\n") + 1


def files(*folders: str) -> list[Path]:
    paths = (path for folder in folders for path in (ROOT / folder).rglob("*"))
    return sorted(path for path in paths if path.is_file() and "__pycache__" not in path.parts)


def params(paths: list[Path]) -> list[object]:
    return [pytest.param(path, id=str(path.relative_to(ROOT))) for path in paths]


PYTHON = [path for path in files("timebank", "tests", "scripts") if is_python(path)]
SQL = [ROOT / "schema.sql", *(path for path in files("timebank") if path.suffix == ".sql")]


@pytest.mark.parametrize("path", params(PYTHON))
def test_python_is_short(path: Path) -> None:
    text = path.read_text("utf-8")
    assert len(text.splitlines()) <= (LONE_FILE_LINES if path == LONE_FILE else FILE_LINES)
    assert long_functions(text) == []
    assert long_lines(text) == []


@pytest.mark.parametrize("path", params(SQL))
def test_sql_is_short(path: Path) -> None:
    text = path.read_text("utf-8")
    assert long_lines(text) == []
    assert [entry for entry in sql_functions(text) if entry[1] > SQL_FUNCTION_LINES] == []


def test_templates_are_short() -> None:
    templates = [path for path in files("timebank") if path.suffix in TEMPLATES]
    lengths = {str(path): len(path.read_text("utf-8").splitlines()) for path in templates}
    assert {path: length for path, length in lengths.items() if length > TEMPLATE_LINES} == {}


def test_the_scripts_are_among_the_python_files() -> None:
    assert ROOT / "scripts" / "test" in PYTHON
    assert ROOT / "scripts" / "requirements.lock" not in PYTHON


def test_schema_functions_are_all_found() -> None:
    text = (ROOT / "schema.sql").read_text("utf-8")
    created = re.findall(r"^CREATE.*\b(?:FUNCTION|PROCEDURE)\s+([\w.]+)", text, re.MULTILINE)
    assert [name for name, _ in sql_functions(text)] == created


def test_long_lines() -> None:
    assert long_lines("时" * 100 + "\n" + "x" * 101 + "\n") == [2]


def test_long_functions() -> None:
    def source(lines: int) -> str:
        return "class C:\n    async def f(self):\n" + "        pass\n" * (lines - 1)

    assert long_functions(source(60)) == []
    assert long_functions(source(61)) == ["f"]


def test_sql_functions() -> None:
    text = """
CREATE FUNCTION a.quoted(x int) RETURNS int LANGUAGE plpgsql AS $body$
BEGIN
    EXECUTE $$SELECT 1$$;
END
$body$;

CREATE OR REPLACE PROCEDURE standard()
BEGIN ATOMIC
    SELECT 1;
END;

CREATE TABLE between_them (x int);

CREATE FUNCTION expression(x int) RETURNS int
    RETURN x + 1;
"""
    assert list(sql_functions(text)) == [("a.quoted", 5), ("standard", 4), ("expression", 2)]
