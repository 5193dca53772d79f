"""However one sequence of chains is cut into calls, the answers and the books are the same."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any
from uuid import UUID

import asyncpg
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.book import Book
from tests.properties.model import BookAccount
from tests.properties.strategies import draw_batch
from timebank.db import transaction
from timebank.domain.ledger import AccountKind, Chain, Transfer, TransferStatus, Unit
from timebank.ledger.blocks import place_block
from timebank.ledger.ids import new_id

ACCOUNTS = {
    UUID(int=place): BookAccount(unit, kind)
    for place, (unit, kind) in enumerate(
        [
            (Unit.POINTS, AccountKind.ISSUANCE),
            (Unit.HOURS, AccountKind.ISSUANCE),
            (Unit.POINTS, AccountKind.WALLET),
            (Unit.POINTS, AccountKind.WALLET),
            (Unit.POINTS, AccountKind.POOL),
            (Unit.POINTS, AccountKind.DEBT),
            (Unit.POINTS, AccountKind.HELD),
            (Unit.POINTS, AccountKind.MERCHANT),
            (Unit.POINTS, AccountKind.RETIRED),
            (Unit.HOURS, AccountKind.WALLET),
            (Unit.HOURS, AccountKind.POOL),
        ]
    )
}
"""The accounts of a script: each bank opens its own in their place."""


@st.composite
def scripts(draw: st.DrawFn) -> tuple[list[Chain], list[int]]:
    """A sequence of chains, and where to cut it."""
    chains = draw_batch(draw, ACCOUNTS, [], most=20)
    cuts = draw(st.sets(st.integers(1, len(chains))))
    return chains, sorted(cuts | {0, len(chains)})


async def open_cast(book: Book) -> dict[UUID, UUID]:
    """Open an account in the place of each in ACCOUNTS."""
    return {
        place: book.issuance[account.unit]
        if account.kind is AccountKind.ISSUANCE
        else await book.open_account(account.kind, account.unit)
        for place, account in ACCOUNTS.items()
    }


async def block_some(book: Book, cast: dict[UUID, UUID]) -> None:
    """Let each wallet of points have 65, of which 60 are blocked."""
    wallets = [
        cast[place]
        for place, account in ACCOUNTS.items()
        if (account.unit, account.kind) == (Unit.POINTS, AccountKind.WALLET)
    ]
    origins = {}
    for number, wallet in enumerate(wallets):
        blocked, free = UUID(int=2**64 + number), UUID(int=2**65 + number)
        await book.post_all(
            book.award(wallet, 60, transfer_id=blocked), book.award(wallet, 5, transfer_id=free)
        )
        origins[blocked] = wallet
    async with transaction(book.pool) as connection:
        await place_block(connection, book.bank, new_id(), origins)


def cast_chain(chain: Chain, cast: dict[UUID, UUID]) -> list[Transfer]:
    """The chain between the bank's own accounts."""
    return [
        replace(
            transfer,
            debit_account_id=cast.get(transfer.debit_account_id, transfer.debit_account_id),
            credit_account_id=cast.get(transfer.credit_account_id, transfer.credit_account_id),
        )
        for transfer in chain
    ]


async def play(
    pool: asyncpg.Pool, chains: Sequence[Chain], cuts: Sequence[int]
) -> tuple[list[TransferStatus], list[Any]]:
    """Post the script in a new bank, one call between two cuts; return answers and books."""
    book = await Book.open(pool)
    cast = await open_cast(book)
    await block_some(book, cast)
    statuses = []
    for start, end in pairwise(cuts):
        outcomes = await book.post_chains(*(cast_chain(chain, cast) for chain in chains[start:end]))
        statuses += [outcome.status for outcome in outcomes]
    places = {account_id: place for place, account_id in cast.items()}
    books = [sorted((places[row[0]], *row[1:]) for row in rows) for rows in await read_books(book)]
    return statuses, [*books, await read_journal(book)]


async def read_books(book: Book) -> list[list[asyncpg.Record]]:
    """Balances and passbooks, but for the instants; an account comes first in each row."""
    queries = [
        "SELECT account_id, balance, seq FROM balance WHERE bank_id = $1",
        "SELECT account_id, seq, transfer_id, amount, balance_after FROM posting "
        "WHERE bank_id = $1",
    ]
    return [await book.pool.fetch(query, book.bank_id) for query in queries]


async def read_journal(book: Book) -> list[asyncpg.Record]:
    """What was decided about each id."""
    return await book.pool.fetch(
        "SELECT transfer_id, status, debit_seq, credit_seq, chain_id FROM transfer "
        "WHERE bank_id = $1 ORDER BY transfer_id",
        book.bank_id,
    )


@given(scripts())
async def test_any_split_gives_the_same(
    worker_pool: asyncpg.Pool, script: tuple[list[Chain], list[int]]
) -> None:
    chains, cuts = script
    together = await play(worker_pool, chains, [0, len(chains)])
    assert await play(worker_pool, chains, cuts) == together
    assert await play(worker_pool, chains, range(len(chains) + 1)) == together
