"""Masked names: what a merchant reads, and what no name can make a mask tell."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timebank.domain.names import (
    STARS,
    clean_name,
    comparable_name,
    mask_name,
    split_characters,
)

HAN = st.one_of(
    st.integers(0x4E00, 0x9FFF),
    st.integers(0x3400, 0x4DBF),
    st.integers(0x20000, 0x2A6DF),  # Extension B
    st.integers(0x30000, 0x3134A),  # Extension G
    st.integers(0x31350, 0x323AF),  # Extension H, newer than this Python's tables may be
).map(chr)
UNSEEN = st.sampled_from(["\u200b", "\u200d", "\ufeff", "\u202e", "\u2066", "\u00ad", "\u3164"])


@pytest.mark.parametrize(
    ("name", "masked"),
    [
        ("王英", "王*"),
        ("王小英", "王*英"),
        ("王小英红", "王**红"),
        ("欧阳修", "欧阳*"),
        ("欧阳小英", "欧阳*英"),
        ("歐陽小英", "歐陽*英"),
        ("欧阳", "欧*"),
        ("诸葛孔明", "诸葛*明"),
        ("王", "*"),
        ("王 小英", "王*英"),
        ("王\u3000小英", "王*英"),
        ("王\u200b小\u202e英", "王*英"),
        ("𠮷野家", "𠮷*家"),
        ("\U00030000小\U00030001", "\U00030000*\U00030001"),
        ("\U00031350小英", "\U00031350*英"),
        ("\ue000小英", "\ue000*英"),
        ("葛\U000e0100小英", "葛\U000e0100*英"),
        ("〇小英", "〇*英"),
        ("买买提·吐尔逊", "买**·***"),
        ("买买提•吐尔逊", "买**·***"),
        ("买买提・吐尔逊·买买提", "买**·***·***"),
        ("爱·新", "*·*"),
        ("John Smith", "J*** S***"),
        ("J Smith", "*** S***"),
        ("Smith", "S***"),
        ("E\u0301lise", "É***"),
        ("مەمەت ئىمىن", "م*** ئ***"),
        ("김철수", "김***"),
        ("さくら", "さ***"),
        ("Али·Вали", "А*** В***"),
        ("", "*"),
        ("\u200b", "*"),
        ("·", "*"),
    ],
)
def test_masks(name: str, masked: str) -> None:
    assert mask_name(name) == masked


@given(st.lists(HAN, min_size=1, max_size=8, unique=True))
def test_of_a_han_name_at_most_the_surname_and_the_last_are_seen(characters: list[str]) -> None:
    masked = mask_name("".join(characters))
    seen = [c for c in masked if c != "*"]
    assert len(seen) < len(characters)
    assert len(seen) <= 3
    allowed = {unicodedata.normalize("NFC", c) for c in (*characters[:2], characters[-1])}
    assert set(seen) <= allowed


@given(
    st.lists(HAN, min_size=2, max_size=6),
    st.lists(st.tuples(UNSEEN, st.integers(0, 9)), max_size=6),
)
def test_what_cannot_be_seen_changes_nothing(
    characters: list[str], unseen: list[tuple[str, int]]
) -> None:
    mixed = list(characters)
    for c, place in unseen:
        mixed.insert(place, c)
    assert mask_name("".join(mixed)) == mask_name("".join(characters))


@given(st.text(max_size=40))
def test_every_text_has_a_mask_that_hides_something(name: str) -> None:
    masked = mask_name(name)
    assert "*" in masked
    assert len(masked) <= 2 * len(unicodedata.normalize("NFC", name)) + 3 * len(STARS) * 40
    whole = split_characters(clean_name(name).replace(" ", ""))
    assert not any(unicodedata.category(c) in ("Cc", "Cf", "Cs") for c in masked)
    if len(whole) > 1 and "*" not in name:
        assert len([c for c in split_characters(masked) if c not in "* ·"]) < len(whole)


LETTERS = st.text(st.characters(categories=["Ll"]), min_size=1, max_size=20)


@given(LETTERS, LETTERS)
def test_of_other_scripts_only_first_letters_show(first: str, second: str) -> None:
    assert mask_name(f"A{first} C{second}") == f"A{STARS} C{STARS}"


def test_a_letter_carries_no_more_than_a_few_marks() -> None:
    loaded = "A" + "\u0301\u0302" * 500 + "bc"
    assert len(mask_name(loaded)) < 12


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("王小英", " 王 小英"),
        ("王小英", "王\u200b小英"),
        ("買買提·吐爾遜", "買買提•吐爾遜"),
        ("John Smith", "ＪＯＨＮ　smith"),
        ("É", "E\u0301"),
        ("Straße", "STRASSE"),
    ],
)
def test_spellings_of_one_name_compare_equal(one: str, other: str) -> None:
    assert comparable_name(one) == comparable_name(other)


@given(st.text(max_size=30))
def test_comparing_and_cleaning_again_changes_nothing(name: str) -> None:
    assert comparable_name(comparable_name(name)) == comparable_name(name)
    assert clean_name(clean_name(name)) == clean_name(name)


@given(st.text(HAN, min_size=1, max_size=5), st.text(HAN, min_size=1, max_size=5))
def test_other_names_compare_unequal(one: str, other: str) -> None:
    same = unicodedata.normalize("NFKC", one) == unicodedata.normalize("NFKC", other)
    assert (comparable_name(one) == comparable_name(other)) is same
