"""Is the process alive, and can it reach its database."""

from litestar import Router

from timebank.api.call import Call
from timebank.api.operations import get_in_public
from timebank.api.wire import HealthView
from timebank.db import check_schema, transaction
from timebank.people.access import Action


@get_in_public("/health/live", opt={"action": Action.PUBLIC}, operation_id="is_live")
async def is_live() -> HealthView:
    """Answer as long as the process runs; asks nothing of the database."""
    return HealthView()


@get_in_public("/health/ready", opt={"action": Action.PUBLIC}, operation_id="is_ready")
async def is_ready(request: Call) -> HealthView:
    """Answer ok when the database answers and carries our schema, else 503."""
    async with transaction(request.desk.pool) as connection:
        await check_schema(connection)
    return HealthView()


router = Router("/", route_handlers=[is_live, is_ready])
