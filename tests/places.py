"""Branches and who hangs on them, for tests that are about something else."""

import secrets
from uuid import UUID

from tests.book import Book
from timebank.people import branches
from timebank.people.parties import place_party


async def open_branch(book: Book, parent_id: UUID | None = None, code: str | None = None) -> UUID:
    """Open a branch under a parent, else a subdistrict under the root."""
    async with book.pool.acquire() as connection, connection.transaction():
        return await branches.open_branch(
            connection,
            book.bank_id,
            parent_id or book.bank.root_id,
            code=code or secrets.token_hex(6),
            name="机构",
        )


async def place(book: Book, party_id: UUID, branch_id: UUID) -> None:
    """Hang a party on a branch."""
    async with book.pool.acquire() as connection:
        await place_party(connection, book.bank_id, party_id, branch_id)
