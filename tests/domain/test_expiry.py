"""Until when points are good, day by day at the edges."""

from datetime import date

import pytest

from timebank.domain.expiry import ExpiryRule, ExpiryRules, end_of_month

LONG = ExpiryRule(date(2026, 1, 1), 24, 30)
SHORT = ExpiryRule(date(2027, 1, 1), 12, 10)
OFF = ExpiryRule(date(2028, 1, 1), None, 0)


@pytest.mark.parametrize(
    ("day", "months", "last"),
    [
        (date(2026, 3, 1), 12, date(2027, 3, 31)),
        (date(2026, 3, 31), 12, date(2027, 3, 31)),
        (date(2027, 2, 28), 12, date(2028, 2, 29)),
        (date(2024, 2, 29), 12, date(2025, 2, 28)),
        (date(2026, 12, 31), 12, date(2027, 12, 31)),
        (date(2026, 11, 5), 13, date(2027, 12, 31)),
        (date(9999, 3, 1), 12, date.max),
    ],
)
def test_points_are_good_to_the_end_of_a_month(day: date, months: int, last: date) -> None:
    assert end_of_month(day, months) == last


def test_without_a_rule_nothing_expires() -> None:
    assert ExpiryRules().find_last_day(date(2020, 1, 1), date(2030, 1, 1)) is None
    assert ExpiryRules([LONG]).find_last_day(date(2025, 5, 5), date(2025, 12, 31)) is None


def test_a_rule_counts_for_earlier_points_from_its_first_day() -> None:
    rules = ExpiryRules([LONG])
    assert rules.find_last_day(date(2020, 5, 5), date(2026, 1, 1)) == date(2028, 1, 31)
    assert rules.find_last_day(date(2026, 5, 5), date(2026, 5, 5)) == date(2028, 5, 31)


@pytest.mark.parametrize(
    ("earned_on", "last"),
    [
        (date(2026, 12, 31), date(2028, 12, 31)),  # promised by the rule of its own day
        (date(2027, 1, 1), date(2028, 1, 31)),  # earned under the shorter rule
        (date(2025, 1, 1), date(2028, 1, 31)),
    ],
)
def test_a_shorter_rule_keeps_the_promise_of_a_longer_one(earned_on: date, last: date) -> None:
    assert ExpiryRules([SHORT, LONG]).find_last_day(earned_on, date(2027, 6, 1)) == last


def test_a_rule_without_months_switches_expiry_off() -> None:
    rules = ExpiryRules([LONG, OFF])
    assert rules.find_rule(date(2027, 12, 31)) == LONG
    assert rules.find_rule(date(2028, 1, 1)) is None
    assert rules.find_last_day(date(2026, 5, 5), date(2028, 1, 1)) is None


def test_switched_on_again_it_counts_anew() -> None:
    again = ExpiryRule(date(2030, 7, 1), 12, 0)
    rules = ExpiryRules([LONG, OFF, again])
    assert rules.find_last_day(date(2026, 5, 5), date(2030, 7, 1)) == date(2031, 7, 31)
