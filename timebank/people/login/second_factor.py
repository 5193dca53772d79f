"""The second factor of staff: six digits that change every 30 seconds (RFC 6238)."""

from datetime import datetime
from hmac import compare_digest

import pyotp

_STEP_SECONDS = 30
_TOLERANCE = 1


def new_secret() -> str:
    """Return a new secret of 160 bits, in base32 as authenticator programs take it."""
    return pyotp.random_base32(32)


def find_step(secret: str, digits: str, at: datetime) -> int | None:
    """Return the time step whose digits these are, the one at `at` or a neighbour; else None."""
    now = int(at.timestamp()) // _STEP_SECONDS
    totp = pyotp.TOTP(secret, interval=_STEP_SECONDS)
    steps = [now + offset for offset in range(-_TOLERANCE, _TOLERANCE + 1)]
    fitting = [step for step in steps if compare_digest(totp.generate_otp(step), digits)]
    return max(fitting, default=None)


def otpauth_uri(secret: str, account: str, issuer: str) -> str:
    """Return what an authenticator program reads from a QR code."""
    return pyotp.TOTP(secret, interval=_STEP_SECONDS).provisioning_uri(
        name=account, issuer_name=issuer
    )
