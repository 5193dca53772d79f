"""Sealing what must not be read by who has the database alone: AES-256-GCM, bound to its place."""

import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from timebank.config import Settings
from timebank.domain.errors import LoginKeyUnfitError, UnsafeKeyFileError
from timebank.embedded import default_data_dir
from timebank.people.vault_keys import ensure_key_file, read_key_file

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
        except (InvalidTag, ValueError):  # ValueError: too short to hold a nonce and a tag
            raise LoginKeyUnfitError from None


def open_seal(settings: Settings) -> Seal:
    """Return the seal of this deployment; beside the embedded database its key is made if new.

    The key is not the vault's: that one is changed, and forgotten, for what was erased.
    LoginKeyUnfitError; so too where a database of yours has no key file named.
    """
    path = settings.login_key_file
    if path is None:
        if settings.database_url:
            raise LoginKeyUnfitError("Name a key file in TIMEBANK_LOGIN_KEY_FILE.")
        path = (settings.data_dir or default_data_dir()).expanduser() / "login.key"
        ensure_key_file(path)
    try:
        return Seal(read_key_file(path)[0])
    except UnsafeKeyFileError as error:
        raise LoginKeyUnfitError(str(error)) from error
