"""The repository holds what was agreed, and nothing of the machine it was written on."""

import re
import subprocess
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

TOP_LEVEL = {
    "pyproject.toml",
    "timebank",
    "schema.sql",
    "tests",
    "scripts",
    "README.md",
    "LICENSE",
    "CHANGELOG.md",
    "docs",
}

LARGEST = 2 * 1024 * 1024

# A class of one character keeps each pattern from matching itself here.
REGISTRY = re.compile(
    r"p[y]pi\.org|p[y]thonhosted\.org|n[p]mjs\.(org|com)|d[e]b\.debian\.org|s[e]curity\.debian\.org"
    r"|p[r]oxy\.golang\.org|c[r]ates\.io|r[u]bygems\.org"
)
# Not in the middle of a web address or a longer path.
MACHINE_PATH = re.compile(r"(?<![\w.}])/(w[o]rk|f[a]rm|h[o]me|r[o]ot|U[s]ers)/")


def ignored(path: Path) -> bool:
    """Tell whether a line of .gitignore names this path or a folder above it."""
    lines = (ROOT / ".gitignore").read_text("utf-8").split()
    return any(fnmatch(part, line.rstrip("/")) for part in path.parts for line in lines)


def repository_files() -> list[Path]:
    """Return the paths git has or would take, or all but the ignored where there is no git."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        paths = [Path(name) for name in listed.stdout.split("\0") if name]
    except (OSError, subprocess.CalledProcessError):
        below = (path.relative_to(ROOT) for path in ROOT.rglob("*"))
        paths = [path for path in below if not ignored(path)]
    return sorted(path for path in paths if (ROOT / path).is_file())


FILES = repository_files()


def size(path: Path) -> int:
    return (ROOT / path).stat().st_size


def text_of(path: Path) -> str:
    """Return the file's text; that of a binary file is empty."""
    content = (ROOT / path).read_bytes()
    return "" if b"\0" in content else content.decode("utf-8", "replace")


def foreign_addresses(text: str) -> list[str]:
    """Return the lines that name a package registry or a path of somebody's machine."""
    return [x for x in text.splitlines() if REGISTRY.search(x) or MACHINE_PATH.search(x)]


def test_top_level_is_the_agreed_one() -> None:
    top = {path.parts[0] for path in FILES}
    assert "pyproject.toml" in top
    assert {name for name in top if not name.startswith(".")} - TOP_LEVEL == set()


def test_no_file_names_a_registry_or_a_machine() -> None:
    found = {str(path): foreign_addresses(text_of(path)) for path in FILES}
    assert {path: lines for path, lines in found.items() if lines} == {}


def test_no_file_is_large_unless_vendored() -> None:
    own = [path for path in FILES if "vendor" not in path.parts]
    assert [str(path) for path in own if size(path) > LARGEST] == []


@pytest.mark.parametrize(
    "parts",
    [
        ("https://", "py", "pi.org/simple"),
        ("files.python", "hosted.org"),
        ("registry.npm", "js.org"),
        ("http://d", "eb.debian.org/debian"),
        ("see /wo", "rk/main"),
        ("'/ho", "me/ann/timebank'"),
        ("/Us", "ers/ann/timebank"),
    ],
)
def test_foreign_addresses(parts: tuple[str, ...]) -> None:
    assert len(foreign_addresses("first\n" + "".join(parts) + "\nlast")) == 1


@pytest.mark.parametrize(
    "text", ["/root is closed to others", "docs/home/plan.md", "example.org/home/", "/users/1"]
)
def test_other_addresses_pass(text: str) -> None:
    assert foreign_addresses(text) == []


def test_ignored() -> None:
    assert ignored(Path(".venv/bin/python"))
    assert ignored(Path("timebank/domain/__pycache__/x.pyc"))
    assert ignored(Path("timebank.egg-info/PKG-INFO"))
    assert not ignored(Path("timebank/domain/units.py"))


def test_a_word_of_the_glossary_means_one_thing() -> None:
    rows = re.findall(r"^\| (.+?) \|", (ROOT / "docs" / "glossary.md").read_text("utf-8"), re.M)
    assert len(rows) > 100
    assert sorted(rows) == sorted(set(rows))
