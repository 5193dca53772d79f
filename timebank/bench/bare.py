"""The yardstick of reading: the same web framework answering a balance, and nothing behind it.

No database, no token, no gate: what is left is the price of HTTP, routing and JSON.
"""

from uuid import UUID

from litestar import Litestar, get
from msgspec import Struct

from timebank.bench.book import FUNDS


class BareBalance(Struct, frozen=True):
    """What the service answers for a wallet after its one posting."""

    account_id: UUID
    unit: str = "points"
    points: int = FUNDS
    seq: int = 1


@get("/api/v1/accounts/{account_id:uuid}/balance")
async def read_balance(account_id: UUID) -> BareBalance:
    """Answer as if every wallet existed and held what a wallet of the bench holds."""
    return BareBalance(account_id)


def create_bare_app() -> Litestar:
    """Return an application of this one operation."""
    return Litestar([read_balance], openapi_config=None, logging_config=None)
