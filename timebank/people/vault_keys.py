"""Master keys and what is sealed with them: the only place where personal data is in the clear.

A master key is 32 random bytes in a file, in base64, one a line, the current one first; lines that
begin with # are remarks. From each come, by HKDF-SHA256, its name (harmless, it stands in the
database), a key that wraps the data keys of persons, a key of the blind index, and one for what
else is sealed (people/seals.py). AES-256-GCM seals with a random nonce, which goes before the
ciphertext; every seal is bound to what it belongs to, so that no row can be moved to another
person, field or version.
"""

import base64
import binascii
import hmac
import os
import secrets
import stat
from collections.abc import Collection, Sequence
from pathlib import Path
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from timebank.config import Settings
from timebank.domain.errors import SealBrokenError, UnsafeKeyFileError, VaultKeyMissingError
from timebank.embedded import default_data_dir

KEY_BYTES = 32
NONCE_BYTES = 12
PADDED_TO = 64
"""Sealed values are filled up to a multiple of this: the length tells little."""

LARGEST_FILE = 64 * 1024


class MasterKey:
    """One master key, known in the database by `key_id`."""

    def __init__(self, secret: bytes) -> None:
        """`secret` are its 32 bytes."""
        self.key_id = _derive(secret, "name", 8).hex()
        self._wrapping = AESGCM(_derive(secret, "wrap"))
        self._blinding = _derive(secret, "blind index")
        self._sealing = AESGCM(_derive(secret, "seal"))

    def wrap(self, data_key: bytes, bank_id: int, person_id: UUID) -> bytes:
        """Return a person's data key, sealed."""
        return _encrypt(self._wrapping, data_key, self._binding(bank_id, person_id))

    def unwrap(self, wrapped: bytes, bank_id: int, person_id: UUID) -> bytes:
        """Return the data key; SealBrokenError if it was altered or is another person's."""
        return _decrypt(self._wrapping, wrapped, self._binding(bank_id, person_id))

    def blind(self, bank_id: int, field: str, text: str) -> bytes:
        """Return what finds this text in this field, and tells nobody without the key anything."""
        message = f"{bank_id}|{field}|{text}".encode()
        return hmac.digest(self._blinding, message, "sha256")

    def close(self, plain: bytes, bound_to: str) -> bytes:
        """Return the bytes, sealed for the place that is named so."""
        return _encrypt(self._sealing, plain, bound_to.encode())

    def open(self, sealed: bytes, bound_to: str) -> bytes:
        """Return what was sealed; SealBrokenError if it was altered or comes from elsewhere."""
        return _decrypt(self._sealing, sealed, bound_to.encode())

    def _binding(self, bank_id: int, person_id: UUID) -> bytes:
        return f"timebank data key|{self.key_id}|{bank_id}|{person_id}".encode()


class KeyRing:
    """The master keys of a file; looks into it again when it meets one it does not know."""

    _seen: tuple[int, int, int] | None

    def __init__(self, path: Path) -> None:
        """Read the file; UnsafeKeyFileError."""
        self.path = path
        self.reload()

    @property
    def first(self) -> MasterKey:
        """The key that is to seal what is new."""
        return self._first

    def reload(self) -> None:
        """Read the file again."""
        self._seen = _look_at(self.path)
        keys = [MasterKey(secret) for secret in read_key_file(self.path)]
        self._first = keys[0]
        self._keys = {key.key_id: key for key in keys}

    def reload_if_changed(self) -> None:
        """Read the file again if it is another than it was; one that is gone stays in memory."""
        if _look_at(self.path) not in (self._seen, None):
            self.reload()

    def get(self, key_id: str) -> MasterKey:
        """Return the key of this name; VaultKeyMissingError if the file does not hold it."""
        if key_id not in self._keys:
            self.reload()
        if key_id not in self._keys:
            raise VaultKeyMissingError(
                f"The vault was sealed with the master key {key_id}, which the key file does not "
                "hold. Put it back from where you keep it."
            )
        return self._keys[key_id]


# ---- Sealing fields ----------------------------------------------------------------------------


def new_data_key() -> bytes:
    """Return a new key for one person."""
    return secrets.token_bytes(KEY_BYTES)


def seal(
    data_key: bytes, plain: bytes, *, bank_id: int, person_id: UUID, field: str, version: int
) -> bytes:
    """Return JSON text, filled up with spaces and sealed for this one place."""
    padded = plain.ljust(-(-len(plain) // PADDED_TO) * PADDED_TO)
    return _encrypt(AESGCM(data_key), padded, _place(bank_id, person_id, field, version))


def unseal(
    data_key: bytes, sealed: bytes, *, bank_id: int, person_id: UUID, field: str, version: int
) -> bytes:
    """Return the JSON text; SealBrokenError if it was altered or comes from another place."""
    return _decrypt(AESGCM(data_key), sealed, _place(bank_id, person_id, field, version))


def _place(bank_id: int, person_id: UUID, field: str, version: int) -> bytes:
    return f"timebank field|{bank_id}|{person_id}|{field}|{version}".encode()


def _encrypt(key: AESGCM, plain: bytes, binding: bytes) -> bytes:
    nonce = secrets.token_bytes(NONCE_BYTES)
    return nonce + key.encrypt(nonce, plain, binding)


def _decrypt(key: AESGCM, sealed: bytes, binding: bytes) -> bytes:
    try:
        return key.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], binding)
    except (InvalidTag, ValueError):  # ValueError: too short to hold a nonce and a tag
        raise SealBrokenError from None


