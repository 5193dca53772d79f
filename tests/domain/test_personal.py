"""What the vault keeps: when it is in order, how two entries compare, and nothing is quoted."""

from datetime import date

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from tests.people.desk import person, resident_id_number
from timebank.domain.personal import (
    IdDocument,
    IdType,
    PersonalData,
    SearchField,
    born_on_of,
    comparable_document,
    comparable_phone,
    find_faults,
    list_search_texts,
)

TODAY = date(2026, 11, 25)


def faults(**fields: object) -> list[str]:
    return [field for field, _ in find_faults(PersonalData(**fields), TODAY)]


def test_a_whole_form_is_in_order() -> None:
    assert list(find_faults(person(), TODAY)) == []
    assert list(find_faults(PersonalData(), TODAY)) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", " \u200b"),
        ("name", "王" * 61),
        ("name", "王\u202e英"),
        ("name", "王\n英"),
        ("name", "王\x00英"),
        ("name", "A" + "\u0301" * 500),
        ("name", "\ud800"),
        ("address", "x" * 201),
        ("phone", ""),
        ("phone", "12345"),
        ("phone", "23800138000"),
        ("phone", "不知道"),
        ("emergency_phone", "1"),
        ("born_on", date(2026, 11, 26)),
        ("born_on", date(1890, 1, 1)),
        ("import_ref", "x" * 65),
        ("id_document", IdDocument(IdType.PASSPORT, "E1")),
        ("id_document", IdDocument(IdType.PASSPORT, "E12345678 护照")),
        ("id_document", IdDocument(IdType.RESIDENT_ID, "")),
        ("id_document", IdDocument(IdType.RESIDENT_ID, "110105194912310021")),
        ("id_document", IdDocument(IdType.RESIDENT_ID, "１１０１０５１９４９１２３１００２１")),
    ],
)
def test_what_is_not_in_order_is_named_by_field(field: str, value: object) -> None:
    assert faults(**{field: value}) == [field]


@pytest.mark.parametrize(
    "phone",
    ["13800138000", "+86 138-0013-8000", "0086 13800138000", "１３８００１３８０００",
     "0379-64912345", "+86 379 64912345", "64912345", "4008001234", "00852 2345 6789"],
)  # fmt: skip
def test_telephone_numbers_as_people_write_them(phone: str) -> None:
    assert faults(phone=phone) == []


def test_one_telephone_is_one_however_it_is_written() -> None:
    spelt = [
        "13800138000",
        "+86 138-0013-8000",
        "0086 13800138000",
        "8613800138000",
        "１３８００１３８０００",
    ]
    assert {comparable_phone(text) for text in spelt} == {"13800138000"}
    assert comparable_phone("+86 379 64912345") == comparable_phone("(0379) 6491-2345")
    assert comparable_phone("+86 10 12345678") == "01012345678"


@given(st.dates(date(1900, 1, 1), TODAY), st.integers(0, 999))
def test_a_resident_id_number_holds_its_birthday(born_on: date, serial: int) -> None:
    number = resident_id_number(born_on, serial)
    document = IdDocument(IdType.RESIDENT_ID, number)
    assert born_on_of(document) == born_on
    assert faults(id_document=document, born_on=born_on) == []
    if born_on != date(1980, 1, 1):
        assert faults(id_document=document, born_on=date(1980, 1, 1)) == ["born_on"]
    lower = IdDocument(IdType.RESIDENT_ID, f" {number[:6]} {number[6:].lower()}")
    assert comparable_document(lower) == comparable_document(document)


@given(st.dates(date(1900, 1, 1), TODAY), st.integers(0, 16), st.integers(1, 9))
def test_a_wrong_digit_of_a_resident_id_number_is_found(day: date, place: int, by: int) -> None:
    number = resident_id_number(day)
    wrong = number[:place] + str((int(number[place]) + by) % 10) + number[place + 1 :]
    assert "id_document" in faults(id_document=IdDocument(IdType.RESIDENT_ID, wrong))


def test_an_id_number_with_an_impossible_birthday() -> None:
    assert born_on_of(IdDocument(IdType.RESIDENT_ID, "990000190002300011")) is None
    assert born_on_of(IdDocument(IdType.PASSPORT, "E12345678")) is None


def test_nothing_personal_is_in_a_repr_or_a_fault() -> None:
    data = person(name="王\n小英", phone="123", emergency_name="李四\x00")
    told = repr(data) + repr([data.id_document]) + repr(list(find_faults(data, TODAY)))
    assert isinstance(data.id_document, IdDocument)
    for value in ("小英", "123", "李四", data.id_document.number, str(data.address)):
        assert value not in told
    assert repr(PersonalData(name="x")) == "PersonalData(name)"


def test_what_is_not_known_is_not_searched_for() -> None:
    assert list_search_texts(PersonalData(address="x", born_on=TODAY)) == {}
    texts = list_search_texts(person(import_ref="a-7"))
    assert set(texts) == set(SearchField)
    assert texts[SearchField.ID_DOCUMENT].startswith("resident_id:")


def test_data_survives_json() -> None:
    data = person(emergency_name="李四")
    assert msgspec.json.decode(msgspec.json.encode(data), type=PersonalData) == data
    assert data.known()[:3] == ["name", "phone", "id_document"]
    assert data.import_ref is UNSET
