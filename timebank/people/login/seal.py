"""Sealing what must not be read by who has the database alone: AES-256-GCM, bound to its place."""

import os
import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from timebank.config import Settings
from timebank.domain.errors import LoginKeyUnfitError
from timebank.embedded import default_data_dir

_KEY_BYTES = 32
_NONCE_BYTES = 12


class Seal:
    """A key in use; `bound_to` names the row, so that nothing opens in another place."""

    def __init__(self, key: bytes) -> None:
        """`key` is 32 random bytes."""
        self._cipher = AESGCM(key)

    def close(self, plain: bytes, bound_to: str) -> bytes:
        """Return the sealed bytes; other ones at each call."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, plain, bound_to.encode())

    def open(self, sealed: bytes, bound_to: str) -> bytes:
        """Return what was sealed; LoginKeyUnfitError under another key or in another place."""
        try:
            return self._cipher.decrypt(
                sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], bound_to.encode()
            )
        except InvalidTag:
            raise LoginKeyUnfitError from None


def open_seal(settings: Settings) -> Seal:
    """Return the seal of this deployment; beside the embedded database its key is made if new.

    LoginKeyUnfitError; so too where a database of yours has no key file named.
    """
    path = settings.login_key_file
    if path is None:
        if settings.database_url:
            raise LoginKeyUnfitError("Name a key file in TIMEBANK_LOGIN_KEY_FILE.")
        path = (settings.data_dir or default_data_dir()).expanduser() / "login.key"
        _make_key(path)
    return Seal(_read_key(path))


def _make_key(path: Path) -> None:
    """Make the file unless it exists; of two processes at once the first one's key counts."""
    if path.exists():
        return
    partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(secrets.token_bytes(_KEY_BYTES))
        file.flush()
        os.fsync(descriptor)
    try:
        path.hardlink_to(partial)
    except FileExistsError:
        return
    finally:
        partial.unlink()


def _read_key(path: Path) -> bytes:
    try:
        if path.stat().st_mode & 0o077:
            raise LoginKeyUnfitError(f"{path} is open to others: chmod 600 {path}")
        key = path.read_bytes()
    except OSError as error:
        raise LoginKeyUnfitError(f"{path} cannot be read: {error.strerror}.") from error
    if len(key) != _KEY_BYTES:
        raise LoginKeyUnfitError(f"{path} must hold {_KEY_BYTES} random bytes.")
    return key
