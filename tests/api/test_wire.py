"""What shows on the wire only: odd request lines, headers, framing, upgrades; a real server."""

import json
from collections.abc import AsyncIterator
from uuid import UUID

import httpx
import pytest

from tests.api.client import Api, check_problem, new_key
from tests.api.service import Service

PATH = "/api/v1/accounts"
CLOSE = "Connection: close\r\n\r\n"


async def status_of(service: Service, request: str | bytes) -> int:
    """Send a whole request and return the status; the answer is a problem or the server's own."""
    sent = request.encode("latin-1") if isinstance(request, str) else request
    raw = await service.talk(sent)
    head, _, body = raw.partition(b"\r\n\r\n")
    status = int(head.split(b" ")[1])
    assert status < 500, raw
    assert b"Traceback" not in raw
    if b"application/problem+json" in head and not sent.startswith(b"HEAD"):
        assert json.loads(body)["status"] == status
    return status


def get(path: str, api: Api, *headers: str, method: str = "GET") -> str:
    """Return the text of a request by staff."""
    lines = ["Host: x", f"Authorization: Bearer {api.system.token}", *headers]
    return f"{method} {path} HTTP/1.1\r\n" + "".join(f"{line}\r\n" for line in lines) + CLOSE


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (PATH, 200),
        (f"{PATH}/", 200),
        ("//api/v1/accounts", 200),
        ("/api//v1/accounts", 200),
        ("/api%2Fv1/accounts", 200),
        (f"http://elsewhere{PATH}", 200),
        ("/api/v1/../v1/accounts", 404),
        ("/api/v1/./accounts", 404),
        (f"{PATH};x", 404),
        (f"{PATH}/..%2f", 404),
        (f"{PATH}/%2e%2e/trial-balance", 404),
        ("/API/V1/ACCOUNTS", 404),
        ("*", 404),
        ("/%", 404),
        ("/%zz", 404),
        ("/%c0%af", 404),
        ("/\\..\\..\\etc", 404),
        ("/docs/assets/..%2f..%2fopenapi.py", 404),
        ("/docs/assets//etc/passwd", 404),
        ("/docs/assets/%2fetc%2fpasswd", 404),
        ("/docs/assets/swagger-ui.css%00.js", 404),
        ("/" + "a/" * 20_000, 404),
        ("/" + "a" * 60_000, 404),
        ("no-slash", 400),
        ("/é", 400),
        ("/a b", 400),
    ],
)
async def test_odd_paths(service: Service, api: Api, path: str, status: int) -> None:
    assert await status_of(service, get(path, api)) == status


@pytest.mark.parametrize(
    ("method", "status"),
    [
        ("HEAD", 405),
        ("OPTIONS", 204),
        ("TRACE", 405),
        ("CONNECT", 405),
        ("PUT", 405),
        ("PATCH", 405),
        ("DELETE", 405),
        ("PROPFIND", 405),
        ("get", 400),
        ("FOO", 400),
        ("PRI", 400),
        ("", 400),
    ],
)
async def test_odd_methods(service: Service, api: Api, method: str, status: int) -> None:
    assert await status_of(service, get(PATH, api, method=method)) == status


async def test_another_method_is_told_which_are_taken(api: Api) -> None:
    answer = await api.http.put(PATH)
    check_problem(answer, "method_not_allowed", 405)
    assert set(answer.headers["allow"].split(", ")) == {"GET", "POST", "OPTIONS"}


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ("Authorization: Bearer x", 400),
        ("X-Long: " + "a" * 100_000, 200),
        ("\r\n".join(f"X-{n}: a" for n in range(5_000)), 200),
        ("X-Latin: \xe9\xff", 200),
        ("Accept-Language: \xe7\x8e\x8b", 200),
        ("If-None-Match: \xff", 200),
        ("X-Control: a\x01b", 400),
        ("X-Nul: a\x00b", 400),
        ("No colon", 400),
        (" : x", 400),
        ("Host: y", 400),
        ("Expect: 100-continue", 200),
        ("Expect: 200-ok", 200),
        ("Range: bytes=0-5", 200),
        ("Accept: application/xml", 200),
        ("X-Request-Id: " + "x" * 5000, 200),
        ("X-HTTP-Method-Override: DELETE", 200),
        ("Content-Length: 5\r\nContent-Length: 6", 400),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5", 400),
        ("Transfer-Encoding: gzip", 400),
        ("Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA", 200),
    ],
    ids=lambda value: str(value)[:30].encode("unicode_escape").decode(),
)
async def test_odd_headers(service: Service, api: Api, header: str, status: int) -> None:
    assert await status_of(service, get(PATH, api, header)) == status


