"""Importing a tree: every faulty row by its line, all or nothing, and a repeat does nothing."""

import asyncio
from collections.abc import Sequence

import pytest

from tests.book import Book
from timebank.db import transaction
from timebank.domain.demo_tree import (
    CENTRES,
    COMMUNITIES,
    COMMUNITY_TYPES,
    COMPOUNDS,
    NEIGHBOURHOOD_CENTRES,
    SUBDISTRICTS,
    list_demo_branches,
)
from timebank.domain.errors import ImportRefusedError
from timebank.people.branches import (
    close_branch,
    define_community_type,
    get_branch,
    list_branches,
    list_service_points,
)
from timebank.people.tree_import import TreeSummary, import_branches, read_branches

HEADER = "code,name,level,parent_code,community_type,service_points"
TREE = [
    "k1,一号小区,compound,c1,,邻里中心",
    "s1,一号街道,subdistrict,{root},,中心甲;中心乙",
    "s2,二号街道,subdistrict,{root},,",
    "c1,一号社区,community,s1,a,服务站",
    "k2,二号小区,compound,c1,,",
]


async def bring(book: Book, rows: Sequence[str], *, dry_run: bool = False) -> TreeSummary:
    """Import lines of text under the header."""
    text = "\n".join([HEADER, *rows]).replace("{root}", book.bank.code)
    return await import_branches(
        book.pool, book.bank.code, "t.csv", read_branches("t.csv", text.encode()), dry_run=dry_run
    )


async def faults(book: Book, rows: Sequence[str]) -> list[tuple[int, str]]:
    """Return line and message of each fault for which the rows are refused."""
    before = await count(book)
    with pytest.raises(ImportRefusedError) as refused:
        await bring(book, rows)
    assert await count(book) == before
    return [(row.line, row.message) for row in refused.value.rows]


async def count(book: Book) -> int:
    async with book.pool.acquire() as connection:
        return len(await list_branches(connection, book.bank_id))


@pytest.fixture
async def book(book: Book) -> Book:
    """A bank with one community type."""
    async with book.pool.acquire() as connection:
        await define_community_type(connection, book.bank_id, "a", "甲类")
    return book


def summary(branches: int, **done: int) -> TreeSummary:
    counted = dict.fromkeys(("opened", "moved", "renamed", "service_points_opened"), 0)
    return TreeSummary(branches=branches, **{**counted, **done})


async def test_a_tree_is_opened_in_any_order_once(book: Book) -> None:
    opened = summary(5, opened=5, service_points_opened=4)
    assert await bring(book, TREE, dry_run=True) == opened
    assert await count(book) == 1
    assert await bring(book, TREE) == opened
    assert await bring(book, TREE) == summary(5)
    async with book.pool.acquire() as connection:
        community = await get_branch(connection, book.bank_id, code="c1")
        points = await list_service_points(connection, book.bank_id, community.branch_id)
    assert (community.level, community.community_type, community.name) == (
        "community",
        "a",
        "一号社区",
    )
    assert [(point.kind, point.name) for point in points] == [("station", "服务站")]


async def test_importing_again_moves_what_moved_and_renames(book: Book) -> None:
    await bring(book, TREE)
    changed = [row.replace("c1,一号社区,community,s1,a", "c1,新社区,community,s2,") for row in TREE]
    changed[1] = changed[1].replace("中心乙", "中心丙")
    assert await bring(book, changed) == summary(5, moved=1, renamed=1, service_points_opened=1)
    async with book.pool.acquire() as connection:
        community = await get_branch(connection, book.bank_id, code="c1")
        parent = await get_branch(connection, book.bank_id, community.parent_id)
    assert (community.name, community.community_type, parent.code) == ("新社区", None, "s2")
    only = ["s2,第二街道,subdistrict,{root},,"]  # what is not named stays
    assert await bring(book, only) == summary(1, renamed=1)
    assert await count(book) == 6


