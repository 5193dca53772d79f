"""Logs: one JSON line an event, static names, ids as fields, never personal data."""

import logging
import sys
import traceback
from typing import Any

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

_STANDARD_LOGGERS = ("uvicorn", "asyncio")

_TELLING_LOGGERS = ("httpx", "httpcore")
"""They write each address they call, and merchants' may hold secrets."""


def set_up_logs(level: str) -> None:
    """Send events of at least `level` to stderr, with UTC time, uvicorn's and asyncio's too."""
    before: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        tell_exception,
    ]
    as_json = structlog.processors.JSONRenderer(ensure_ascii=False)
    structlog.configure(
        processors=[*before, as_json],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=before,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, as_json],
        )
    )
    for name in _STANDARD_LOGGERS:
        logging.getLogger(name).handlers = [handler]
        logging.getLogger(name).propagate = False
    for name in _TELLING_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)


def tell_exception(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Put what happened and where in place of `exc_info`, but no message: it may quote a value."""
    error: Any = event.pop("exc_info", None)
    if isinstance(error, tuple):
        error = error[1]
    chain = []
    while isinstance(error, BaseException):
        chain.append(
            {
                "type": type(error).__qualname__,
                "sqlstate": getattr(error, "sqlstate", None),
                "constraint": getattr(error, "constraint_name", None),
                "at": [
                    f"{frame.filename}:{frame.lineno} {frame.name}"
                    for frame in traceback.extract_tb(error.__traceback__)[-12:]
                ],
            }
        )
        error = error.__cause__ or error.__context__
    return {**event, "exception": chain} if chain else event
