"""Stars at their bounds."""

from datetime import date

import pytest

from timebank.domain.stars import DEFAULT_RULE, StarRule, count_stars, find_faults


@pytest.mark.parametrize(
    ("minutes", "stars"),
    [
        (0, 0),
        *((hours * 60 + less, n + less) for n, hours in enumerate(DEFAULT_RULE.hours, 1)
          for less in (-1, 0)),
        (10**9, 5),
    ],
)  # fmt: skip
def test_a_star_begins_with_the_last_minute_of_its_hours(minutes: int, stars: int) -> None:
    counted = count_stars(DEFAULT_RULE, minutes, None)
    assert counted.stars == stars
    assert counted.next_minutes == (DEFAULT_RULE.hours[stars] * 60 if stars < 5 else None)


@pytest.mark.parametrize(("grade", "stars"), [(None, 1), (399, 1), (400, 2), (449, 2), (450, 3)])
def test_quality_is_a_second_input(grade: int | None, stars: int) -> None:
    rule = StarRule(effective_on=date.min, hours=(1, 2, 3), grades=(0, 400, 450))
    assert count_stars(rule, 180, grade).stars == stars
    assert count_stars(rule, 59, grade).stars == 0


@pytest.mark.parametrize(
    ("hours", "grades"),
    [
        ((), ()),
        ((1, 2), (0,)),
        ((2, 2), (0, 0)),
        ((0,), (0,)),
        ((1, 2), (300, 200)),
        ((1,), (50,)),
        ((1,), (501,)),
        (tuple(range(1, 12)), (0,) * 11),
    ],
)
def test_a_faulty_rule_is_told(hours: tuple[int, ...], grades: tuple[int, ...]) -> None:
    assert find_faults(StarRule(effective_on=date.min, hours=hours, grades=grades))
    assert find_faults(DEFAULT_RULE) is None
