"""docs/errors.md, written from the problems and the errors: `python -m timebank.api.error_docs`."""

import inspect
from collections.abc import Iterator
from pathlib import Path

from timebank.api import errors as edge_errors
from timebank.api.problems import PROBLEM_KINDS
from timebank.domain import service_errors, settlement_errors, slip_errors, webhook_errors
from timebank.domain.errors import RedemptionRefusedError, TimebankError, TransferRefusedError
from timebank.domain.remedies import REFUSAL_REMEDIES
from timebank.domain.settlement_errors import SETTLEMENT_REMEDIES, SettlementRefusedError

PATH = Path(__file__).parents[2] / "docs" / "errors.md"

_PREAMBLE = """\
# Errors

Written by `python -m timebank.api.error_docs`; a test fails when it is stale.

Every error is an RFC 9457 problem (`application/problem+json`) with `type`, `title`, `status`,
`code`, `detail` and `instance`, and with `errors` where a field or parameter is at fault: a JSON
Pointer into the body, or the name of a parameter. Decide by `code`: it never changes. `title` is
in the language that `Accept-Language` prefers, 简体中文 unless it says otherwise; `type` is a page
that explains the code. An error never means "not done" by itself: after a 503, send the same
request again under the same `Idempotency-Key`, and it counts once. What the ledger, a redemption
or a settlement refuses has moved nothing.
"""


_MODULES = {
    TimebankError.__module__,
    service_errors.__name__,
    settlement_errors.__name__,
    webhook_errors.__name__,
    slip_errors.__name__,
    edge_errors.__name__,
}
REFUSED_BY_STATUS = {
    TransferRefusedError.code,
    RedemptionRefusedError.code,
    SettlementRefusedError.code,
}
"""What is answered with the code of a status instead of its own."""

_REMEDIES = {**REFUSAL_REMEDIES, **SETTLEMENT_REMEDIES}


def classes() -> dict[str, type[TimebankError]]:
    """Return the error class of each code that has one of its own."""
    return {error.code: error for error in _subclasses(TimebankError)}


def _subclasses(error: type[TimebankError]) -> Iterator[type[TimebankError]]:
    for below in error.__subclasses__():
        if below.__module__ in _MODULES:
            yield below
            yield from _subclasses(below)


def render() -> str:
    """Return the text of docs/errors.md."""
    known = classes()
    lines = [_PREAMBLE, "## Over HTTP", ""]
    lines += ["| code | status | 简体 | 繁體 | English | what to do |", "|---|---|---|---|---|---|"]
    for code, kind in PROBLEM_KINDS.items():
        remedy = _text(known[code]) if code in known else _REMEDIES[code]
        titles = f"{kind.zh_hans} | {kind.zh_hant} | {kind.en}"
        lines.append(f"| `{code}` | {kind.status} | {titles} | {remedy} |")
    lines += ["", "## From commands only", "", "| code | what to do |", "|---|---|"]
    lines += [f"| `{code}` | {_text(known[code])} |" for code in only_from_commands()]
    return "\n".join([*lines, ""])


def only_from_commands() -> list[str]:
    """Return the codes that no request is answered with."""
    return sorted(classes().keys() - PROBLEM_KINDS.keys() - REFUSED_BY_STATUS)


def _text(error: type[TimebankError]) -> str:
    return " ".join((inspect.getdoc(error) or "").split())


if __name__ == "__main__":
    PATH.write_text(render(), "utf-8")