async def test_the_district_may_be_named(book: Book) -> None:
    row = "{root},新区,district,,,"
    assert await bring(book, [row]) == summary(1, renamed=1)
    assert await faults(book, ["other,别区,district,,,"]) == [
        (2, "a bank has one district, and its code is another")
    ]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("!,x,compound,c1,,", "code is 1 to 64 of A-Z"),
        (f"{'x' * 65},x,compound,c1,,", "code is 1 to 64 of A-Z"),
        ("n1,,compound,c1,,", "name is empty"),
        (f"n1,{'长' * 81},compound,c1,,", "name is longer than 80 characters"),
        ("n1,a\x07b,compound,c1,,", "name holds a control character"),
        ("n1,x,village,c1,,", "level is one of district, subdistrict, community, compound"),
        ("n1,x,compound,,,", "every branch but the district has a parent_code"),
        ("n1,x,district,c1,,", "every branch but the district has a parent_code"),
        ("n1,x,compound,c1,a,", "a compound has no community_type"),
        ("n1,x,community,s1,,一;二", "a community has one service point"),
        ("n1,x,compound,c1,,一；一", "a service point is named twice"),
        ("{root},x,district,,,一", "a district has no service points"),
        ("n1,x,compound,c1", "4 cells under 6 columns"),
    ],
)
async def test_a_faulty_row_is_named(book: Book, row: str, message: str) -> None:
    [(line, found)] = await faults(book, [*TREE, row])
    assert (line, found[: len(message)]) == (len(TREE) + 2, message)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("n1,x,compound,s1,,", "a compound hangs on a community, and s1 is a subdistrict"),
        ("n1,x,compound,n1,,", "a compound hangs on a community, and n1 is a compound"),
        ("n1,x,compound,zz,,", "there is no branch zz"),
        ("n1,x,community,s1,z,", "there is no community type 'z'"),
        ("k1,x,compound,c1,,", "branch k1 stands in line 2 already"),
    ],
)
async def test_rows_that_do_not_go_together_are_named(book: Book, row: str, message: str) -> None:
    assert (len(TREE) + 2, message) in await faults(book, [*TREE, row])


async def test_rows_that_do_not_go_with_the_bank_are_named(book: Book) -> None:
    await bring(book, TREE)
    async with transaction(book.pool) as connection:
        closed = await get_branch(connection, book.bank_id, code="k2")
        await close_branch(connection, book.bank_id, closed.branch_id)
    rows = [
        "k2,二号小区,compound,c1,,",
        "s2,二号街道,community,s1,,",
        "c1,一号社区,community,s1,a,别站",
    ]
    assert await faults(book, rows) == [
        (2, "branch k2 is closed; give the new one another code"),
        (3, "branch s2 is a subdistrict and stays one"),
        (4, "branch c1 has the station '服务站'; close it first"),
    ]


@pytest.mark.parametrize("content", [b"", b"code,name\n", b"\xff\xfe", b'"open'])
def test_what_is_no_such_file_is_named(content: bytes) -> None:
    with pytest.raises(ImportRefusedError) as refused:
        read_branches("t.csv", content)
    assert [row.line for row in refused.value.rows] == [1]


async def test_imports_at_once_open_everything_once(book: Book) -> None:
    answers = await asyncio.gather(*(bring(book, TREE) for _ in range(4)))
    assert sorted(answer.opened for answer in answers) == [0, 0, 0, 5]


async def test_the_demo_tree_is_of_a_districts_size(book: Book) -> None:
    async with book.pool.acquire() as connection:
        for code, name in COMMUNITY_TYPES.items():
            await define_community_type(connection, book.bank_id, code, name)
    rows = dict(enumerate(list_demo_branches(book.bank.code)))
    seen: list[int] = []
    done = await import_branches(
        book.pool,
        book.bank.code,
        "demo",
        rows,
        progress=lambda done, total: seen.append(done),
    )
    assert done.opened == SUBDISTRICTS + COMMUNITIES + COMPOUNDS
    assert seen == list(range(done.opened))
    async with book.pool.acquire() as connection:
        listed = await list_branches(connection, book.bank_id)
        points = [point.kind for point in await list_service_points(connection, book.bank_id)]
    assert [one.level for one in listed].count("compound") == 581
    assert len({one.community_type for one in listed if one.level == "community"}) == 4
    kinds = ("centre", "station", "neighbourhood_centre")
    assert [points.count(kind) for kind in kinds] == [CENTRES, COMMUNITIES, NEIGHBOURHOOD_CENTRES]


async def test_a_number_of_a_person_is_told_by_its_line(book: Book) -> None:
    rows = [TREE[1], "s3,找王阿姨13800138000,subdistrict,{root},,", "s4,四号,subdistrict,{root},,"]
    rows[2] += "中心甲;中心 138 0013 8000"
    told = await faults(book, rows)
    assert [(line, message.split()[0]) for line, message in told] == [
        (3, "name"),
        (4, "service_points"),
    ]
    assert "8000" not in str(told)
