"""What an audit found: the first findings in full, all of them counted."""

from collections import Counter
from collections.abc import Mapping

from msgspec import Struct

from timebank.audit.invariants import Invariant


class Finding(Struct, frozen=True, kw_only=True):
    """A row that breaks an invariant; `bank` is a code, None for what concerns all banks."""

    invariant: int
    name: str
    bank: str | None
    row: str
    expected: str
    found: str


class Findings:
    """Gathers findings in bounded memory: beyond the first `limit` they are only counted."""

    def __init__(self, codes: Mapping[int, str], limit: int) -> None:
        """`codes` are the codes of the banks by their ids."""
        self.first: list[Finding] = []
        self.counts: Counter[int] = Counter()
        self._codes = codes
        self._limit = limit

    @property
    def total(self) -> int:
        """The number of all findings."""
        return self.counts.total()

    def add(
        self, invariant: Invariant, bank_id: int | None, row: str, expected: object, found: object
    ) -> None:
        """Count a finding, and keep it while there is room."""
        self.counts[invariant.number] += 1
        if len(self.first) < self._limit:
            self.first.append(
                Finding(
                    invariant=invariant.number,
                    name=invariant.name,
                    bank=None if bank_id is None else self._codes.get(bank_id, f"bank {bank_id}"),
                    row=row,
                    expected=str(expected),
                    found=str(found),
                )
            )
