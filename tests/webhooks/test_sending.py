"""Requests go where the name said, over TLS that proves it, and never inside."""

import asyncio
import contextlib
import os
import socket
import ssl
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import timedelta
from unittest.mock import patch

import pytest

from tests.webhooks.receiver import Authority, Got, Receiver, answering, authority
from timebank.domain.webhook_errors import WebhookUrlRefusedError
from timebank.domain.webhooks import Outcome
from timebank.webhooks.sending import Sender, Sent, check_public, resolve_name

URL = "https://till.example/hook"
INSIDE = [
    "127.0.0.1",
    "::1",
    "10.0.0.7",
    "169.254.169.254",
    "192.168.1.1",
    "fd00::1",
    "::ffff:7f00:1",
]
PUBLIC = "93.184.215.14"


@pytest.fixture
async def receiver(tls: Authority) -> AsyncIterator[Receiver]:
    async with tls.receiver() as receiver:
        yield receiver


async def send(tls: Authority, receiver: Receiver, url: str = URL, **rest: object) -> Sent:
    """Send to the receiver, under whatever name of the tests."""
    places = dict.fromkeys(["till.example", "other.example", "stranger.example"], receiver.port)
    return await tls.sender(places, **rest).send(url, {"webhook-id": "x"}, b"{}")


async def test_what_is_sent_arrives(tls: Authority, receiver: Receiver) -> None:
    assert await send(tls, receiver) == Sent(Outcome.DELIVERED, 204)
    (got,) = receiver.got
    assert (got.target, got.body, got.headers["webhook-id"]) == ("/hook", b"{}", "x")


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        ("200 OK", Outcome.DELIVERED),
        ("299 Fine", Outcome.DELIVERED),
        ("301 Moved", Outcome.REDIRECTED),
        ("304 Not Modified", Outcome.REDIRECTED),
        ("400 Bad", Outcome.REFUSED),
        ("404 Not Found", Outcome.REFUSED),
        ("410 Gone", Outcome.GONE),
        ("500 Oh", Outcome.REFUSED),
    ],
)
async def test_only_2xx_is_delivered(
    tls: Authority, receiver: Receiver, status: str, outcome: Outcome
) -> None:
    receiver.answer = answering(status)
    assert await send(tls, receiver) == Sent(outcome, int(status[:3]))


@pytest.mark.parametrize(
    ("header", "wait"),
    [
        ("Retry-After: 120", timedelta(minutes=2)),
        ("Retry-After: -1", None),
        ("Retry-After: ١٢", None),
        ("Retry-After: 99999999999999", None),
        ("Retry-After: Wed, 21 Oct 2026 07:28:00 GMT", None),
    ],
)
async def test_retry_after_is_read_with_care(
    tls: Authority, receiver: Receiver, header: str, wait: timedelta | None
) -> None:
    receiver.answer = answering("503 Busy", header)
    assert await send(tls, receiver) == Sent(Outcome.REFUSED, 503, wait)


async def test_a_redirect_inside_is_not_followed(tls: Authority, receiver: Receiver) -> None:
    async with tls.receiver() as inside:
        for status in (301, 302, 303, 307, 308):
            to = f"Location: https://other.example:{inside.port}/admin"
            receiver.answer = answering(f"{status} Elsewhere", to)
            assert (await send(tls, receiver)).outcome is Outcome.REDIRECTED
        assert inside.got == []
        assert len(receiver.got) == 5


# ---- Names and addresses -----------------------------------------------------------------------


def resolving(*answers: Sequence[str], port: int = 443) -> tuple[list[str], object]:
    """A resolver that answers these one after another, the last for ever; and what was asked."""
    asked: list[str] = []

    async def resolve(host: str, wanted: int) -> list[tuple[str, int]]:
        asked.append(host)
        return [(one, port) for one in answers[min(len(asked), len(answers)) - 1]]

    return asked, resolve


