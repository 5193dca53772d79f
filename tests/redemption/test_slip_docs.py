"""The lines of docs/slips.md do what it says, run by a shell, with a bank and without one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.redemption.slip_texts import CHECKER, MERCHANT
from tests.redemption.test_slip_checker import fresh, write_keys

DOCS = Path(__file__).parents[2] / "docs" / "slips.md"
LINES = DOCS.read_text("utf-8").partition("```sh\n")[2].partition("```")[0]

CURL = f"""#!{sys.executable}
import json, sys
from pathlib import Path
if "--data" not in sys.argv:  # the keys
    place = sys.argv[sys.argv.index("-o") + 1] if "-o" in sys.argv else "/dev/stdout"
    Path(place).write_text(Path("published.json").read_text())
else:
    told = json.loads(Path("sync.json").read_text())["slips"]
    assert told and sys.argv[sys.argv.index("--data") + 1] == "@sync.json"
    rows = [{{"acceptance_id": one["acceptance_id"], "number": 1, "words": "ok",
             "result": "captured"}} for one in told]
    print(json.dumps({{"data": rows}}))
"""
NO_CURL = "#!/bin/sh\nexit 7\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A till with the checker and the keys that were published."""
    (tmp_path / "slip_checker.py").write_bytes(CHECKER.read_bytes())
    write_keys(tmp_path).rename(tmp_path / "published.json")
    (tmp_path / "bin").mkdir()
    put_command(tmp_path, "python", f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    return tmp_path


def put_command(folder: Path, name: str, text: str) -> None:
    """Put a command in the way of the one that the system has."""
    command = folder / "bin" / name
    command.write_text(text)
    command.chmod(0o755)


def run(folder: Path, curl: str, scanned: str) -> str:
    """Run all lines one after another; what they print."""
    put_command(folder, "curl", curl)
    path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    given = {"PATH": path, "MERCHANT_ID": str(MERCHANT), "KEY": "x"}
    done = subprocess.run(
        ["/bin/sh", "-c", LINES],
        check=False,
        cwd=folder,
        env=given,
        input=scanned,
        text=True,
        capture_output=True,
        timeout=60,
    )
    return done.stdout


def test_the_documented_lines_take_and_tell(folder: Path) -> None:
    said = run(folder, CURL, f"{fresh(1)}\n{fresh(2)}\n")
    assert said.count("✓") == 2
    assert "left to tell: 0" in said
    assert json.loads((folder / "sync.json").read_text()) == {"slips": []}


def test_without_a_network_they_spoil_nothing(folder: Path) -> None:
    assert "✓" in run(folder, CURL, f"{fresh(1)}\n")
    keys = (folder / "keys.json").read_bytes()
    said = run(folder, NO_CURL, f"{fresh(1)}\n{fresh(2)}\n")
    assert (said.count("✗ 凭单"), said.count("✓")) == (1, 1)
    assert (folder / "keys.json").read_bytes() == keys
