"""Which addresses and URLs we call, when, and how it is signed."""

import base64
import re
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv6Address, ip_network

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from timebank.domain.errors import InvalidInputError
from timebank.domain.public_addresses import is_public
from timebank.domain.webhook_errors import WebhookUrlRefusedError
from timebank.domain.webhooks import (
    LONGEST_WAIT,
    RETRIES,
    EventType,
    check_event_types,
    make_body,
    next_wait,
    read_url,
    show_secret,
    sign,
)

# Written from the registries apart from the code, first and last of each block.
NOT_PUBLIC = re.findall(
    r"\S+",
    """
    0.0.0.0 0.255.255.255 10.0.0.0 10.255.255.255 100.64.0.0 100.127.255.255 100.100.100.200
    127.0.0.1 127.255.255.255 168.63.129.16 169.254.0.0 169.254.169.254 172.16.0.0 172.31.255.255
    192.0.0.1 192.0.0.9 192.0.0.170 192.0.2.1 192.88.99.1 192.168.0.0 192.168.255.255 198.18.0.0
    198.19.255.255 198.51.100.1 203.0.113.1 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255 ::
    ::1 ::127.0.0.1 ::ffff:127.0.0.1 ::ffff:8.8.8.8 ::ffff:0:127.0.0.1 64:ff9b::7f00:1
    64:ff9b::808:808 64:ff9b:1::1 100::1 100:0:0:1::1 2001::1 2001:0:4136:e378:8000:63bf:3fff:fdd2
    2001:2::1 2001:10::1 2001:20::1 2001:db8::1 2002:7f00:1:: 2002:808:808:: 3ffe::1 3fff::1
    5f00::1 fc00::1 fd00:ec2::254 fe80::1 fe80::1%eth0 fec0::1 ff02::1 ff0e::1 4000::1
    """,
)

PUBLIC = re.findall(
    r"\S+",
    """
    1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 128.0.0.0 169.253.255.255
    172.15.255.255 172.32.0.0 192.167.255.255 192.169.0.0 198.17.255.255 198.20.0.0
    223.255.255.255 2001:4860:4860::8888 2400:3200::1 2606:4700:4700::1111 2a00:1450::1
    """,
)


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_what_is_inside_somewhere_is_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_what_is_outside_is_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "text", ["", "x", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "127.0.0.1\n", "8.8.8.8/8"]
)
def test_what_is_no_plain_address_is_not_public(text: str) -> None:
    assert not is_public(text)


@given(address=st.ip_addresses(v=4))
def test_private_and_reserved_blocks_are_refused_whole(address: IPv4Address) -> None:
    odd = address.is_private or address.is_multicast or address.is_reserved
    assert not (is_public(str(address)) and (odd or address.is_loopback or address.is_link_local))


@given(inner=st.ip_addresses(v=4), outer=st.sampled_from(["::ffff:", "::", "64:ff9b::"]))
def test_no_ipv4_address_is_public_within_another(inner: IPv4Address, outer: str) -> None:
    assert not is_public(f"{outer}{inner}")
    six_to_four = IPv6Address((0x2002 << 112) | (int(inner) << 80))
    assert not is_public(str(six_to_four))


@given(address=st.ip_addresses(v=6, network=ip_network("::/1")))
def test_of_ipv6_only_what_was_given_out_is_public(address: IPv6Address) -> None:
    assert not is_public(str(address)) or int(address) >> 125 == 1


