"""What the vault keeps about a person, when it is in order, and how two entries are compared.

Nothing here puts a value into a message: a fault names the field and what is expected.
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping
from datetime import date
from enum import StrEnum

from msgspec import UNSET, Struct, UnsetType

from timebank.domain.ages import OLDEST_AGE, age_on
from timebank.domain.names import clean_name, comparable_name, split_characters

LONGEST_NAME = 60
LONGEST_ADDRESS = 200
LONGEST_REF = 64

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_MOBILE = re.compile(r"1[3-9]\d{9}")
_PHONE = re.compile(r"1[3-9]\d{9}|0\d{9,11}|[2-9]\d{6,7}|[48]00\d{7}|00\d{6,15}")
_RESIDENT_ID = re.compile(r"[1-9]\d{16}[\dX]")
_OTHER_ID = re.compile(r"[A-Z0-9]{5,20}")
_ID_WEIGHTS = [pow(2, 17 - place, 11) for place in range(17)]


class IdType(StrEnum):
    """Documents that name a person."""

    RESIDENT_ID = "resident_id"  # 居民身份证
    FOREIGN_RESIDENT_ID = "foreign_resident_id"  # 外国人永久居留身份证
    HK_MACAO_PERMIT = "hk_macao_permit"  # 港澳居民来往内地通行证
    TAIWAN_PERMIT = "taiwan_permit"  # 台湾居民来往大陆通行证
    PASSPORT = "passport"
    OTHER = "other"


class IdDocument(Struct, frozen=True):
    """A document by type and number."""

    type: IdType
    number: str

    def __repr__(self) -> str:
        """Tell nothing that is personal."""
        return "IdDocument(…)"


class PersonalData(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The fields of a person; each is sealed by itself, so that one may be read without the rest.

    A field that is added here can be stored at once. UNSET is not known or was not asked for.
    `import_ref` is what the programme that somebody was imported from calls them.
    """

    name: str | UnsetType = UNSET
    phone: str | UnsetType = UNSET
    id_document: IdDocument | UnsetType = UNSET
    born_on: date | UnsetType = UNSET
    address: str | UnsetType = UNSET
    emergency_name: str | UnsetType = UNSET
    emergency_phone: str | UnsetType = UNSET
    import_ref: str | UnsetType = UNSET

    def __repr__(self) -> str:
        """Tell which fields are there and nothing that is personal."""
        return f"PersonalData({', '.join(self.known())})"

    def known(self) -> list[str]:
        """Return the names of the fields that are there."""
        return [field for field in FIELDS if getattr(self, field) is not UNSET]


FIELDS = PersonalData.__struct_fields__


class SearchField(StrEnum):
    """What a person can be found by, without any field being opened."""

    NAME = "name"
    PHONE = "phone"
    ID_DOCUMENT = "id_document"
    IMPORT_REF = "import_ref"


def find_faults(data: PersonalData, today: date) -> Iterator[tuple[str, str]]:
    """Yield the name of each field that is not in order, and what is expected of it."""
    for field, longest in (
        ("name", LONGEST_NAME),
        ("emergency_name", LONGEST_NAME),
        ("address", LONGEST_ADDRESS),
        ("import_ref", LONGEST_REF),
    ):
        text = getattr(data, field)
        if text is not UNSET and not _is_plain(text, longest):
            yield field, f"must be 1 to {longest} characters that can be seen"
    for field in ("phone", "emergency_phone"):
        text = getattr(data, field)
        if text is not UNSET and not _PHONE.fullmatch(comparable_phone(text)):
            yield field, "must be a mobile number of 11 digits, or a number with its area code"
    if data.id_document is not UNSET:
        yield from _find_id_faults(data.id_document, data.born_on)
    if data.born_on is not UNSET and not 0 <= age_on(data.born_on, today) <= OLDEST_AGE:
        yield "born_on", f"must be a day that has come, at most {OLDEST_AGE} years ago"


def born_on_of(document: IdDocument) -> date | None:
    """Return the birthday that a resident id number holds; None for other documents."""
    number = comparable_number(document.number)
    if document.type is not IdType.RESIDENT_ID or not _RESIDENT_ID.fullmatch(number):
        return None
    try:
        return date(int(number[6:10]), int(number[10:12]), int(number[12:14]))
    except ValueError:
        return None


def list_search_texts(data: PersonalData) -> Mapping[SearchField, str]:
    """Return what a person is to be found by: the same for every spelling of the same thing."""
    texts: dict[SearchField, str] = {}
    if data.name is not UNSET:
        texts[SearchField.NAME] = comparable_name(data.name)
    if data.phone is not UNSET:
        texts[SearchField.PHONE] = comparable_phone(data.phone)
    if data.id_document is not UNSET:
        texts[SearchField.ID_DOCUMENT] = comparable_document(data.id_document)
    if data.import_ref is not UNSET:
        texts[SearchField.IMPORT_REF] = data.import_ref
    return texts


def comparable_phone(text: str) -> str:
    """Return the digits of a telephone number without China's country code: 13800138000."""
    plain = unicodedata.normalize("NFKC", text)
    digits = "".join(str(unicodedata.decimal(c)) for c in plain if c.isdecimal())
    if plain.strip().startswith("+"):
        digits = "00" + digits
    if digits.startswith("0086"):
        digits = digits[4:]
        return digits if _MOBILE.fullmatch(digits) else "0" + digits.removeprefix("0")
    return digits[2:] if digits.startswith("86") and _MOBILE.fullmatch(digits[2:]) else digits


def comparable_document(document: IdDocument) -> str:
    """Return type and number of a document, however the number is written."""
    return f"{document.type}:{comparable_number(document.number)}"


def comparable_number(text: str) -> str:
    """Return the letters and digits of a document's number, in capitals."""
    plain = unicodedata.normalize("NFKC", text).upper()
    return "".join(c for c in plain if c.isalnum())


def _is_plain(text: str, longest: int) -> bool:
    seen = split_characters(clean_name(text))
    fits = 0 < len(seen) <= longest and len(text) <= 4 * longest
    return fits and not _UNPRINTABLE.search(text)


def _find_id_faults(document: IdDocument, born_on: date | UnsetType) -> Iterator[tuple[str, str]]:
    number = comparable_number(document.number)
    if document.type is not IdType.RESIDENT_ID:
        if not _OTHER_ID.fullmatch(number):
            yield "id_document", "must have a number of 5 to 20 letters and digits"
        return
    if not _RESIDENT_ID.fullmatch(number) or number[17] != _check_character(number):
        yield "id_document", "must be 17 digits and a check character that fits them"
    elif (written := born_on_of(document)) is None:
        yield "id_document", "holds a birthday that does not exist"
    elif born_on not in (UNSET, written):
        yield "born_on", "must be the birthday that the id number holds"


def _check_character(number: str) -> str:
    """ISO 7064 MOD 11-2, as GB 11643 asks."""
    total = sum(int(digit) * weight for digit, weight in zip(number[:17], _ID_WEIGHTS, strict=True))
    return "10X98765432"[total % 11]
