"""A new master key: everybody readable and found before, during and after, whatever interrupts."""

import asyncio
from typing import Any

import pytest

from tests.guards.test_append_only import login
from tests.people.desk import Desk, person
from timebank.domain.errors import AlreadyRegisteredError, VaultKeyMissingError
from timebank.domain.personal import PersonalData
from timebank.embedded import Server
from timebank.people import vault_rotation
from timebank.people.vault import Purpose, erase_person, find_persons, freeze_person
from timebank.people.vault_keys import KeyRing, MasterKey, add_key, read_key_file
from timebank.people.vault_rotation import Rotated, rotate_keys


async def rotate(desk: Desk, **options: Any) -> Rotated:
    return await rotate_keys(
        desk.book.pool, desk.ring, reader_id=desk.clerk, request_id="rotation", **options
    )


async def states(server: Server, database: str) -> dict[str, str]:
    async with login(server, database) as superuser:
        return dict(list(await superuser.fetch("SELECT key_id, state FROM vault.master_key")))


async def check_all(desk: Desk, known: dict[Any, PersonalData]) -> None:
    """Everybody is read, found, and refused a second time."""
    pool, ring = desk.book.pool, desk.ring
    for person_id, data in known.items():
        assert await desk.read(person_id, Purpose.LEGAL_DUTY) == data
        for asked in (PersonalData(phone=data.phone), PersonalData(name=data.name)):
            found = await find_persons(pool, ring, desk.access(Purpose.REGISTRATION), asked)
            assert person_id in found
    with pytest.raises(AlreadyRegisteredError):
        await desk.person(next(iter(known.values())))


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vault_rotation, "BATCH", 2)


@pytest.mark.usefixtures("small_batches")
async def test_everybody_is_readable_under_the_new_key_alone(
    server: Server, own_database: str, own_desk: Desk
) -> None:
    desk = own_desk
    known = {await desk.person(data): data for data in (person() for _ in range(5))}
    erased, frozen = await desk.person(), next(iter(known))
    async with desk.at() as connection:
        await erase_person(connection, desk.access(Purpose.SUBJECT_ACCESS), erased)
        await freeze_person(connection, desk.access(Purpose.LEGAL_DUTY), frozen)
    old = desk.ring.first.key_id
    told: list[tuple[int, int]] = []
    done = await rotate(desk, progress=lambda *progress: told.append(progress))
    assert (done.persons, done.banks, done.forgotten) == (5, 1, 0)
    assert told == [(0, 5), (2, 5), (4, 5), (5, 5)]
    assert desk.ring.first.key_id == done.key_id != old
    assert await states(server, own_database) == {old: "retired", done.key_id: "current"}
    desk.ring.path.write_text(  # the old key is not needed any more
        "\n".join(desk.ring.path.read_text("ascii").splitlines()[:2])
    )
    assert [MasterKey(key).key_id for key in read_key_file(desk.ring.path)] == [done.key_id]
    desk.ring.reload()
    await check_all(desk, known)
    async with login(server, own_database) as superuser:
        rows = await superuser.fetch("SELECT DISTINCT key_id FROM vault.blind_index")
        assert [row[0] for row in rows] == [done.key_id]


async def test_the_old_key_may_be_forgotten_at_once(own_desk: Desk) -> None:
    desk, data = own_desk, person()
    known = {await desk.person(data): data}
    assert (await rotate(desk, forget=True)).forgotten == 1
    assert len(read_key_file(desk.ring.path)) == 1
    await check_all(desk, known)


@pytest.mark.usefixtures("small_batches")
async def test_what_was_interrupted_goes_on(
    server: Server, own_database: str, own_desk: Desk
) -> None:
    desk = own_desk
    known = {await desk.person(data): data for data in (person() for _ in range(5))}

    class CutError(Exception):
        pass

    def interrupt(done: int, total: int) -> None:
        if done == 2:
            raise CutError

    with pytest.raises(CutError):
        await rotate(desk, progress=interrupt)
    half = await states(server, own_database)
    assert sorted(half.values()) == ["current", "retiring"]
    await check_all(desk, known)
    for _ in range(2):  # while it stands half done people go on being registered
        data = person()
        known[await desk.person(data)] = data
    with pytest.raises(AlreadyRegisteredError):
        await desk.person(data)
    done = await rotate(desk)
    assert (done.persons, half[done.key_id]) == (3, "current")
    assert len(read_key_file(desk.ring.path)) == 2
    await check_all(desk, known)


async def test_a_key_that_the_operator_put_first_is_adopted(own_desk: Desk) -> None:
    desk, data = own_desk, person()
    known = {await desk.person(data): data}
    add_key(desk.ring.path)
    desk.ring.path.chmod(0o400)
    expected = MasterKey(read_key_file(desk.ring.path)[0]).key_id
    assert (await rotate(desk)).key_id == expected
    assert len(read_key_file(desk.ring.path)) == 2
    await check_all(desk, known)


async def test_another_process_follows_without_a_restart(own_desk: Desk) -> None:
    """A service that read the file before: it seals with the new key, and finds under it."""
    desk, data = own_desk, person()
    known = {await desk.person(data): data}
    service = Desk(desk.book, KeyRing(desk.ring.path))
    await rotate(desk, forget=True)
    new = person()
    known[await service.person(new)] = new
    await check_all(service, known)
    await check_all(desk, known)


async def test_people_are_registered_all_the_while(own_desk: Desk) -> None:
    desk = own_desk
    known = {await desk.person(data): data for data in (person() for _ in range(3))}

    async def register() -> None:
        for _ in range(10):
            data = person()
            known[await desk.person(data)] = data

    await asyncio.gather(register(), rotate(desk), register())
    await rotate(desk, forget=True)
    assert len(known) == 23
    await check_all(desk, known)


async def test_a_bank_that_is_new_meanwhile_uses_the_files_first_key(own_desk: Desk) -> None:
    """Its first use looks into the file again: the key in memory may be on its way out."""
    desk = own_desk
    await desk.person()
    late = KeyRing(desk.ring.path)
    await rotate(desk, forget=True)
    other = await Desk.open(await type(desk.book).open(desk.book.pool), desk.ring.path.parent)
    service = Desk(other.book, late)
    data = person()
    assert await other.read(await service.person(data)) == data


async def test_without_the_old_key_nothing_is_changed(
    server: Server, own_database: str, own_desk: Desk
) -> None:
    desk = own_desk
    await desk.person()
    lines = desk.ring.path.read_text("ascii")
    desk.ring.path.unlink()
    other = await Desk.open(await type(desk.book).open(desk.book.pool), desk.ring.path.parent)
    before = await states(server, own_database)
    with pytest.raises(VaultKeyMissingError):
        await rotate(other)
    assert await states(server, own_database) == before
    desk.ring.path.write_text(lines + desk.ring.path.read_text("ascii"), "ascii")
    await rotate(desk)
    assert await desk.person()


async def test_an_empty_vault_is_rotated_too(own_desk: Desk) -> None:
    assert (await rotate(own_desk)).persons == 0
    person_id = await own_desk.person()
    assert await own_desk.read(person_id)
