"""How a subcommand runs: settings from the environment, one event loop, refusals as exit code 1."""

import asyncio
import errno
import io
import os
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec

import click
from rich.console import Console

from timebank.cluster import EmbeddedPostgresError
from timebank.config import Settings, read_settings
from timebank.domain.errors import TimebankError

P = ParamSpec("P")

COMMANDS_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class _Console(Console):
    """Leaves it to the command what a reader that went away means; rich would exit with 1."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError(errno.EPIPE, "Nobody reads what this command prints.")


out = _Console(highlight=False)
"""For results."""

err = _Console(stderr=True, highlight=False)
"""For progress and refusals, so that results can be piped."""


def print_in_any_encoding() -> None:
    """Have what stdout's encoding lacks printed as Python's escape for it, as stderr does."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def drop_what_nobody_reads() -> None:
    """Forget what waits for a reader that is gone: flushed at exit, it would be the exit code."""
    for stream in filter(None, (sys.stdout, sys.stderr)):  # None is one closed before we began
        try:
            stream.flush()
        except OSError:
            with Path(os.devnull).open("wb") as nowhere:
                os.dup2(nowhere.fileno(), stream.fileno())


def settings_from_environment() -> Settings:
    """Return the settings of this process."""
    return read_settings(os.environ)


def ask(label: str, *, hidden: bool = False, twice: bool = False) -> str:
    """Ask at the terminal, or read a line where there is none."""
    if sys.stdin.isatty():
        answer: str = click.prompt(label, hide_input=hidden, confirmation_prompt=twice)
        return answer
    return sys.stdin.readline().rstrip("\n")


def command(function: Callable[P, Coroutine[Any, Any, int | None]]) -> Callable[P, None]:
    """Make a coroutine function a click callback; what it returns is the exit code, None is 0.

    A refusal is printed as one line on stderr and exits with 1; Ctrl-C exits with 130.
    """

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        with refusals_told():
            code = asyncio.run(function(*args, **kwargs))
        sys.exit(code or 0)

    return run


@contextmanager
def refusals_told() -> Iterator[None]:
    """Print a refusal as one line and exit with 1; exit with 130 on Ctrl-C."""
    try:
        yield
    except (TimebankError, EmbeddedPostgresError) as error:
        err.print("✗", str(error), style="red", markup=False, soft_wrap=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
