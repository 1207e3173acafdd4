"""`flowport auth`: check an API key, verify it with one free request, and keep it in the key file."""

import logging
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import anyio
import click

from flowport.cli.console import ExitCode, print_json
from flowport.cli.doctor.checks import name_unread
from flowport.cli.doctor.collect import check_account, open_reading_accounts
from flowport.cli.doctor.facts import Answered, Failed
from flowport.cli.flags import add_config_flag, define_command
from flowport.domain.errors import ConfigurationError, ProviderRefused
from flowport.domain.text import clean_line
from flowport.providers.registry import ProviderPlugin, get_plugins
from flowport.settings.key_file import get_key_file_path, load_key_file, save_key_file
from flowport.settings.settings import Origin, SettingsReport, explain_settings, get_environment
from flowport.settings.values import strip_quotes

_MAX_KEY_CHARACTERS: Final = 65_536
_PLUGINS: Final = {plugin.name: plugin for plugin in get_plugins() if plugin.find_row("api_key")}

_FIRST: Final = next(iter(_PLUGINS))


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of the command; without facts its sentence is an error."""

    code: ExitCode
    sentence: str
    facts: Mapping[str, Any] = field(default_factory=dict)


@define_command(
    "auth",
    inputs={"PROVIDER": f"{' or '.join(_PLUGINS)}; without it, the form of the key decides."},
    variables={f"{plugin.prefix}API_KEY": "Has priority over the stored key." for plugin in _PLUGINS.values()},
    examples=(
        f"flowport auth {_FIRST}",
        f"flowport auth {_FIRST} --stdin < key.txt",
        "flowport auth --status",
        f"flowport auth {_FIRST} --remove",
    ),
)
@click.argument("provider", required=False, type=click.Choice(list(_PLUGINS)), metavar="[PROVIDER]")
@click.option("--stdin", "is_piped", is_flag=True, help="Read the key from standard input instead of asking for it.")
@click.option(
    "--status", "is_status", is_flag=True, help="Verify each key with a free request and show where it is set."
)
@click.option("--remove", "is_removal", is_flag=True, help="Remove the stored key.")
@click.option("--no-verify", "is_unverified", is_flag=True, help="Store the key without a request to the provider.")
@click.option("--json", "is_json", is_flag=True, help="Print one JSON document.")
@add_config_flag
def command(
    provider: str | None, config: Path | None, *, is_json: bool, is_status: bool, is_removal: bool, **given: bool
) -> int:
    """Store the API key of a provider for this user, so that no client's configuration needs it."""
    # What is wrong is printed once, as the outcome.
    logging.disable()
    if is_status + is_removal + any(given.values()) > 1:
        raise click.UsageError("--status and --remove stand alone")
    path = get_key_file_path()
    if path is None:
        outcome = Outcome(
            ExitCode.FAILED, "This user has no home folder for the key file. Set the key in the environment."
        )
    elif is_status:
        outcome = anyio.run(_show, provider, config, path)
    elif is_removal:
        outcome = _remove(provider, config, path)
    else:
        try:
            key = _read_key(provider, is_piped=given["is_piped"])
            outcome = anyio.run(_Storing(key, config, path, is_verified=not given["is_unverified"]).store, provider)
        except (click.Abort, KeyboardInterrupt):
            return ExitCode.INTERRUPTED
    if is_json:
        print_json(outcome.facts or {"error": {"kind": "NotDone", "message": outcome.sentence}})
    else:
        click.echo(outcome.sentence, err=not outcome.facts)
    return outcome.code


def _read_key(provider: str | None, *, is_piped: bool) -> str:
    if is_piped:
        given = b"" if sys.stdin is None else sys.stdin.buffer.read(_MAX_KEY_CHARACTERS)
        return given.decode("utf-8", "replace").strip()
    if sys.stdin is None or not sys.stdin.isatty():
        raise click.UsageError("standard input is not a terminal; give the key with --stdin")
    # The usual handler would end the program while the terminal shows no input.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    plugins = [_PLUGINS[provider]] if provider else [*_PLUGINS.values()]
    sources = " or ".join(f"{plugin.title} ({plugin.key_source})" for plugin in plugins)
    key: str = click.prompt(f"API key of {sources}, not shown", hide_input=True, err=True)
    return key


@dataclass(frozen=True, slots=True)
class _Storing:
    """A key that is to be stored."""

    key: str = field(repr=False)
    config: Path | None
    path: Path
    is_verified: bool

    async def store(self, provider: str | None) -> Outcome:
        """Check, verify and store it."""
        owner = next((one for one in _PLUGINS.values() if one.key_prefix and self.key.startswith(one.key_prefix)), None)
        plugin = _PLUGINS[provider] if provider else owner
        stored = load_key_file(self.path)
        if not strip_quotes(self.key):
            return self._refuse("no key was given")
        if plugin is None:
            raise click.UsageError(f"the form of the key names no provider: say {' or '.join(_PLUGINS)}")
        name = f"{plugin.prefix}API_KEY"
        report = explain_settings({name: self.key}, get_environment(), config_path=self.config)
        if problem := next((one for one in report.problems if one.setting == name), None):
            remedy = problem.remedy.replace(", or remove the variable", "")
            remedy = f"Run `flowport auth {owner.name}`." if owner and owner != plugin else remedy
            return self._refuse(f"the text {problem.problem}. {remedy}")
        if stored.problems:
            return self._refuse(str(ConfigurationError.unite(stored.problems)))
        if self.is_verified:
            outcome = (await _verify(report, plugin.name))[plugin.name]
            if isinstance(outcome, Failed):
                is_refused = isinstance(outcome.error, ProviderRefused)
                hint = "" if is_refused else " --no-verify stores it all the same."
                return self._refuse(
                    f"{outcome.sentence}{hint}", ExitCode.FAILED if is_refused else ExitCode.UNAVAILABLE
                )
        key = next(one.api_key for one in report.settings.providers if one.provider == plugin.name)
        if problem_ := _save(self.path, {**stored.values, name: key}):
            return self._refuse(problem_)
        origin = explain_settings({}, get_environment(), config_path=self.config).origins.get(name)
        is_used = origin is Origin.KEY_FILE
        says = f"{plugin.title} accepts it." if self.is_verified else "It was not verified."
        more = "" if is_used else f" {name} is also set by the {origin}, which has priority."
        facts = {
            "provider": plugin.name,
            "path": os.fsencode(self.path).decode("utf-8", "replace"),
            "verified": self.is_verified,
            "used": is_used,
        }
        return Outcome(ExitCode.DONE, f"The key was stored in {self.path}. {says}{more}", facts)

    def _refuse(self, reason: str, code: ExitCode = ExitCode.FAILED) -> Outcome:
        return Outcome(code, f"The key was not stored: {reason.rstrip('.')}.")


