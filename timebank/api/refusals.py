"""From an exception, ours or Litestar's, to a problem+json answer; nothing internal leaks out."""

import re
from collections.abc import Mapping
from typing import Any

import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException
from litestar.types import Scope

from timebank.api.errors import (
    BodyTooLargeError,
    InternalError,
    MethodNotAllowedError,
    UnsupportedMediaTypeError,
)
from timebank.api.problems import PROBLEM_JSON, PROBLEM_KINDS, Fault, Problem, make_problem
from timebank.api.request_ids import name_request
from timebank.db import refusal_of_all, translate
from timebank.domain.errors import (
    InvalidInputError,
    NotFoundError,
    RedemptionRefusedError,
    TimebankError,
    TooManyAttemptsError,
    TransferRefusedError,
)
from timebank.domain.settlement_errors import SettlementRefusedError

log = structlog.get_logger()

_RETRY_AFTER_SECONDS = {
    "overloaded": "1",
    "outcome_unknown": "1",
    "database_unavailable": "2",
    "schema_mismatch": "60",
    "too_many_wrong_codes": "900",
    "vault_key_missing": "60",
    "public_url_missing": "3600",
    "pdf_missing": "3600",
    "font_missing": "3600",
}

_REFUSED = "timebank_refused"

_LITESTARS: Mapping[int, type[TimebankError]] = {
    404: NotFoundError,
    405: MethodNotAllowedError,
    413: BodyTooLargeError,
    415: UnsupportedMediaTypeError,
}
"""What Litestar's own refusals are called here, by their HTTP status."""


def answer_error(request: Request[Any, Any, Any], error: Exception) -> Response[Problem]:
    """Return the problem for any exception; what we do not know is a 500 and stands in the log."""
    code, detail, faults = describe(error)
    request.scope["state"][_REFUSED] = code
    if code == InternalError.code:
        log.error(
            "request_failed",
            exc_info=error,
            request_id=name_request(request.scope).decode(),
            operation=request.scope.get("path_template"),
        )
    elif refusal_of_all(cause := error.__cause__ or error):
        log.error("database_refuses", error=type(cause).__name__)
    problem = make_problem(
        code, detail, request.scope["path"], request.headers.get("accept-language", ""), faults
    )
    answer = problem_response(problem)
    if isinstance(error, TooManyAttemptsError):
        answer.set_header("Retry-After", str(error.wait_seconds))
    if isinstance(error, HTTPException) and (allow := (error.headers or {}).get("allow")):
        answer.set_header("Allow", allow)
    return answer


def refused_code(scope: Scope) -> str | None:
    """Return the code of the problem that the request was answered with, if any."""
    code: str | None = scope["state"].get(_REFUSED)
    return code


def problem_response(problem: Problem) -> Response[Problem]:
    """Return the answer that carries a problem, with the headers its code asks for."""
    headers = {"Cache-Control": "no-store", "Vary": "Accept-Language"}
    if problem.code in _RETRY_AFTER_SECONDS:
        headers["Retry-After"] = _RETRY_AFTER_SECONDS[problem.code]
    if problem.status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="timebank"'
    return Response(problem, status_code=problem.status, media_type=PROBLEM_JSON, headers=headers)


def describe(error: Exception) -> tuple[str, str, list[Fault]]:
    """Return code, detail and faults of an exception."""
    match _meaning(error):
        case (
            TransferRefusedError() | RedemptionRefusedError() | SettlementRefusedError() as refused
        ):
            return refused.status, str(refused), []
        case InvalidInputError() as invalid:
            faults = [Fault(invalid.pointer, str(invalid))] if invalid.pointer else []
            return invalid.code, str(invalid), faults
        case TimebankError() as refusal if refusal.code in PROBLEM_KINDS:
            return refusal.code, str(refusal), []
        case HTTPException() as http if 400 <= http.status_code < 500:
            return _describe_litestars(http)
    return InternalError.code, str(InternalError()), []


def _meaning(error: Exception) -> Exception:
    """Return the domain error that an exception stands for, or the exception."""
    return error if isinstance(error, TimebankError) else translate(error) or error


def _describe_litestars(error: HTTPException) -> tuple[str, str, list[Fault]]:
    meaning = _LITESTARS.get(error.status_code, InvalidInputError)()
    faults = _faults_of(error) if isinstance(error, ValidationException) else []
    return meaning.code, str(meaning), faults


def _faults_of(invalid: ValidationException) -> list[Fault]:
    """Return the faults of parameters, by name; bodies are decoded by us (strict_json)."""
    extra = invalid.extra if isinstance(invalid.extra, list) else []
    return [
        Fault(str(fault.get("key", "")), without_values(str(fault.get("message", ""))))
        for fault in extra
        if isinstance(fault, dict)
    ]


def without_values(message: str) -> str:
    """Drop what was sent from a message of msgspec: it may be personal data."""
    message = re.sub(r"""(['"]).*\1""", "…", message, flags=re.DOTALL)
    return re.sub(r"(unknown field) `(?![a-z_]{1,32}`$).*", r"\1", message, flags=re.DOTALL)
