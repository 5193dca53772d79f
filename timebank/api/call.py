"""A request that has passed the gate: who calls, under which key, and the desk that serves it."""

from typing import Annotated

from litestar import Request
from litestar.datastructures import State
from litestar.params import Parameter

from timebank.api.desk import Desk
from timebank.ledger.requests import RequestKey
from timebank.people.access import Principal

IdempotencyKey = Annotated[
    str, Parameter(header="Idempotency-Key", description="1-255 visible ASCII characters")
]


class Call(Request[Principal, RequestKey, State]):
    """`user` is the caller, `auth` the key of a write. No dependency injection on the hot way."""

    @property
    def desk(self) -> Desk:
        """The desk of this process."""
        desk: Desk = self.app.state.desk
        return desk
