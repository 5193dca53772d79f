"""Erased is erased: a dump of the whole database, and PostgreSQL's own log, tell nothing."""

import asyncio
import base64
import subprocess
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.guards.test_append_only import login
from tests.people.desk import Desk, person
from tests.people.test_kin import child_of
from tests.races.checks import hold_up
from timebank.audit.reconcile import reconcile
from timebank.audit.snapshot import open_snapshot
from timebank.cluster import find_binaries
from timebank.domain.errors import PersonErasedError, TimebankError
from timebank.domain.ledger import AccountKind
from timebank.domain.personal import IdDocument, PersonalData
from timebank.embedded import Server
from timebank.ledger.ids import new_id
from timebank.people.access import Role
from timebank.people.cards import find_card_holder, issue_card
from timebank.people.grants import grant_role, list_grants
from timebank.people.kin import claim_minors
from timebank.people.login.enrolments import invite
from timebank.people.parties import PartyKind, is_party
from timebank.people.registration import (
    MembershipState,
    apply_for_membership,
    get_membership,
    local_today,
)
from timebank.people.residents import ensure_residents
from timebank.people.seals import Seals
from timebank.people.sessions import find_principals, hash_token, open_session
from timebank.people.vault import (
    Outcome,
    Purpose,
    add_persons,
    correct_person,
    erase_person,
    find_persons,
    freeze_person,
    list_accesses,
)
from timebank.people.vault_keys import MasterKey


def canaries(data: PersonalData) -> list[bytes]:
    """What would betray a person, in each form in which it may stand in a text or a dump."""
    document = data.id_document
    assert isinstance(document, IdDocument)
    texts = [str(data.name), str(data.phone), document.number, str(data.address)]
    texts += [str(data.born_on), f"{data.born_on:%Y%m%d}"]
    return [form for text in texts for form in spellings(text.encode())]


def spellings(raw: bytes) -> Iterator[bytes]:
    yield raw
    yield raw.hex().encode()
    yield base64.b64encode(raw)
    yield ascii(raw.decode("utf-8", "replace"))[1:-1].encode()


def dump(server: Server, database: str) -> bytes:
    """The whole database as pg_dump writes it, large objects and all."""
    program = find_binaries() / "pg_dump"
    made = subprocess.run(
        [program, "--dbname", server.dsn(database)], capture_output=True, check=True
    )
    return made.stdout


async def everything(connection: asyncpg.Connection) -> bytes:
    """Every row of every table as text: what is left when there is no pg_dump."""
    tables = await connection.fetch(
        "SELECT oid::regclass::text FROM pg_class WHERE relkind = 'r' "
        "AND relnamespace IN ('timebank'::regnamespace, 'vault'::regnamespace)"
    )
    rows = [await connection.fetch(f"SELECT t::text FROM {table} t") for (table,) in tables]
    return "\n".join(row[0] for part in rows for row in part).encode()


def found_in(haystack: bytes, needles: Sequence[bytes]) -> list[bytes]:
    return [needle for needle in needles if needle in haystack]


async def sealed_of(connection: asyncpg.Connection, person_id: Any) -> list[asyncpg.Record]:
    return list(
        await connection.fetch(
            """
            SELECT wrapped_key AS bytes, 'wrapped_key' AS kind FROM vault.person
            WHERE person_id = $1
            UNION ALL SELECT sealed, 'sealed' FROM vault.field WHERE person_id = $1
            UNION ALL SELECT digest, 'digest' FROM vault.blind_index WHERE person_id = $1
            """,
            person_id,
        )
    )


async def test_after_erasure_a_dump_of_the_database_tells_nothing(
    server: Server, own_database: str, own_desk: Desk
) -> None:
    desk, data, other = own_desk, person(), person()
    resident_id = await desk.member(data)
    kept_id = await desk.member(other)
    async with desk.at() as connection:
        await issue_card(connection, desk.bank_id, resident_id, issued_by=desk.clerk)
        moved = PersonalData(phone="13811112222")
        await correct_person(connection, desk.ring, desk.access(), resident_id, moved)
    wallet = await desk.book.open_account(AccountKind.WALLET, balance=30, owner_id=resident_id)
    await desk.read(resident_id)
    async with login(server, own_database) as superuser:
        before = await sealed_of(superuser, resident_id)
        kept = await sealed_of(superuser, kept_id)
        assert len(before) == 1 + 5 + 3

        async with desk.at() as connection:
            await erase_person(connection, desk.access(Purpose.SUBJECT_ACCESS), resident_id)

        dumped = dump(server, own_database) + await everything(superuser)
        assert await sealed_of(superuser, resident_id) == [(None, "wrapped_key")]
    assert found_in(dumped, [*canaries(data), *spellings(b"13811112222")]) == []
    for row in before:  # neither what was sealed nor the key to it, for whoever has the master key
        assert found_in(dumped, [row["bytes"], row["bytes"].hex().encode()]) == []
    assert found_in(dumped, canaries(other)) == []
    assert all(
        row["bytes"].hex().encode() in dumped for row in kept
    )  # the search finds what is there
    assert str(resident_id).encode() in dumped
    assert await desk.book.balance(wallet) == 30
    assert await desk.read(kept_id) == other


