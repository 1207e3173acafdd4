"""`flowport doctor`: check the installation and print what is wrong with the command or setting that corrects it."""

import getpass
import json
import logging
import platform
import signal
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias

import anyio
import anyio.to_thread
import click

from flowport import __version__
from flowport.cli.clients import SERVER_NAME, Client, get_clients
from flowport.cli.console import ExitCode, print_json
from flowport.cli.doctor import checks, collect, installed
from flowport.cli.doctor.contract import compare_account, format_comparison
from flowport.cli.doctor.database import check_database
from flowport.cli.doctor.facts import FolderFacts
from flowport.cli.doctor.findings import Finding, Level, Public, fault, get_worst, ok, remove_private
from flowport.cli.doctor.servers import OWN_COMMAND, SERVER_SECONDS, list_tools
from flowport.cli.flags import add_record_flags, define_command
from flowport.network.connections import get_trust_settings
from flowport.settings.key_file import get_key_file_path, is_exposed
from flowport.settings.settings import SettingsReport, explain_settings, get_environment
from flowport.settings.values import describe_database, find_passwords
from flowport.settings.variables import DATABASE_URL, get_secret_names
from flowport.store.home_id import find_home_id
from flowport.store.opening import inspect_store, inspect_team_store

Work: TypeAlias = Callable[[], Awaitable[Iterable[Finding]]]

_SPARE_SECONDS: Final = 8.0
"""Beyond its own limit a check is abandoned: a thread that a disk holds up."""
_SECRET: Final = ("KEY", "TOKEN", "SECRET", "PASSWORD")
_MIN_PRIVATE: Final = 3


@define_command(
    "doctor",
    variables={"FLOWPORT_HOME": "The folder whose record is checked."},
    examples=("flowport doctor", "flowport doctor --report report.txt", "flowport doctor --contract"),
)
@click.option("--json", "is_json", is_flag=True, help="Print one JSON document.")
@click.option(
    "--report",
    "report_path",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write a file that can be shared: without keys, paths, names of files or users, and texts of providers.",
)
@click.option(
    "--contract",
    "is_contract",
    is_flag=True,
    help="Compare every list and definition of your accounts with what is documented, by names and types alone.",
)
@add_record_flags
def command(
    config: Path | None, home: str | None, *, is_json: bool, report_path: Path | None, is_contract: bool
) -> int:
    """Check the installation: each line is ok, a warning or a fault, with what corrects it. Nothing is run or paid for."""
    # What would be logged is in the lines.
    logging.disable()
    # The usual handler would leave the files of the servers that are being tried.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    report = explain_settings({"FLOWPORT_HOME": home} if home else {}, get_environment(), config_path=config)
    own_command = (*OWN_COMMAND, "--config", str(config)) if config else OWN_COMMAND
    try:
        if is_contract:
            code, body, text, shared = _describe_comparison(anyio.run(_compare, report))
        else:
            code, body, text, shared = _describe_findings(anyio.run(partial(examine, report, own_command=own_command)))
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    if is_json:
        print_json(body)
    else:
        click.echo(text)
    if report_path is not None:
        try:
            report_path.write_text(f"{remove_private(shared, _find_private(report))}\n", encoding="utf-8")
        except OSError as exc:
            click.echo(f"The report cannot be written ({exc.strerror or type(exc).__name__}).", err=True)
            return ExitCode.FAILED
    return code


def _describe_findings(findings: Sequence[Finding]) -> tuple[ExitCode, dict[str, Any], str, str]:
    """Return the exit code, the JSON document, the lines for a terminal and those to share."""
    worst = get_worst(findings)
    body = {"flowport": __version__, "worst": worst.value, "findings": [one.build_facts() for one in findings]}
    fixes = (f"\n{'':8} -> {one.fix}" if one.fix else "" for one in findings)
    text = "\n".join(f"{one.level:8} {one.name}: {one.sentence}{fix}" for one, fix in zip(findings, fixes, strict=True))
    shared = "\n".join(f"{one.level:8} {one.name}: {one.shared}" for one in findings)
    return ExitCode.FAILED if worst is Level.FAULT else ExitCode.DONE, body, text, shared


def _describe_comparison(found: Sequence[dict[str, Any]]) -> tuple[ExitCode, dict[str, Any], str, str]:
    """Return the same of a comparison with the documentation."""
    body = {"flowport": __version__, "providers": found}
    text = "\n".join(line for facts in found for line in format_comparison(facts))
    if not found:
        text = "No API key is set, so there is nothing to compare. `flowport auth` stores one."
    code = ExitCode.FAILED if any(facts["stopped"] for facts in found) else ExitCode.DONE
    return code if found else ExitCode.NOT_FOUND, body, text, json.dumps(body, indent=2)


async def examine(report: SettingsReport, *, own_command: Sequence[str] = OWN_COMMAND) -> list[Finding]:
    """Make every check, side by side, and return the lines in a fixed order.

    Args:
        own_command: How this installation serves; empty to start no server.
    """
    works: list[tuple[str, Work]] = [*_build_local_works(report), ("accounts", partial(_check_accounts, report))]
    works += _build_server_works(report, own_command) if own_command else ()
    found: list[list[Finding]] = [[] for _ in works]

    async def make(place: int, name: str, work: Work) -> None:
        found[place] = await _bound(name, work)

    async with anyio.create_task_group() as tasks:
        for place, (name, work) in enumerate(works):
            tasks.start_soon(make, place, name, work)
    return [finding for each in found for finding in each]