@pytest.mark.parametrize(
    "request_line",
    [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET", b"GET / HTTP/9.9", b"\x00" * 100],
)
async def test_what_is_not_http_is_refused(service: Service, request_line: bytes) -> None:
    assert await status_of(service, request_line + b"\r\n\r\n") == 400


@pytest.mark.parametrize("path", [PATH, "/docs", "/nowhere"])
async def test_web_sockets_are_refused(service: Service, api: Api, path: str) -> None:
    request = get(
        path,
        api,
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
    )
    assert await status_of(service, request.replace(CLOSE, "\r\n")) == 403


def award(api: Api, wallet: UUID, *headers: str) -> tuple[bytes, bytes]:
    """Return head and body of an award."""
    body = json.dumps({"account_id": str(wallet), "points": 1}).encode()
    typed = ("Content-Type: application/json", f"Idempotency-Key: {new_key()}")
    head = get("/api/v1/awards", api, *typed, *headers, method="POST")
    return head.replace("LENGTH", str(len(body))).encode(), body


async def test_a_client_may_ask_before_it_sends(service: Service, api: Api) -> None:
    wallet = await api.book.open_account()
    head, body = award(api, wallet, "Expect: 100-continue", "Content-Length: LENGTH")
    answer = await service.talk(head, body)
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created")
    assert await api.book.balance(wallet) == 1


async def test_a_body_in_chunks_is_one_body(service: Service, api: Api) -> None:
    wallet = await api.book.open_account()
    head, body = award(api, wallet, "Transfer-Encoding: chunked")
    chunks = [b"1\r\n%c\r\n" % byte for byte in body]
    assert await status_of(service, head + b"".join(chunks) + b"0\r\n\r\n") == 201


@pytest.mark.parametrize(
    ("header", "rest"),
    [
        ("Transfer-Encoding: chunked", b"zz\r\n"),
        ("Transfer-Encoding: chunked", b"-1\r\n\r\n"),
        ("Transfer-Encoding: chunked", b"ffffffffffffffffffff\r\n"),
        ("Content-Length: 0", b""),
        ("Content-Length: -5", b"{}"),
        ("Content-Length: 1e3", b"{}"),
        ("Idempotency-Key: second\r\nContent-Length: 2", b"{}"),
        ("Content-Type: application/json\r\nContent-Length: 2", b"{}"),
    ],
)
async def test_odd_framing_is_refused(service: Service, api: Api, header: str, rest: bytes) -> None:
    wallet = await api.book.open_account()
    head, _ = award(api, wallet, header)
    assert await status_of(service, head + rest) == 400
    assert await api.book.balance(wallet) == 0


async def test_a_client_that_leaves_in_the_middle_does_nothing(service: Service, api: Api) -> None:
    wallet = await api.book.open_account()
    head, body = award(api, wallet, "Content-Length: 500")
    await service.hang_up_after(head + body)
    assert await status_of(service, get(PATH, api)) == 200
    assert await api.book.balance(wallet) == 0


async def test_a_large_body_is_refused_and_the_connection_serves_on(
    service: Service, api: Api
) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(48):
            yield b" " * 65_536

    headers = {**api.system.headers, "Content-Type": "application/json"}
    async with httpx.AsyncClient(base_url=service.url, headers=headers) as http:
        for content in (chunks(), b" " * (3 << 20)):
            answer = await http.post(
                "/api/v1/awards", content=content, headers={"Idempotency-Key": new_key()}
            )
            check_problem(answer, "body_too_large", 413)
            assert (await http.get(PATH)).status_code == 200