def _save(path: Path, keys: Mapping[str, str]) -> str:
    """Save the key file, and return why it could not be; empty if it was."""
    try:
        save_key_file(path, keys)
    except OSError as exc:
        return f"{path} cannot be written to ({exc.strerror or type(exc).__name__})."
    return ""


async def _verify(report: SettingsReport, provider: str | None) -> dict[str, Answered | Failed]:
    """Return what each provider, or one, says of its key; all are asked at once."""
    found: dict[str, Answered | Failed] = {}
    chosen = tuple(one for one in report.settings.providers if provider in {None, one.provider})
    async with AsyncExitStack() as stack:
        accounts = await open_reading_accounts(replace(report.settings, providers=chosen), stack)

        async def check(number: int) -> None:
            facts = await check_account(accounts[number], report.origins)
            found[facts.provider] = facts.outcome

        async with anyio.create_task_group() as tasks:
            for number in range(len(accounts)):
                tasks.start_soon(check, number)
    return found


async def _show(provider: str | None, config: Path | None, path: Path) -> Outcome:
    report = explain_settings({}, get_environment(), config_path=config)
    outcomes = await _verify(report, provider)
    keys, codes = [], set()
    for plugin in (one for one in _PLUGINS.values() if provider in {None, one.name}):
        code, facts = _describe(plugin, report, outcomes.get(plugin.name), path)
        codes.add(code)
        keys.append(facts)
    # Other settings do not matter here, but a broken file would hide a key.
    broken = [str(one) for one in load_key_file(path).problems]
    codes |= {ExitCode.FAILED} if broken else set()
    order = (ExitCode.FAILED, ExitCode.UNAVAILABLE, ExitCode.DONE, ExitCode.NOT_FOUND)
    sentence = "\n".join([*(key["sentence"] for key in keys), *broken])
    return Outcome(next(one for one in order if one in codes), sentence, {"keys": keys, "problems": broken})


def _describe(
    plugin: ProviderPlugin, report: SettingsReport, outcome: Answered | Failed | None, path: Path
) -> tuple[ExitCode, dict[str, Any]]:
    name = f"{plugin.prefix}API_KEY"
    origin = report.origins.get(name)
    source = f"{origin} {clean_line(str(path), limit=300)}" if origin is Origin.KEY_FILE else origin
    problem = next((one for one in report.problems if one.setting == name), None)
    is_accepted: bool | None = None
    match outcome:
        case _ if problem is not None:
            code, is_accepted, says = ExitCode.FAILED, False, str(problem)
        case None if report.unread:
            more = "" if Origin.KEY_FILE in report.unread else " `flowport doctor` says why."
            code, says = ExitCode.FAILED, f"whether there is a key is not known: {name_unread(report)}.{more}"
        case None:
            code, says = ExitCode.NOT_FOUND, f"no key. `flowport auth {plugin.name}` stores one."
        case Answered():
            code, is_accepted, says = ExitCode.DONE, True, f"the key of the {source} is accepted."
        case Failed(ProviderRefused()):
            code, is_accepted, says = ExitCode.FAILED, False, f"the key of the {source} is refused. {outcome.sentence}"
        case Failed():
            code = ExitCode.UNAVAILABLE
            says = f"the key of the {source} could not be verified. {outcome.sentence}"
    facts = {"provider": plugin.name, "source": source, "accepted": is_accepted, "sentence": f"{plugin.title}: {says}"}
    return code, facts


def _remove(provider: str | None, config: Path | None, path: Path) -> Outcome:
    stored = load_key_file(path)
    if stored.problems:
        return Outcome(ExitCode.FAILED, str(ConfigurationError.unite(stored.problems)))
    names = {f"{plugin.prefix}API_KEY": plugin for plugin in _PLUGINS.values() if provider in {None, plugin.name}}
    found = [name for name in stored.values if name in names]
    if len(found) > 1:
        raise click.UsageError(f"several keys are stored: say {' or '.join(_PLUGINS)}")
    if not found:
        owner = f" of {_PLUGINS[provider].title}" if provider else ""
        return Outcome(ExitCode.NOT_FOUND, f"No key{owner} is stored in {path}.")
    [name] = found
    if problem := _save(path, {other: key for other, key in stored.values.items() if other != name}):
        return Outcome(ExitCode.FAILED, problem)
    origin = explain_settings({}, get_environment(), config_path=config).origins.get(name)
    more = f" {name} is still set by the {origin}." if origin else ""
    facts = {"provider": names[name].name, "removed": True}
    return Outcome(ExitCode.DONE, f"The key of {names[name].title} was removed from {path}.{more}", facts)
