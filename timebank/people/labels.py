"""Titles and names that everybody reads: no number that leads to a person stands in them."""

from collections.abc import Iterable

from timebank.db import Connection, load_queries

NUMBER_FOUND = "holds what looks like a telephone or identity number: leave it out"

_QUERIES = load_queries(__package__)


async def list_unfit(connection: Connection, labels: Iterable[str]) -> frozenset[str]:
    """Return the labels that the database would refuse as PersonsNumberError."""
    found = await connection.fetch(_QUERIES["list_unfit_labels"], list(labels))
    return frozenset(label for (label,) in found)
