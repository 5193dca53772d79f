"""Hostile input in process: always a 4xx problem, never a 5xx, and the books stay as they were."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote_from_bytes
from uuid import UUID

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.api.client import Api, check_only_fault, check_problem
from timebank.api.problems import PROBLEM_KINDS
from timebank.domain.ledger import AccountKind

Body = dict[str, Any]


@asynccontextmanager
async def books_unchanged(api: Api) -> AsyncIterator[None]:
    """Fail if what happens inside changes the bank's accounts or balances."""
    before = await api.trial_balance()
    yield
    assert await api.trial_balance() == before


def check_refused(answer: httpx.Response) -> None:
    """Assert a 4xx problem, whatever its code."""
    assert 400 <= answer.status_code < 500, answer.text
    check_problem(answer, answer.json()["code"])


NO_AMOUNTS = f"-1 0 -0 {2**53} {2**53 + 1} {2**63} {2**64} {'9' * 30} -{'9' * 30}".split()
NO_NUMBERS = ['"5"', "true", "false", "null", "[]", "{}", '""', "[5]"]


@pytest.mark.parametrize("name", ["points", "minutes"])
@pytest.mark.parametrize("number", [*NO_AMOUNTS, *NO_NUMBERS])
async def test_an_amount_is_a_whole_number_in_range(api: Api, name: str, number: str) -> None:
    wallet = await api.book.open_account()
    async with books_unchanged(api):
        body = f'{{"account_id": "{wallet}", "{name}": {number}}}'
        check_only_fault(await api.system.post_raw("/awards", body), f"/{name}")


FRACTIONS = ["1.5", "1.0", "1e2", "1E400", "-1.5", "1.", ".5", "0.0"]
ODD_LITERALS = f"{'9' * 5000} 0x10 0o7 1_000 05 +5 ５ --1 NaN Infinity -Infinity undefined".split()


@pytest.mark.parametrize("number", [*FRACTIONS, *ODD_LITERALS, ""])
async def test_other_numbers_are_no_json_here(api: Api, number: str) -> None:
    wallet = await api.book.open_account()
    async with books_unchanged(api):
        body = f'{{"account_id": "{wallet}", "points": {number}}}'
        check_problem(await api.system.post_raw("/awards", body), "malformed_json", 400)


def deep(opening: str, middle: str, closing: str, depth: int = 100_000) -> Callable[[str], bytes]:
    return lambda wallet: (opening * depth + middle + closing * depth).encode()


MALFORMED: dict[str, Callable[[str], bytes]] = {
    "empty": lambda _: b"",
    "white space": lambda _: b" \n\t ",
    "not JSON": lambda _: b"points=5",
    "cut short": lambda wallet: f'{{"account_id": "{wallet}", "points": 5'.encode(),
    "two values": lambda wallet: f'{{"account_id": "{wallet}", "points": 5}} {{}}'.encode(),
    "trailing comma": lambda wallet: f'{{"account_id": "{wallet}", "points": 5,}}'.encode(),
    "comment": lambda wallet: f'{{"account_id": "{wallet}", /* */ "points": 5}}'.encode(),
    "single quotes": lambda wallet: f"{{'account_id': '{wallet}', 'points': 5}}".encode(),
    "byte order mark": lambda wallet: f'\ufeff{{"account_id": "{wallet}", "points": 5}}'.encode(),
    "UTF-16": lambda wallet: f'{{"account_id": "{wallet}", "points": 5}}'.encode("utf-16"),
    "UTF-16 without mark": lambda wallet: f'{{"account_id": "{wallet}"}}'.encode("utf-16-le"),
    "UTF-32": lambda wallet: f'{{"account_id": "{wallet}", "points": 5}}'.encode("utf-32"),
    "Latin-1": lambda _: '{"account_id": "é"}'.encode("latin-1"),
    "GB 18030": lambda _: '{"account_id": "王"}'.encode("gb18030"),
    "overlong UTF-8": lambda _: b'{"account_id": "\xc0\xaf"}',
    "surrogate in UTF-8": lambda _: b'{"account_id": "\xed\xa0\x80"}',
    "raw control character": lambda _: b'{"account_id": "\x01"}',
    "raw NUL": lambda _: b'{"account_id": "\x00"}',
    "escaped NUL": lambda _: b'{"account_id": "\\u0000"}',
    "NUL in a key": lambda _: b'{"\\u0000": 1}',
    "lone high surrogate": lambda _: b'{"account_id": "\\ud800"}',
    "lone low surrogate": lambda _: b'{"account_id": "x\\udc00x"}',
    "lone surrogate in a key": lambda _: b'{"\\udfff": 1}',
    "bad escape": lambda _: b'{"account_id": "\\x41"}',
    "duplicate key": lambda wallet: (
        f'{{"account_id": "{wallet}", "points": 5, "points": 6}}'.encode()
    ),
    "duplicate key, escaped": lambda wallet: (
        f'{{"account_id": "{wallet}", "points": 5, "p\\u006fints": 5}}'.encode()
    ),
    "duplicate key inside": lambda _: b'{"account_id": {"a": 1, "a": 1}}',
    "arrays 100,000 deep": deep("[", "", "]"),
    "arrays 100,000 deep and open": deep("[", "", ""),
    "objects 100,000 deep": deep('{"a":', "1", "}"),
    "arrays 500 deep": deep("[", "", "]", 500),
    "arrays 34 deep": deep("[", "", "]", 34),
    "objects 34 deep": deep('{"a":', "1", "}", 34),
}


