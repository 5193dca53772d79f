"""The pages behind QR codes: what they tell, in whose language, and all that they do not."""

import re
import secrets
from html.parser import HTMLParser
from typing import Any
from urllib.parse import quote, urlsplit
from uuid import UUID

import httpx
import jinja2
import pytest
from jinja2 import meta
from msgspec.structs import replace

from tests.api.client import Api
from tests.api.conftest import client_of
from tests.api.counter import Counter
from tests.api.service import PUBLIC_URL, key_file
from tests.api.test_certificates import office, served
from tests.places import open_branch
from tests.service.test_certificates import Office
from timebank.app import create_app
from timebank.cli.serving import server_config
from timebank.config import Settings
from timebank.domain.certificates import make_number, spell_code
from timebank.domain.errors import OverloadedError
from timebank.domain.languages import Language
from timebank.domain.redemption import Code, CodeKind, read_code
from timebank.embedded import Server
from timebank.people.cards import new_card_token, parse_card_token
from timebank.redemption.codes import new_code
from timebank.service.certificates import Issued
from timebank.web import pages, site
from timebank.web.words import WORDS

__all__ = ["office"]

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
GUESS = "/certificates/" + make_number("demo", spell_code(b"nobody has"))
PAGES = ["/certificates", GUESS, "/pay", "/pickup", "/card", "/nowhere"]


class Parts(HTMLParser):
    """What a page is made of: its tags, and what it leads to or loads."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.attributes: set[str] = set()
        self.language: str | None = None
        self.fields: dict[str, str | None] = {}
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        self.links += [str(value) for name, value in attrs if name in {"href", "src", "action"}]
        if tag == "input":
            self.fields[str(dict(attrs)["name"])] = dict(attrs).get("value")
        if tag == "html":
            self.language = dict(attrs)["lang"]


async def open_page(api: Api, path: str, status: int = 200, **headers: str) -> httpx.Response:
    """Open a page as a browser does; it is whole, and safe to be shown."""
    answer = await api.http.get(path, headers=BROWSER | headers)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    for name, value in pages.HEADERS.items():
        assert answer.headers[name] == value
    parts = Parts(answer.text)
    assert parts.language == answer.headers["content-language"]
    assert not set(parts.tags) & {"script", "style", "iframe", "img", "object"}
    assert not {name for name in parts.attributes if name.startswith("on") or name == "style"}
    assert all(re.match(r"[?/](?!/)", link) for link in parts.links), parts.links
    return answer


async def page_of(api: Api, issued: Issued, **headers: str) -> str:
    """The page that the certificate's QR code opens."""
    return (await open_page(api, f"/certificates/{issued.certificate.number}", **headers)).text


async def test_the_page_tells_that_a_certificate_stands_and_names_nobody(
    api: Api, office: Office
) -> None:
    person = await served(office, await open_branch(api.book))
    issued = await office.issue(person)
    page = await page_of(api, issued)
    for text in ("✓ 有效", issued.certificate.number, "2026-01-01 至 2026-12-31", "1 小时 30 分"):
        assert text in page
    assert f"/api/v1/certificate-keys/{api.book.bank.code}" in page
    printed = issued.document.printed
    for text in (str(person), printed.name, printed.id_number, printed.volunteer_number):
        assert text not in page
    assert "Valid" in await page_of(api, issued, **{"Accept-Language": "en"})
    for language, text in (
        ("zh-Hans", "不能证明纸上的姓名"),
        ("zh-Hant", "不能證明紙上的姓名"),
        ("en", "does not prove the name"),
    ):
        said = await page_of(api, issued, **{"Accept-Language": language})
        assert said.index("✓") < said.index(text) < said.index("<dl>")
    lower = issued.certificate.number.lower()
    assert "✓ 有效" in (await open_page(api, f"/certificates/{lower}")).text


async def test_it_tells_that_one_stands_no_longer_and_why(api: Api, office: Office) -> None:
    branch_id = await open_branch(api.book)
    revoked = await office.issue(await served(office, branch_id))
    await office.revoke(revoked.certificate.certificate_id)
    page = await page_of(api, revoked)
    assert "✗ 已撤销" in page
    assert "有效</strong>" not in page
    superseded = await office.issue(await served(office, branch_id))
    record_id = await api.book.pool.fetchval(
        "SELECT record_id FROM certificate_line WHERE certificate_id = $1",
        superseded.certificate.certificate_id,
    )
    await office.programme.reverse(UUID(str(record_id)))
    page = await page_of(api, superseded)
    assert "✗ 已失效" in page
    assert "已被更正" in page


