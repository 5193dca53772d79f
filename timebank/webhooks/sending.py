"""Sending one request to where somebody else says, and nowhere inside.

The name is resolved here, every address it has must be public, and the connection goes to one of
those very addresses: a name that changes in between leads nowhere else. TLS proves the name. No
redirect is followed, no proxy asked, no connection used twice, and of an answer nothing is read but
its head.
"""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Final, TypeAlias

import httpx
from msgspec import Struct

from timebank.domain.public_addresses import is_public
from timebank.domain.webhook_errors import WebhookUrlRefusedError
from timebank.domain.webhooks import Outcome, Place, read_url

Address: TypeAlias = tuple[str, int]

Resolve: TypeAlias = Callable[[str, int], Awaitable[Sequence[Address]]]
"""Returns the addresses and ports of a name and port; none if it is unknown."""

PATIENCE: Final = timedelta(seconds=20)
"""For all of a request: name, connection, answer."""

_PATIENCE_FOR_NAMES = 5.0
_ADDRESSES_TRIED = 2

_PARTS_TO_CONNECT = 4
"""One of so many parts of the patience is for a connection, so that there is time for the next."""

# Apart from the threads that all else waits in: who answers for a name may take their time.
_resolvers = ThreadPoolExecutor(32, "timebank-names")


class Sent(Struct, frozen=True):
    """How it ended, the status if there was an answer, and how long it asked us to wait."""

    outcome: Outcome
    status: int | None = None
    retry_after: timedelta | None = None


async def resolve_name(host: str, port: int) -> list[Address]:
    """Return the addresses of a name as the system knows them."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(_PATIENCE_FOR_NAMES):
            found = await loop.run_in_executor(
                _resolvers, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            )
    except (OSError, UnicodeError, TimeoutError):
        return []
    return [(str(sockaddr[0]), int(sockaddr[1])) for *_, sockaddr in found]


async def check_public(url: str, resolve: Resolve = resolve_name) -> None:
    """Raise WebhookUrlRefusedError if the URL is none we call, or its name is not public now.

    A name that is unknown is refused as one inside is: nobody learns which names there are inside.
    """
    place = read_url(url)
    addresses = await resolve(place.host, place.port)
    if not addresses or not all(is_public(address) for address, _ in addresses):
        raise WebhookUrlRefusedError


class Sender:
    """Sends requests. Tests say which name leads where, what is public, and whom TLS trusts."""

    def __init__(
        self,
        *,
        resolve: Resolve = resolve_name,
        is_allowed: Callable[[str], bool] = is_public,
        tls: ssl.SSLContext | None = None,
        patience: timedelta = PATIENCE,
    ) -> None:
        """`patience` is for all of one request."""
        self._resolve = resolve
        self._is_allowed = is_allowed
        self._tls = tls or httpx.create_ssl_context(trust_env=False)
        self._patience = patience

    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> Sent:
        """POST a body; whatever happens is an outcome."""
        try:
            place = read_url(url)
            async with asyncio.timeout(self._patience.total_seconds()):
                addresses = await self._resolve(place.host, place.port)
                if not addresses:
                    return Sent(Outcome.NAME_UNKNOWN)
                if not all(self._is_allowed(address) for address, _ in addresses):
                    return Sent(Outcome.ADDRESS_REFUSED)
                return await self._send_to(place, addresses, headers, body)
        except WebhookUrlRefusedError:
            return Sent(Outcome.ADDRESS_REFUSED)
        except (TimeoutError, httpx.TimeoutException):
            return Sent(Outcome.TIMED_OUT)
        except (httpx.HTTPError, OSError):
            return Sent(Outcome.BROKEN_OFF)

    async def _send_to(
        self, place: Place, addresses: Sequence[Address], headers: Mapping[str, str], body: bytes
    ) -> Sent:
        """Send to the first of these addresses that takes the connection.

        One that does not answer at all is passed over as one that refuses.
        """
        failed = Sent(Outcome.NOT_CONNECTED)
        for address in dict.fromkeys(addresses[:_ADDRESSES_TRIED]):
            try:
                return await self._send_once(place, address, headers, body)
            except httpx.ConnectTimeout:
                failed = Sent(Outcome.TIMED_OUT)
            except httpx.ConnectError as error:
                if _is_of_tls(error):
                    return Sent(Outcome.NOT_TRUSTED)
                failed = Sent(Outcome.NOT_CONNECTED)
        return failed

    async def _send_once(
        self, place: Place, address: Address, headers: Mapping[str, str], body: bytes
    ) -> Sent:
        port = "" if place.port == 443 else f":{place.port}"
        url = httpx.URL(
            scheme="https", host=address[0], port=address[1], raw_path=place.target.encode()
        )
        patience = self._patience.total_seconds()
        transport = httpx.AsyncHTTPTransport(verify=self._tls, trust_env=False, retries=0)
        # A client for each request: a connection proven for one name serves no other.
        async with (
            httpx.AsyncClient(
                transport=transport,
                trust_env=False,
                follow_redirects=False,
                timeout=httpx.Timeout(patience, connect=patience / _PARTS_TO_CONNECT),
            ) as http,
            http.stream(
                "POST",
                url,
                content=body,
                headers={**headers, "Host": f"{place.host}{port}", "Connection": "close"},
                extensions={"sni_hostname": place.host},
            ) as answer,
        ):
            return Sent(
                _outcome_of(answer.status_code),
                answer.status_code,
                _retry_after(answer.headers.get("retry-after", "")),
            )


def _outcome_of(status: int) -> Outcome:
    if 200 <= status < 300:
        return Outcome.DELIVERED
    if 300 <= status < 400:
        return Outcome.REDIRECTED
    return Outcome.GONE if status == 410 else Outcome.REFUSED


def _retry_after(header: str) -> timedelta | None:
    """Return the seconds of a Retry-After header; a date is passed over."""
    is_number = header.isascii() and header.isdigit() and len(header) <= 6
    return timedelta(seconds=int(header)) if is_number else None


def _is_of_tls(error: BaseException | None) -> bool:
    """Return whether a connection failed because TLS did."""
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return True
        error = error.__cause__ or error.__context__
    return False
