"""Sealing what the service must read back: hashes of secrets, second factors, keys of its own.

A sealed value is the name of its master key (8 bytes), a nonce and AES-256-GCM, bound to the text
that names its place: it opens there only. Columns of sealed values are made known to the database
with `make_sealed` (schema.sql): then a change of the master key seals them anew (vault_rotation).
"""

from timebank.domain.errors import SealBrokenError
from timebank.people.vault_keys import KeyRing, MasterKey

_NAME_BYTES = 8


class Seals:
    """The seal of a deployment, under the keys of its one file."""

    def __init__(self, ring: KeyRing) -> None:
        """`ring` is looked into again whenever the file has changed."""
        self._ring = ring

    def close(self, plain: bytes, bound_to: str) -> bytes:
        """Return the sealed bytes; other ones at each call.

        The database refuses to store them (OverloadedError) if the key went out of use meanwhile.
        """
        self._ring.reload_if_changed()
        return close_with(self._ring.first, plain, bound_to)

    def open(self, sealed: bytes, bound_to: str) -> bytes:
        """Return what was sealed.

        SealBrokenError if it was altered or bound to another place; VaultKeyMissingError.
        """
        if len(sealed) < _NAME_BYTES:
            raise SealBrokenError
        key = self._ring.get(sealed[:_NAME_BYTES].hex())
        return key.open(sealed[_NAME_BYTES:], bound_to)


def close_with(key: MasterKey, plain: bytes, bound_to: str) -> bytes:
    """Return the bytes sealed with this key."""
    return bytes.fromhex(key.key_id) + key.close(plain, bound_to)
