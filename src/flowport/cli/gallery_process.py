"""The process of `flowport gallery`: serve it until a signal."""

import gc
import json
import logging
import secrets
import socket
import sys
import webbrowser
from typing import Any, Final

import anyio
import anyio.to_thread

from flowport.actions.run_history import list_history
from flowport.bootstrap import open_assembly
from flowport.cli.console import report_error, say
from flowport.cli.session import load_terminal_settings
from flowport.domain.errors import ConfigurationError, FlowportError, StoreError
from flowport.domain.principal import LOCAL
from flowport.runtime.http_server import HttpServer
from flowport.runtime.logging import start_logging
from flowport.server.shutdown import End, listen_for_signals
from flowport.settings.settings import Settings
from flowport.settings.values import find_passwords
from flowport.store.records import RunSearch
from flowport.web.gallery import build_gallery
from flowport.web.listen_address import Address, listen

TOKEN_BYTES: Final = 24


def serve(given: dict[str, Any]) -> int:
    """Serve the gallery of the home that the flags select."""
    try:
        settings = load_terminal_settings(given["config"], given["home"])
        listener = listen(Address("127.0.0.1", given["port"]), flag="--port")
    except ConfigurationError as exc:
        return report_error(exc, is_json=given["is_json"])
    hidden = {provider.api_key for provider in settings.providers} | find_passwords(settings.database_url)
    start_logging(hidden, level=logging.ERROR)
    gc.freeze()
    gc.enable()
    try:
        return anyio.run(_serve, settings, listener, given)
    except (StoreError, ConfigurationError) as exc:
        # The database of a team cannot be reached, or the libraries for it are missing.
        return report_error(exc, is_json=given["is_json"])


async def _serve(settings: Settings, listener: socket.socket, given: dict[str, Any]) -> int:
    address, token = Address(*listener.getsockname()[:2]), secrets.token_urlsafe(TOKEN_BYTES)
    url = f"{address.origin}/{token}/"
    end = End()
    listen_for_signals(end)
    # A record that cannot be used is said once, below.
    logging.disable(logging.ERROR)
    async with open_assembly(settings) as assembly, anyio.create_task_group() as tasks:
        try:
            await list_history(assembly.workspace, LOCAL, RunSearch(), state=None, before=None, limit=1)
        except FlowportError as exc:
            return report_error(exc, is_json=given["is_json"])
        finally:
            logging.disable(logging.NOTSET)
        gallery = build_gallery(assembly.workspace, address, token)
        web = HttpServer(gallery, log_level=logging.CRITICAL, lifespan="off")
        tasks.start_soon(web.serve, [listener])
        # The socket accepts connections already, so an early browser waits in its queue.
        sys.stdout.write(json.dumps({"url": url}) + "\n" if given["is_json"] else f"{url}\n")
        sys.stdout.flush()
        say(
            "The gallery is open until Ctrl-C. Keep its address secret: with it, other users of this computer see the runs."
        )
        if given["should_open"] and not await anyio.to_thread.run_sync(webbrowser.open, url):
            say("No browser could be opened: open the address yourself.")
        await end.asked.wait()
        web.should_exit = True
    return end.code