@pytest.mark.parametrize("inside", INSIDE)
async def test_a_name_with_any_address_inside_is_not_called(inside: str) -> None:
    for addresses in ([inside], [PUBLIC, inside], [inside, PUBLIC]):
        _, resolve = resolving(addresses)
        sender = Sender(resolve=resolve)  # type: ignore[arg-type]
        assert await sender.send(URL, {}, b"") == Sent(Outcome.ADDRESS_REFUSED)
        with pytest.raises(WebhookUrlRefusedError):
            await check_public(URL, resolve)  # type: ignore[arg-type]


async def test_a_name_that_is_unknown_is_refused_as_one_inside() -> None:
    _, resolve = resolving([])
    with pytest.raises(WebhookUrlRefusedError):
        await check_public(URL, resolve)  # type: ignore[arg-type]
    sender = Sender(resolve=resolve)  # type: ignore[arg-type]
    assert await sender.send(URL, {}, b"") == Sent(Outcome.NAME_UNKNOWN)
    assert await resolve_name("no-such-name.invalid", 443) == []


@pytest.mark.parametrize(
    "name", ["localhost", "127.0.0.1", "2130706433", "0x7f.1", "127.1", "0177.0.0.1", "[::1]"]
)
async def test_no_spelling_of_loopback_is_called(name: str) -> None:
    """Though the system's resolver takes some of them for an address."""
    with pytest.raises(WebhookUrlRefusedError):
        await check_public(f"https://{name}/")
    assert await Sender().send(f"https://{name}/", {}, b"") == Sent(Outcome.ADDRESS_REFUSED)


async def test_a_name_is_asked_once_and_called_where_it_was_looked_at(
    tls: Authority, receiver: Receiver
) -> None:
    """DNS that says a public address first, and one inside to who asks again."""
    async with tls.receiver() as inside:
        answers = [[("127.0.0.1", receiver.port)], [("127.0.0.1", inside.port)]]
        looked_at = []

        async def resolve(host: str, port: int) -> list[tuple[str, int]]:
            return answers.pop(0)

        def allow(address: str) -> bool:
            looked_at.append(address)
            return True

        sender = tls.sender({}, resolve=resolve, is_allowed=allow)
        assert (await sender.send(URL, {}, b"")).outcome is Outcome.DELIVERED
        assert (len(answers), looked_at) == (1, ["127.0.0.1"])
        assert (len(receiver.got), len(inside.got)) == (1, 0)


async def test_a_name_that_moves_inside_after_it_was_named_is_not_called(
    tls: Authority, receiver: Receiver
) -> None:
    _, resolve = resolving([PUBLIC], ["127.0.0.1"], port=receiver.port)
    await check_public(URL, resolve)  # type: ignore[arg-type]
    sender = Sender(resolve=resolve, tls=tls.trusting)  # type: ignore[arg-type]
    assert await sender.send(URL, {}, b"") == Sent(Outcome.ADDRESS_REFUSED)
    assert receiver.got == []


async def test_the_next_address_is_tried(tls: Authority, receiver: Receiver) -> None:
    async def resolve(host: str, port: int) -> list[tuple[str, int]]:
        return [("127.0.0.1", 1), ("127.0.0.1", receiver.port)]

    assert (await send(tls, receiver, resolve=resolve)).outcome is Outcome.DELIVERED


@contextlib.contextmanager
def blackhole() -> Iterator[int]:
    """A port of loopback where nobody answers: the queue of connections is full."""
    with contextlib.ExitStack() as opened:
        listener = opened.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            waiting = opened.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


async def test_an_address_that_does_not_answer_is_passed_over(
    tls: Authority, receiver: Receiver
) -> None:
    ports: list[int] = []

    async def resolve(host: str, wanted: int) -> list[tuple[str, int]]:
        return [("127.0.0.1", port) for port in ports]

    with blackhole() as silent:
        for second, outcome in (
            (receiver.port, Outcome.DELIVERED),
            (silent, Outcome.TIMED_OUT),
            (1, Outcome.NOT_CONNECTED),
        ):
            ports[:] = [silent, second]
            sent = await send(tls, receiver, resolve=resolve, patience=timedelta(seconds=4))
            assert sent.outcome is outcome


