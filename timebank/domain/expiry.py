"""When points expire: rules that begin on a day, and the last day on which a lot is good.

A point is good for whole months and to the end of the last of them. Without a rule, or under one
without months, nothing expires. A rule counts for what was earned before it too, but from its own
first day, and it never takes back what an earlier rule promised: the latest day counts. Days are
local dates of the bank.
"""

from bisect import bisect_right
from collections.abc import Iterable
from datetime import date, timedelta

from msgspec import Struct

FEWEST_MONTHS = 12
"""No rule may be shorter (schema.sql, expiry_rule_gives_a_year)."""

WARNING_DAYS = (30, 7, 1)
"""How many days before the last good day a holder is warned."""


class ExpiryRule(Struct, frozen=True):
    """From `starts_on` on, points are good for `months`, None for ever.

    What is given back when its last day has passed is good for `grace_days` more.
    """

    starts_on: date
    months: int | None
    grace_days: int


class ExpiryRules:
    """All rules of a bank. The rules known on a day are those that had started by then."""

    def __init__(self, rules: Iterable[ExpiryRule] = ()) -> None:
        """`rules` may come in any order, at most one a day."""
        self._rules = sorted(rules, key=lambda rule: rule.starts_on)
        self._starts = [rule.starts_on for rule in self._rules]
        self._last_days: dict[tuple[int, date], date | None] = {}

    def count_known(self, on: date) -> int:
        """Return how many rules had started by that day: as long as it stays, so do last days."""
        return bisect_right(self._starts, on)

    def find_rule(self, on: date) -> ExpiryRule | None:
        """Return the rule in force on a day, None if points expire under none."""
        known = self.count_known(on)
        rule = self._rules[known - 1] if known else None
        return rule if rule and rule.months else None

    def find_last_day(self, earned_on: date, on: date) -> date | None:
        """Return until when points are good by the rules known `on` a day; None is for ever."""
        key = self.count_known(on), earned_on
        if key not in self._last_days:
            self._last_days[key] = self._last_day(earned_on, on)
        return self._last_days[key]

    def _last_day(self, earned_on: date, on: date) -> date | None:
        if not self.find_rule(on):
            return None
        known = self._rules[: self.count_known(on)]
        ends = [*self._starts[1 : len(known)], date.max]
        return max(
            end_of_month(max(earned_on, rule.starts_on), rule.months)
            for rule, ends_on in zip(known, ends, strict=True)
            if rule.months and ends_on > earned_on
        )


def end_of_month(day: date, months: int) -> date:
    """Return the last day of the month that lies `months` after the day's own."""
    years, month = divmod(day.year * 12 + day.month + months, 12)  # the first day after it
    return date(years, month + 1, 1) - timedelta(days=1) if years <= date.max.year else date.max
