"""The decorators of our operations: Litestar's, with every problem they may answer described."""

from collections.abc import Mapping
from functools import partial

import litestar
from litestar.openapi import ResponseSpec

from timebank.api.problems import PROBLEM_JSON, Problem

_DESCRIPTIONS = {
    400: "The request is not valid",
    401: "No valid token",
    403: "The role may not do this",
    404: "Absent, or not yours",
    409: "The ledger or an earlier request stands against it",
    410: "The person was erased",
    413: "The body is too large",
    415: "Not JSON",
    422: "Understood, and refused",
    429: "Too many attempts; wait as `Retry-After` says",
    503: "Busy or out of reach; try again",
}


def _problems(*statuses: int) -> Mapping[int, ResponseSpec]:
    return {
        status: ResponseSpec(
            Problem,
            description=_DESCRIPTIONS[status],
            media_type=PROBLEM_JSON,
            generate_examples=False,  # they would be random, and other ones at each start
        )
        for status in statuses
    }


READING_PROBLEMS = _problems(400, 401, 403, 404, 422, 503)
PERSONAL_PROBLEMS = _problems(400, 401, 403, 404, 409, 410, 422, 503)

get = partial(litestar.get, responses=READING_PROBLEMS)
get_personal = partial(litestar.get, responses=PERSONAL_PROBLEMS)
post = partial(litestar.post, responses=_problems(*_DESCRIPTIONS))
delete = partial(litestar.delete, responses=_problems(400, 401, 403, 404, 409, 413, 422, 503))
post_in_public = partial(
    litestar.post, responses=_problems(400, 401, 403, 413, 415, 422, 429, 503), security=[{}]
)
get_in_public = partial(litestar.get, responses=_problems(400, 503), security=[{}])
find_in_public = partial(litestar.get, responses=_problems(400, 404, 503), security=[{}])
