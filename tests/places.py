"""Branches and who hangs on them, for tests that are about something else."""

import secrets
from uuid import UUID

from tests.book import Book
from timebank.ledger.ids import new_id
from timebank.people.parties import PartyKind, place_party, register_parties


async def open_branch(book: Book) -> UUID:
    """Open a subdistrict under the root."""
    branch_id = new_id()
    async with book.pool.acquire() as connection:
        await register_parties(connection, book.bank_id, PartyKind.BRANCH, [branch_id])
        await connection.execute(
            "INSERT INTO branch (bank_id, branch_id, level, code, name) "
            "VALUES ($1, $2, 'subdistrict', $3, '街道')",
            book.bank_id,
            branch_id,
            secrets.token_hex(6),
        )
        await connection.execute(
            "INSERT INTO branch_move (bank_id, branch_id, parent_id) VALUES ($1, $2, $3)",
            book.bank_id,
            branch_id,
            book.bank.root_id,
        )
    return branch_id


async def place(book: Book, party_id: UUID, branch_id: UUID) -> None:
    """Hang a party on a branch."""
    async with book.pool.acquire() as connection:
        await place_party(connection, book.bank_id, party_id, branch_id)
