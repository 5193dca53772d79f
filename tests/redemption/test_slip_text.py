"""What stands on a slip: read however it is typed, and refused if any bit is another."""

import unicodedata

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from tests.redemption.slip_texts import FACTS, KEY_ID, KEYS, PRIVATE, PUBLIC, TEXT
from timebank.redemption import slip_checker
from timebank.redemption.slip_checker import Facts, Key, Reason, RefusedError, verify
from timebank.redemption.slips import pack, sign, spell


def reason_of(text: str, keys: dict[str, Key] = KEYS) -> Reason | None:
    """Why this text is no slip; None if it is one."""
    try:
        verify(text, keys)
    except RefusedError as refused:
        return refused.reason
    return None


def test_what_was_signed_is_read_however_it_is_typed() -> None:
    assert verify(TEXT, KEYS) == FACTS
    grouped = " - ".join(TEXT[place : place + 5] for place in range(0, len(TEXT), 5))
    for typed in (TEXT.lower(), grouped, f"  {TEXT}\r\n", TEXT.replace("0", "O").replace("1", "l")):
        assert verify(typed, KEYS) == FACTS


def test_every_bit_flipped_is_refused() -> None:
    data = pack(FACTS) + PRIVATE.sign(slip_checker.SIGNED_AS + pack(FACTS))
    assert spell(data) == TEXT
    for bit in range(len(data) * 8):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        assert reason_of(spell(bytes(flipped))) is not None, bit


def test_every_bit_flipped_in_the_text_is_refused_or_reads_the_same() -> None:
    """A letter's case is one bit; what is typed small is the same letter."""
    same = 0
    for bit in range(len(TEXT) * 8):
        flipped = bytearray(TEXT.encode())
        flipped[bit // 8] ^= 1 << bit % 8
        text = flipped.decode("latin-1")
        if reason_of(text) is None:
            assert verify(text, KEYS) == FACTS
            plain = unicodedata.normalize("NFKC", text).upper()
            assert plain.translate(str.maketrans("OIL", "011")) == TEXT
            same += 1
    assert same < len(TEXT)


def test_every_symbol_changed_left_out_or_doubled_is_refused() -> None:
    for place in range(len(TEXT)):
        other = "0" if TEXT[place] != "0" else "1"
        for changed in (other, "", TEXT[place] * 2):
            assert reason_of(TEXT[:place] + changed + TEXT[place + 1 :]) is not None


@given(st.text(max_size=300) | st.text("0123456789ABCDEFGHJKMNPQRSTVWXYZ", max_size=300))
def test_whatever_is_scanned_is_answered(text: str) -> None:
    assert reason_of(text) is not None


@given(st.binary(max_size=200))
def test_whatever_bytes_are_refused(data: bytes) -> None:
    assert reason_of(spell(data)) in {Reason.UNREADABLE, Reason.UNKNOWN_KEY, Reason.FORGED}


@given(
    st.builds(
        Facts,
        st.just(KEY_ID),
        st.uuids(),
        st.integers(0, 10**12 - 1),
        st.integers(1, 2**53 - 1),
        st.integers(0, 2**33),
        st.integers(0, 2**33),
        st.just("jianxi"),
    ),
    st.data(),
)
def test_any_slip_reads_back_and_any_change_is_refused(facts: Facts, data: st.DataObject) -> None:
    text = sign(facts, PRIVATE)
    assert verify(text, KEYS) == facts
    place = data.draw(st.integers(0, len(text) - 1))
    symbol = data.draw(st.sampled_from(slip_checker.SYMBOLS).filter(lambda s: s != text[place]))
    assert reason_of(text[:place] + symbol + text[place + 1 :]) is not None


def test_other_keys_open_nothing() -> None:
    other = Ed25519PrivateKey.generate()
    assert reason_of(sign(FACTS, other)) is Reason.FORGED
    assert reason_of(TEXT, {}) is Reason.UNKNOWN_KEY
    assert reason_of(TEXT, {KEY_ID: Key("xigong", PUBLIC)}) is Reason.FORGED
    bare = pack(FACTS)
    assert reason_of(spell(bare + PRIVATE.sign(bare))) is Reason.FORGED  # signed as something else
