"""Makes the repository's own `.venv` from the locked requirements, for the launchers beside it.

Standard library only, and readable by any Python 3.7, so that an old one can be told so.
A stamp in `.venv`, written last, says for what the environment was made. Without the right stamp
it is made again from nothing: that is also the repair after an interrupted run.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "scripts" / "requirements.lock"
VENV = ROOT / ".venv"
BIN = VENV / "bin"
STAMP = VENV / "timebank-stamp"

OLDEST = (3, 11)
NEWER = ("python3.14", "python3.13", "python3.12", "python3.11")
PIP = (BIN / "python", "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input")


def launch(command: str, *arguments: str) -> NoReturn:
    """Replace this process by a command of `.venv`, made first if need be."""
    prepare()
    os.execv(BIN / command, [command, *arguments])


def prepare() -> None:
    """Make `.venv` unless it stands ready; of several launchers at once, one makes it."""
    _require_python()
    stamp = _stamp()
    if _is_ready(stamp):
        return
    try:
        with _only_one() as lock:
            if not _is_ready(stamp):
                _make(stamp, lock)
    except KeyboardInterrupt:
        sys.exit("\nInterrupted. The next run starts the setup again.")


def _require_python() -> None:
    """Start the launcher again under a newer Python where this one is too old."""
    if sys.version_info >= OLDEST:
        return
    newer = next(filter(None, map(shutil.which, NEWER)), None)
    if newer is None:
        have, need = ("{}.{}".format(*version) for version in (sys.version_info, OLDEST))
        sys.exit(f"timebank needs Python {need} or newer; this is {have} ({sys.executable}).")
    os.execv(newer, [newer, *sys.argv])


def _stamp() -> str:
    """Return what `.venv` depends on: lock, project file, Python, and where the tree stands."""
    parts = [LOCK.read_bytes(), (ROOT / "pyproject.toml").read_bytes()]
    parts.append("{}.{}".format(*sys.version_info).encode())
    parts.append(os.fsencode(ROOT))
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def _is_ready(stamp: str) -> bool:
    return STAMP.is_file() and STAMP.read_text() == stamp and (BIN / "python").exists()


@contextmanager
def _only_one() -> Iterator[int]:
    """Wait for the lock on the lock file, which is held until every process that has it ends."""
    with LOCK.open("r+b") as file:  # nothing is written; NFS locks only what could be
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Waiting for another setup of .venv …")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield file.fileno()


def _make(stamp: str, lock: int) -> None:
    if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
        package = "python{}.{}-venv".format(*sys.version_info)
        sys.exit(
            f"{sys.executable} cannot make virtual environments: venv or ensurepip is missing.\n"
            f"On Debian and Ubuntu: apt install {package}"
        )
    say("Setting up .venv (about a minute) …")
    STAMP.unlink(missing_ok=True)
    _run(lock, sys.executable, "-m", "venv", "--clear", VENV)
    _run(lock, *PIP, "install", "--require-hashes", "-r", LOCK)
    _run(lock, *PIP, "install", "--no-deps", "--no-build-isolation", "--editable", ROOT)
    STAMP.write_text(stamp)


def _run(lock: int, *command: str | Path) -> None:
    """Run one step; it keeps the lock, should this process be killed while the step goes on."""
    status = subprocess.run(command, cwd=ROOT, pass_fds=[lock], check=False).returncode
    if status:
        sys.exit(f"Setting up .venv failed (exit {status}); what is above says why.")


def say(line: str) -> None:
    """Tell the user what is going on, beside the command's own output."""
    print(line, file=sys.stderr, flush=True)
