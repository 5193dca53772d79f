"""The rules of the tree, which the database keeps whoever writes."""

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from tests.book import Book
from tests.places import open_branch, place
from timebank.db import Connection, transaction
from timebank.domain.branches import LEVELS, POINTS_OF_LEVEL, BranchLevel, ServicePointKind
from timebank.domain.errors import (
    AlreadyThereError,
    BranchClosedError,
    BranchCodeTakenError,
    BranchLevelError,
    BranchNotEmptyError,
    BranchNotFoundError,
    CommunityTypeError,
    NotFoundError,
    ServicePointExistsError,
    ServicePointLevelError,
    TimebankError,
)
from timebank.domain.ledger import AccountKind
from timebank.ledger.ids import new_id
from timebank.people import branches
from timebank.people.parties import PartyKind, place_party, register_parties

Work = Callable[[Connection], Awaitable[Any]]


async def refusal(book: Book, work: Work) -> type[TimebankError] | None:
    """Return how the work is refused, or None; either way it is done in a transaction."""
    try:
        async with transaction(book.pool) as connection:
            await work(connection)
    except TimebankError as error:
        return type(error)
    return None


async def branch_of_each_level(book: Book) -> list[UUID]:
    """Open a line of branches; return them from the root down."""
    line = [book.bank.root_id]
    for _ in LEVELS[1:]:
        line.append(await open_branch(book, line[-1]))
    return line


async def person_on(book: Book, branch_id: UUID | None = None) -> UUID:
    person = new_id()
    async with book.pool.acquire() as connection:
        await register_parties(connection, book.bank_id, PartyKind.PERSON, [person])
    if branch_id:
        await place(book, person, branch_id)
    return person


async def parent_of(book: Book, branch_id: UUID) -> UUID | None:
    async with book.pool.acquire() as connection:
        return (await branches.get_branch(connection, book.bank_id, branch_id)).parent_id


def opening(book: Book, parent_id: UUID, code: str = "new", **rest: Any) -> Work:
    return lambda c: branches.open_branch(
        c, book.bank_id, parent_id, code=code, name="新机构", **rest
    )


def moving(book: Book, branch_id: UUID, parent_id: UUID) -> Work:
    return lambda c: branches.move_branch(c, book.bank_id, branch_id, parent_id)


def closing(book: Book, branch_id: UUID) -> Work:
    return lambda c: branches.close_branch(c, book.bank_id, branch_id)


def placing(book: Book, party_id: UUID, branch_id: UUID) -> Work:
    return lambda c: place_party(c, book.bank_id, party_id, branch_id)


async def test_a_branch_is_of_the_level_below_its_parent(book: Book) -> None:
    line = await branch_of_each_level(book)
    async with book.pool.acquire() as connection:
        listed = await branches.list_branches(connection, book.bank_id)
    assert [(one.branch_id, one.level) for one in listed] == list(zip(line, LEVELS, strict=True))
    assert [one.parent_id for one in listed] == [None, *line[:-1]]
    assert await refusal(book, opening(book, line[-1])) is BranchLevelError
    assert await refusal(book, opening(book, new_id())) is BranchNotFoundError


async def test_a_branch_hangs_on_the_level_above_wherever_it_moves(book: Book) -> None:
    line, other = await branch_of_each_level(book), await branch_of_each_level(book)
    for n, branch in enumerate(line):
        for m, parent in enumerate(other):
            if n and m == n - 1:
                continue
            assert await refusal(book, moving(book, branch, parent)) is BranchLevelError
    for branch, parent in zip(line[2:], other[1:], strict=False):
        assert await refusal(book, moving(book, branch, parent)) is None
        assert await parent_of(book, branch) == parent
        assert await refusal(book, moving(book, branch, parent)) is AlreadyThereError
    assert await refusal(book, moving(book, new_id(), other[1])) is BranchNotFoundError
    assert await refusal(book, moving(book, line[2], new_id())) is BranchNotFoundError


async def test_no_branch_hangs_on_a_branch_of_another_bank(book: Book) -> None:
    elsewhere = await Book.open(book.pool)
    line, foreign = await branch_of_each_level(book), await branch_of_each_level(elsewhere)
    assert await refusal(book, opening(book, foreign[1])) is BranchNotFoundError
    assert await refusal(book, moving(book, line[2], foreign[1])) is BranchNotFoundError
    person = await person_on(book)
    assert await refusal(book, placing(book, person, foreign[1])) is BranchNotFoundError


async def test_a_code_is_of_one_branch_for_ever(book: Book) -> None:
    first = await open_branch(book, code="s1")
    assert await refusal(book, opening(book, book.bank.root_id, "s1")) is BranchCodeTakenError
    assert await refusal(book, closing(book, first)) is None
    assert await refusal(book, opening(book, book.bank.root_id, "s1")) is BranchCodeTakenError
    assert await refusal(book, opening(book, book.bank.root_id, "S1")) is None


