"""What is sealed opens in its place only, and every column of it follows the master key."""

import asyncio
import secrets
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.guards.test_append_only import login
from tests.people.desk import Desk
from timebank.config import Settings
from timebank.domain.errors import OverloadedError, SealBrokenError, VaultKeyMissingError
from timebank.embedded import Server
from timebank.people.grants import OPERATOR_ID
from timebank.people.login.credentials import NewCode, issue_code, keep_pin, make_code, set_pin
from timebank.people.login.enrolments import (
    complete,
    get_invitation,
    invite,
    show_second_factor,
)
from timebank.people.login.hashing import Hasher, open_hasher
from timebank.people.login.logins import place_of
from timebank.people.seals import Seals, close_with
from timebank.people.vault_keys import KeyRing, MasterKey, add_key, ensure_key_file, keep_keys
from timebank.people.vault_rotation import Rotated, rotate_keys

PIN = "492716"


def seals_in(folder: Path) -> Seals:
    ensure_key_file(folder / "master.key")
    return Seals(KeyRing(folder / "master.key"))


def hasher_of(desk: Desk) -> Hasher:
    return open_hasher(Settings(argon2_memory_kib=64), Seals(desk.ring))


async def rotate(desk: Desk, *, forget: bool = True) -> Rotated:
    return await rotate_keys(
        desk.book.pool, desk.ring, reader_id=desk.clerk, request_id="rotation", forget=forget
    )


# ---- Values ------------------------------------------------------------------------------------


@given(plain=st.binary(max_size=100), place=st.text(max_size=20), data=st.data())
def test_a_value_opens_in_its_place_and_unaltered_only(
    tmp_path_factory: pytest.TempPathFactory, plain: bytes, place: str, data: st.DataObject
) -> None:
    seals = seals_in(tmp_path_factory.getbasetemp())
    sealed = seals.close(plain, place)
    assert seals.open(sealed, place) == plain
    assert seals.close(plain, place) != sealed
    with pytest.raises(SealBrokenError):
        seals.open(sealed, place + "x")
    at = data.draw(st.integers(0, len(sealed) - 1))
    altered = sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :]
    with pytest.raises((SealBrokenError, VaultKeyMissingError)):
        seals.open(altered, place)
    with pytest.raises((SealBrokenError, VaultKeyMissingError)):
        seals.open(sealed[:at], place)


def test_a_new_first_key_seals_at_once_and_the_old_still_opens(tmp_path: Path) -> None:
    seals = seals_in(tmp_path)
    before = seals.close(b"x", "here")
    add_key(tmp_path / "master.key")
    after = seals.close(b"x", "here")
    assert before[:8] != after[:8]
    assert [seals.open(one, "here") for one in (before, after)] == [b"x", b"x"]


def test_a_file_that_is_gone_is_not_needed_while_the_service_runs(tmp_path: Path) -> None:
    seals = seals_in(tmp_path)
    (tmp_path / "master.key").unlink()
    assert seals.open(seals.close(b"x", "here"), "here") == b"x"


# ---- Columns -----------------------------------------------------------------------------------


async def test_every_sealed_column_is_known(server: Server, own_database: str) -> None:
    async with login(server, own_database) as superuser:
        found = await superuser.fetch(
            "SELECT attrelid::regclass::text, attname FROM pg_attribute "
            "WHERE attname LIKE 'sealed%' AND atttypid = 'bytea'::regtype "
            "AND attrelid IN (SELECT oid FROM pg_class WHERE relkind = 'r' "
            "                 AND relnamespace = 'timebank'::regnamespace)"
        )
        known = await superuser.fetch("SELECT table_name, column_name FROM sealed_column")
    assert {tuple(row) for row in known} == {tuple(row) for row in found} != set()