async def _bound(name: str, work: Work) -> list[Finding]:
    """Make one check. Whatever goes wrong in it is a line, and no other check misses its own."""
    seconds = max(collect.CHECK_SECONDS, SERVER_SECONDS) + _SPARE_SECONDS
    try:
        with anyio.move_on_after(seconds):
            return [*await work()]
    except Exception as exc:  # noqa: BLE001 - a doctor must survive what it examines
        return [fault(name, "It could not be checked ({error}).", error=Public(type(exc).__name__))]
    return [fault(name, "It could not be checked within {seconds} s.", seconds=seconds)]


def _on_thread(work: Callable[[], Iterable[Finding]]) -> Work:
    """Return a check that may block; it is left behind when its time is over."""

    async def run() -> Iterable[Finding]:
        return await anyio.to_thread.run_sync(lambda: [*work()], abandon_on_cancel=True)

    return run


def _build_local_works(report: SettingsReport) -> list[tuple[str, Work]]:
    settings, keys = report.settings, get_key_file_path()
    works: dict[str, Callable[[], Iterable[Finding]]] = {
        "version": lambda: [_check_version()],
        "settings": partial(checks.check_settings, report),
        "network": lambda: checks.check_routes(
            collect.find_routes(settings), collect.find_trust_problem(), get_trust_settings()
        ),
        "spending limits": lambda: [checks.check_caps(report)],
    }
    folders: dict[str, Callable[[], FolderFacts]] = {}
    if keys is not None:
        works["key file"] = lambda: checks.check_key_file(keys, is_exposed=is_exposed(keys))
        folders["API keys"] = partial(collect.check_folder, "API keys", "", keys.parent, is_needed=False)
    # Without a home folder of the user there is no default, which is reported with the settings.
    if settings.home.is_absolute():
        folders["home"] = partial(collect.check_home, settings.home)
    if settings.database_url:
        database = describe_database(settings.database_url)
        home_id = find_home_id(settings.home, settings.output_dir)
        works["database"] = lambda: check_database(inspect_team_store(settings.database_url, home_id), database)
    elif settings.home.is_absolute():
        works["record of runs"] = lambda: checks.check_store(inspect_store(settings.home))
    if settings.should_save_outputs and settings.output_dir.is_absolute():
        folders["results"] = partial(collect.check_folder, "results", "FLOWPORT_OUTPUT_DIR", settings.output_dir)
    for name, collect_facts in folders.items():
        works[f"folder of {name}"] = partial(lambda find: [checks.check_folder(find())], collect_facts)
    return [(name, _on_thread(work)) for name, work in works.items()]


def _check_version() -> Finding:
    values = {"python": platform.python_version(), "system": platform.system(), "version": __version__}
    template = "Flowport {version} on Python {python}, {system}."
    return ok("version", template, **{name: Public(value) for name, value in values.items()})


async def _check_accounts(report: SettingsReport) -> Iterable[Finding]:
    async with AsyncExitStack() as stack:
        accounts = await collect.open_reading_accounts(report.settings, stack)
        found: dict[int, list[Finding]] = {}

        async def check(number: int) -> None:
            found[number] = [*checks.check_account(await collect.check_account(accounts[number], report.origins))]

        async with anyio.create_task_group() as tasks:
            for number in range(len(accounts)):
                tasks.start_soon(check, number)
    return [finding for number in sorted(found) for finding in found[number]]


def _build_server_works(report: SettingsReport, own_command: Sequence[str]) -> list[tuple[str, Work]]:
    home, environment = report.settings.home, get_environment()
    # A server of standard input is for one person, and refuses a team's database.
    own_environment = {name: value for name, value in environment.items() if name != DATABASE_URL}
    edited = [client for client in get_clients().values() if client.is_edited]

    def check_own() -> Iterable[Finding]:
        return checks.check_own_server(list_tools(own_command, own_environment, home), edited, SERVER_NAME)

    def check_client(client: Client) -> Iterable[Finding]:
        for facts in installed.examine_client(client, environment, home):
            yield from checks.check_client(facts, has_key=bool(report.settings.providers))

    works: dict[str, Callable[[], Iterable[Finding]]] = {"server": check_own}
    works |= {client.title: partial(check_client, client) for client in edited}
    return [(name, _on_thread(work)) for name, work in works.items()]


async def _compare(report: SettingsReport) -> list[dict[str, Any]]:
    async with AsyncExitStack() as stack:
        accounts = await collect.open_reading_accounts(report.settings, stack)
        found = []
        for account in accounts:
            await collect.check_account(account, report.origins)  # settles the path family
            found.append(await compare_account(account, lambda line: click.echo(line, err=True)))
    return found


def _find_private(report: SettingsReport) -> set[str]:
    """Return what no shared text may hold."""
    environ = get_environment()
    private = {value for name, value in environ.items() if any(word in name.upper() for word in _SECRET)}
    private |= {report.values[name] for name in get_secret_names() if name in report.values}
    private |= find_passwords(report.settings.database_url)
    with suppress(Exception):
        private |= {getpass.getuser(), socket.gethostname()}
    private |= {environ.get("HOME", ""), environ.get("USERPROFILE", ""), str(report.settings.home)}
    return {word for word in private if len(word) >= _MIN_PRIVATE}
