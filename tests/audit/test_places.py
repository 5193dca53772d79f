"""What a superuser changes in the tree is found, and the finding names the row."""

import secrets
from collections.abc import AsyncIterator
from typing import NamedTuple
from uuid import UUID

import asyncpg
import pytest

from tests.audit.test_tampering import audit
from tests.book import Book
from tests.places import open_branch, place
from timebank.db import install_schema, open_pool
from timebank.domain.branches import ServicePointKind
from timebank.embedded import Server
from timebank.ledger.ids import new_id
from timebank.people.branches import define_community_type, describe_branch, open_service_point
from timebank.people.parties import PartyKind, register_parties

PLACES = ("branch_move", "placement")
GUARDS_OFF = "".join(f"ALTER TABLE {table} DISABLE TRIGGER ALL;" for table in PLACES)
GUARDS_ON = "".join(
    f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {table}_is_append_only;" for table in PLACES
)


class Town(NamedTuple):
    """The ids that tests name: a branch of each level, and a person with points on the last."""

    root: UUID
    subdistrict: UUID
    community: UUID
    compound: UUID
    person: UUID
    point: UUID


@pytest.fixture(scope="module")
async def town(server: Server) -> AsyncIterator[tuple[str, Town]]:
    """A database with a small tree, for tests that change nothing for good."""
    name = f"town_{secrets.token_hex(6)}"
    admin = await asyncpg.connect(server.dsn())
    await admin.execute(f"CREATE DATABASE {name}")
    fresh = await asyncpg.connect(server.dsn(name))
    await install_schema(fresh)
    await fresh.close()
    async with open_pool(server.dsn(name, "timebank_app")) as pool:
        yield name, await _settle(await Book.open(pool))
    await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await admin.close()


async def _settle(book: Book) -> Town:
    branches = [book.bank.root_id]
    for _ in range(3):
        branches.append(await open_branch(book, branches[-1]))
    person = new_id()
    async with book.pool.acquire() as connection:
        await register_parties(connection, book.bank_id, PartyKind.PERSON, [person])
        await define_community_type(connection, book.bank_id, "a", "甲类")
        await describe_branch(
            connection, book.bank_id, branches[2], name="社区", community_type="a"
        )
        point = await open_service_point(
            connection, book.bank_id, branches[2], ServicePointKind.STATION, "服务站"
        )
    await place(book, person, branches[2])
    await place(book, person, branches[3])
    await book.open_account(owner_id=person, balance=25)
    return Town(*branches, person, point)


async def test_a_lawful_tree_is_found_in_order(server: Server, town: tuple[str, Town]) -> None:
    report = await audit(server, town[0], [GUARDS_OFF, GUARDS_ON])
    assert report.findings == []


MOVE = "UPDATE branch_move SET {} WHERE branch_id = '{{t.{}}}'"
BRANCH = "UPDATE branch SET {} WHERE branch_id = '{{t.{}}}'"
PLACEMENT = "UPDATE placement SET {} WHERE branch_id = '{{t.compound}}'"

CHANGES = {
    "a cycle": (MOVE.format("parent_id = '{t.compound}'", "subdistrict"), "{t.subdistrict}"),
    "a cycle, in what it holds": (
        MOVE.format("parent_id = '{t.compound}'", "subdistrict"),
        "branch {t.compound}",
    ),
    "a branch on itself": (MOVE.format("parent_id = branch_id", "community"), "{t.community}"),
    "a level left out": (MOVE.format("parent_id = '{t.root}'", "community"), "{t.community}"),
    "a parent that is none": (
        MOVE.format("parent_id = gen_random_uuid()", "community"),
        "{t.community}",
    ),
    "a second top": (MOVE.format("parent_id = NULL", "community"), "{t.community}"),
    "a root on something": (MOVE.format("parent_id = '{t.compound}'", "root"), "{t.root}"),
    "hung before its parent was": (
        MOVE.format("moved_at = moved_at - interval '1 hour'", "compound"),
        "{t.compound}",
    ),
    "a move gone": ("DELETE FROM branch_move WHERE branch_id = '{t.community}'", "{t.community}"),
    "a branch gone": ("DELETE FROM branch WHERE branch_id = '{t.compound}'", "{t.compound}"),
    "another level": (BRANCH.format("level = 'community'", "compound"), "{t.compound}"),
    "a second district": (
        "DROP INDEX branch_one_root;" + BRANCH.format("level = 'district'", "subdistrict"),
        "bank ",
    ),
    "another root": ("UPDATE bank SET root_id = '{t.compound}'", "bank "),
    "a root that is none": ("UPDATE bank SET root_id = gen_random_uuid()", "bank "),
    "a type that is none": (BRANCH.format("community_type = 'z'", "community"), "{t.community}"),
    "a place that is none": (PLACEMENT.format("branch_id = gen_random_uuid()"), "{t.person}"),
    "placed before the branch was": (
        PLACEMENT.format("placed_at = placed_at - interval '1 hour'"),
        "{t.person}",
    ),
    "a party that is none": ("DELETE FROM party WHERE party_id = '{t.person}'", "{t.person}"),
    "a branch that was placed": (PLACEMENT.format("party_id = '{t.community}'"), "{t.community}"),
    "a service point of another level": (
        "UPDATE service_point SET kind = 'centre'",
        "service point {t.point}",
    ),
    "two stations": (
        "DROP INDEX service_point_one_station; INSERT INTO service_point SELECT bank_id,"
        " gen_random_uuid(), branch_id, kind, 'another' FROM service_point",
        "service point {t.point}",
    ),
}


@pytest.mark.parametrize(("sql", "row"), CHANGES.values(), ids=CHANGES.keys())
async def test_a_changed_place_is_found_and_named(
    server: Server, town: tuple[str, Town], sql: str, row: str
) -> None:
    database, ids = town
    report = await audit(server, database, [GUARDS_OFF, sql.format(t=ids), GUARDS_ON])
    assert [
        finding
        for finding in report.findings
        if finding.invariant == 30 and row.format(t=ids) in finding.row
    ], report.findings


GUARDS = {
    "trigger left disabled": (
        "ALTER TABLE placement DISABLE TRIGGER placement_is_append_only",
        "trigger placement_is_append_only",
    ),
    "trigger gone": (
        "DROP TRIGGER branch_move_is_append_only ON branch_move",
        "trigger branch_move_is_append_only",
    ),
    "right to place by hand": ("GRANT INSERT ON placement TO timebank_app", "role timebank_app"),
}


@pytest.mark.parametrize(("sql", "row"), GUARDS.values(), ids=GUARDS.keys())
async def test_a_guard_of_places_out_of_force_is_found(
    server: Server, town: tuple[str, Town], sql: str, row: str
) -> None:
    report = await audit(server, town[0], [sql])
    assert {(finding.invariant, finding.row) for finding in report.findings} == {(17, row)}