class Secrets:
    """A PIN, a code, and second factors of one person: shown, in force, and waiting."""

    def __init__(self, desk: Desk, person: UUID, code: NewCode, invitation: str) -> None:
        self.desk, self.person, self.code, self.invitation = desk, person, code, invitation

    @classmethod
    async def make(cls, desk: Desk) -> "Secrets":
        hasher, bank_id, person = hasher_of(desk), desk.bank_id, await desk.member()
        code = await make_code(hasher, bank_id, person)
        kept = await keep_pin(hasher, bank_id, person, PIN)
        async with desk.at() as connection:
            await issue_code(connection, bank_id, person, code, desk.clerk)
            await set_pin(connection, bank_id, person, kept, None, set_by=person)
        made = cls(desk, person, code, "")
        for invited_by in (OPERATOR_ID, desk.clerk):
            await made.invite(invited_by)
            kept = await hasher.keep("password", place_of(bank_id, person, "password"))
            async with desk.at() as connection:
                invitation = await get_invitation(connection, bank_id, made.invitation)
                await complete(connection, bank_id, invitation, 0, kept)
        await made.invite(desk.clerk)
        return made

    async def invite(self, by_id: UUID) -> None:
        hasher, bank_id = hasher_of(self.desk), self.desk.bank_id
        async with self.desk.at() as connection:
            self.invitation = await invite(connection, bank_id, self.person, by_id)
            invitation = await get_invitation(connection, bank_id, self.invitation)
            shown = await show_second_factor(connection, hasher, bank_id, invitation)
        assert await self.factor() == shown

    async def factor(self) -> str:
        bank_id = self.desk.bank_id
        async with self.desk.at() as connection:
            sealed = (await get_invitation(connection, bank_id, self.invitation)).sealed_secret
        assert sealed
        place = place_of(bank_id, self.person, "second factor")
        return hasher_of(self.desk).seal.open(sealed, place).decode()

    async def check(self, factor: str) -> None:
        """All of them are what they were, for a service that reads the file now."""
        hasher, bank_id = hasher_of(self.desk), self.desk.bank_id
        async with self.desk.at() as connection:
            rows = await connection.fetch(
                "SELECT kind::text AS place, sealed_hash FROM login_secret WHERE bank_id = $1 "
                "UNION ALL SELECT code_id::text, sealed_hash FROM one_time_code "
                "WHERE bank_id = $1",
                bank_id,
            )
            numbered = await connection.fetch(
                "SELECT sealed_secret FROM staff_login WHERE bank_id = $1", bank_id
            )
        secrets = {"pin": PIN, "password": "password", str(self.code.code_id): self.code.code}
        assert {row["place"] for row in rows} == {*secrets, "new_password"}
        for row in rows:
            name = row["place"].removeprefix("new_")
            place = place_of(bank_id, self.person, name)
            assert await hasher.fits(row["sealed_hash"], secrets[name], place)
        assert len(numbered) == 2
        for row in numbered:
            assert hasher.seal.open(row[0], place_of(bank_id, self.person, "second factor"))
        assert await self.factor() == factor


async def test_a_rotation_seals_every_column_anew_before_the_old_key_goes(own_desk: Desk) -> None:
    made = await Secrets.make(own_desk)
    factor = await made.factor()
    for _ in range(2):
        done = await rotate(own_desk)
        assert (done.persons, done.sealed, done.forgotten) == (1, 9, 1)
        await made.check(factor)


async def test_secrets_alone_make_a_bank_known_to_the_rotation(own_desk: Desk) -> None:
    """Nobody is in its vault: only staff log in, as on the first day."""
    desk = own_desk
    kept = await keep_pin(hasher_of(desk), desk.bank_id, desk.clerk, PIN)
    async with desk.at() as connection:
        await set_pin(connection, desk.bank_id, desk.clerk, kept, None, set_by=desk.clerk)
    assert (await rotate(desk)).sealed == 1


