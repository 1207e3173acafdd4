"""`flowport serve`: MCP over standard input and output, and a clean end however it comes."""

import argparse
import gc
import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.abc
from mcp.server import Server
from mcp.server.stdio import stdio_server

from flowport.assembly import Assembly, open_assembly
from flowport.errors import ConfigurationError, LedgerError
from flowport.logs import start_logging
from flowport.server import build_server, build_stopped_server
from flowport.settings import VARIABLES, Settings, get_environment, load_settings

logger = logging.getLogger(__name__)

CLOSING_SECONDS: Final = 1.6
"""How long the clean-up may take before the process ends without it; the ledger is whole either way."""

_PREFIX: Final = "FLOWPORT_"


def run(arguments: Sequence[str]) -> int:
    """Serve until standard input ends or a signal comes; does not return, so that no thread can hold up the end."""
    flags = build_parser().parse_args(arguments)
    start_logging(_get_secrets())
    try:
        settings: Settings | ConfigurationError = load_settings(
            _get_given(flags), get_environment(), config_path=flags.config
        )
    except ConfigurationError as exc:
        settings = exc
    if isinstance(settings, Settings):
        start_logging({*_get_secrets(), *(provider.api_key for provider in settings.providers)})
    code = 1
    try:
        code = anyio.run(_serve, settings)
    finally:
        logging.shutdown()
        # The thread that reads standard input never returns, and leaving by the usual way would wait for it.
        os._exit(code)


def build_parser() -> argparse.ArgumentParser:
    """Return the flags: one for each variable of ours that this version obeys. Keys have none: flags are public."""
    parser = argparse.ArgumentParser(prog="flowport serve", description="Speak MCP on standard input and output.")
    parser.add_argument("--config", type=Path, help="a TOML file instead of the one in your configuration folder")
    for variable in VARIABLES:
        if variable.name.startswith(_PREFIX) and variable.is_built:
            parser.add_argument(build_flag(variable.name), dest=variable.name, help=variable.meaning, metavar="VALUE")
    return parser


def build_flag(name: str) -> str:
    """Return the flag of a variable: `--wait-seconds` for FLOWPORT_WAIT_SECONDS."""
    return "--" + name.removeprefix(_PREFIX).lower().replace("_", "-")


def _get_given(flags: argparse.Namespace) -> dict[str, str]:
    return {name: value for name, value in vars(flags).items() if name.startswith(_PREFIX) and value is not None}


def _get_secrets() -> set[str]:
    return {value for name, value in get_environment().items() if name.endswith("_API_KEY")}


async def _serve(settings: Settings | ConfigurationError) -> int:
    """Serve, and return the exit code when everything is closed."""
    ended = _End()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_listen_for_signals, ended)
        if isinstance(settings, ConfigurationError):
            logger.error("%s", settings)
            await _serve_until_end(build_stopped_server(settings), tasks, ended)
        else:
            await _serve_assembled(settings, tasks, ended)
        # What reads standard input cannot be cancelled: the process ends with it still waiting.
        logging.shutdown()
        os._exit(ended.code)
    return ended.code


async def _serve_assembled(settings: Settings, tasks: anyio.abc.TaskGroup, ended: "_End") -> None:
    try:
        async with open_assembly(settings) as assembly:
            await _serve_until_end(_build(assembly), tasks, ended)
    except LedgerError as exc:
        logger.error("%s", exc)  # noqa: TRY400 - the sentence says all
        stopped = ConfigurationError("FLOWPORT_HOME", f"cannot be used: {exc.problem}", exc.remedy)
        await _serve_until_end(build_stopped_server(stopped), tasks, ended)


def _build(assembly: Assembly) -> Server[Any]:
    return build_server(assembly.desk, assembly.file_threads, assembly.first_listed)


class _End:
    """The end of the process: asked for once, and held to a time."""

    def __init__(self) -> None:
        self.asked = anyio.Event()
        self.code = 0

    def ask(self, code: int = 0) -> None:
        """Begin the clean-up, and see to it that it does not take for ever."""
        if not self.asked.is_set():
            self.code = code
            self.asked.set()
            watchdog = threading.Timer(CLOSING_SECONDS, os._exit, (code,))
            watchdog.daemon = True
            watchdog.start()


async def _serve_until_end(server: Server[Any], tasks: anyio.abc.TaskGroup, ended: _End) -> None:
    tasks.start_soon(_speak, server, ended)
    # What was made so far stays for good, so the collector, off since the start, need never look at it.
    gc.freeze()
    gc.enable()
    await ended.asked.wait()


async def _speak(server: Server[Any], ended: _End) -> None:
    try:
        async with stdio_server() as (reader, writer):
            await server.run(reader, writer, server.create_initialization_options())
    except Exception:  # the boundary of the process: without it a broken pipe would leave us running unheard
        logger.exception("the connection to the client has broken")
        ended.ask(code=1)
    else:
        ended.ask()


async def _listen_for_signals(ended: _End) -> None:
    if sys.platform == "win32":
        return  # there the console's own handler ends the process
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            ended.ask()
            return
