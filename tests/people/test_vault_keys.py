"""Master keys: the file that may be used, what is sealed, and what no longer opens."""

import base64
import os
import stat
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timebank.config import Settings
from timebank.domain.errors import SealBrokenError, UnsafeKeyFileError, VaultKeyMissingError
from timebank.people import vault_keys
from timebank.people.vault_keys import (
    KeyRing,
    MasterKey,
    add_key,
    ensure_key_file,
    keep_keys,
    new_data_key,
    open_key_ring,
    read_key_file,
    seal,
    unseal,
)

SECRET = bytes(range(32))
ANN, BO = UUID(int=1), UUID(int=2)
PLACE = {"bank_id": 1, "person_id": ANN, "field": "name", "version": 1}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    ensure_key_file(tmp_path / "master.key")
    return tmp_path / "master.key"


def refusal(path: Path) -> str:
    with pytest.raises(UnsafeKeyFileError) as caught:
        read_key_file(path)
    return str(caught.value)


# ---- The file ----------------------------------------------------------------------------------


def test_a_new_file_is_for_its_owner_alone(path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [len(key) for key in read_key_file(path)] == [32]
    assert [entry.name for entry in path.parent.iterdir()] == ["master.key"]


def test_an_existing_file_is_kept(path: Path) -> None:
    before = path.read_bytes()
    ensure_key_file(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_modes_that_may_be(path: Path, mode: int) -> None:
    path.chmod(mode)
    assert read_key_file(path)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660, 0o666, 0o620, 0o602, 0o601, 0o700])
def test_a_file_open_to_others_is_refused(path: Path, mode: int) -> None:
    path.chmod(mode)
    assert f"chmod 600 {path}" in refusal(path)


def test_a_file_of_another_account_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    assert "chown" in refusal(path)


