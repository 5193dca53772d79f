"""`timebank schema`: what the administrator of an external PostgreSQL does once."""

import asyncpg
import click

from timebank.cli.running import command, out
from timebank.database import connect
from timebank.db import install_schema
from timebank.domain.errors import ForbiddenError


@click.group()
def schema() -> None:
    """The database schema."""


@schema.command()
@click.option(
    "--url", required=True, help="A superuser, or a login that may create roles and act as them."
)
@command
async def install(url: str) -> None:
    """Apply schema.sql to an empty database; nothing happens if it is there.

    \b
    Example:
      timebank schema install --url postgresql://admin@localhost/timebank
    """
    connection = await connect(url)
    try:
        installed = await install_schema(connection)
    except asyncpg.InsufficientPrivilegeError as error:
        raise ForbiddenError(f"This login may not install the schema: {error.message}") from error
    finally:
        await connection.close()
    out.print("Schema installed." if installed else "The schema is there already.")
