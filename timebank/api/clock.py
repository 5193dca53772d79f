"""The server's clock at the edge: what counts is when it arrives here."""

from datetime import UTC, datetime


def now() -> datetime:
    """Return the instant now."""
    return datetime.now(UTC)
