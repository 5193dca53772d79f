"""Which PINs and passwords are refused, and how delays grow."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timebank.domain.errors import WeakSecretError
from timebank.domain.secrets import (
    LONGEST_PASSWORD,
    SHORTEST_PASSWORD,
    SPRAYED_CARDS,
    WAITS,
    check_password,
    check_pin,
    gap_when_spraying,
    normalise,
)

FIRST_GUESSES = """
    000000 999999 123456 654321 012345 890123 135791 112233 332211 121212 131131 123123 147258
    520131 880808 991231 000229 900101 200615 113355 001001
"""


@pytest.mark.parametrize("pin", FIRST_GUESSES.split())
def test_pins_that_are_tried_first_are_refused(pin: str) -> None:
    with pytest.raises(WeakSecretError) as refused:
        check_pin(pin)
    assert pin not in str(refused.value)


@pytest.mark.parametrize("pin", ["492716", "904172", "381640", "731946", "110098"])
def test_other_pins_pass(pin: str) -> None:
    check_pin(pin)


def test_most_pins_pass() -> None:
    def passes(number: int) -> bool:
        try:
            check_pin(f"{number:06}")
        except WeakSecretError:
            return False
        return True

    sample = range(0, 1_000_000, 37)
    assert 0.94 < sum(map(passes, sample)) / len(sample) < 0.97


@pytest.mark.parametrize(
    "password",
    [
        "",
        "short",
        "x" * (SHORTEST_PASSWORD - 1),
        "x" * 40,
        "abababababab",
        "x1" * (LONGEST_PASSWORD // 2) + "y",
        "password1234",
        "P@ssw0rd2026!",
        "ＰＡＳＳＷＯＲＤ１２３４",
        "qwerty123456",
        "timebank2026",
        "woaini1314520",
        "40718263!abc",
    ],
)
def test_passwords_that_are_tried_first_are_refused(password: str) -> None:
    with pytest.raises(WeakSecretError) as refused:
        check_password(password, "40718263")
    assert not password or password not in str(refused.value)


@pytest.mark.parametrize(
    "password",
    [
        "four quiet lanterns",
        "涧河边的四盏旧灯笼都亮着呢",
        "password-less since the spring of 24",
        "kB7!x_92mQ?z",
    ],
)
def test_other_passwords_pass(password: str) -> None:
    check_password(password, "40718263")


@given(st.text(max_size=40))
def test_a_password_is_the_same_from_every_keyboard(password: str) -> None:
    assert normalise(normalise(password)) == normalise(password)
    assert normalise("ｆｕｌｌ　ｗｉｄｔｈ") == "full width"


def test_waits_grow_and_end_somewhere() -> None:
    assert list(WAITS) == sorted(WAITS)
    assert WAITS[0] == WAITS[1] == 0
    assert WAITS[-1] == 3600


@given(st.integers(0, 10**6))
def test_the_more_cards_fail_the_slower_all_pins_are(failing: int) -> None:
    gap, more = gap_when_spraying(failing), gap_when_spraying(failing + 1)
    assert (gap is None) == (failing < SPRAYED_CARDS)
    if gap and more:
        assert timedelta(seconds=1) <= gap <= more <= timedelta(seconds=60)
