"""The rotating code, and the time that counts."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timebank.domain.attendance import (
    CODE_DIGITS,
    CODE_SECONDS,
    code_at,
    counted_time,
    derive_code_key,
    is_code_valid,
    may_check_in,
    may_check_out,
)

KEY = b"12345678901234567890123456789012"
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
STEP = timedelta(seconds=CODE_SECONDS)


@pytest.mark.parametrize(
    ("seconds", "code"),
    [
        (59, "46119246"),
        (1111111109, "68084774"),
        (1111111111, "67062674"),
        (1234567890, "91819424"),
        (2000000000, "90698825"),
        (20000000000, "77737706"),
    ],
)
def test_the_code_is_that_of_rfc_6238(seconds: int, code: str) -> None:
    """Appendix B, SHA-256."""
    assert code_at(KEY, datetime.fromtimestamp(seconds, UTC), digits=8) == code


@pytest.mark.parametrize(
    ("later", "is_valid"),
    [
        (timedelta(0), True),
        (STEP - timedelta(seconds=1), True),
        (2 * STEP - timedelta(seconds=1), True),
        (2 * STEP, False),
        (timedelta(seconds=-1), False),
        (timedelta(hours=1), False),
    ],
)
def test_a_code_is_taken_while_it_is_shown_and_as_long_again(
    later: timedelta, is_valid: bool
) -> None:
    code = code_at(KEY, NOON)
    assert len(code) == CODE_DIGITS
    assert is_code_valid(KEY, code, NOON + later) is is_valid


@pytest.mark.parametrize("code", ["", "0", "99999", "٣٣٣٣٣٣", "0" * 100, "abcdef", "-12345"])
def test_no_other_text_is_a_code(code: str) -> None:
    assert not is_code_valid(KEY, code, NOON)


def test_shifts_have_codes_of_their_own() -> None:
    keys = [derive_code_key(KEY, UUID(int=n)) for n in range(50)]
    assert len({code_at(key, NOON) for key in keys}) > 45


def test_when_one_may_check_in_and_out() -> None:
    start, end = NOON, NOON + timedelta(hours=2)
    second = timedelta(seconds=1)
    half, two = timedelta(minutes=30), timedelta(hours=2)
    assert [may_check_in(at, start, end) for at in (start - half - second, start - half)] == [
        False,
        True,
    ]
    assert [may_check_in(at, start, end) for at in (end - second, end)] == [True, False]
    assert [may_check_out(at, end) for at in (end + two, end + two + second)] == [True, False]


def test_what_is_before_the_start_does_not_count() -> None:
    early, end = NOON - timedelta(minutes=20), NOON + timedelta(minutes=61, seconds=59)
    assert counted_time(early, end, NOON) == (NOON, NOON + timedelta(minutes=61))
    late = NOON + timedelta(minutes=5, seconds=30)
    assert counted_time(late, end, NOON) == (
        NOON + timedelta(minutes=5),
        NOON + timedelta(minutes=61),
    )
    assert counted_time(early, NOON - timedelta(minutes=1), NOON) is None
    assert counted_time(NOON, NOON + timedelta(seconds=59), NOON) is None


@given(st.integers(0, 10_000), st.integers(0, 10_000), st.integers(0, 10_000))
def test_leaving_and_coming_back_at_once_costs_nothing(start: int, gone: int, end: int) -> None:
    a, b, c = sorted([start, gone, end])
    at = [NOON + timedelta(seconds=seconds) for seconds in (a, b, c)]
    whole = minutes(counted_time(at[0], at[2], NOON))
    assert (
        minutes(counted_time(at[0], at[1], NOON)) + minutes(counted_time(at[1], at[2], NOON))
        == whole
    )


def minutes(time: tuple[datetime, datetime] | None) -> int:
    return (time[1] - time[0]) // timedelta(minutes=1) if time else 0