async def test_proxies_of_the_environment_are_not_asked(tls: Authority, receiver: Receiver) -> None:
    proxies = {"HTTPS_PROXY": "http://127.0.0.1:1", "ALL_PROXY": "http://127.0.0.1:1"}
    with patch.dict(os.environ, proxies):
        assert (await send(tls, receiver)).outcome is Outcome.DELIVERED


# ---- TLS ---------------------------------------------------------------------------------------


async def test_the_certificate_must_be_for_the_name(tls: Authority, receiver: Receiver) -> None:
    assert (await send(tls, receiver, "https://other.example/")).outcome is Outcome.DELIVERED
    assert await send(tls, receiver, "https://stranger.example/") == Sent(Outcome.NOT_TRUSTED)
    assert len(receiver.got) == 1


async def test_the_authority_must_be_trusted(tls: Authority, receiver: Receiver) -> None:
    with authority() as stranger:
        assert await send(stranger, receiver) == Sent(Outcome.NOT_TRUSTED)
    usual = tls.sender({"till.example": receiver.port}, tls=None)
    assert await usual.send(URL, {}, b"") == Sent(Outcome.NOT_TRUSTED)
    assert receiver.got == []


# ---- Receivers that do not behave --------------------------------------------------------------


@contextlib.asynccontextmanager
async def odd(tls: Authority, sent: bytes, *, drip: float = 0) -> AsyncIterator[Receiver]:
    """A receiver that answers with these bytes, over and over if it drips."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            writer.write(sent)
            while drip:
                await writer.drain()
                await asyncio.sleep(drip)
                writer.write(b"x")
        writer.close()

    server = await asyncio.start_server(
        serve, "127.0.0.1", 0, ssl=tls.serving, ssl_shutdown_timeout=1
    )
    try:
        yield Receiver(port=server.sockets[0].getsockname()[1])
    finally:
        server.close()


@pytest.mark.parametrize(
    "sent",
    [b"", b"\x00\xff\x00", b"HTTP/1.1 200", b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 99999 X\r\n\r\n"],
)
async def test_no_http_is_broken_off(tls: Authority, sent: bytes) -> None:
    async with odd(tls, sent) as receiver:
        assert await send(tls, receiver) == Sent(Outcome.BROKEN_OFF)


async def test_a_head_without_end_is_broken_off(tls: Authority) -> None:
    async with odd(tls, b"HTTP/1.1 200 OK\r\n" + b"X: " + b"x" * 1_000_000) as receiver:
        assert await send(tls, receiver) == Sent(Outcome.BROKEN_OFF)


async def test_a_dripping_head_is_given_up_in_time(tls: Authority) -> None:
    async with odd(tls, b"HTTP/1.1 200 OK\r\nX: ", drip=0.05) as receiver:
        began = time.monotonic()
        patience = timedelta(seconds=0.5)
        assert await send(tls, receiver, patience=patience) == Sent(Outcome.TIMED_OUT)
        assert time.monotonic() - began < 2


async def test_a_body_is_not_read(tls: Authority) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n"
    async with odd(tls, head, drip=0.05) as receiver:
        began = time.monotonic()
        assert await send(tls, receiver) == Sent(Outcome.DELIVERED, 200)
        assert time.monotonic() - began < 2


async def test_who_never_answers_is_given_up_in_time(tls: Authority, receiver: Receiver) -> None:
    async def hang(got: Got) -> bytes:
        await asyncio.sleep(5)
        return b""

    receiver.answer = hang
    patience = timedelta(seconds=0.3)
    assert await send(tls, receiver, patience=patience) == Sent(Outcome.TIMED_OUT)


async def test_nobody_there_is_not_connected(tls: Authority) -> None:
    assert await send(tls, Receiver(port=1)) == Sent(Outcome.NOT_CONNECTED)


async def test_a_resolver_that_never_answers_is_given_up_in_time(tls: Authority) -> None:
    async def resolve(host: str, port: int) -> list[tuple[str, int]]:
        await asyncio.sleep(5)
        return []

    sender = tls.sender({}, resolve=resolve, patience=timedelta(seconds=0.2))
    assert await sender.send(URL, {}, b"") == Sent(Outcome.TIMED_OUT)