def _derive(secret: bytes, purpose: str, length: int = KEY_BYTES) -> bytes:
    info = f"timebank vault 1 {purpose}".encode()
    return HKDF(algorithm=SHA256(), length=length, salt=None, info=info).derive(secret)


# ---- Which file ---------------------------------------------------------------------------------


def open_key_ring(settings: Settings) -> KeyRing:
    """Return the keys of this deployment; beside the embedded database they are made on first use.

    UnsafeKeyFileError; VaultKeyMissingError where a database of yours has no key file named.
    """
    if settings.master_key_file:
        return KeyRing(settings.master_key_file)
    if settings.database_url:
        raise VaultKeyMissingError(
            "The vault needs a master key, kept apart from the database: name its file in "
            "TIMEBANK_MASTER_KEY_FILE. docs/settings.md says how to make one."
        )
    path = (settings.data_dir or default_data_dir()).expanduser() / "master.key"
    ensure_key_file(path)
    return KeyRing(path)


# ---- The file ----------------------------------------------------------------------------------


def read_key_file(path: Path) -> list[bytes]:
    """Return the keys of a file, the current one first.

    UnsafeKeyFileError unless it is a regular file with mode 0600 or 0400 that belongs to the
    account of this process, in folders that nobody else may change, and holds keys.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            _check_file(path, os.fstat(descriptor))
            content = os.read(descriptor, LARGEST_FILE)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise UnsafeKeyFileError(f"{path} cannot be read: {error.strerror}.") from error
    _check_folders(path)
    lines = [line.strip() for line in content.decode("ascii", "replace").splitlines()]
    keys = [_decode(path, line) for line in lines if line and not line.startswith("#")]
    if not keys:
        raise UnsafeKeyFileError(f"{path} holds no key. {_HOW_TO_MAKE.format(path)}")
    return keys


_HOW_TO_MAKE = "Make one: (umask 077; head -c 32 /dev/urandom | base64 > {})"


def _look_at(path: Path) -> tuple[int, int, int] | None:
    """Return what changes when a file is replaced or written to."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def ensure_key_file(path: Path) -> None:
    """Make a file with a new key, readable by this account only, unless there is one."""
    if not path.exists():
        _write(path, [secrets.token_bytes(KEY_BYTES)], only_new=True)


def add_key(path: Path) -> None:
    """Put a new key before those of the file; the file is replaced in one step."""
    _write(path, [secrets.token_bytes(KEY_BYTES), *read_key_file(path)])


def keep_keys(path: Path, key_ids: Collection[str]) -> int:
    """Take all other keys out of the file for good; return how many were taken out."""
    keys = read_key_file(path)
    kept = [secret for secret in keys if MasterKey(secret).key_id in key_ids]
    if kept and len(kept) < len(keys):
        _write(path, kept)
    return len(keys) - len(kept)


def _write(path: Path, keys: Sequence[bytes], *, only_new: bool = False) -> None:
    target = path.resolve()
    partial = target.with_name(f".{target.name}.{secrets.token_hex(8)}")
    lines = [base64.b64encode(key).decode() for key in keys]
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write("\n".join(["# timebank: master keys, the current one first", *lines, ""]))
            file.flush()
            os.fsync(descriptor)
        if only_new:
            _link(partial, target)
        else:
            partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _link(partial: Path, target: Path) -> None:
    """Give the file its name, unless another process was quicker: then its key counts."""
    try:
        target.hardlink_to(partial)
    except FileExistsError:
        return


def _check_file(path: Path, found: os.stat_result) -> None:
    uid = os.geteuid()
    if not stat.S_ISREG(found.st_mode):
        raise UnsafeKeyFileError(f"{path} must be a regular file.")
    if found.st_uid != uid:
        raise UnsafeKeyFileError(
            f"{path} belongs to uid {found.st_uid} and this process runs as {uid}: chown it."
        )
    if found.st_mode & 0o177:
        raise UnsafeKeyFileError(f"{path} is open to others: chmod 600 {path}")


def _check_folders(path: Path) -> None:
    """Refuse a folder in which somebody else could put another file in this one's place."""
    for folder in {*path.absolute().parents, *path.resolve().parents}:
        found = folder.stat()
        if found.st_uid not in (0, os.geteuid()):
            raise UnsafeKeyFileError(f"{folder} belongs to somebody else, who could swap {path}.")
        if found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX:
            raise UnsafeKeyFileError(f"{folder} may be changed by others: chmod go-w {folder}")


def _decode(path: Path, line: str) -> bytes:
    try:
        secret = base64.b64decode(line, validate=True)
    except (binascii.Error, ValueError):
        secret = b""
    if len(secret) != KEY_BYTES or len(set(secret)) < 4:
        raise UnsafeKeyFileError(
            f"{path} holds a line that is no key of 32 random bytes in base64. "
            + _HOW_TO_MAKE.format(path)
        )
    return secret