@pytest.mark.parametrize("kind", MALFORMED)
async def test_a_malformed_body_is_refused(api: Api, kind: str) -> None:
    wallet = await api.book.open_account()
    async with books_unchanged(api):
        for path in ("/awards", "/batches", "/accounts"):
            answer = await api.system.post_raw(path, MALFORMED[kind](str(wallet)))
            check_problem(answer, "malformed_json", 400)


OTHER_TYPES = [
    "text/plain",
    "application/xml",
    "application/x-www-form-urlencoded",
    "application/jsonp",
    "json",
    "*/*",
    "é",
    "application/vnd.api+json",
    "application/json;x=y",
    "application/json;charset=gb18030",
    "multipart/form-data;boundary=x",
    "application/json,text/plain",
]


@pytest.mark.parametrize("media_type", ["", *OTHER_TYPES])
async def test_only_json_is_taken(api: Api, media_type: str) -> None:
    wallet = await api.book.open_account()
    body = json.dumps({"account_id": str(wallet), "points": 5})
    async with books_unchanged(api):
        sent = {"Content-Type": media_type.encode()}
        check_problem(await api.system.post_raw("/awards", body, sent), "unsupported_media_type")


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "identity, gzip", "x"])
async def test_compressed_bodies_are_not_taken(api: Api, encoding: str) -> None:
    answer = await api.system.post_raw("/awards", b"\x1f\x8b", {"Content-Encoding": encoding})
    check_problem(answer, "unsupported_media_type", 415)


@pytest.mark.parametrize(
    "media_type", ["application/json", "APPLICATION/JSON", 'application/json; charset="UTF-8"']
)
async def test_json_may_say_it_is_utf_8(api: Api, media_type: str) -> None:
    wallet = await api.book.open_account()
    body = json.dumps({"account_id": str(wallet), "points": 5})
    answer = await api.system.post_raw("/awards", body, {"Content-Type": media_type})
    assert answer.status_code == 201


@pytest.mark.parametrize("chunked", [False, True], ids=["Content-Length", "chunked"])
async def test_a_body_is_at_most_1_mib(api: Api, chunked: bool) -> None:
    wallet = await api.book.open_account()
    start = json.dumps({"account_id": str(wallet), "points": 5}).encode()

    async def chunks(size: int) -> AsyncIterator[bytes]:
        yield start
        yield b" " * (size - len(start))

    for size, code in (
        (1 << 20, None),
        ((1 << 20) + 1, "body_too_large"),
        (1 << 24, "body_too_large"),
    ):
        content = chunks(size) if chunked else start.ljust(size)
        answer = await api.system.post_raw("/awards", content)
        if code:
            check_problem(answer, code, 413)
        else:
            assert answer.status_code == 201
    assert await api.book.balance(wallet) == 5


@pytest.mark.parametrize("length", ["-1", "x", "1e9", "99999999999999999999999999", "٣"])
async def test_an_odd_content_length_is_refused(api: Api, length: str) -> None:
    answer = await api.system.post_raw("/awards", b"{}", {"Content-Length": length.encode()})
    check_problem(answer, "body_too_large", 413)


FIELDS: dict[str, list[str]] = {
    "/accounts": ["unit", "kind", "owner_id"],
    "/awards": ["account_id", "occurred_at", "points", "minutes"],
    "/transfers": ["from_account_id", "to_account_id", "occurred_at", "points", "minutes"],
    "/transfers/{}/reversal": ["reason", "when_spent"],
}
WRONG: list[Any] = [
    *[5, -1, True, [], {}, ["x"]],
    *["", "x", "\u202e", "'; DROP TABLE transfer; --"],
    "00000000-0000-0000-0000-00000000000",
    "{0198f0c2-0000-7000-8000-000000000000}",
    "urn:uuid:0198f0c2-0000-7000-8000-000000000000",
    "0198f0c2-0000-7000-8000-00000000000g",
    *["2026-05-01", "2026-05-01T00:00:00", "9999-99-99T00:00:00Z", "0001-01-01T00:00:00+14:00"],
]


@pytest.mark.parametrize(
    ("path", "field"), [(path, field) for path, fields in FIELDS.items() for field in fields]
)
async def test_no_field_takes_a_value_of_another_kind(api: Api, path: str, field: str) -> None:
    wallet = await api.book.open_account()
    award = api.book.award(wallet, 3)
    await api.book.post_all(award)
    good = good_bodies(wallet, await api.book.open_account(AccountKind.POOL, balance=9))
    if field == "minutes":
        del good[path]["points"]
    async with books_unchanged(api):
        for value in WRONG:
            if field in {"points", "minutes"} and value == 5:
                continue
            body = {**good[path], field: value}
            answer = await api.system.post(path.format(award.transfer_id), body)
            check_only_fault(answer, f"/{field}")