async def test_a_copy_of_what_was_sealed_does_not_open_without_the_destroyed_key(
    server: Server, own_database: str, own_desk: Desk
) -> None:
    """With every key that is left: the master key and the data keys of everybody else."""
    desk = own_desk
    person_id, other_id = await desk.person(), await desk.person()
    async with login(server, own_database) as superuser:
        copy = [r["bytes"] for r in await sealed_of(superuser, person_id) if r["kind"] == "sealed"]
        async with desk.at() as connection:
            await erase_person(connection, desk.access(Purpose.SUBJECT_ACCESS), person_id)
        left = await superuser.fetch(
            "SELECT person_id, wrapped_key FROM vault.person WHERE wrapped_key IS NOT NULL"
        )
    assert [row["person_id"] for row in left] == [other_id]
    first: MasterKey = desk.ring.first
    keys = [first.unwrap(row["wrapped_key"], desk.bank_id, row["person_id"]) for row in left]
    for sealed in copy:
        for field in ("name", "phone", "id_document", "born_on", "address"):
            for key in keys:
                binding = f"timebank field|{desk.bank_id}|{person_id}|{field}|1".encode()
                with pytest.raises(InvalidTag):
                    AESGCM(key).decrypt(sealed[:12], sealed[12:], binding)


async def test_the_books_still_reconcile(server: Server, own_database: str, own_desk: Desk) -> None:
    desk = own_desk
    resident_id = await desk.member()
    wallet = await desk.book.open_account(AccountKind.WALLET, balance=70, owner_id=resident_id)
    async with desk.at() as connection:
        await erase_person(connection, desk.access(Purpose.SUBJECT_ACCESS), resident_id)
    await desk.book.post_all(desk.book.award(wallet, 5))  # what was earned may still be recorded
    async with open_snapshot(desk.book.pool) as snapshot:
        report = await reconcile(snapshot)
    assert (report.ok, report.accounts) == (True, 3)


async def test_an_erased_person_is_none_any_more(desk: Desk) -> None:
    data = person()
    resident_id = await desk.member(data)
    async with desk.at() as connection:
        card = await issue_card(connection, desk.bank_id, resident_id, issued_by=desk.clerk)
        token = await open_session(connection, desk.bank_id, resident_id, Role.RESIDENT)
        await grant_role(
            connection, desk.bank_id, resident_id, Role.COORDINATOR, None,
            granted_by=desk.clerk, approved_by=desk.checker,
        )  # fmt: skip
        await invite(connection, desk.bank_id, resident_id, desk.clerk)
        await connection.execute(
            "SELECT set_secret($1, $2, 'password', $3, $2)",
            desk.bank_id,
            resident_id,
            Seals(desk.ring).close(b"hash", "there"),
        )
        await erase_person(connection, desk.access(Purpose.SUBJECT_ACCESS), resident_id)
    async with desk.at() as connection:
        assert await find_card_holder(connection, card) is None
        assert await list_grants(connection, desk.bank_id, resident_id) == []
        for table in ("login_secret", "one_time_code", "enrolment", "staff_login"):
            count = f"SELECT count(*) FROM {table} WHERE party_id = $1"
            assert await connection.fetchval(count, resident_id) == 0
        assert await find_principals(connection, [hash_token(token)]) == [None]
        assert not await is_party(connection, desk.bank_id, resident_id, PartyKind.PERSON)
        membership = await get_membership(connection, desk.bank_id, resident_id)
        assert membership.state is MembershipState.LEFT
    found = await find_persons(desk.book.pool, desk.ring, desk.access(Purpose.REGISTRATION), data)
    assert found == {}
    for act in (desk.read(resident_id), desk.read(resident_id, Purpose.LEGAL_DUTY)):
        with pytest.raises(PersonErasedError):
            await act
    for change in (freeze_person, erase_person):
        with pytest.raises(PersonErasedError):
            async with desk.at() as connection:
                await change(connection, desk.access(Purpose.LEGAL_DUTY), resident_id)
    async with desk.at() as connection:
        lines = await list_accesses(connection, desk.bank_id, resident_id)
    assert [(line.act, line.outcome) for line in lines][:3] == [
        ("register", Outcome.DONE),
        ("erase", Outcome.DONE),
        ("read", Outcome.ERASED),
    ]
    await desk.person(data)  # and may come back, as somebody new


