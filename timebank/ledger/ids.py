"""Ids for new rows: UUIDv7 (RFC 9562), ordered by time, so that indexes grow at one end."""

import secrets
import time
from uuid import UUID, uuid5

_last_millisecond_and_counter = 0


def new_id() -> UUID:
    """Return a new UUIDv7, greater than every earlier one of this process."""
    global _last_millisecond_and_counter  # noqa: PLW0603 - the order of ids is the process's state
    now = (time.time_ns() // 1_000_000) << 12
    _last_millisecond_and_counter = max(now, _last_millisecond_and_counter + 1)
    millisecond, counter = divmod(_last_millisecond_and_counter, 1 << 12)
    return UUID(int=millisecond << 80 | 7 << 76 | counter << 64 | 0b10 << 62 | secrets.randbits(62))


def derive_id(parent: UUID, name: str) -> UUID:
    """Return the one id that `name` has under `parent`: the same at every repeat."""
    return uuid5(parent, name)
