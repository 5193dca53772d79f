"""The embedded PostgreSQL is shared, survives kill -9 of every part and leaves nothing behind."""

import asyncio
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import asyncpg
import httpx
import pytest

from tests.api.service import serving
from tests.embedded.processes import (
    LIMIT,
    answers,
    ask,
    find_pid,
    keeper_of,
    kill,
    leave,
    log_of,
    nothing_is_left,
    postmaster_of,
    refuses,
    row_is_there,
    until,
    user,
    wait_until_up,
)
from timebank import embedded, keeper
from timebank.cluster import find_binaries
from timebank.embedded import running

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/cmdline").exists(), reason="looks at processes through Linux's /proc"
)


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
async def test_killed_keeper_takes_the_server_along_and_a_user_brings_both_back(
    data_dir: Path,
) -> None:
    async with running(data_dir) as server:
        await ask(server, "CREATE TABLE kept AS SELECT 1")
        await comes_back(data_dir, signal.SIGKILL)
        await row_is_there(server)
    assert "not properly shut down" not in log_of(data_dir)
    await nothing_is_left(data_dir)


async def test_orphan_of_a_killed_keeper_is_replaced(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")  # no setpriv: as on macOS
    async with running(data_dir) as server:
        await ask(server, "CREATE TABLE kept AS SELECT 1")
        orphan = postmaster_of(data_dir)
        await comes_back(data_dir, signal.SIGKILL)
        await until(lambda: postmaster_of(data_dir) not in (orphan, None))
        await row_is_there(server)
    await nothing_is_left(data_dir)


async def test_sigterm_to_the_keeper_is_a_clean_stop(data_dir: Path) -> None:
    async with running(data_dir):
        await comes_back(data_dir, signal.SIGTERM)
    assert "not properly shut down" not in log_of(data_dir)
    await nothing_is_left(data_dir)


async def comes_back(data_dir: Path, number: int) -> None:
    """Send the keeper this signal and wait until another keeps a server."""
    before, postmaster = keeper_of(data_dir), postmaster_of(data_dir)
    kill(before, number)
    await until(lambda: keeper_of(data_dir) not in (before, None))
    await until(lambda: postmaster_of(data_dir) not in (postmaster, None))
    await answers(data_dir)


async def test_a_lost_cluster_is_not_made_anew_under_its_users(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as when its disk is unmounted: it comes back when the cluster does."""
    monkeypatch.setattr(embedded, "_LOOK", 0.1)
    async with running(data_dir):
        away = (data_dir / "cluster").rename(data_dir / "away")
        kill(keeper_of(data_dir))
        await until(lambda: postmaster_of(data_dir) is None)
        await asyncio.sleep(1)
        assert not find_pid(f"{data_dir}/cluster")
        away.rename(data_dir / "cluster")
        await until(lambda: postmaster_of(data_dir))
    await nothing_is_left(data_dir)


async def test_a_service_whose_keeper_was_killed_answers_again(
    data_dir: Path, tmp_path: Path
) -> None:
    async with (
        serving(tmp_path, {"TIMEBANK_DATA_DIR": str(data_dir)}) as service,
        httpx.AsyncClient(base_url=service.url) as http,
    ):

        async def status() -> int:
            return (await http.get("/api/v1/health/ready")).status_code

        assert await status() == 200
        kill(keeper_of(data_dir))
        async with asyncio.timeout(LIMIT):
            while await status() == 200:  # noqa: ASYNC110 - of a process
                await asyncio.sleep(0.02)
            while await status() == 503:  # noqa: ASYNC110 - of a process
                await asyncio.sleep(0.1)
        assert await status() == 200
    await nothing_is_left(data_dir)


SUPERVISE = """
import sys
from pathlib import Path
from timebank import keeper
keeper._STABLE = 0.5
folder = Path(sys.argv[1])
plan = keeper._Plan(folder, folder / "socket", folder / "bin", ())
with keeper.lock_file(folder, "users.lock") as users:
    sys.exit(keeper._supervise(plan, users))
"""
FULL_DISK = """#!/bin/sh
[ "$1" = --version ] && exit
echo started >>{0}/starts
[ "$(wc -l <{0}/starts)" -gt 1 ] || sleep 1
exit 1
"""


async def test_a_server_that_lasted_is_started_again_whatever_it_ended_with(base: Path) -> None:
    folder = Path(tempfile.mkdtemp(prefix="s-", dir=base))
    for name in ("socket", "bin", "cluster"):
        (folder / name).mkdir()
    postgres = folder / "bin" / "postgres"
    postgres.write_text(FULL_DISK.format(folder))
    postgres.chmod(0o755)
    with keeper.lock_file(folder, "users.lock") as user_lock:
        fcntl.flock(user_lock, fcntl.LOCK_SH)
        ended = await asyncio.to_thread(
            subprocess.run, [sys.executable, "-c", SUPERVISE, folder], check=False, timeout=LIMIT
        )
    assert ended.returncode == 1, "the second start did not last, and was refused"
    assert (folder / "starts").read_text() == "started\n" * 2


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
        plain = [find_binaries() / "postgres", "-D", cluster]
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