HOSTILE = [
    "<script>alert(1)</script>",
    "请拨打 13900000000",
    "{{ 7 * 7 }}",
    '"><img src=x onerror=alert(1)>',
    "../../api/v1/accounts",
    "%00",
    "x" * 3000,
    "demo-1' OR 1=1 --",
]


@pytest.mark.parametrize("number", HOSTILE)
async def test_what_is_no_number_is_unknown_and_not_said_again(api: Api, number: str) -> None:
    answer = await open_page(api, "/certificates/" + quote(number, safe=""), 404)
    assert answer.text in [(await open_page(api, path, 404)).text for path in (GUESS, "/nowhere")]


async def test_whatever_a_page_is_given_is_escaped(
    api: Api, office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    issued = await office.issue(await served(office, await open_branch(api.book)))

    async def find(*_: Any) -> Any:
        return replace(issued.certificate, from_on="<script>alert(1)</script>")

    monkeypatch.setattr(site, "check_number", find)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in await page_of(api, issued)


async def test_a_guessed_number_is_unknown(api: Api) -> None:
    answer = await open_page(api, GUESS, 404)
    assert "查无此编号" in answer.text
    assert GUESS.rpartition("/")[2] not in answer.text


@pytest.mark.parametrize("typed", ["x-1", "//elsewhere.example", "\\elsewhere", "a?b#c", "数"])
async def test_a_number_that_is_typed_leads_to_its_page(api: Api, typed: str) -> None:
    answer = await api.http.get("/certificates", params={"number": f" {typed} "}, headers=BROWSER)
    assert answer.status_code == 303
    assert answer.headers["location"] == "/certificates/" + quote(typed, safe="")
    assert "<form" in (await open_page(api, "/certificates?number=")).text


@pytest.mark.parametrize("language", list(Language))
async def test_whose_number_is_typed_keeps_the_language(api: Api, language: Language) -> None:
    form = await open_page(api, f"/certificates?lang={language.tag}", **{"Accept-Language": "fr"})
    fields = Parts(form.text).fields
    assert fields == {"number": None, "lang": language.tag}
    answer = await api.http.get("/certificates", params={**fields, "number": "x"}, headers=BROWSER)
    assert answer.headers["location"] == f"/certificates/x?lang={language.tag}"
    page = await open_page(api, answer.headers["location"], 404, **{"Accept-Language": "fr"})
    assert page.headers["content-language"] == language.tag


async def test_only_a_language_of_ours_is_kept(api: Api) -> None:
    typed = {"number": "x", "lang": "en&next=//elsewhere.example"}
    answer = await api.http.get("/certificates", params=typed, headers=BROWSER)
    assert answer.headers["location"] == "/certificates/x"


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("language", list(Language))
async def test_each_page_speaks_each_language(api: Api, path: str, language: Language) -> None:
    status = 404 if path in {"/nowhere", GUESS} else 200
    by_header = await open_page(api, path, status, **{"Accept-Language": language.tag})
    by_choice = await open_page(
        api, f"{path}?lang={language.tag}", status, **{"Accept-Language": "en"}
    )
    assert by_header.headers["content-language"] == by_choice.headers["content-language"]
    assert by_header.headers["content-language"] == language.tag
    assert by_header.headers["vary"] == "Accept-Language"
    assert by_header.text == by_choice.text
    assert [link for link in Parts(by_header.text).links if link.startswith("?lang=")] == [
        f"?lang={other.tag}" for other in Language if other is not language
    ]


async def test_nobody_asked_in_no_language_is_simplified_chinese(api: Api) -> None:
    for asked in ("", "?lang=xx", "?lang=<script>"):
        answer = await open_page(api, f"/pay{asked}", **{"Accept-Language": "fr"})
        assert answer.headers["content-language"] == "zh-Hans"


def test_every_text_is_used_and_says_the_same_in_each_language() -> None:
    said = set()
    for name in pages._templates.list_templates():
        source = pages._templates.loader.get_source(pages._templates, name)[0]
        said |= set(re.findall(r'say\("(\w+)"', source))
        assert meta.find_undeclared_variables(jinja2.Environment(autoescape=True).parse(source))
    for kind in ("pay", "pickup", "card"):
        said |= {kind, f"{kind}_holder", f"{kind}_clerk"}
    for status in site.SYMBOLS:
        said |= {status, f"{status}_text"}
    said |= {f"{what}_{part}" for what in ("absent", "failed") for part in ("title", "text")}
    assert said == WORDS.keys()
    for words in WORDS.values():
        texts = [getattr(words, language) for language in Language]
        assert all(texts)
        assert len({tuple(sorted(re.findall(r"{\w+}", text))) for text in texts}) == 1


async def test_the_style_is_ours_and_may_be_kept(api: Api) -> None:
    [style] = [x for x in Parts((await open_page(api, "/pay")).text).links if "style" in x]
    answer = await api.http.get(style)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/css")
    assert "immutable" in answer.headers["cache-control"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert not re.search(r"url\(|@import", answer.text)
    for name in ("nothing.css", "..%2fpages.py", "%2e%2e/words.py"):
        assert (await api.http.get(f"/assets/{name}")).status_code == 404


@pytest.mark.parametrize("error", [OverloadedError(), RuntimeError("王某"), OSError("secret")])
async def test_what_fails_is_a_page_that_tells_nothing(
    api: Api, error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(site, "check_number", fail)
    answer = await open_page(api, GUESS, 503)
    assert "请过几分钟再试" in answer.text
    assert answer.headers["retry-after"] == "60"
    for text in (answer.text, capsys.readouterr().err):
        assert "王某" not in text
        assert "secret" not in text


async def test_programs_are_still_told_problems(api: Api) -> None:
    for path, headers in (("/nowhere", {}), ("/api/v1/nowhere", BROWSER)):
        answer = await api.http.get(path, headers=headers)
        assert answer.headers["content-type"] == "application/problem+json"


async def test_links_stay_below_the_public_address(server: Server, worker_database: str) -> None:
    settings = Settings(
        database_url=server.dsn(worker_database, "timebank_app"),
        master_key_file=key_file(),
        public_url="https://example.cn/bank/",
        job_seconds=0,
    )
    async with client_of(create_app(settings)) as http:
        links = Parts((await http.get("/certificates", headers=BROWSER)).text).links
        assert {link.partition("?")[0] for link in links} == {
            "",
            "/bank/certificates",
            "/bank/assets/style.css",
        }
        gone = await http.get("/certificates", params={"number": "x"})
        assert gone.headers["location"] == "/bank/certificates/x"


# ---- Codes and cards ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", list(CodeKind))
def test_no_address_of_a_code_sends_its_token(kind: CodeKind) -> None:
    for _ in range(50):
        code = new_code(kind)
        address = code.address("https://example.cn/bank/")
        parts = urlsplit(address)
        assert (parts.path, parts.query) == (f"/bank/{ {'p': 'pay', 'h': 'pickup'}[kind] }", "")
        assert parts.fragment == code.token
        assert read_code(address) == read_code(code.token) == (kind, code.token)


def test_no_address_of_a_card_sends_its_token() -> None:
    token = new_card_token()
    for text in (f"https://example.cn/card#{token}", f"https://x.cn/p/{token.lower()}", token):
        assert parse_card_token(text) == token


@pytest.mark.parametrize(
    ("path", "title"), [("/pay", "付款码"), ("/pickup", "取货码"), ("/card", "储户卡")]
)
async def test_a_code_that_a_camera_opens_tells_what_to_do(api: Api, path: str, title: str) -> None:
    page = (await open_page(api, path)).text
    assert title in page
    assert "店员" in page
    assert "不要用手机相机" in page
    assert (await open_page(api, f"{path}#p{secrets.token_urlsafe(16)}")).text == page


async def test_opening_a_code_uses_nothing_up_and_does_not_tell_a_real_one(
    counter: Counter,
) -> None:
    resident = await counter.api.resident(points=30)
    shown = (await resident.caller.post("/payment-codes", {})).json()
    real = Code(CodeKind.PAYMENT, shown["digits"], shown["token"])
    seen = []
    for code in (real, new_code(CodeKind.PAYMENT)):
        for _ in range(7):  # as often as wrong codes end in a wait
            answer = await counter.api.http.get(code.address(PUBLIC_URL), headers=BROWSER)
            assert code.token not in str(answer.request.url.raw_path)
            headers = {key: value for key, value in answer.headers.items() if key != "x-request-id"}
            seen.append((answer.status_code, answer.text, headers))
    assert all(one == seen[0] for one in seen)
    charge = {"code": real.address(PUBLIC_URL), "points": 7}
    assert (await counter.clerk.post("/charges", charge)).status_code == 201


def test_the_service_writes_no_access_log() -> None:
    assert server_config(Settings(), "127.0.0.1", 0).access_log is False