async def test_an_erased_minor_is_none_that_anybody_looks_at(desk: Desk) -> None:
    guardian_id = await desk.person()
    minor_id = await child_of(desk, guardian_id)
    async with desk.at() as connection:
        await erase_person(connection, desk.access(Purpose.SUBJECT_ACCESS), minor_id)
    stored = "SELECT is_minor, minor_until, age_looked_on FROM resident WHERE resident_id = $1"
    assert tuple(await desk.book.pool.fetchrow(stored, minor_id)) == (False, None, None)
    async with desk.at() as connection:
        today = local_today(desk.book.bank)
        assert await claim_minors(connection, desk.bank_id, today + timedelta(days=1), 10) == []


APPLIED = (
    "INSERT INTO membership (bank_id, resident_id, state, actor_id) VALUES ($1, $2, 'applied', $3)"
)


async def test_who_was_erased_does_not_apply(desk: Desk) -> None:
    resident_id = await desk.member()
    async with desk.at() as connection:
        await erase_person(connection, desk.access(Purpose.SUBJECT_ACCESS), resident_id)
    with pytest.raises(asyncpg.CheckViolationError) as caught:
        await desk.book.pool.execute(APPLIED, desk.bank_id, resident_id, new_id())
    assert caught.value.constraint_name == "person_is_registered"


@pytest.mark.parametrize("applies_first", [True, False])
async def test_who_is_erased_while_they_apply_has_left(desk: Desk, applies_first: bool) -> None:
    """A guardian, who was no resident until then: there is no row of theirs to wait for."""
    person_id = await desk.person()

    async def apply(connection: Any) -> None:
        await apply_for_membership(connection, desk.bank_id, {person_id: None}, desk.clerk)

    async def erase(connection: Any) -> None:
        await erase_person(connection, desk.access(Purpose.SUBJECT_ACCESS), person_id)

    first, second = (apply, erase) if applies_first else (erase, apply)
    async with desk.book.pool.acquire() as holder, desk.book.pool.acquire() as other:
        async with holder.transaction():
            await first(holder)
            waiting = await hold_up(desk.book, other, second(other))
        [error] = await asyncio.gather(waiting, return_exceptions=True)
    state = "SELECT find_membership($1, $2)"
    assert await desk.book.pool.fetchval(state, desk.bank_id, person_id) == (
        "left" if applies_first else None
    )
    assert (error is None) is applies_first


async def test_a_pseudonym_loses_its_reference(desk: Desk) -> None:
    async with desk.at() as connection:
        known = await ensure_residents(connection, desk.bank_id, {"hash-7": person().born_on})
        resident_id = known["hash-7"]
        await add_persons(connection, desk.ring, desk.access(), {resident_id: person()})
        await erase_person(connection, desk.access(Purpose.SUBJECT_ACCESS), resident_id)
    query = "SELECT source_ref FROM resident WHERE bank_id = $1"
    assert [row[0] for row in await desk.book.pool.fetch(query, desk.bank_id)] == [None]


async def test_postgresql_logs_nothing_personal_even_when_it_logs_all(
    server: Server, own_database: str, own_desk: Desk
) -> None:
    """Statements with all their parameters, those of failed ones too."""
    async with login(server, own_database) as superuser:
        for setting in (
            "log_statement = 'all'",
            "log_min_duration_statement = 0",
            "log_parameter_max_length = -1",
            "log_parameter_max_length_on_error = -1",
            "log_error_verbosity = 'verbose'",
        ):
            await superuser.execute(f'ALTER DATABASE "{own_database}" SET {setting}')
    async with asyncpg.create_pool(
        server.dsn(own_database, "timebank_app"),
        min_size=1,
        server_settings={"search_path": "timebank"},
    ) as pool:
        desk = Desk(type(own_desk.book)(pool, own_desk.book.bank, {}), own_desk.ring)
        data, new = person(), person()
        resident_id = await desk.member(data)
        await desk.read(resident_id)
        for again in (data, new):
            await find_persons(pool, desk.ring, desk.access(), again)
        with pytest.raises(TimebankError):
            await desk.person(data)
        async with desk.at() as connection:
            await correct_person(connection, desk.ring, desk.access(), resident_id, new)
        async with desk.at() as connection:
            await erase_person(connection, desk.access(Purpose.SUBJECT_ACCESS), resident_id)
        marker = f"marker of {own_database}"
        await pool.fetchval("SELECT $1::text", marker)
    log = read_log(server)
    assert marker.encode() in log  # parameters are there to be read
    assert b"vault.add_persons" in log
    assert found_in(log, [*canaries(data), *canaries(new)]) == []


def read_log(server: Server) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(Path(server.data_dir, "log").iterdir()))
