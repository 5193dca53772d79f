"""Cards: random, kept as a hash, one in use, dead at once when another is issued."""

import asyncio
import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.people.desk import Desk
from timebank.domain.errors import InvalidInputError, NotAMemberError
from timebank.ledger.ids import new_id
from timebank.people.access import Role
from timebank.people.cards import (
    draw_card,
    find_card_holder,
    issue_card,
    new_card_token,
    parse_card_token,
    revoke_card,
    spell_card_token,
)
from timebank.people.registration import MembershipState
from timebank.people.sessions import find_principals, hash_token, open_session

BASE = "https://jianxi.example/bank/"


async def issue(desk: Desk, resident_id: object) -> str:
    async with desk.at() as connection:
        return await issue_card(connection, desk.bank_id, resident_id, issued_by=desk.clerk)


async def holder(desk: Desk, token: str) -> object:
    async with desk.at() as connection:
        found = await find_card_holder(connection, token)
    return found and found.resident_id


def test_tokens_are_random_and_long_enough() -> None:
    tokens = {new_card_token() for _ in range(200)}
    assert len(tokens) == 200
    assert all(re.fullmatch("[0-7][0-9A-HJKMNP-TV-Z]{25}", token) for token in tokens)
    assert all(len({token[place] for token in tokens}) > 4 for place in range(26))


TOKENS = st.text("0123456789ABCDEFGHJKMNPQRSTVWXYZ", min_size=26, max_size=26)


@given(TOKENS, st.data())
def test_a_token_is_understood_as_typed_read_or_scanned(token: str, data: st.DataObject) -> None:
    misread = "".join(
        data.draw(st.sampled_from({"0": "0Oo", "1": "1IiLl"}.get(sign, sign + sign.lower())))
        for sign in spell_card_token(token)
    )
    assert parse_card_token(misread) == token
    assert parse_card_token(f" {BASE}p/{token}\n") == token


async def test_a_card_stands_for_its_holder_until_the_next(desk: Desk) -> None:
    resident_id = await desk.member()
    first = await issue(desk, resident_id)
    async with desk.at() as connection:
        found = await find_card_holder(connection, parse_card_token(first.lower()))
    assert found
    assert (found.bank_id, found.resident_id) == (desk.bank_id, resident_id)
    second = await issue(desk, resident_id)
    assert await holder(desk, first) is None
    assert await holder(desk, second) == resident_id
    async with desk.at() as connection:
        assert await revoke_card(connection, desk.bank_id, resident_id)
        assert not await revoke_card(connection, desk.bank_id, resident_id)
    assert await holder(desk, second) is None


async def test_only_the_hash_is_kept(desk: Desk) -> None:
    token = await issue(desk, await desk.member())
    rows = await desk.book.pool.fetch("SELECT c::text FROM card c WHERE bank_id = $1", desk.bank_id)
    assert len(rows) == 1
    assert token not in rows[0][0]


async def test_cards_are_for_approved_members(desk: Desk) -> None:
    registered = await desk.apply()
    for resident_id in (registered.resident_id, new_id(), await desk.person()):
        with pytest.raises(NotAMemberError):
            await issue(desk, resident_id)
    await desk.move(registered.resident_id, MembershipState.APPROVED)
    token = await issue(desk, registered.resident_id)
    async with desk.at() as connection:
        session = await open_session(
            connection, desk.bank_id, registered.resident_id, Role.RESIDENT
        )
    await desk.move(registered.resident_id, MembershipState.LEFT)
    assert await holder(desk, token) is None
    async with desk.at() as connection:
        assert await find_principals(connection, [hash_token(session)]) == [None]
        assert not await revoke_card(connection, desk.bank_id, registered.resident_id)


async def test_of_cards_issued_at_once_one_is_in_use(desk: Desk) -> None:
    resident_id = await desk.member()
    tokens = await asyncio.gather(*(issue(desk, resident_id) for _ in range(8)))
    assert [await holder(desk, token) for token in tokens].count(resident_id) == 1


@pytest.mark.parametrize("text", ["", "x", "/", "\ud800", "'; --", "0" * 26, "x" * 10_000])
async def test_what_is_no_card_is_nobodys(desk: Desk, text: str) -> None:
    assert await holder(desk, parse_card_token(text)) is None


def test_the_drawing_is_one_svg_without_the_world_outside() -> None:
    drawn = draw_card("0" * 26, BASE)
    root = ET.fromstring(drawn)  # noqa: S314 - our own
    assert root.tag.endswith("svg")
    assert root.get("viewBox")
    assert "href" not in drawn
    assert "<script" not in drawn


def test_the_drawing_says_the_address() -> None:
    """Another address, another drawing; the same one, the same."""
    token = new_card_token()
    assert draw_card(token, BASE) == draw_card(token, BASE.rstrip("/"))
    assert draw_card(token, BASE) != draw_card(new_card_token(), BASE)


@pytest.mark.parametrize(
    "base",
    ["http://x.example", "x.example", "https://", "javascript:1", "https://x?y", "https://x#y", ""],
)
def test_a_card_carries_an_https_address(base: str) -> None:
    with pytest.raises(InvalidInputError):
        draw_card("0" * 26, base)
