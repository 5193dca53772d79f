"""Run a PostgreSQL of our own for exactly as long as some process uses it.

Rules:
- A *user* (serve, demo, a test worker) holds a shared flock on `users.lock` while it needs the
  server. The *keeper* (`keeper.py`), a detached process, runs `postgres` and stops it when the
  last user is gone. So commands share one server, whoever started it, and kill -9 leaves nothing.
- Every user looks now and then whether somebody keeps the server, and starts another keeper if not.
- `start.lock` is held while starting. The server is up when somebody keeps it and `pg_isready`
  says so. Locks are taken in the order users, start, keeper.
- No TCP, no password: the socket lies in a folder private to the account that runs the server.

The data directory holds `cluster/` (PGDATA), `socket/`, `log/`, `timebank.conf`, `keeper.log` and
the locks. Standard library only.
"""

import asyncio
import fcntl
import hashlib
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from urllib.parse import quote, urlencode

from timebank import keeper
from timebank.cluster import (
    EmbeddedPostgresError,
    choose_account,
    find_binaries,
    has_cluster,
    make_cluster,
    make_data_dir,
    own_folder,
    reachable,
    unusable,
)
from timebank.keeper import lock_file, run, try_lock

_SOCKET_PATH_LIMIT = 103  # bytes in sockaddr_un: 107 on Linux, 103 on macOS
_START_LIMIT = 300.0  # seconds; recovery after a crash may take minutes
_LOOK = 1.0  # seconds between two looks whether somebody keeps the server
_LONGEST_PAUSE = 60.0  # seconds between two tries to bring it back
_MAX_LAUNCHES = 3  # of a keeper; more than one, in case somebody kills it while it starts


@dataclass(frozen=True)
class Server:
    """Where a server listens and keeps its files."""

    socket_dir: Path
    port: int
    data_dir: Path

    def dsn(self, database: str = "postgres", user: str = "postgres") -> str:
        """Return a URL for asyncpg and libpq; the superuser is `postgres` on every machine."""
        where = urlencode({"host": str(self.socket_dir), "port": self.port}, quote_via=quote)
        return f"postgresql://{quote(user, safe='')}@/{quote(database, safe='')}?{where}"


# ---- What a user calls -------------------------------------------------------------------------


def default_data_dir() -> Path:
    """Return TIMEBANK_DATA_DIR, or the usual place for root or for an ordinary user."""
    chosen = os.environ.get("TIMEBANK_DATA_DIR")
    if chosen:
        return Path(chosen)
    if os.geteuid() == 0:
        return Path("/var/lib/timebank")
    share = os.environ.get("XDG_DATA_HOME")
    return (Path(share) if share else Path.home() / ".local" / "share") / "timebank"


@asynccontextmanager
async def running(
    data_dir: Path | None = None, *, settings: Mapping[str, str] | None = None
) -> AsyncIterator[Server]:
    """Share the server of `data_dir` (`default_data_dir()` if None); start it if nobody has.

    The server stays up until every user, in whatever process, has left; the last one waits for
    the shutdown. `settings` are used only if this call starts the server, or brings it back after
    its keeper was killed or gave up: that is tried for as long as the block lasts.

    Raises EmbeddedPostgresError.
    """
    server = _server((data_dir or default_data_dir()).expanduser().resolve())
    held = ExitStack()
    loop = asyncio.get_running_loop()
    # A single thread, so that leaving waits for a start that was cancelled half way.
    worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="embedded-postgres")
    try:
        await loop.run_in_executor(worker, _join, held, server, dict(settings or {}))
        yield server
    finally:
        await loop.run_in_executor(worker, held.close)
        worker.shutdown(wait=False)


# ---- Being a user ------------------------------------------------------------------------------


def _server(data_dir: Path) -> Server:
    """Place the socket in the data directory, or under /tmp when that path does not suit one."""
    folder = data_dir / "socket"
    length = len(os.fsencode(folder / f".s.PGSQL.{keeper.PORT}"))
    if length > _SOCKET_PATH_LIMIT or "," in str(folder):  # libpq splits hosts at commas
        digest = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:16]
        # Not TMPDIR or XDG_RUNTIME_DIR: every user of the server must come to the same name.
        folder = Path(f"/tmp/timebank-{digest}")  # noqa: S108 - `own_folder` refuses a stranger's
    return Server(socket_dir=folder, port=keeper.PORT, data_dir=data_dir)


def _join(held: ExitStack, server: Server, settings: Mapping[str, str]) -> None:
    """Become a user and see to it that the server is up; closing `held` leaves again."""
    try:
        make_data_dir(server.data_dir)
        held.enter_context(_membership(server))
        with lock_file(server.data_dir, "start.lock") as start:
            fcntl.flock(start, fcntl.LOCK_EX)
            _ensure_up(server, settings)
        held.enter_context(_watched(server, settings))
    except OSError as error:
        raise EmbeddedPostgresError(
            f"The data directory {server.data_dir} cannot be used: {error}. "
            "Set TIMEBANK_DATA_DIR to a folder that you may write to."
        ) from error


