"""Numbers that people read out, type and copy by hand, with check digits (ISO 7064 MOD 97-10).

A number is a body and two check digits; as a whole it is 1 modulo 97. Every wrong digit and every
swap of neighbours is found, and 96 of 97 other slips. Member numbers have ten digits and sheet
numbers nine, so that one is never taken for the other, nor for a mobile phone's eleven.
"""

import re
import unicodedata

from timebank.domain.errors import NumberMistypedError

MEMBER_BODIES = range(10_000_000, 100_000_000)
"""No leading zero: a spreadsheet would eat it."""

SHEET_BODIES = range(1_000_000, 10_000_000)

_SPACES = re.compile(r"[\s\-‐‑–·.]+")


def add_check(body: int) -> str:
    """Return the number of this body: its digits and two more."""
    return str(body * 100 + 98 - body * 100 % 97)


def parse_member_number(text: str) -> str:
    """Return the ten digits of a member number as typed, spaces and hyphens left out.

    NumberMistypedError.
    """
    return add_check(_parse(text, MEMBER_BODIES))


def parse_sheet_number(text: str) -> int:
    """Return the body of a sheet number as typed; NumberMistypedError."""
    return _parse(text, SHEET_BODIES)


def spell_number(number: str) -> str:
    """Return a number in groups of four, as it is printed: 1234 5678 89."""
    return " ".join(re.findall(".{1,4}", number))


def _parse(text: str, bodies: range) -> int:
    digits = _SPACES.sub("", unicodedata.normalize("NFKC", text))
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= 12):
        raise NumberMistypedError
    body = int(digits) // 100
    if body not in bodies or add_check(body) != digits:
        raise NumberMistypedError
    return body
