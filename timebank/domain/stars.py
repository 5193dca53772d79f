"""Stars: how many a person has, from confirmed minutes and grades alone. Pure.

Points do not come in, so that spending them takes nothing; a reversed record was never served, and
a star that stood on it is gone. Named honours are another matter (service/honours.py).
"""

from datetime import date

from msgspec import Struct

_MINUTES = 60


class StarRule(Struct, frozen=True, kw_only=True):
    """From a local day on: the nth star needs hours[n] confirmed hours and a mean grade.

    Grades are in hundredths of 1 to 5; a star that asks for 0 asks for no grade at all.
    """

    effective_on: date
    hours: tuple[int, ...] = (100, 300, 600, 1000, 1500)
    grades: tuple[int, ...] = (0, 0, 0, 0, 0)


DEFAULT_RULE = StarRule(effective_on=date.min)
"""Until a bank sets its own."""


class Stars(Struct, frozen=True, kw_only=True):
    """What a person has by the rule in force; `next_minutes` and `next_grade` take one more.

    `grade` is the mean of their graded records in hundredths, rounded down; None: none is graded.
    """

    stars: int
    minutes: int
    grade: int | None
    next_minutes: int | None
    next_grade: int | None


def find_faults(rule: StarRule) -> str | None:
    """Return what is wrong with a rule, None if nothing is."""
    if not 1 <= len(rule.hours) <= 10 or len(rule.grades) != len(rule.hours):
        return "A rule has one to ten stars, each with its hours and its grade."
    if rule.hours[0] <= 0 or any(a >= b for a, b in zip(rule.hours, rule.hours[1:], strict=False)):
        return "Each star takes more hours than the one before it."
    if any(a > b for a, b in zip(rule.grades, rule.grades[1:], strict=False)):
        return "No star asks for a lower grade than the one before it."
    if any(grade and not 100 <= grade <= 500 for grade in rule.grades):
        return "A grade is from 100 to 500 hundredths, or 0."
    return None


def count_stars(rule: StarRule, minutes: int, grade: int | None) -> Stars:
    """Return the stars that so many confirmed minutes of this mean grade come to."""
    reached = 0
    for hours, least in zip(rule.hours, rule.grades, strict=True):
        if minutes < hours * _MINUTES or (least and (grade is None or grade < least)):
            break
        reached += 1
    last = reached == len(rule.hours)
    return Stars(
        stars=reached,
        minutes=minutes,
        grade=grade,
        next_minutes=None if last else rule.hours[reached] * _MINUTES,
        next_grade=None if last else rule.grades[reached],
    )
