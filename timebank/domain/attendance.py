"""Being there: the rotating code, when one may check in and out, and the time that counts."""

import hmac
from datetime import datetime, timedelta
from hashlib import sha256
from uuid import UUID

from timebank.domain.schedule import floor_minute

CODE_DIGITS = 6
CODE_SECONDS = 30
CODE_STEPS_BACK = 1
"""A code is taken for the 30 s in which it is shown and the 30 s after: time to type it in."""

OPENS_BEFORE = timedelta(minutes=30)
"""So long before the planned start one may check in; what is before the start does not count."""

CLOSES_AFTER = timedelta(hours=2)
"""So long after the planned end one may check out; later, nobody knows when they left."""


def derive_code_key(secret: bytes, shift_id: UUID) -> bytes:
    """Return the key of a shift's codes: those of one shift say nothing of another's."""
    return hmac.digest(secret, shift_id.bytes, sha256)


def code_at(
    key: bytes, instant: datetime, *, digits: int = CODE_DIGITS, steps_back: int = 0
) -> str:
    """Return the code shown at an instant: TOTP with SHA-256 (RFC 6238)."""
    step = int(instant.timestamp()) // CODE_SECONDS - steps_back
    mac = hmac.digest(key, step.to_bytes(8, "big"), sha256)
    offset = mac[-1] & 15
    number = int.from_bytes(mac[offset : offset + 4], "big") & 0x7FFFFFFF
    return f"{number % 10**digits:0{digits}}"


def is_code_valid(key: bytes, code: str, instant: datetime) -> bool:
    """Return whether a code was shown at this instant or a moment before."""
    shown = (code_at(key, instant, steps_back=back) for back in range(CODE_STEPS_BACK + 1))
    return any(hmac.compare_digest(one.encode(), code.encode()) for one in shown)


def may_check_in(instant: datetime, starts_at: datetime, ends_at: datetime) -> bool:
    """Return whether somebody may check in to a shift now."""
    return starts_at - OPENS_BEFORE <= instant < ends_at


def may_check_out(instant: datetime, ends_at: datetime) -> bool:
    """Return whether a check-out is believed now; later it is closed at the planned end."""
    return instant <= ends_at + CLOSES_AFTER


def counted_time(
    checked_in_at: datetime, checked_out_at: datetime, starts_at: datetime
) -> tuple[datetime, datetime] | None:
    """Return the whole minutes of service, from the planned start on; None if there are none."""
    start = floor_minute(max(checked_in_at, starts_at))
    end = floor_minute(checked_out_at)
    return (start, end) if start < end else None
