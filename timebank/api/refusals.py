"""From an exception, ours or Litestar's, to a problem+json answer; nothing internal leaks out."""

import re
from typing import Any

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import (
    HTTPException,
    MethodNotAllowedException,
    NotFoundException,
    ValidationException,
)

from timebank.api.problems import PROBLEM_JSON, Fault, Problem, make_problem
from timebank.db import translate
from timebank.domain.errors import InvalidInputError, TimebankError, TransferRefusedError

log = structlog.get_logger()

_RETRY_AFTER_SECONDS = {"overloaded": "1", "outcome_unknown": "1", "database_unavailable": "2"}


def answer_error(request: Request[Any, Any, Any], error: Exception) -> Response[Problem]:
    """Return the problem for any exception; what we do not know is a 500 and stands in the log."""
    code, detail, faults = describe(error)
    if code == "internal_error":
        log.error("request_failed", exc_info=error, path=request.scope["path"])
    return problem_response(
        make_problem(
            code,
            detail,
            request.scope["path"],
            request.headers.get("accept-language", ""),
            faults,
        )
    )


def problem_response(problem: Problem) -> Response[Problem]:
    """Return the answer that carries a problem, with the headers its code asks for."""
    headers = {"Cache-Control": "no-store"}
    if problem.code in _RETRY_AFTER_SECONDS:
        headers["Retry-After"] = _RETRY_AFTER_SECONDS[problem.code]
    if problem.status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="timebank"'
    return Response(problem, status_code=problem.status, media_type=PROBLEM_JSON, headers=headers)


def describe(error: Exception) -> tuple[str, str, list[Fault]]:
    """Return code, detail and faults of an exception."""
    known = error if isinstance(error, TimebankError) else translate(error)
    match known or error:
        case TransferRefusedError() as refused:
            return refused.status, str(refused), []
        case InvalidInputError() as invalid:
            faults = [Fault(invalid.pointer, str(invalid))] if invalid.pointer else []
            return invalid.code, str(invalid), faults
        case TimebankError() as refusal:
            return refusal.code, str(refusal), []
        case HTTPException() as http if 400 <= http.status_code < 500:
            return _describe_litestars(http)
    return "internal_error", "The error is in our log; nothing more is known here.", []


def _describe_litestars(error: HTTPException) -> tuple[str, str, list[Fault]]:
    match error:
        case ValidationException():
            return "invalid_input", "The request is not valid.", _faults_of(error)
        case MethodNotAllowedException():
            return "method_not_allowed", "This path does not take this method.", []
        case NotFoundException():
            return "not_found", "There is nothing here.", []
    return "invalid_input", _without_values(str(error.detail)), []


def _faults_of(invalid: ValidationException) -> list[Fault]:
    extra = invalid.extra if isinstance(invalid.extra, list) else []
    return [
        Fault(
            "/" + str(fault.get("key", "")).replace(".", "/").lstrip("/"),
            _without_values(str(fault.get("message", ""))),
        )
        for fault in extra
        if isinstance(fault, dict)
    ]


def _without_values(message: str) -> str:
    """Drop quoted values from a library's message: a value may be personal data."""
    return re.sub(r"'[^']*'", "…", message)[:200]


class MalformedJSONError(InvalidInputError):
    """The body is not acceptable JSON: see `detail`."""

    code = "malformed_json"


class BodyTooLargeError(TimebankError):
    """The body is too large. Send fewer rows at a time."""

    code = "body_too_large"


class UnsupportedMediaTypeError(TimebankError):
    """Send JSON with `Content-Type: application/json`, UTF-8, uncompressed."""

    code = "unsupported_media_type"


class InvalidCursorError(TimebankError):
    """This cursor was not made here or is of another list. Start from the first page."""

    code = "invalid_cursor"


class OwnerNotFoundError(TimebankError):
    """No resident of this id is registered. Register the resident first."""

    code = "owner_not_found"


def encode_problem(problem: Problem) -> bytes:
    """Return the JSON of a problem, for answers made outside Litestar's handlers."""
    return msgspec.json.encode(problem)
