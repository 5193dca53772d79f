"""`timebank serve`: the HTTP service in the foreground until Ctrl-C."""

import click
import uvicorn

from timebank.cli.running import refusals_told, settings_from_environment
from timebank.config import Settings


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
    run_server(settings, host or settings.host, settings.port if port is None else port)


def run_server(settings: Settings, host: str, port: int) -> None:
    """Run the service in this process until it is told to stop; port 0 takes a free one."""
    uvicorn.run(
        "timebank.app:create_app",
        factory=True,
        host=host,
        port=port,
        log_level="warning" if settings.log_level == "info" else settings.log_level,
        access_log=False,
        date_header=False,
        server_header=False,
        timeout_graceful_shutdown=10,
    )
