"""Names of people: how two spellings are compared, and what a merchant may see of one.

A mask shows at most the surname and the last character of a Han name, or the first letter of each
word of another, and always hides something. It counts what a reader sees as one character: a letter
with its marks, a rare character from any plane. What cannot be seen (zero width, direction) is left
out, so that nothing hides in it. Stars stand for hidden characters in Han names; in other scripts,
where lengths vary, there are always three.
"""

import unicodedata
from collections.abc import Sequence

DOT = "·"

STARS = "***"

LONGEST_MARKS = 4
"""More marks on one letter than any script uses carry something else."""

_DOTS = dict.fromkeys(map(ord, "•‧∙⋅・･᛫⸱ꞏ.．"), DOT)

_BLANKS = "\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0"
"""Letters and marks that show nothing."""

_COMPOUND_SURNAMES_TEXT = """
欧阳 太史 端木 上官 司马 东方 独孤 南宫 万俟 闻人 夏侯 诸葛 尉迟 公羊 赫连 澹台 皇甫 宗政 濮阳 公冶
太叔 申屠 公孙 慕容 仲孙 钟离 长孙 宇文 司徒 鲜于 司空 闾丘 子车 亓官 司寇 巫马 公西 颛孙 壤驷 公良
漆雕 乐正 宰父 谷梁 拓跋 夹谷 轩辕 令狐 段干 百里 呼延 东郭 南门 羊舌 微生 梁丘 左丘 西门 第五 南荣
纳兰 叶赫 完颜 耶律 哥舒 斛律 贺兰 屈突 即墨 达奚 褚师 歐陽 司馬 東方 獨孤 南宮 聞人 諸葛 尉遲 赫連
澹臺 濮陽 公孫 鍾離 長孫 鮮于 閭丘 子車 巫馬 顓孫 壤駟 樂正 穀梁 夾谷 軒轅 東郭 南門 西門 南榮 納蘭
葉赫 完顏 賀蘭 達奚 褚師
"""

COMPOUND_SURNAMES = frozenset(_COMPOUND_SURNAMES_TEXT.split())

_HAN = (
    (0x3007, 0x3007),
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xE000, 0xF8FF),  # private use: rare characters of older systems
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),  # extensions B and up, those to come as well
    (0xF0000, 0x10FFFF),  # private use
)


def mask_name(name: str) -> str:
    """Return what may be shown of a name to those who need not know it: 王小英 is 王*英."""
    words = [split_characters(word) for word in _list_words(name)]
    han = [character for word in words for character in word]
    if all(map(_is_han, han)):
        return _mask_han(han) if name_is_one_part(name) else _mask_parts(words)
    return " ".join(map(_mask_word, words))


def name_is_one_part(name: str) -> bool:
    """Return whether a name has no middle dot, which divides those of many peoples."""
    return DOT not in clean_name(name)


def clean_name(name: str) -> str:
    """Return a name without what cannot be seen, its parts divided by one · or one space."""
    composed = unicodedata.normalize("NFC", name)
    parts = drop_unseen(composed).translate(_DOTS).split(DOT)
    return DOT.join(" ".join(part.split()) for part in parts if part.strip())


def drop_unseen(name: str) -> str:
    """Return a name as it is written, without what cannot be seen."""
    return "".join(filter(_is_seen, name))


def comparable_name(name: str) -> str:
    """Return what two spellings of one name have in common: no case, width, spaces or dots."""
    folded = unicodedata.normalize("NFKC", clean_name(name)).casefold()
    return unicodedata.normalize("NFKC", folded.replace(" ", "").replace(DOT, ""))


def split_characters(text: str) -> list[str]:
    """Return what a reader sees as single characters: each with the marks that follow it."""
    characters: list[str] = []
    for c in text:
        if characters and unicodedata.category(c)[0] == "M":
            if len(characters[-1]) <= LONGEST_MARKS:
                characters[-1] += c
        else:
            characters.append(c)
    return characters


def _list_words(name: str) -> list[str]:
    return clean_name(name).replace(DOT, " ").split()


def _is_seen(c: str) -> bool:
    """Tell what shows or spaces; of characters newer than this Python, those that are Han do."""
    category = unicodedata.category(c)
    if category == "Cn":
        return _is_han(c)
    return c.isspace() or (category not in ("Cf", "Cc", "Cs") and c not in _BLANKS)


def _is_han(character: str) -> bool:
    return any(first <= ord(character[0]) <= last for first, last in _HAN)


def _mask_han(characters: Sequence[str]) -> str:
    """王*, 王*英, 欧阳*, 欧阳*英: the surname, stars, and the last if two would be hidden."""
    if len(characters) < 2:
        return "*"
    compound = len(characters) > 2 and "".join(characters[:2]) in COMPOUND_SURNAMES
    surname = characters[: 2 if compound else 1]
    hidden = len(characters) - len(surname)
    if hidden == 1:
        return "".join(surname) + "*"
    return "".join(surname) + "*" * (hidden - 1) + characters[-1]


def _mask_parts(words: Sequence[Sequence[str]]) -> str:
    """买**·****: the first character of the whole, if it is not all there is of its part."""
    masked = ["*" * len(word) for word in words]
    if len(words[0]) > 1:
        masked[0] = words[0][0] + masked[0][1:]
    return DOT.join(masked)


def _mask_word(characters: Sequence[str]) -> str:
    return (characters[0] if len(characters) > 1 else "") + STARS