async def test_only_communities_have_a_type_that_the_bank_knows(book: Book) -> None:
    root = book.bank.root_id
    subdistrict = await open_branch(book)
    assert await refusal(book, opening(book, subdistrict, community_type="a")) is CommunityTypeError
    async with book.pool.acquire() as connection:
        await branches.define_community_type(connection, book.bank_id, "a", "甲类")
    assert await refusal(book, opening(book, subdistrict, community_type="a")) is None
    assert await refusal(book, opening(book, root, "s2", community_type="a")) is CommunityTypeError


async def test_a_branch_is_closed_when_nothing_hangs_on_it(book: Book) -> None:
    _, subdistrict, community, compound = await branch_of_each_level(book)
    person = await person_on(book, compound)
    pool = await book.open_account(AccountKind.POOL, balance=5, owner_id=community)
    async with book.pool.acquire() as connection:
        point = await branches.open_service_point(
            connection, book.bank_id, subdistrict, ServicePointKind.CENTRE, "中心"
        )
    for branch in (book.bank.root_id, subdistrict, community, compound):
        assert await refusal(book, closing(book, branch)) is BranchNotEmptyError
    await place(book, person, subdistrict)
    assert await refusal(book, closing(book, compound)) is None
    assert await refusal(book, closing(book, community)) is BranchNotEmptyError  # its pool
    await book.post_all(book.transfer(pool, await book.open_account(), 5))
    assert await refusal(book, closing(book, community)) is None
    await place(book, person, book.bank.root_id)
    assert await refusal(book, closing(book, subdistrict)) is BranchNotEmptyError  # its centre
    async with book.pool.acquire() as connection:
        await branches.close_service_point(connection, book.bank_id, point)
    assert await refusal(book, closing(book, subdistrict)) is None
    assert await refusal(book, closing(book, book.bank.root_id)) is BranchNotEmptyError


async def test_nothing_new_hangs_on_a_closed_branch(book: Book) -> None:
    _, subdistrict, community, compound = await branch_of_each_level(book)
    other = await open_branch(book, subdistrict)
    person = await person_on(book)
    for branch in (compound, community):
        assert await refusal(book, closing(book, branch)) is None
    for work in (
        opening(book, community),
        moving(book, community, await open_branch(book)),
        moving(book, await open_branch(book, other), community),
        closing(book, community),
        placing(book, person, community),
        lambda c: branches.open_service_point(
            c, book.bank_id, community, ServicePointKind.STATION, "站"
        ),
        lambda c: branches.describe_branch(
            c, book.bank_id, community, name="新名", community_type=None
        ),
    ):
        assert await refusal(book, work) is BranchClosedError
    assert await parent_of(book, community) == subdistrict


@pytest.mark.parametrize("kind", ServicePointKind)
async def test_a_service_point_stands_on_its_own_level(book: Book, kind: ServicePointKind) -> None:
    for level, branch in zip(BranchLevel, await branch_of_each_level(book), strict=True):

        def work(connection: Connection, branch: UUID = branch) -> Awaitable[UUID]:
            return branches.open_service_point(connection, book.bank_id, branch, kind, "服务点")

        stands = POINTS_OF_LEVEL.get(level) is kind
        assert await refusal(book, work) is (None if stands else ServicePointLevelError)
        if stands:
            assert await refusal(book, work) is ServicePointExistsError


async def test_a_community_has_one_station_at_a_time(book: Book) -> None:
    _, subdistrict, community, _ = await branch_of_each_level(book)

    def opening_point(branch: UUID, kind: ServicePointKind, name: str) -> Work:
        return lambda c: branches.open_service_point(c, book.bank_id, branch, kind, name)

    station, centre = ServicePointKind.STATION, ServicePointKind.CENTRE
    assert await refusal(book, opening_point(community, station, "一")) is None
    assert await refusal(book, opening_point(community, station, "二")) is ServicePointExistsError
    async with book.pool.acquire() as connection:
        [point] = await branches.list_service_points(connection, book.bank_id, community)
        await branches.close_service_point(connection, book.bank_id, point.service_point_id)
        with pytest.raises(NotFoundError):
            await branches.close_service_point(connection, book.bank_id, point.service_point_id)
    assert await refusal(book, opening_point(community, station, "二")) is None
    for name in ("一", "二"):
        assert await refusal(book, opening_point(subdistrict, centre, name)) is None


async def test_who_is_placed_is_known_and_moves(book: Book) -> None:
    first, second = await open_branch(book), await open_branch(book)
    person = await person_on(book)
    async with transaction(book.pool) as connection:
        places = [
            await place_party(connection, book.bank_id, person, branch)
            for branch in (first, second, first)
        ]
    assert places == [book.bank.root_id, first, second]
    assert await refusal(book, placing(book, person, first)) is AlreadyThereError
    assert await refusal(book, placing(book, person, new_id())) is BranchNotFoundError
    for unknown in (new_id(), second):  # a branch is moved, not placed
        assert await refusal(book, placing(book, unknown, first)) is NotFoundError


@pytest.mark.parametrize("table", ["branch", "branch_move", "placement", "service_point"])
async def test_places_are_written_by_functions_only(book: Book, table: str) -> None:
    for statement in (f"INSERT INTO {table} DEFAULT VALUES", f"UPDATE {table} SET bank_id = 0"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await book.pool.execute(statement)
