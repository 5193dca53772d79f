"""What is kept of secrets: sealed to its place, under a key in a file that nobody else may read."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest

from timebank.config import Settings
from timebank.domain.errors import LoginKeyUnfitError, OverloadedError
from timebank.people.login.hashing import Hasher
from timebank.people.login.seal import Seal, open_seal
from timebank.people.login.second_factor import find_step
from timebank.people.vault_keys import ensure_key_file

KEY = bytes(range(32))


@pytest.fixture
def hasher() -> Hasher:
    """One that is quick."""
    return Hasher(Seal(KEY), memory_kib=64, passes=1)


async def test_a_secret_fits_itself_in_its_place_alone(hasher: Hasher) -> None:
    kept = await hasher.keep("492716", "here")
    assert await hasher.fits(kept, "492716", "here")
    assert not await hasher.fits(kept, "492717", "here")
    assert not await hasher.fits(None, "nobody's", "here")
    assert b"492716" not in kept
    assert b"argon2" not in kept  # it cannot even be tried without the key
    with pytest.raises(LoginKeyUnfitError):
        await hasher.fits(kept, "492716", "elsewhere")
    other = Hasher(Seal(KEY[::-1]), memory_kib=64, passes=1)
    with pytest.raises(LoginKeyUnfitError):
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


def test_a_key_is_made_once_beside_the_embedded_database(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    sealed = open_seal(settings).close(b"secret", "here")
    assert open_seal(settings).open(sealed, "here") == b"secret"
    assert (tmp_path / "login.key").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["login.key"]


def test_a_database_of_yours_needs_a_key_that_is_named() -> None:
    with pytest.raises(LoginKeyUnfitError, match="TIMEBANK_LOGIN_KEY_FILE"):
        open_seal(Settings(database_url="postgresql://a"))


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key"
    ensure_key_file(path)
    open_seal(Settings(login_key_file=path))
    path.chmod(0o640)
    with pytest.raises(LoginKeyUnfitError, match="chmod 600"):
        open_seal(Settings(login_key_file=path))


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