def test_a_link_to_an_open_file_is_refused(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "open"
    target.write_bytes(path.read_bytes())
    target.chmod(0o644)
    path.unlink()
    path.symlink_to(target)
    assert "open to others" in refusal(path)


def test_a_link_to_a_safe_file_is_followed(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(path)
    assert read_key_file(link) == read_key_file(path)


@pytest.mark.parametrize("linked", [False, True])
def test_a_folder_that_others_may_change_is_refused(tmp_path: Path, linked: bool) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    ensure_key_file(folder / "master.key")
    folder.chmod(0o777)
    path = folder / "master.key"
    if linked:
        path = tmp_path / "link"
        path.symlink_to(folder / "master.key")
    assert "may be changed by others" in refusal(path)


def test_only_a_regular_file_will_do(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    assert "regular file" in refusal(tmp_path / "pipe")
    assert "regular file" in refusal(tmp_path)
    assert "cannot be read" in refusal(tmp_path / "absent")


@pytest.mark.parametrize(
    "content",
    [
        "",
        "# only a remark\n",
        "secret\n",
        base64.b64encode(bytes(31) + b"x").decode(),
        base64.b64encode(SECRET[:31]).decode(),
        base64.b64encode(SECRET + b"x").decode(),
        base64.b64encode(bytes(32)).decode(),
        base64.b64encode(SECRET).decode() + "\nmore",
        "密" * 44,
    ],
)
def test_what_is_no_key_is_refused_and_not_quoted(tmp_path: Path, content: str) -> None:
    path = tmp_path / "master.key"
    path.write_text(content, "utf-8")
    path.chmod(0o600)
    told = refusal(path)
    assert "Make one" in told
    assert not any(line in told for line in content.splitlines() if line)


def test_a_key_made_as_the_docs_say(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    path.write_bytes(base64.b64encode(SECRET) + b"\n")
    path.chmod(0o400)
    assert read_key_file(path) == [SECRET]


def test_a_new_key_comes_first_and_old_ones_leave(path: Path) -> None:
    [old] = read_key_file(path)
    add_key(path)
    new, kept = read_key_file(path)
    assert (kept, new != old) == (old, True)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert keep_keys(path, {MasterKey(new).key_id, MasterKey(old).key_id}) == 0
    assert keep_keys(path, {MasterKey(new).key_id}) == 1
    assert read_key_file(path) == [new]
    assert [entry.name for entry in path.parent.iterdir()] == ["master.key"]


def test_the_last_key_never_leaves(path: Path) -> None:
    keep_keys(path, {"0" * 16})
    assert len(read_key_file(path)) == 1


# ---- Which file --------------------------------------------------------------------------------


def test_beside_the_embedded_database_a_key_is_made(tmp_path: Path) -> None:
    first = open_key_ring(Settings(data_dir=tmp_path)).first.key_id
    assert open_key_ring(Settings(data_dir=tmp_path)).first.key_id == first
    assert (tmp_path / "master.key").exists()


def test_beside_a_database_of_yours_none_is_made() -> None:
    with pytest.raises(VaultKeyMissingError, match="TIMEBANK_MASTER_KEY_FILE"):
        open_key_ring(Settings(database_url="postgresql://x"))


def test_the_setting_names_the_file(path: Path) -> None:
    settings = Settings(database_url="postgresql://x", master_key_file=path)
    assert open_key_ring(settings).first.key_id == KeyRing(path).first.key_id
    path.chmod(0o644)
    with pytest.raises(UnsafeKeyFileError):
        open_key_ring(settings)


def test_a_ring_looks_again_for_a_key_it_does_not_know(path: Path) -> None:
    ring = KeyRing(path)
    add_key(path)
    new = MasterKey(read_key_file(path)[0]).key_id
    assert ring.get(new).key_id == new
    with pytest.raises(VaultKeyMissingError, match="0123456789abcdef"):
        ring.get("0123456789abcdef")


def test_keys_do_not_tell_themselves() -> None:
    key = MasterKey(SECRET)
    assert SECRET.hex() not in repr(vars(key))
    assert len(key.key_id) == 16
    assert key.key_id != MasterKey(SECRET[::-1]).key_id


# ---- Seals -------------------------------------------------------------------------------------


@given(st.binary(max_size=300).map(lambda b: b.hex().encode()), st.data())
def test_a_changed_bit_anywhere_is_found(plain: bytes, data: st.DataObject) -> None:
    key = new_data_key()
    sealed = seal(key, plain, **PLACE)
    assert unseal(key, sealed, **PLACE).rstrip() == plain
    bit = data.draw(st.integers(0, len(sealed) * 8 - 1))
    flipped = bytearray(sealed)
    flipped[bit // 8] ^= 1 << bit % 8
    with pytest.raises(SealBrokenError):
        unseal(key, bytes(flipped), **PLACE)
    with pytest.raises(SealBrokenError):
        unseal(key, sealed[: data.draw(st.integers(0, len(sealed) - 1))], **PLACE)


@pytest.mark.parametrize(
    "other", [{"bank_id": 2}, {"person_id": BO}, {"field": "phone"}, {"version": 2}]
)
def test_a_seal_opens_in_its_place_only(other: dict[str, object]) -> None:
    key = new_data_key()
    sealed = seal(key, b'"x"', **PLACE)
    with pytest.raises(SealBrokenError):
        unseal(key, sealed, **(PLACE | other))


def test_lengths_tell_little_and_no_two_seals_are_alike() -> None:
    key = new_data_key()
    seals = [seal(key, plain, **PLACE) for plain in (b'"x"', b'"x"', b'"' + b"y" * 60 + b'"')]
    assert len({len(one) for one in seals}) == 1
    assert len(set(seals)) == 3
    assert len({one[:12] for one in seals}) == 3


@pytest.mark.parametrize(
    "unwrap",
    [
        lambda key, wrapped: key.unwrap(wrapped, 1, BO),
        lambda key, wrapped: key.unwrap(wrapped, 2, ANN),
        lambda key, wrapped: key.unwrap(wrapped[:-1] + bytes([wrapped[-1] ^ 1]), 1, ANN),
        lambda key, wrapped: MasterKey(SECRET[::-1]).unwrap(wrapped, 1, ANN),
        lambda key, wrapped: key.unwrap(b"", 1, ANN),
    ],
)
def test_a_data_key_unwraps_for_its_person_only(
    unwrap: Callable[[MasterKey, bytes], bytes],
) -> None:
    key, data_key = MasterKey(SECRET), new_data_key()
    wrapped = key.wrap(data_key, 1, ANN)
    assert key.unwrap(wrapped, 1, ANN) == data_key
    assert data_key not in wrapped
    with pytest.raises(SealBrokenError):
        unwrap(key, wrapped)


def test_the_blind_index_depends_on_key_bank_field_and_text() -> None:
    key = MasterKey(SECRET)
    digests = {
        key.blind(1, "phone", "13800138000"),
        key.blind(1, "phone", "13800138001"),
        key.blind(1, "name", "13800138000"),
        key.blind(2, "phone", "13800138000"),
        MasterKey(SECRET[::-1]).blind(1, "phone", "13800138000"),
    }
    assert len(digests) == 5
    assert key.blind(1, "phone", "x") == MasterKey(SECRET).blind(1, "phone", "x")


def test_two_who_make_the_file_at_once_use_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second finds the file only when it gives its own the name."""
    path = tmp_path / "master.key"
    token_bytes = vault_keys.secrets.token_bytes

    def meanwhile(size: int) -> bytes:
        monkeypatch.undo()
        ensure_key_file(path)
        return token_bytes(size)

    monkeypatch.setattr(vault_keys.secrets, "token_bytes", meanwhile)
    ensure_key_file(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["master.key"]
    assert len(read_key_file(path)) == 1
