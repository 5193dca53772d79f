"""Categories of service: data, because a programme reaches all sides of daily life."""

from uuid import UUID

from timebank.db import Connection, as_struct, load_queries
from timebank.domain.errors import NotFoundError
from timebank.domain.service import Category
from timebank.ledger.ids import new_id

_QUERIES = load_queries(__package__)


async def open_category(
    connection: Connection, bank_id: int, code: str, name: str, *, is_risky: bool = False
) -> Category:
    """Open a category; until a rate of its own takes effect the bank's counts.

    CategoryExistsError if the code is taken.
    """
    category = Category(new_id(), code, name, is_risky)
    await connection.execute(
        _QUERIES["open_category"], bank_id, category.category_id, code, name, is_risky
    )
    return category


async def ensure_category(connection: Connection, bank_id: int, code: str, name: str) -> Category:
    """Return the category of this code, opened now if it is new; one that exists stays as it is."""
    await connection.execute(_QUERIES["ensure_category"], bank_id, new_id(), code, name)
    record = await connection.fetchrow(_QUERIES["find_category_by_code"], bank_id, code)
    return as_struct(record, Category)


async def get_category(connection: Connection, bank_id: int, category_id: UUID) -> Category:
    """Return the category; NotFoundError if there is none."""
    record = await connection.fetchrow(_QUERIES["find_category"], bank_id, category_id)
    if record is None:
        raise NotFoundError
    return as_struct(record, Category)


async def list_categories(connection: Connection, bank_id: int) -> list[Category]:
    """Return all categories in the order of their codes."""
    records = await connection.fetch(_QUERIES["list_categories"], bank_id)
    return [as_struct(record, Category) for record in records]
