"""Figures against yardsticks of the same run, and what we aim at."""

from collections.abc import Mapping, Sequence
from enum import StrEnum

from msgspec import Struct

NOISE = 0.05
"""Two runs of the same thing differ by this much on a quiet machine."""


class Verdict(StrEnum):
    """How a ratio stands to its aim."""

    MET = "met"
    WITHIN_NOISE = "within noise"
    NOT_MET = "not met"


class Aim(Struct, frozen=True):
    """A ratio of two figures, by their names, and the least we want of it."""

    ratio: str
    figure: str
    yardstick: str
    at_least: float

    def judge(self, ratio: float) -> Verdict:
        """Say whether `ratio` is what we want, give or take the noise."""
        if ratio >= self.at_least:
            return Verdict.MET
        if ratio >= self.at_least * (1 - NOISE):
            return Verdict.WITHIN_NOISE
        return Verdict.NOT_MET


def find_ratios(aims: Sequence[Aim], figures: Mapping[str, float]) -> dict[str, float]:
    """Return the ratio of each aim whose two figures were measured, by its name."""
    return {
        aim.ratio: round(figures[aim.figure] / figures[aim.yardstick], 3)
        for aim in aims
        if aim.figure in figures and figures.get(aim.yardstick)
    }
