"""What is kept of secrets: sealed to its place, under the master key, and slow to compare."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest

from timebank.domain.errors import OverloadedError, SealBrokenError, VaultKeyMissingError
from timebank.people.login.hashing import Hasher
from timebank.people.login.second_factor import find_step
from timebank.people.seals import Seals
from timebank.people.vault_keys import KeyRing, ensure_key_file


def ring(folder: Path) -> KeyRing:
    ensure_key_file(folder / "master.key")
    return KeyRing(folder / "master.key")


@pytest.fixture
def hasher(tmp_path: Path) -> Hasher:
    """One that is quick."""
    return Hasher(Seals(ring(tmp_path)), memory_kib=64, passes=1)


async def test_a_secret_fits_itself_in_its_place_alone(hasher: Hasher, tmp_path: Path) -> None:
    kept = await hasher.keep("492716", "here")
    assert await hasher.fits(kept, "492716", "here")
    assert not await hasher.fits(kept, "492717", "here")
    assert not await hasher.fits(None, "nobody's", "here")
    assert b"492716" not in kept
    assert b"argon2" not in kept  # it cannot even be tried without the key
    with pytest.raises(SealBrokenError):
        await hasher.fits(kept, "492716", "elsewhere")
    (tmp_path / "other").mkdir()
    other = Hasher(Seals(ring(tmp_path / "other")), memory_kib=64, passes=1)
    with pytest.raises(VaultKeyMissingError):
        await other.fits(kept, "492716", "here")


async def test_the_same_secret_is_kept_in_another_way_each_time(hasher: Hasher) -> None:
    assert await hasher.keep("492716", "here") != await hasher.keep("492716", "here")


async def test_too_many_at_once_are_told_to_come_again(hasher: Hasher) -> None:
    found = await asyncio.gather(
        *(hasher.fits(None, "x", "here") for _ in range(200)), return_exceptions=True
    )
    refused = [one for one in found if isinstance(one, OverloadedError)]
    assert len(refused) == 200 - 64
    assert not await hasher.fits(None, "x", "here")


def test_time_steps_by_the_standard() -> None:
    """The secret and the times of RFC 6238, appendix B, cut to six digits."""
    secret = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"  # noqa: S105 - from the standard
    for seconds, digits in (
        (1111111109, "081804"),
        (1234567890, "005924"),
        (2000000000, "279037"),
    ):
        step = seconds // 30
        for offset, found in ((-60, None), (-30, step), (0, step), (30, step), (60, None)):
            at = datetime.fromtimestamp(seconds + offset, UTC)
            assert find_step(secret, digits, at) == found
