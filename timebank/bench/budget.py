"""Time for a whole benchmark: what is measured last is shortened, never left out."""

from time import monotonic

from msgspec import Struct

_SHORTEST = 0.1


class Budget(Struct, frozen=True):
    """Everything is to end `all_within` seconds (None: at leisure) after `started`, monotonic."""

    started: float
    all_within: float | None

    def share(self, wanted: float, *, runs_left: int, overhead: float) -> float:
        """Return the seconds that the next of `runs_left` runs may take on the clock.

        That is `wanted` if there is time; `overhead` is what each run takes besides.
        """
        if self.all_within is None:
            return wanted
        left = self.all_within - (monotonic() - self.started)
        return max(_SHORTEST, min(wanted, left / runs_left - overhead))
