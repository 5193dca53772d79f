"""Keep one PostgreSQL running for as long as somebody uses it: the process behind `embedded`.

Rules:
- Started as a script, `keeper.py DATA_DIR SOCKET_DIR BIN_DIR [NAME=VALUE ...]`, by a caller that
  has prepared the folders. It returns when it has taken over and goes on in the background.
- Holds `keeper.lock` for life; a free lock means nobody keeps the server.
- Ends, and stops the server, when it gets `users.lock` exclusively: no user is left. SIGTERM
  ends it too. The kernel drops the locks of a killed process, so both tell the truth.
- Restarts a server that dies, and gives up on one that will not start; users try again. If the
  keeper itself is killed, the kernel sends the server SIGINT, a fast and clean shutdown (setpriv
  --pdeathsig, Linux); elsewhere the next keeper sends it.
- Never trusts and never deletes `postmaster.pid`: its number may belong to another process.

Standard library only, and little of it: this is the start-up time of every first command.
"""

import ctypes
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

PORT = 5432  # only names the socket file: no TCP port is opened
STOP_LIMIT = 60.0  # seconds; a fast shutdown writes a checkpoint first
POLL = 0.1  # seconds between two looks at locks, server and signals
_STABLE = 10.0  # seconds after which a start counts as a success
_MAX_FAILURES = 8  # starts in a row that did not last, about 10 s with their pauses
_PR_SET_CHILD_SUBREAPER = 36  # from Linux's prctl.h

# Defaults for a small shared machine; change one for good with ALTER SYSTEM, which wins over these.
_SETTINGS = {
    "max_connections": "100",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",  # with the next line: fewer checkpoints, fewer full pages in the WAL
    "checkpoint_timeout": "15min",
    "jit": "off",  # our statements are short; compiling costs more than it saves
    "timezone": "UTC",
    "log_timezone": "UTC",
    "logging_collector": "on",
    "log_directory": "../log",
    "log_filename": "postgresql-%d.log",  # by day of month: a month is kept, then overwritten
    "log_truncate_on_rotation": "on",
    "log_rotation_size": "0",
    # Personal data must not reach the log: no parameters, no statements, no DETAIL with key values.
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
}


# ---- Shared with embedded.py -------------------------------------------------------------------


@dataclass(frozen=True)
class Account:
    """The OS account that runs PostgreSQL's programs for root."""

    name: str
    uid: int
    gid: int


