"""Receivers of webhooks for tests: real TLS on loopback, under a certificate of our own."""

import asyncio
import base64
import hashlib
import hmac
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from timebank.webhooks.sending import Sender

NAMES = ("till.example", "slow.example", "other.example")
TOLERANCE = 300


def verify(secret: str, headers: dict[str, str], body: bytes, now: float) -> None:
    """Check a request as the specification tells receivers to; AssertionError if it is not ours.

    Written from its text alone, and sharing nothing with the code under test.
    """
    assert secret.startswith("whsec_")
    key = base64.b64decode(secret[len("whsec_") :], validate=True)
    assert 24 <= len(key) <= 64
    webhook_id, timestamp = headers["webhook-id"], headers["webhook-timestamp"]
    assert "." not in webhook_id
    assert abs(int(timestamp) - now) <= TOLERANCE
    signed = b".".join([webhook_id.encode(), timestamp.encode(), body])
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest())
    offered = [part.split(",", 1) for part in headers["webhook-signature"].split(" ")]
    assert any(
        version == "v1" and hmac.compare_digest(signature.encode(), expected)
        for version, signature in offered
    )


@dataclass(frozen=True)
class Got:
    """A request as it came."""

    target: str
    headers: dict[str, str]
    body: bytes
    at: datetime

    @property
    def event_id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def payload(self) -> Any:
        return json.loads(self.body)


Answer = Callable[["Got"], Awaitable[bytes]]


async def accept(got: Got) -> bytes:
    """Have it."""
    return b"HTTP/1.1 204 No Content\r\n\r\n"


def answering(status: str, *headers: str) -> Answer:
    """Answer all alike."""

    async def answer(got: Got) -> bytes:
        lines = [f"HTTP/1.1 {status}", *headers, "Content-Length: 0", "", ""]
        return "\r\n".join(lines).encode()

    return answer


@dataclass
class Receiver:
    """A server that keeps what it gets; `answer` may be changed at any time."""

    port: int = 0
    got: list[Got] = field(default_factory=list)
    answer: Answer = accept
    names: list[str | None] = field(default_factory=list)
    connections: int = 0
    most: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take one request and hang up."""
        self.connections += 1
        self.most = max(self.most, self.connections)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            first, *lines = head.strip().split("\r\n")
            headers = {
                name.lower(): value for name, _, value in (line.partition(": ") for line in lines)
            }
            body = await reader.readexactly(int(headers["content-length"]))
            got = Got(first.split(" ")[1], headers, body, datetime.now(UTC))
            self.got.append(got)
            writer.write(await self.answer(got))
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            return
        finally:
            self.connections -= 1
            writer.close()


@dataclass(frozen=True)
class Authority:
    """Whom the tests' sender trusts, and what its servers show."""

    trusting: ssl.SSLContext
    serving: ssl.SSLContext
    ca_file: Path

    @asynccontextmanager
    async def receiver(self) -> AsyncIterator[Receiver]:
        """Run a receiver on a free port of loopback."""
        receiver = Receiver()
        server = await asyncio.start_server(
            receiver.serve, "127.0.0.1", 0, ssl=self.serving, ssl_shutdown_timeout=1
        )
        receiver.port = server.sockets[0].getsockname()[1]
        try:
            yield receiver
        finally:
            server.close()
            await asyncio.sleep(0)

    def sender(self, places: dict[str, int], **rest: Any) -> Sender:
        """Return a sender to whom these names are on these ports of loopback, which is allowed."""

        async def resolve(host: str, port: int) -> Sequence[tuple[str, int]]:
            return [("127.0.0.1", places[host])] if host in places else []

        given = {"resolve": resolve, "is_allowed": is_loopback, "tls": self.trusting, **rest}
        return Sender(**given)


def is_loopback(address: str) -> bool:
    """What the tests' senders may call."""
    return ip_address(address).is_loopback


@contextmanager
def authority(names: Sequence[str] = NAMES) -> Iterator[Authority]:
    """Make an authority and a certificate for these names, good for an hour."""
    with TemporaryDirectory(prefix="timebank-tls-") as folder:
        ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "timebank tests")])
        ca = _certificate(issuer, issuer, ca_key, ca_key, None)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
        leaf = _certificate(subject, issuer, key, ca_key, names)
        files = {
            "ca.pem": ca.public_bytes(serialization.Encoding.PEM),
            "leaf.pem": leaf.public_bytes(serialization.Encoding.PEM),
            "key.pem": key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            ),
        }
        for name, content in files.items():
            (Path(folder) / name).write_bytes(content)
        serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        serving.load_cert_chain(f"{folder}/leaf.pem", f"{folder}/key.pem")
        ca_file = Path(folder) / "ca.pem"
        yield Authority(ssl.create_default_context(cafile=str(ca_file)), serving, ca_file)


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    signer: ec.EllipticCurvePrivateKey,
    names: Sequence[str] | None,
) -> x509.Certificate:
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=names is None, path_length=None), critical=True)
    )
    if names:
        alternatives = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
        builder = builder.add_extension(alternatives, critical=False)
    return builder.sign(signer, hashes.SHA256())
