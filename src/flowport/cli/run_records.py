"""Shared by the commands about stored runs: opening the store beside a running Flowport."""

import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final

import anyio

from flowport.cli.console import ExitCode, print_json, report_error, word_for_terminal
from flowport.domain.call_errors import RunNotOver
from flowport.domain.errors import ConfigurationError, FlowportError, RunNotFound
from flowport.domain.text import clean_line
from flowport.settings.settings import get_environment, load_database_url, load_home
from flowport.settings.values import describe_database
from flowport.store.interface import Store
from flowport.store.opening import find_store, open_home_store

_THOUSAND: Final = 1000


def run_on_record(
    config: Path | None,
    home: str | None,
    work: Callable[[Store, Path], Awaitable[ExitCode]],
    *,
    is_json: bool,
    empty: Mapping[str, Any] | None,
    code_if_empty: ExitCode = ExitCode.DONE,
) -> int:
    """Run a command on the store that its flags select, and return the exit code.

    Args:
        empty: The JSON where there is no store; None to create the store.
        code_if_empty: The exit code where there is no store.
    """
    given = {"FLOWPORT_HOME": home} if home else {}
    try:
        environment = get_environment()
        folder = load_home(given, environment, config_path=config)
        database_url = load_database_url(given, environment, config_path=config)
    except ConfigurationError as exc:
        return report_error(exc, is_json=is_json)
    try:
        open_store = find_store if empty is not None else open_home_store
        code = anyio.run(_work_on, folder, database_url, work, open_store)
    except FlowportError as exc:
        return report_error(exc, is_json=is_json, text=format_for_terminal(exc, _name_place(folder, database_url)))
    if code is None and is_json:
        print_json(empty or {})
    elif code is None:
        sys.stdout.write(f"There is no record of runs in {folder}.\n")
    return code_if_empty if code is None else code


def _name_place(home: Path, database_url: str) -> str:
    return describe_database(database_url) if database_url else f"{home}"


def format_for_terminal(error: FlowportError, place: str) -> str:
    """Return an error for a terminal: sentences for assistants name tools that cannot be called here."""
    match error:
        case RunNotFound(run_id):
            return f"There is no run {clean_line(run_id)!r} on record in {place}."
        case RunNotOver(run_id):
            return f"The run {clean_line(run_id)!r} is not over, and its result may still come. Erase it when it is."
        case _:
            return word_for_terminal(str(error))


async def _work_on(
    home: Path,
    database_url: str,
    work: Callable[[Store, Path], Awaitable[ExitCode]],
    open_store: Callable[[Path, str], Store | None],
) -> ExitCode | None:
    store = open_store(home, database_url)
    if store is None:
        return None
    try:
        return await work(store, home)
    finally:
        await store.close()


def format_count(number: int, what: str) -> str:
    """Return `1 run` or `2 runs`."""
    return f"{number} {what}{'s' * (number != 1)}"


def format_bytes(size_bytes: float) -> str:
    """Return a size with its unit."""
    for unit in ("bytes", "KB", "MB"):
        if size_bytes < _THOUSAND:
            return f"{size_bytes:.{int(unit != 'bytes')}f} {unit}"
        size_bytes /= _THOUSAND
    return f"{size_bytes:.1f} GB"
