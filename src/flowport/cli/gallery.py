"""`flowport gallery`: show the runs of this home in a browser of this computer, while other processes go on."""

import gc
import json
import logging
import secrets
import socket
import sys
import webbrowser
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread
import click

from flowport.bootstrap import open_assembly
from flowport.cli.flags import add_record_flags, define_command
from flowport.domain.errors import ConfigurationError
from flowport.runtime.http_server import HttpServer
from flowport.runtime.logging import start_logging
from flowport.server.shutdown import End, listen_for_signals
from flowport.settings.settings import Settings, get_environment, load_settings
from flowport.web.gallery import build_gallery
from flowport.web.listen_address import Address, listen

TOKEN_BYTES: Final = 24
_USAGE_ERROR: Final = 2


@define_command(
    "gallery",
    examples=("flowport gallery", "flowport gallery --no-open --port 8766"),
    variables={
        "FLOWPORT_HOME": "the folder of the record",
        "FLOWPORT_OUTPUT_DIR": "the folder of the results; files elsewhere are not shown",
    },
)
@add_record_flags
@click.option("--port", type=click.IntRange(0, 65535), default=0, show_default="any free one", help="The port.")
@click.option("--no-open", is_flag=True, help="Print the address and open no browser.")
@click.option("--json", "as_json", is_flag=True, help='Print the address as JSON: {"url": …}.')
def command(config: Path | None, home: str | None, port: int, *, no_open: bool, as_json: bool) -> int:
    """Show runs, live and past, with their results in a browser of this computer."""
    gc.enable()
    try:
        given = {"FLOWPORT_HOME": home} if home else {}
        settings = load_settings(given, get_environment(), config_path=config)
        start_logging({provider.api_key for provider in settings.providers})
        listener = listen(Address("127.0.0.1", port), flag="--port")
    except ConfigurationError as exc:
        sys.stderr.write(f"{exc}\n")
        return _USAGE_ERROR
    return anyio.run(_serve, settings, listener, not no_open, as_json)


async def _serve(settings: Settings, listener: socket.socket, should_open: bool, as_json: bool) -> int:  # noqa: FBT001
    """Serve until a signal."""
    address, token = Address(*listener.getsockname()[:2]), secrets.token_urlsafe(TOKEN_BYTES)
    url = f"{address.origin}/{token}/"
    end = End()
    listen_for_signals(end)
    async with open_assembly(settings) as assembly, anyio.create_task_group() as tasks:
        gallery = build_gallery(assembly.workspace, address, token)
        web = HttpServer(gallery, log_level=logging.CRITICAL, lifespan="off")
        tasks.start_soon(web.serve, [listener])
        # The socket accepts connections already, so an early browser waits in its queue.
        sys.stdout.write(json.dumps({"url": url}) + "\n" if as_json else f"{url}\n")
        sys.stdout.flush()
        sys.stderr.write(
            "The gallery is open until Ctrl-C. Its address is secret: other users of this computer must not see it.\n"
        )
        if should_open and not await anyio.to_thread.run_sync(webbrowser.open, url):
            sys.stderr.write("No browser could be opened: open the address yourself.\n")
        await end.asked.wait()
        web.should_exit = True
    return end.code
