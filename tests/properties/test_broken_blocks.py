"""Each fault that could be put into blocking is caught by the model of single points."""

from random import Random

import pytest

from tests.book import Book
from tests.guards.test_append_only import login
from tests.properties.test_blocks import Life
from tests.races.variants import Edit, install_variant
from timebank.db import open_pool
from timebank.embedded import Server

VARIANTS = {
    "what is blocked is spent": Edit("ELSIF left_d < p_blocked[i] THEN", "ELSIF false THEN"),
    "one point too many is kept": Edit("left_d < p_blocked[i]", "left_d <= p_blocked[i]"),
    "what comes back is free": Edit("t.kind IN ('release', 'refund') AND", "false AND"),
    "others that come back first are blocked": Edit(
        "coalesce(came, 0) - behind", "coalesce(came, 0)"
    ),
    "a lifted block holds": Edit("p.account_id = p_account AND b.lifted_at IS NULL", "true"),
    "a reversed award is blocked": Edit(
        "AND undone.reverses_id = p.origin_id\n                            AND", "AND false AND"
    ),
    "only gifts are refused": Edit("p_kind IN ('transfer', 'gift', 'hold',", "p_kind IN ('gift',"),
}


async def live(server: Server, database: str, lives: int) -> None:
    """Live so many lives of forty acts, always the same ones."""
    async with (
        open_pool(server.dsn(database, "timebank_app"), size=3) as pool,
        login(server, database) as superuser,
    ):
        for seed in range(lives):
            life = Life(await Book.open(pool), superuser, Random(seed))
            await life.settle()
            for _ in range(40):
                await life.act()


@pytest.mark.parametrize("variant", VARIANTS)
async def test_a_fault_is_caught(variant: str, server: Server, own_database: str) -> None:
    await install_variant(server.dsn(own_database), VARIANTS[variant])
    with pytest.raises(AssertionError):
        await live(server, own_database, 8)


async def test_without_a_fault_the_same_lives_go_well(server: Server, own_database: str) -> None:
    await live(server, own_database, 8)
