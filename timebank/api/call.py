"""A request that has passed the gate: who calls, under which key, and the desk that serves it."""

from typing import Annotated, Any

from litestar import Request
from litestar.datastructures import State
from litestar.params import HeaderParameter

from timebank.api.desk import Desk
from timebank.api.strict_json import decode_strictly
from timebank.ledger.requests import RequestKey
from timebank.people.access import Principal

IdempotencyKey = Annotated[
    str, HeaderParameter(name="Idempotency-Key", description="1-255 visible ASCII characters")
]


class Call(Request[Principal, RequestKey, State]):
    """`user` is the caller, `auth` the key of a write. No dependency injection on the hot way."""

    @property
    def desk(self) -> Desk:
        """The desk of this process."""
        desk: Desk = self.app.state.desk
        return desk

    async def json(self) -> Any:
        """Return the body as the operation's own type, where Litestar would convert "5" to 5."""
        expected = self.route_handler.parsed_data_field
        return decode_strictly(await self.body(), expected.annotation if expected else Any)
