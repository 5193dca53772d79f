"""The pure rules of redemption: states, reasons, wishes and how a code is read."""

from datetime import timedelta
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from timebank.domain.errors import InvalidInputError
from timebank.domain.redemption import (
    DIGITS,
    REASONS,
    ActKind,
    ActReason,
    Channel,
    CodeKind,
    HoldState,
    Wish,
    check_reason,
    check_wish,
    read_code,
)

WISH = Wish(
    merchant_id=uuid4(),
    quantity=1,
    lifetime=timedelta(hours=1),
    channel=Channel.SESSION,
    resident_id=uuid4(),
    source_account_id=uuid4(),
)


def test_only_an_open_hold_may_change() -> None:
    assert HoldState.OPEN.next_states == {
        HoldState.CAPTURED,
        HoldState.RELEASED,
        HoldState.EXPIRED,
    }
    for state in set(HoldState) - {HoldState.OPEN}:
        assert state.next_states == set()


@pytest.mark.parametrize("kind", REASONS)
@pytest.mark.parametrize("reason", ActReason)
def test_an_act_has_a_reason_of_its_own(kind: ActKind, reason: ActReason) -> None:
    if reason in REASONS[kind]:
        check_reason(kind, reason)
    else:
        with pytest.raises(InvalidInputError):
            check_reason(kind, reason)


def test_a_wish_names_whose_it_is_or_shows_a_code() -> None:
    check_wish(WISH)
    by_code = replace(
        WISH, channel=Channel.CODE, code="12345678", resident_id=None, source_account_id=None
    )
    check_wish(by_code)
    for bad in (
        replace(WISH, code="12345678"),
        replace(WISH, resident_id=None),
        replace(by_code, code=None),
        replace(WISH, channel=Channel.CODE, code="12345678"),
        replace(WISH, lifetime=timedelta(0)),
        replace(WISH, lifetime=timedelta(days=31)),
        replace(WISH, quantity=2**53),
    ):
        with pytest.raises(InvalidInputError):
            check_wish(bad)


@given(
    kind=st.sampled_from(CodeKind),
    number=st.integers(0, 10**8 - 1),
    gaps=st.lists(st.sampled_from(["", " ", "-"]), min_size=9, max_size=9),
    full_width=st.booleans(),
)
def test_digits_are_read_however_they_are_typed(
    kind: CodeKind, number: int, gaps: list[str], full_width: bool
) -> None:
    digits = f"{number % 10 ** DIGITS[kind]:0{DIGITS[kind]}}"
    shown = "".join(chr(ord(d) + 0xFEE0) for d in digits) if full_width else digits
    typed = "".join(gap + digit for gap, digit in zip(gaps, shown, strict=False))
    assert read_code(typed) == (kind, digits)


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    found = read_code(text)
    if found:
        kind, plain = found
        assert len(plain) in (DIGITS[kind], 23)
