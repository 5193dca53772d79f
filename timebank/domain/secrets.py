"""What makes a PIN or a password good enough, and how long who guesses has to wait.

A PIN is tried online only: delays keep it. A password stands beside a second factor.
"""

import re
import unicodedata
from datetime import timedelta
from itertools import pairwise

from timebank.domain.errors import WeakSecretError

SHORTEST_PASSWORD = 12
LONGEST_PASSWORD = 200

WAITS = (0, 0, 30, 60, 120, 240, 480, 960, 1800, 3600)
"""Seconds to wait after the 1st, 2nd, … failed attempt in a row; the last for all more.

Two slips cost nothing; who guesses for ever has 24 attempts a day at a million PINs.
"""

SPRAYING_WINDOW = timedelta(minutes=10)
SPRAYED_CARDS = 30
"""Failing at so many cards within the window is no slip of their holders any more."""

_COMMON_PINS = frozenset({"131452", "147258", "258369", "520131", "159357", "741852"})
_COMMON_WORDS = re.compile(
    r"p[a@]ssw[o0]rd|qwerty?(?:uiop)?|asdfgh(?:jkl)?|zxcvb(?:nm)?|letmein|iloveyou|woaini|admin"
    r"|welcome|timebank|jianxi|1qaz2wsx|abc123|0?1234\d*|9876\d*|5201314|1314520"
)
_DATE = re.compile(r"\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])")


def check_pin(pin: str, pointer: str = "/pin") -> None:
    """Raise WeakSecretError for the PINs that are tried first; `pin` is six digits."""
    is_pattern = len(set(pin)) <= 2 or pin[:3] == pin[3:] or _is_even_climb(pin)
    in_pairs = pin[0::2] == pin[1::2] and _is_even_climb(pin[0::2])
    if is_pattern or in_pairs or pin in _COMMON_PINS:
        raise WeakSecretError("This PIN is among the first to be guessed.", pointer=pointer)
    if _DATE.fullmatch(pin):
        raise WeakSecretError("This PIN is a date, which is easy to guess.", pointer=pointer)


def _is_even_climb(digits: str) -> bool:
    """Return whether each digit differs from the one before by the same step, 9 before 0."""
    return len({(int(after) - int(before)) % 10 for before, after in pairwise(digits)}) == 1


def check_password(password: str, staff_number: str = "", pointer: str = "/password") -> None:
    """Raise WeakSecretError for a password that is short or begins where guessing begins.

    Any characters are welcome; what is left after the well-known words must still be long.
    """
    text = normalise(password).casefold()
    if not SHORTEST_PASSWORD <= len(text) <= LONGEST_PASSWORD:
        raise WeakSecretError(
            f"A password has {SHORTEST_PASSWORD} to {LONGEST_PASSWORD} characters.",
            pointer=pointer,
        )
    own = text.replace(staff_number, "") if staff_number else text
    if len(set(text)) < 5 or len(_COMMON_WORDS.sub("", own)) < SHORTEST_PASSWORD // 2:
        raise WeakSecretError("This password is among the first to be guessed.", pointer=pointer)


def normalise(password: str) -> str:
    """Return the password as every keyboard and input method gives it (NFKC)."""
    return unicodedata.normalize("NFKC", password)


def gap_when_spraying(failing_cards: int) -> timedelta | None:
    """Return how far apart PINs are looked at while so many cards fail; None: no need.

    It grows with the attack and ends with it; one-time codes go on all the while.
    """
    if failing_cards < SPRAYED_CARDS:
        return None
    return timedelta(seconds=min(60, 2 << min(8, failing_cards // SPRAYED_CARDS - 1)))