# ---- URLs --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("https://till.example/hook?shop=1", ("till.example", 443, "/hook?shop=1")),
        ("https://till.example", ("till.example", 443, "/")),
        ("https://till.example?x", ("till.example", 443, "/?x")),
        ("HTTPS://Till.Example:8443/A", ("till.example", 8443, "/A")),
        ("https://xn--fiq228c.xn--fiqs8s/", ("xn--fiq228c.xn--fiqs8s", 443, "/")),
    ],
)
def test_a_url_that_we_call(url: str, place: tuple[str, int, str]) -> None:
    assert read_url(url) == place


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://till.example/",
        "ftp://till.example/",
        "//till.example/",
        "https:/till.example/",
        "https://",
        "https://ann@till.example/",
        "https://ann:secret@till.example/",
        "https://till.example:80/",
        "https://till.example:22/",
        "https://till.example:0/",
        "https://till.example:65979/",
        "https://till.example:/",
        "https://till.example/#here",
        "https://till.example\\@127.0.0.1/",
        "https://till.example/ x",
        "https://till.example/\r\nHost: inside",
        "https://till.example/\n",
        "https://till.example./",
        "https://.example/",
        "https://till..example/",
        "https://-till.example/",
        "https://localhost/",
        "https://127.0.0.1/",
        "https://127.1/",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://0x7f.0x0.0x0.0x1/",
        "https://0177.0.0.1/",
        "https://8.8.8.8/",
        "https://[::1]/",
        "https://[2606:4700:4700::1111]/",
        "https://[fe80::1%25eth0]/",
        "https://爱心.example/",
        "https://tiſſ.example/",
        "https://１２７.０.０.１/",
        "https://till。example/",
        "https://till.example/%\u0000",
        "https://till.example/" + "x" * 500,
        "https://" + "x" * 64 + ".example/",
        "https://" + "x.y" * 90 + ".example/",
    ],
)
def test_a_url_that_we_do_not_call(url: str) -> None:
    with pytest.raises(WebhookUrlRefusedError) as refused:
        read_url(url)
    assert refused.value.pointer == "/url"


# ---- When --------------------------------------------------------------------------------------


def test_ten_attempts_in_a_little_more_than_three_days() -> None:
    waits = [next_wait(tries, 0) for tries in range(1, 11)]
    assert waits == [*RETRIES, None]
    assert timedelta(hours=75) < sum(RETRIES, timedelta()) < timedelta(hours=76)
    assert list(RETRIES) == sorted(RETRIES)


@given(tries=st.integers(1, 9), jitter=st.floats(0, 1), asked=st.none() | st.timedeltas())
def test_a_wait_is_not_shorter_than_the_schedule_nor_longer_than_it_or_a_day(
    tries: int, jitter: float, asked: timedelta | None
) -> None:
    wait = next_wait(tries, jitter, asked)
    assert wait
    assert RETRIES[tries - 1] <= wait <= max(RETRIES[tries - 1] * 1.1, LONGEST_WAIT)


# ---- What --------------------------------------------------------------------------------------


def test_a_signature_as_the_specification_has_it() -> None:
    """The text is the specification's example; its signature was made with openssl."""
    body = b'{"test": 2432232314}'
    secret = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    made = sign([secret], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert sign([secret, secret], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body) == (
        f"{made} {made}"
    )


def test_a_secret_is_shown_as_libraries_take_it() -> None:
    shown = show_secret(bytes(range(32)))
    assert shown.startswith("whsec_")
    assert base64.b64decode(shown.removeprefix("whsec_")) == bytes(range(32))


def test_a_body_is_small_json_with_its_type_and_time() -> None:
    at = datetime(2026, 11, 3, 20, 26, 10, 344522, tzinfo=UTC)
    body = make_body(EventType.CAPTURED, at, '{"points": 5}')
    assert body == (
        b'{"type":"redemption.captured","timestamp":"2026-11-03T20:26:10.344522Z",'
        b'"data":{"points": 5}}'
    )
    assert msgspec.json.decode(body)


@pytest.mark.parametrize(
    "types",
    [[], [EventType.PING], [EventType.HELD, EventType.HELD], [EventType.HELD, "webhook.ping"]],
)
def test_types_that_cannot_be_asked_for(types: list[EventType]) -> None:
    with pytest.raises(InvalidInputError):
        check_event_types(types)
