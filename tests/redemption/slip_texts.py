"""Slips for tests of the checker alone, signed with a key that is no secret."""

from pathlib import Path
from typing import Any
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from timebank.redemption import slip_checker
from timebank.redemption.slip_checker import Facts, Key
from timebank.redemption.slips import sign

PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = PRIVATE.public_key().public_bytes_raw()
KEY_ID = "0123456789abcdef"
KEYS = {KEY_ID: Key("jianxi", PUBLIC)}
MERCHANT = UUID("0198f0c2-0000-7000-8000-000000000001")
NOON = 1_800_000_000
FACTS = Facts(KEY_ID, MERCHANT, 123456789012, 30, NOON, NOON + 86_400, "jianxi")
TEXT = sign(FACTS, PRIVATE)
CHECKER = Path(slip_checker.__file__)


def numbered(number: int, **changed: Any) -> str:
    """The text of another slip."""
    return sign(FACTS._replace(number=number, **changed), PRIVATE)
