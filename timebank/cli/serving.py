"""`timebank serve`: the HTTP service in the foreground until Ctrl-C."""

import asyncio
import gc
import signal
import socket
import sys
from types import FrameType

import click
import uvicorn

from timebank.cli.running import out, refusals_told, settings_from_environment
from timebank.config import Settings
from timebank.database import find_database

_COLLECTOR = (10_000, 10, 10)
"""A request makes some hundred objects and few cycles: Python's 700 looks every few requests."""


@click.command()
@click.option("--host", help="Address to listen on; TIMEBANK_HOST or 127.0.0.1.")
@click.option("--port", type=click.IntRange(0, 65535), help="TIMEBANK_PORT or 8470.")
def serve(host: str | None, port: int | None) -> None:
    """Serve the HTTP API and its page at /docs.

    \b
    Example:
      timebank serve --port 8470
    """
    with refusals_told():
        settings = settings_from_environment()
        port = settings.port if port is None else port
        config = server_config(settings, host or settings.host, port)
        with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
            try:
                runner.run(_serve(settings, config))
            except SystemExit:
                sys.exit(1)  # uvicorn has said why, and has exit codes of its own


async def _serve(settings: Settings, config: uvicorn.Config) -> None:
    """Find the database before the service does: so a refusal is one line and not a traceback."""
    server = Server(config)
    async with find_database(settings):
        await server.serve()
    if server.is_interrupted:  # the event loop forgets a Ctrl-C that comes as its last task ends
        raise KeyboardInterrupt


class Server(uvicorn.Server):
    """Says where it serves, once it does, and remembers a Ctrl-C."""

    is_interrupted = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop as uvicorn does."""
        self.is_interrupted |= sig == signal.SIGINT
        super().handle_exit(sig, frame)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start as uvicorn does, spare the collector what stays for good, then tell."""
        await super().startup(sockets=sockets)
        gc.freeze()
        gc.set_threshold(*_COLLECTOR)
        for server in self.servers if self.started else ():
            host, port = server.sockets[0].getsockname()[:2]
            out.print(f"Serving {base_url(host, port)}/docs until Ctrl-C.", soft_wrap=True)


def base_url(host: str, port: int) -> str:
    """Return where the service is found that listens there."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def server_config(settings: Settings, host: str, port: int) -> uvicorn.Config:
    """Return how the service is run; its application is named, since it stands above this layer."""
    return uvicorn.Config(
        "timebank.app:create_app",
        factory=True,
        host=host,
        port=port,
        log_level="warning" if settings.log_level == "info" else settings.log_level,
        access_log=False,
        log_config=None,  # timebank.logs writes what uvicorn says
        date_header=False,
        server_header=False,
        timeout_graceful_shutdown=10,
    )