async def test_what_was_sealed_before_a_rotation_is_not_stored_after_it(own_desk: Desk) -> None:
    desk = own_desk
    await Secrets.make(desk)
    late = await keep_pin(hasher_of(desk), desk.bank_id, desk.checker, PIN)
    await rotate(desk)
    with pytest.raises(OverloadedError):
        async with desk.at() as connection:
            await set_pin(connection, desk.bank_id, desk.checker, late, None, set_by=desk.checker)


async def test_a_write_under_way_is_waited_for(own_desk: Desk) -> None:
    """Its key stays in the file until it is committed, and what it wrote is sealed anew."""
    desk = own_desk
    await Secrets.make(desk)
    late = await keep_pin(hasher_of(desk), desk.bank_id, desk.checker, PIN)
    async with desk.at() as connection:
        await set_pin(connection, desk.bank_id, desk.checker, late, None, set_by=desk.checker)
        rotation = asyncio.create_task(rotate(desk))
        await asyncio.sleep(0.3)
        assert not rotation.done()
    done = await rotation
    assert (done.sealed, done.forgotten) == (10, 1)
    kept = await desk.book.pool.fetchval(
        "SELECT sealed_hash FROM login_secret WHERE party_id = $1", desk.checker
    )
    assert await hasher_of(desk).fits(kept, PIN, place_of(desk.bank_id, desk.checker, "pin"))


async def test_a_key_put_first_by_hand_seals_before_it_is_adopted(own_desk: Desk) -> None:
    desk = own_desk
    made = await Secrets.make(desk)
    add_key(desk.ring.path)
    factor = await made.factor()  # nothing was written yet
    kept = await keep_pin(hasher_of(desk), desk.bank_id, made.person, PIN)
    async with desk.at() as connection:
        await set_pin(connection, desk.bank_id, made.person, kept, None, set_by=made.person)
    assert (await rotate(desk)).sealed == 8  # the PIN has the new key already
    await made.check(factor)


async def test_values_under_a_lost_key_stop_the_rotation(own_desk: Desk) -> None:
    desk = own_desk
    await Secrets.make(desk)
    keep = desk.ring.first.key_id
    add_key(desk.ring.path)
    desk.ring.reload()
    keep_keys(desk.ring.path, {desk.ring.first.key_id})
    assert desk.ring.first.key_id != keep
    with pytest.raises(VaultKeyMissingError):
        await rotate(desk)


async def test_nothing_is_stored_under_no_key_at_all(own_desk: Desk) -> None:
    desk = own_desk
    for sealed in (b"", b"\x00" * 7, b"argon2"):
        with pytest.raises(OverloadedError):
            async with desk.at() as connection:
                await set_pin(connection, desk.bank_id, desk.clerk, sealed, None, set_by=desk.clerk)


async def test_the_app_cannot_put_a_value_in_place_of_a_sealed_one(own_desk: Desk) -> None:
    """`reseal` takes what is under the key it is told, and of known columns only."""
    desk = own_desk
    await Secrets.make(desk)
    pool = desk.book.pool
    rows = await pool.fetch("SELECT ctid::text, sealed_hash FROM login_secret")
    for table, column in (("login_secret", "sealed_hash"), ("bank", "name")):
        await pool.execute(
            "SELECT reseal($1, $2, $3, $4, $5, $6)",
            desk.bank_id,
            desk.ring.first.key_id,
            [table],
            [column],
            [rows[0]["ctid"]],
            [b"something else"],
        )
    assert await pool.fetch("SELECT ctid::text, sealed_hash FROM login_secret") == rows
    other = MasterKey(secrets.token_bytes(32))
    for key in (desk.ring.first, other):  # in force already, and not in force at all
        await pool.execute(
            "SELECT reseal($1, $2, $3, $4, $5, $6)",
            desk.bank_id,
            key.key_id,
            ["login_secret"],
            ["sealed_hash"],
            [rows[0]["ctid"]],
            [close_with(key, b"something else", "there")],
        )
    assert await pool.fetch("SELECT ctid::text, sealed_hash FROM login_secret") == rows
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await pool.execute("SELECT make_sealed('bank', 'name', '')")
