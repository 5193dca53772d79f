"""The languages that people are spoken to in, and which of them somebody wants. Pure."""

import re
from enum import StrEnum

_QUALITY = re.compile(r"[01](\.\d{0,3})?")


class Language(StrEnum):
    """简体中文, 繁體中文, English; 简体 where nobody says otherwise."""

    ZH_HANS = "zh_hans"
    ZH_HANT = "zh_hant"
    EN = "en"

    @property
    def tag(self) -> str:
        """The tag that browsers know it by: zh-Hans."""
        return {"zh_hans": "zh-Hans", "zh_hant": "zh-Hant", "en": "en"}[self]


def preferred_language(accept_language: str) -> Language:
    """Return which language we speak is wanted most by an Accept-Language header, else 简体中文."""
    wanted: list[tuple[float, Language]] = []
    for part in accept_language.lower().split(","):
        tag, _, quality = part.strip().partition(";q=")
        weight = float(quality) if _QUALITY.fullmatch(quality) else float(not quality)
        if tag.startswith(("zh-hant", "zh-tw", "zh-hk", "zh-mo")):
            wanted.append((weight, Language.ZH_HANT))
        elif tag.startswith("zh"):
            wanted.append((weight, Language.ZH_HANS))
        elif tag.startswith("en"):
            wanted.append((weight, Language.EN))
    weight, language = max(wanted, key=lambda pair: pair[0], default=(0.0, Language.ZH_HANS))
    return language if weight else Language.ZH_HANS