@contextmanager
def lock_file(data_dir: Path, name: str) -> Iterator[int]:
    """Open a lock file, not inherited by children; closing it gives up whatever lock it holds."""
    lock = os.open(data_dir / name, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        yield lock
    finally:
        os.close(lock)


def try_lock(lock: int, kind: int) -> bool:
    """Take the flock of `kind` (LOCK_SH, LOCK_EX) if that needs no waiting; say whether it did."""
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def environment() -> dict[str, str]:
    """Return what children need: no PG* variables to mislead them, no secrets of the caller's."""
    kept = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
    return {name: os.environ[name] for name in kept if name in os.environ} | {"LC_ALL": "C"}


def run(
    command: Sequence[str | Path], account: Account | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a short command to its end, as `account` if given."""
    return subprocess.run(  # noqa: S603 - PostgreSQL's own programs, by full path
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=environment(),
        cwd="/",
        check=False,
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[] if account else None,
    )


def cluster_owner(data_dir: Path) -> Account | None:
    """Return whom root must become for this cluster, since postgres insists on its owner.

    None for an ordinary user, and while there is no cluster.
    """
    if os.geteuid() == 0:
        with suppress(FileNotFoundError):
            owner = (data_dir / "cluster").stat()
            return Account(f"with uid {owner.st_uid}", owner.st_uid, owner.st_gid)
    return None


def death_signal(binaries: Path, account: Account | None) -> list[str]:
    """Return a command prefix that ends a child with SIGINT when the calling thread dies.

    Empty where the system has none. A prefix, and not a call between fork and exec, because the
    kernel forgets the wish when the uid changes: it must come after that.
    """
    setpriv = shutil.which("setpriv")
    if setpriv:
        prefix = [setpriv, "--pdeathsig", "INT"]
        if run([*prefix, binaries / "postgres", "--version"], account).returncode == 0:
            return prefix  # busybox has a setpriv too, without this option
    return []


# ---- The keeper --------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Plan:
    """What to run, and where."""

    data_dir: Path
    socket_dir: Path
    binaries: Path
    settings: tuple[str, ...]  # name=value

    @property
    def cluster(self) -> Path:
        return self.data_dir / "cluster"


def main(arguments: Sequence[str]) -> int:
    """Take over the data directory, go to the background and stay until the last user has left."""
    data_dir, socket_dir, binaries, *settings = arguments
    plan = _Plan(Path(data_dir), Path(socket_dir), Path(binaries), tuple(settings))
    with (
        lock_file(plan.data_dir, "users.lock") as users,
        # Given up first: a user who then gets in must not take us for a living keeper.
        lock_file(plan.data_dir, "keeper.lock") as keeper,
    ):
        if not _lock_soon(keeper):
            return 0  # another keeper is at work, which is just as well
        _stop_predecessor(plan.cluster)
        _write_settings(plan)
        if os.fork():  # the lock lives on in the child, which is nobody's to wait for
            return 0
        return _supervise(plan, users)


def _lock_soon(lock: int) -> bool:
    """Lock exclusively, waiting a moment for those who only look whether it is free."""
    for _ in range(20):
        if try_lock(lock, fcntl.LOCK_EX):
            return True
        time.sleep(POLL)
    return False


def _supervise(plan: _Plan, users: int) -> int:
    """Run the server, again when it dies, until it is not needed or will not start."""
    signals: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda received, _frame: signals.append(received))
    _adopt_orphans()
    failures = 0
    while True:
        leftover = (plan.cluster / "postmaster.pid").exists()
        began = time.monotonic()
        postgres = _start(plan)
        while postgres.poll() is None:
            if signals or try_lock(users, fcntl.LOCK_EX):
                _stop(postgres)
                with suppress(OSError):
                    plan.socket_dir.rmdir()
                return 0
            time.sleep(POLL)
        _end_orphans()
        lasted = time.monotonic() - began > _STABLE
        failures = 1 if lasted else failures + 1
        # After a crash, backends not ours to end may hold the shared memory: worth trying again.
        # Without leftovers, a server that refuses to start would refuse again.
        refused = postgres.returncode > 0 and not leftover and not lasted
        if refused or failures > _MAX_FAILURES:
            _note(f"postgres ended with {postgres.returncode}; giving up")
            return 1
        _note(f"postgres ended with {postgres.returncode}; starting it again")
        time.sleep(min(2.0, POLL * 2 ** (failures - 1)))


def _start(plan: _Plan) -> subprocess.Popen[bytes]:
    account = cluster_owner(plan.data_dir)
    options = [
        f"config_file={plan.data_dir / 'timebank.conf'}",
        "listen_addresses=",
        f"unix_socket_directories={plan.socket_dir}",
        f"port={PORT}",
        *plan.settings,
    ]
    command: list[str | Path] = [plan.binaries / "postgres", "-D", plan.cluster]
    command += [part for option in options for part in ("-c", option)]
    for stale in plan.socket_dir.iterdir():
        stale.unlink()  # a killed server's; the folder is ours alone, and so is keeper.lock
    variables = environment()
    # A stale postmaster.pid may hold a number that is in use again. We know that no server runs
    # here, and PostgreSQL passes over the number of its grandparent (found by Patroni, #681).
    pid = _postmaster_pid(plan.cluster)
    if pid:
        variables["PG_GRANDPARENT_PID"] = str(pid)
    return subprocess.Popen(  # noqa: S603 - PostgreSQL's own program, by full path
        [*death_signal(plan.binaries, account), *command],
        stdin=subprocess.DEVNULL,
        env=variables,
        cwd="/",
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[] if account else None,
    )


def _stop(postgres: subprocess.Popen[bytes]) -> None:
    """Shut down fast and clean; if that takes too long, at once, trusting the WAL."""
    for number, patience in ((signal.SIGINT, STOP_LIMIT), (signal.SIGQUIT, 10.0)):
        postgres.send_signal(number)
        with suppress(subprocess.TimeoutExpired):
            postgres.wait(patience)
            return
    postgres.kill()
    postgres.wait()


def _adopt_orphans() -> None:
    """Become the parent of every backend that loses its postmaster (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _end_orphans() -> None:
    """End the backends of a dead postmaster: a busy one would hold up the next start for hours.

    They are our children, so none of their numbers can belong to another process.
    """
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    began = time.monotonic()
    while time.monotonic() - began < _STABLE:
        with suppress(FileNotFoundError):  # a kernel without this list: they end by themselves
            for pid in children.read_text(encoding="ascii").split():
                # SIGQUIT is what their postmaster would send; the log collector ends as the last.
                os.kill(int(pid), signal.SIGQUIT)
        try:
            while os.waitpid(-1, os.WNOHANG) != (0, 0):
                pass
        except ChildProcessError:
            return
        time.sleep(POLL)


def _stop_predecessor(cluster: Path) -> None:
    """Wait for the server of a killed keeper to end, and ask it to where the kernel did not."""
    pid = _postmaster_pid(cluster)
    if pid is None or not _is_postmaster(pid, cluster):
        return
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGINT)
    deadline = time.monotonic() + STOP_LIMIT
    while _is_postmaster(pid, cluster):
        if time.monotonic() > deadline:
            sys.exit(f"The server with pid {pid} does not stop; end it by hand and start again.")
        time.sleep(POLL / 2)


def _postmaster_pid(cluster: Path) -> int | None:
    with suppress(FileNotFoundError, ValueError, IndexError):
        first_line = (cluster / "postmaster.pid").read_text(encoding="utf-8").splitlines()[0]
        return int(first_line) if int(first_line) > 0 else None
    return None


def _is_postmaster(pid: int, cluster: Path) -> bool:
    """Say whether `pid` is a server of this very cluster, by its command line."""
    if Path("/proc/self").exists():
        try:
            raw = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return False
        command = os.fsdecode(raw.replace(b"\0", b" "))
    else:
        command = run(["/bin/ps", "-ww", "-p", str(pid), "-o", "command="]).stdout
    return f"/postgres -D {cluster} " in command


def _write_settings(plan: _Plan) -> None:
    settings = dict(_SETTINGS)
    if any(plan.binaries.parent.glob("lib/**/pg_stat_statements.*")):
        settings["shared_preload_libraries"] = "pg_stat_statements"
    lines = ["# Written at each start. Change a setting with ALTER SYSTEM instead."]
    lines += ["include 'cluster/postgresql.conf'"]
    lines += [f"{name} = '{value}'" for name, value in settings.items()]
    path = plan.data_dir / "timebank.conf"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    path.chmod(0o644)  # the server's account reads it


def _note(what: str) -> None:
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    sys.stderr.write(f"{when} keeper: {what}\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
