"""`flowport gallery`: show the runs of this home in a browser of this computer, while other processes go on."""

import gc
import json
import logging
import secrets
import socket
import sys
import webbrowser
from pathlib import Path

import anyio
import anyio.to_thread
import click

from flowport.bootstrap import open_assembly
from flowport.domain.errors import ConfigurationError
from flowport.runtime.http_server import HttpServer
from flowport.runtime.logging import start_logging
from flowport.server.shutdown import End, listen_for_signals
from flowport.settings.settings import Settings, get_environment, load_settings
from flowport.web.gallery import build_gallery
from flowport.web.listen_address import Address, listen

_TOKEN_BYTES = 24
_USAGE_ERROR = 2


@click.command("gallery")
@click.option("--config", type=click.Path(path_type=Path), metavar="FILE", help="A TOML file to read.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="The port; 0, the default, takes any free one.")
@click.option("--no-open", is_flag=True, help="Print the address and open no browser.")
@click.option("--json", "as_json", is_flag=True, help="Print the address as JSON.")
def command(config: Path | None, port: int, *, no_open: bool, as_json: bool) -> int:
    """Show runs, live and past, with their results in a browser of this computer."""
    gc.enable()
    start_logging(set())
    try:
        settings = load_settings({}, get_environment(), config_path=config)
        start_logging({provider.api_key for provider in settings.providers})
        listener = listen(Address("127.0.0.1", port))
    except ConfigurationError as exc:
        sys.stderr.write(f"{exc}\n")
        return _USAGE_ERROR
    return anyio.run(_serve, settings, listener, not no_open, as_json)


async def _serve(settings: Settings, listener: socket.socket, should_open: bool, as_json: bool) -> int:  # noqa: FBT001
    """Serve until a signal."""
    address, token = Address(*listener.getsockname()[:2]), secrets.token_urlsafe(_TOKEN_BYTES)
    url = f"{address.origin}/{token}/"
    end = End()
    listen_for_signals(end)
    async with open_assembly(settings) as assembly, anyio.create_task_group() as tasks:
        web = HttpServer(build_gallery(assembly.workspace, address, token), log_level=logging.CRITICAL, lifespan="off")
        tasks.start_soon(web.serve, [listener])
        # The socket accepts connections already, so an early browser waits in its queue.
        sys.stdout.write(json.dumps({"url": url}) + "\n" if as_json else f"{url}\n")
        sys.stdout.flush()
        sys.stderr.write("The gallery is open until Ctrl-C. Its address has a secret: do not share it.\n")
        if should_open and not await anyio.to_thread.run_sync(webbrowser.open, url):
            sys.stderr.write("No browser could be opened; open the address yourself.\n")
        await end.asked.wait()
        web.should_exit = True
    return end.code
