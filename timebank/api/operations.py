"""The decorators of our operations: Litestar's, with every problem they may answer described."""

from functools import partial

import litestar
from litestar.openapi import ResponseSpec

from timebank.api.problems import PROBLEM_JSON, Problem

PROBLEM_RESPONSES = {
    status: ResponseSpec(Problem, description=description, media_type=PROBLEM_JSON)
    for status, description in {
        400: "The request is not valid",
        401: "No valid token",
        403: "The role may not do this",
        404: "Absent, or not yours",
        409: "The ledger or an earlier request stands against it",
        413: "The body is too large",
        415: "Not JSON",
        422: "Understood, and refused",
        503: "Busy or out of reach; try again",
    }.items()
}

get = partial(litestar.get, responses=PROBLEM_RESPONSES)
post = partial(litestar.post, responses=PROBLEM_RESPONSES)
