"""Problems: every error has a kind, titles in three languages, a page, and a line in the docs."""

import string

import pytest

from tests.api.client import Api, check_problem
from timebank.api import error_docs
from timebank.api.problems import PROBLEM_KINDS
from timebank.api.refusals import describe, without_values
from timebank.domain.errors import BankNotFoundError
from timebank.domain.languages import preferred_language
from timebank.domain.ledger import TransferStatus
from timebank.domain.redemption import RedemptionStatus
from timebank.domain.remedies import REFUSAL_REMEDIES
from timebank.domain.settlement import SettlementStatus


def test_the_docs_are_fresh() -> None:
    written = error_docs.PATH.read_text("utf-8")
    assert written == error_docs.render(), "run: python -m timebank.api.error_docs"


def test_every_error_has_a_kind_or_comes_from_commands_only() -> None:
    assert set(error_docs.only_from_commands()) == {
        "bank_not_found",
        "import_refused",
        "import_too_late",
        "unsafe_key_file",
    }


def test_every_refusal_of_the_ledger_has_a_kind() -> None:
    refusals = {status.value for status in TransferStatus} - {"posted"}
    refusals |= {status.value for status in RedemptionStatus} - {"done"}
    own = error_docs.classes().keys() - error_docs.REFUSED_BY_STATUS
    refusals |= {status.value for status in SettlementStatus} - {"done", *own}
    assert refusals <= PROBLEM_KINDS.keys()
    assert PROBLEM_KINDS.keys() <= refusals | own
    assert not refusals & own
    assert REFUSAL_REMEDIES.keys() <= refusals, "a remedy for what is never refused"


def test_what_several_answer_speaks_of_all_of_them() -> None:
    shared = set(SettlementStatus) & (set(TransferStatus) | set(RedemptionStatus)) - {"done"}
    assert shared == {"id_conflict"}
    [line] = [line for line in error_docs.render().splitlines() if "`id_conflict`" in line]
    for what in ("act", "transfer", "settlement"):
        assert what in line


def test_every_kind_is_told_in_three_languages() -> None:
    titles = [(kind.zh_hans, kind.zh_hant, kind.en) for kind in PROBLEM_KINDS.values()]
    assert len(set(titles)) == len(titles)
    for simplified, traditional, english in titles:
        assert simplified
        assert traditional
        assert set(english) <= set(string.printable)


def test_an_error_that_has_no_kind_is_told_as_ours() -> None:
    assert describe(BankNotFoundError())[0] == "internal_error"
    assert describe(ValueError("王小明"))[0] == "internal_error"
    assert "王小明" not in str(describe(ValueError("王小明")))


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("", "zh_hans"),
        ("*", "zh_hans"),
        ("fr", "zh_hans"),
        ("zh", "zh_hans"),
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh_hans"),
        ("zh-Hans-SG", "zh_hans"),
        ("zh-TW", "zh_hant"),
        ("zh-HK,en", "zh_hant"),
        ("zh-Hant-CN;q=0.5, en;q=0.4", "zh_hant"),
        ("en", "en"),
        ("en-US,en;q=0.9,zh-CN;q=0.8", "en"),
        ("fr, en;q=0.5", "en"),
        ("zh;q=0.1, en;q=0.9", "en"),
        ("EN", "en"),
        ("en;q=0", "zh_hans"),
        ("en;q=x", "zh_hans"),
        (",;q=1,,", "zh_hans"),
        ("é王", "zh_hans"),
    ],
)
async def test_titles_are_in_the_preferred_language(api: Api, header: str, language: str) -> None:
    assert preferred_language(header) == language
    sent = {b"Accept-Language": header.encode()}
    problem = check_problem(await api.http.get("/nowhere", headers=sent), "not_found")
    assert problem["title"] == getattr(PROBLEM_KINDS["not_found"], language)


@pytest.mark.parametrize("code", PROBLEM_KINDS)
async def test_the_type_of_every_problem_is_a_page(api: Api, code: str) -> None:
    answer = await api.http.get(f"/problems/{code}")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    kind = PROBLEM_KINDS[code]
    for text in (code, str(kind.status), kind.zh_hans, kind.zh_hant):
        assert text in answer.text
    assert "http://" not in answer.text


@pytest.mark.parametrize("code", ["x", "<script>", "王", "not_found%00", "%2e%2e"])
async def test_there_is_no_page_of_an_unknown_code(api: Api, code: str) -> None:
    check_problem(await api.http.get(f"/problems/{code}"), "not_found", 404)


@pytest.mark.parametrize(
    ("message", "kept"),
    [
        ("Expected `int` >= 1", "Expected `int` >= 1"),
        ("Invalid enum value '王's'", "Invalid enum value …"),
        ('Invalid value "it\'s 王"', "Invalid value …"),
        ("Invalid enum value 'a\nb'", "Invalid enum value …"),
        ("Object contains unknown field `note`", "Object contains unknown field `note`"),
        ("Object contains unknown field `王小明`", "Object contains unknown field"),
        ("Object contains unknown field `a` b`", "Object contains unknown field"),
        ("Object missing required field `unit`", "Object missing required field `unit`"),
    ],
)
def test_no_value_stays_in_a_message(message: str, kept: str) -> None:
    assert without_values(message) == kept