def good_bodies(wallet: UUID, pool: UUID) -> dict[str, Body]:
    """Return for each write a body that would be done."""
    return {
        "/accounts": {"unit": "points", "kind": "pool"},
        "/awards": {"account_id": str(wallet), "points": 1},
        "/transfers": {"from_account_id": str(pool), "to_account_id": str(wallet), "points": 1},
        "/transfers/{}/reversal": {"reason": "abuse"},
    }


ID = "0198f0c2-0000-7000-8000-000000000000"
ODD_IDS = f"x %00 王 -1 ..%2f.. {ID[:-1]} {ID}.json {ID}0 {'0' * 5000} urn:uuid:{ID} %ff%fe {{}}"


@pytest.mark.parametrize("text", [*ODD_IDS.split(), "' OR 1=1", f"{ID}%20"])
async def test_an_odd_id_in_a_path_is_not_found(api: Api, text: str) -> None:
    for suffix in ("", "/balance", "/passbook", "/passbook.csv"):
        check_problem(await api.system.get(f"/accounts/{text}{suffix}"), "not_found", 404)
    check_problem(await api.system.get(f"/transfers/{text}"), "not_found", 404)


NO_LIMITS = f"0 -1 201 1000000000 {'9' * 5000} x 1.5 ０ null".split()


async def test_a_limit_is_1_to_200(api: Api) -> None:
    passbook = f"/accounts/{await api.book.open_account()}/passbook"
    for limit in ("", "\x00", *NO_LIMITS):
        for path in ("/accounts", passbook):
            check_only_fault(await api.system.get(path, limit=limit), "limit")


async def test_odd_queries_are_refused(api: Api) -> None:
    wallet = await api.book.open_account(balance=1)
    for query in (
        "owner_id=x",
        "owner_id=",
        "owner_id=%00",
        "limit=1&limit=x",
        "cursor=" + "a" * 201,
        "unknown=1",
        "limit=1&unknown",
        "%00=%00",
        "&&&===",
        "a" * 10_000,
        "%",
        "%ff%fe=%c0%af",
    ):
        answer = await api.http.get(f"/api/v1/accounts?{query}", headers=api.system.headers)
        check_problem(answer, "invalid_input", 400)
        assert "aaa" not in answer.text
    empty = await api.http.get("/api/v1/accounts?&&", headers=api.system.headers)
    assert (empty.status_code, empty.request.url.query) == (200, b"&&")
    assert await api.book.balance(wallet) == 1


async def test_a_parameter_that_an_operation_lacks_is_refused(api: Api) -> None:
    wallet = await api.book.open_account(balance=1)
    award = {"account_id": str(wallet), "points": 1}
    faulty = [
        await api.system.get(f"/accounts/{wallet}/balance", as_off="2026-01-01T00:00:00Z"),
        await api.system.post("/awards?as_off=1", award),
        await api.system.post("/batches?as_off=1", {"rows": [{"type": "award", **award}]}),
        await api.system.send("DELETE", "/sessions/me?as_off=1"),
        await api.anybody.get("/health/ready", as_off="1"),
    ]
    for answer in faulty:
        check_only_fault(answer, "as_off")
    assert await api.book.balance(wallet) == 1
    assert (await api.system.get(f"/accounts/{wallet}/balance")).status_code == 200


ONE_BANK_FOR_ALL = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=12), inner),
    max_leaves=20,
)
NAMES = sorted({name for fields in FIELDS.values() for name in fields} | {"type", "chain"})
NEAR_MISSES = st.dictionaries(
    st.sampled_from(NAMES), JSON | st.sampled_from(["award", "transfer", "abuse", "points"])
)


@given(
    path=st.sampled_from(["/accounts", "/awards", "/transfers", "/batches"]),
    body=st.binary(max_size=200)
    | (JSON | NEAR_MISSES | st.fixed_dictionaries({"rows": st.lists(NEAR_MISSES)})).map(
        lambda value: json.dumps(value).encode()
    ),
)
@ONE_BANK_FOR_ALL
async def test_no_body_whatever_brings_the_service_down(api: Api, path: str, body: bytes) -> None:
    check_refused(await api.system.post_raw(path, body))
    books = await api.trial_balance()
    assert all(row["debit"] == row["credit"] == 0 for row in books["rows"])


@given(
    headers=st.lists(
        st.tuples(
            st.sampled_from(["authorization", "accept-language", "if-none-match", "accept", "x"]),
            st.binary(max_size=30),
        )
    ),
    query=st.binary(max_size=50),
)
@ONE_BANK_FOR_ALL
async def test_no_header_or_query_brings_the_service_down(
    api: Api, headers: list[tuple[str, bytes]], query: bytes
) -> None:
    sent: Any = [*api.system.headers.items(), *headers]
    answer = await api.http.get(f"/api/v1/accounts?{quote_from_bytes(query, '&=')}", headers=sent)
    assert answer.status_code in {200, 400, 401}
    if answer.status_code != 200:
        assert answer.json()["code"] in PROBLEM_KINDS
