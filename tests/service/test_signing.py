"""Verified without us: with every bit of a certificate's file flipped, and by a stranger's key."""

from datetime import UTC, date, datetime
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.cli.test_cli import run
from timebank.domain.certificates import (
    CertificateLine,
    Document,
    Printed,
    PublicKey,
    PublicKeys,
    Statement,
    canonical,
    hash_printed,
)
from timebank.domain.service_errors import CertificateForgedError
from timebank.service.signing import verify

PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = PRIVATE.public_key().public_bytes_raw()
KEY = PublicKey(
    key_id=sha256(PUBLIC).hexdigest()[:16],
    public_key=PUBLIC.hex(),
    made_at=datetime(2026, 1, 1, tzinfo=UTC),
)
KEYS = PublicKeys(bank="jianxi", keys=(KEY,))
PRINTED = Printed(
    name="王某",
    id_type="resident_id",
    id_number="410***********1234",
    volunteer_number="1234567890",
    in_charge="甲",
    handler="乙",
    contact="0379-12345678",
    notes="",
    salt="0f" * 16,
)


def sign(**changed: object) -> Document:
    """A certificate as the bank signs it, with other fields than usual."""
    usual = Statement(
        bank="jianxi",
        issuer="涧贤银行",
        number="jianxi-0123-4567-89AB-CDEF",
        printed_sha256=hash_printed(PRINTED),
        from_on=date(2026, 1, 1),
        until_on=date(2026, 6, 30),
        minutes=150,
        lines=(
            CertificateLine(date(2026, 1, 2), "周五大扫除", 90),
            CertificateLine(date(2026, 1, 9), "周五大扫除", 60),
        ),
        issued_on=date(2026, 7, 1),
        key_id=KEY.key_id,
    )
    text = canonical(msgspec.structs.replace(usual, **changed))
    return Document(statement=text.decode(), signature=PRIVATE.sign(text).hex(), printed=PRINTED)


DOCUMENT = sign()


def is_good(document: Document) -> bool:
    """Whether it verifies."""
    try:
        verify(document, KEYS)
    except CertificateForgedError:
        return False
    return True


def test_every_flipped_bit_is_found() -> None:
    """Of the whole file: content, signature, print, and the JSON around them."""
    assert is_good(DOCUMENT)
    file = msgspec.json.encode(DOCUMENT)
    good = []
    for place in range(len(file) * 8):
        flipped = bytearray(file)
        flipped[place // 8] ^= 1 << place % 8
        try:
            read = msgspec.json.decode(bytes(flipped), type=Document)
        except (msgspec.MsgspecError, ValueError):
            continue  # no certificate at all
        if is_good(read):
            good.append(place)
    assert good == []


def test_every_flipped_bit_of_the_key_is_found() -> None:
    for place in range(256):
        other = bytearray(PUBLIC)
        other[place // 8] ^= 1 << place % 8
        key = msgspec.structs.replace(KEY, public_key=other.hex())
        with pytest.raises(CertificateForgedError):
            verify(DOCUMENT, PublicKeys(bank="jianxi", keys=(key,)))


@pytest.mark.parametrize(
    "changed",
    [
        {"minutes": 151},
        {"lines": ()},
        {"from_on": date(2026, 1, 3)},
        {"until_on": date(2026, 1, 8)},
        {"printed_sha256": "0" * 64},
        {"bank": "elsewhere"},
    ],
)
def test_what_does_not_add_up_is_refused_though_it_is_signed(changed: dict[str, object]) -> None:
    assert not is_good(sign(**changed))


def test_one_signature_is_written_in_one_way() -> None:
    loud = msgspec.structs.replace(DOCUMENT, signature=DOCUMENT.signature.upper())
    spaced = msgspec.structs.replace(DOCUMENT, signature=f" {DOCUMENT.signature}")
    assert not is_good(loud)
    assert not is_good(spaced)


def test_the_command_says_good_forged_or_misused(tmp_path: Path) -> None:
    keys, paper, none = (str(tmp_path / name) for name in ("keys.json", "paper.json", "none"))
    Path(keys).write_bytes(msgspec.json.encode(KEYS))
    command = ("certificate", "verify", paper, "--keys")
    assert run(*command, keys).exit_code == 2  # no such file
    Path(paper).write_bytes(msgspec.json.encode(DOCUMENT))
    environment = {"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing"}
    good = run(*command, keys, **environment)
    assert good.exit_code == 0, good.output
    for shown in ("jianxi-0123-4567-89AB-CDEF", "2 小时 30 分", "王某 410***********1234"):
        assert shown in good.stdout  # to be compared with the paper
    assert run(*command, none).exit_code == 2
    assert run(*command, paper).exit_code == 2
    for wrong in (sign(minutes=1), b"{}", b"\xff", b""):
        content = wrong if isinstance(wrong, bytes) else msgspec.json.encode(wrong)
        Path(paper).write_bytes(content)
        refused = run(*command, keys, **environment)
        assert refused.exit_code == 1, refused.output
        assert "Ask the bank" in refused.stderr
