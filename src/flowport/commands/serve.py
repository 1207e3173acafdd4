"""`flowport serve`: MCP over standard input and output, and a clean end however it comes."""

import argparse
import gc
import logging
import os
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
from flowport.serving.ending import End, listen_for_signals, open_client_fd
from flowport.settings import VARIABLES, Settings, get_default_config_path, get_environment, load_settings

logger = logging.getLogger(__name__)

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
    usual = str(get_default_config_path()).replace("%", "%%")
    parser.add_argument("--config", type=Path, help=f"a TOML file to read instead of {usual}", metavar="FILE")
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
    ended = End(open_client_fd())
    listen_for_signals(ended)
    async with anyio.create_task_group() as tasks:
        if isinstance(settings, ConfigurationError):
            logger.error("%s", settings)
            await _serve_until_end(build_stopped_server(settings), tasks, ended)
        else:
            await _serve_assembled(settings, tasks, ended)
        # What reads standard input cannot be cancelled: the process ends with it still waiting.
        logging.shutdown()
        os._exit(ended.code)
    return ended.code


async def _serve_assembled(settings: Settings, tasks: anyio.abc.TaskGroup, ended: End) -> None:
    try:
        async with open_assembly(settings) as assembly:
            await _serve_until_end(_build(assembly), tasks, ended)
    except LedgerError as exc:
        logger.error("%s", exc)  # noqa: TRY400 - the sentence says all
        stopped = ConfigurationError("FLOWPORT_HOME", f"cannot be used: {exc.problem}", exc.remedy)
        await _serve_until_end(build_stopped_server(stopped), tasks, ended)


def _build(assembly: Assembly) -> Server[Any]:
    return build_server(assembly.desk, assembly.file_threads, assembly.first_listed)


async def _serve_until_end(server: Server[Any], tasks: anyio.abc.TaskGroup, ended: End) -> None:
    tasks.start_soon(_speak, server, ended)
    # What was made so far stays for good, so the collector, off since the start, need never look at it.
    gc.freeze()
    gc.enable()
    await ended.asked.wait()


async def _speak(server: Server[Any], ended: End) -> None:
    try:
        async with stdio_server() as (reader, writer):
            await server.run(reader, writer, server.create_initialization_options())
    except Exception:  # the boundary of the process: without it a mistake would leave us running unheard
        logger.exception("the connection to the client has broken")
        ended.ask(code=1)
    else:
        ended.ask()
