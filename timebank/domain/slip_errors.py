"""What can go wrong of slips by rule; as errors.py, each docstring is message and remedy."""

from timebank.domain.errors import TimebankError


class SlipTooShortError(TimebankError):
    """The merchant's agreement ends too soon for a slip. Hold the points without one."""

    code = "slip_too_short"
