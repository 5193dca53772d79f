"""Sharing a shift's minutes over its volunteers, and drawing who they were."""

from collections.abc import Sequence
from hashlib import sha256


def share_minutes(minutes: int, parts: int) -> list[int]:
    """Split `minutes` into `parts` that differ by at most one, larger first, and add up exactly."""
    share, remainder = divmod(minutes, parts)
    return [share + 1] * remainder + [share] * (parts - remainder)


def draw_volunteers(shift_ref: str, volunteers: Sequence[str], count: int) -> list[str]:
    """Draw `count` of `volunteers` for a shift: the same for ever, on every machine.

    Each is ranked by SHA-256 of shift and volunteer, so neither the order of the list nor the
    number of other shifts matters.
    """
    return sorted(volunteers, key=lambda ref: sha256(f"{shift_ref}/{ref}".encode()).digest())[
        :count
    ]