@contextmanager
def _membership(server: Server) -> Iterator[None]:
    """Count as a user; wait for a keeper that is just stopping, before and after."""
    with lock_file(server.data_dir, "users.lock") as users:
        fcntl.flock(users, fcntl.LOCK_SH)
        yield
    deadline = time.monotonic() + keeper.STOP_LIMIT
    while _is_deserted(server) and _is_kept(server) and time.monotonic() < deadline:
        time.sleep(keeper.POLL / 2)


@contextmanager
def _watched(server: Server, settings: Mapping[str, str]) -> Iterator[None]:
    """Bring the server back, from a thread, whenever nobody keeps it."""
    leaving = Event()

    def watch() -> None:
        pause = _LOOK
        while not leaving.wait(pause):
            try:
                _bring_back(server, settings, leaving)
                pause = _LOOK
            except (EmbeddedPostgresError, OSError):  # the keeper's log says why
                pause = min(2 * pause, _LONGEST_PAUSE)

    thread = Thread(target=watch, name="embedded-postgres-watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        leaving.set()
        thread.join()


def _bring_back(server: Server, settings: Mapping[str, str], leaving: Event) -> None:
    # A cluster that is not there, such as on a disk that was unmounted, is not made anew.
    if not _is_kept(server) and has_cluster(server.data_dir):
        with lock_file(server.data_dir, "start.lock") as start:
            if try_lock(start, fcntl.LOCK_EX):  # else another user is at it
                _ensure_up(server, settings, leaving)


def _ensure_up(server: Server, settings: Mapping[str, str], leaving: Event | None = None) -> None:
    """Return when the server is up, or, if it is given, `leaving` is set."""
    binaries = find_binaries()
    launches = 0
    deadline = time.monotonic() + _START_LIMIT
    while not (leaving and leaving.is_set()):
        if _is_kept(server):
            if _is_ready(server, binaries):
                return
        elif launches == _MAX_LAUNCHES:
            raise EmbeddedPostgresError(f"PostgreSQL did not start. {_last_words(server)}")
        else:
            _launch_keeper(server, binaries, settings)
            launches += 1
        if time.monotonic() > deadline:
            raise EmbeddedPostgresError(
                f"PostgreSQL did not answer for {_START_LIMIT:.0f} s. {_last_words(server)}"
            )
        time.sleep(keeper.POLL / 2)


def _is_kept(server: Server) -> bool:
    with lock_file(server.data_dir, "keeper.lock") as lock:
        return not try_lock(lock, fcntl.LOCK_SH)


def _is_deserted(server: Server) -> bool:
    """Say whether nobody holds users.lock, or only a keeper that is stopping."""
    with lock_file(server.data_dir, "users.lock") as users:
        return try_lock(users, fcntl.LOCK_EX) or not try_lock(users, fcntl.LOCK_SH)


def _is_ready(server: Server, binaries: Path) -> bool:
    # The dsn names a role and a database that exist: otherwise each look is a FATAL in the log.
    look = run([binaries / "pg_isready", "--quiet", "--dbname", server.dsn()])
    if look.returncode > 2:  # 0 yes, 1 not yet, 2 no answer
        raise unusable(binaries / "pg_isready", look.stderr)
    return look.returncode == 0


def _launch_keeper(server: Server, binaries: Path, settings: Mapping[str, str]) -> None:
    """Prepare the folders and start the keeper; return when it has taken over."""
    account = choose_account(server.data_dir)
    if account:
        binaries = reachable(server.data_dir, binaries, account)
    make_cluster(server.data_dir, binaries, account)
    own_folder(server.data_dir / "log", account)
    own_folder(server.socket_dir, account)
    extra = [f"{name}={value}" for name, value in settings.items()]
    program = [sys.executable, "-I", keeper.__file__]  # -I: whatever the caller's environment says
    with (server.data_dir / "keeper.log").open("ab") as log:
        subprocess.run(  # noqa: S603 - our own file
            [*program, server.data_dir, server.socket_dir, binaries, *extra],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=keeper.environment(),
            cwd="/",  # keep no folder of the caller busy
            start_new_session=True,  # Ctrl-C at the caller's terminal is not for the keeper
            check=False,  # `_ensure_up` sees that nobody keeps the server and quotes the log
        )


def _last_words(server: Server) -> str:
    log = server.data_dir / "keeper.log"
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-8:]
    return f"See {log.parent / 'log'}; {log} ends:\n" + "\n".join(lines)
