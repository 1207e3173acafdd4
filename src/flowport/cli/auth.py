"""`flowport auth`: check an API key, verify it with one free request, and keep it in the key file."""

import json
import logging
import signal
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import anyio
import click

from flowport.cli.doctor.collect import check_account, open_reading_accounts
from flowport.cli.doctor.facts import AccountFacts, Answered
from flowport.cli.flags import add_config_flag, define_command
from flowport.domain.errors import ConfigurationError, ProviderRefused
from flowport.providers.registry import ProviderPlugin, get_plugin, get_plugins
from flowport.settings.key_file import get_key_file_path, load_key_file, save_key_file
from flowport.settings.settings import Origin, SettingsReport, explain_settings, get_environment

FAILED: Final = 1
NOT_FOUND: Final = 4
UNAVAILABLE: Final = 5
INTERRUPTED: Final = 130
_MAX_KEY_CHARACTERS: Final = 65_536
_WITH_KEYS: Final = {plugin.name: plugin for plugin in get_plugins() if plugin.find_row("api_key")}


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of the command."""

    code: int
    sentence: str
    facts: Mapping[str, Any]


@define_command(
    "auth",
    inputs={"PROVIDER": f"{' or '.join(_WITH_KEYS)}; without it, the form of the key decides."},
    variables={f"{plugin.prefix}API_KEY": "Has priority over the stored key." for plugin in _WITH_KEYS.values()},
    examples=(
        "flowport auth magnific",
        "flowport auth magica --stdin < key.txt",
        "flowport auth --status",
        "flowport auth magnific --remove",
    ),
)
@click.argument("provider", required=False, type=click.Choice(list(_WITH_KEYS)), metavar="[PROVIDER]")
@click.option("--stdin", "is_piped", is_flag=True, help="Read the key from standard input instead of asking for it.")
@click.option(
    "--status", "is_status", is_flag=True, help="Verify each key with one free request and show where it is set."
)
@click.option("--remove", "is_removal", is_flag=True, help="Remove the stored key.")
@click.option("--no-verify", "is_unverified", is_flag=True, help="Store the key without a request to the provider.")
@click.option("--json", "is_json", is_flag=True, help="Print one JSON document.")
@add_config_flag
def command(
    provider: str | None,
    config: Path | None,
    *,
    is_piped: bool,
    is_status: bool,
    is_removal: bool,
    is_unverified: bool,
    is_json: bool,
) -> int:
    """Store the API key of a provider for this user, so that no client's configuration needs it."""
    # What is wrong is printed once, as the outcome.
    logging.disable()
    if is_status + is_removal + (is_piped or is_unverified) > 1:
        raise click.UsageError("--status and --remove stand alone")
    path = get_key_file_path()
    if path is None:
        outcome = Outcome(FAILED, "This user has no home folder for the key file. Set the key in the environment.", {})
    elif is_status:
        outcome = anyio.run(_show, provider, config, path)
    elif is_removal:
        outcome = _remove(provider, config, path)
    else:
        try:
            outcome = anyio.run(_store, provider, _read_key(provider, is_piped=is_piped), config, path, is_unverified)
        except (click.Abort, KeyboardInterrupt):
            return INTERRUPTED
    if is_json:
        body = outcome.facts or {"error": {"kind": "key_not_stored", "message": outcome.sentence}}
        click.echo(json.dumps(body, ensure_ascii=False, indent=2))
    else:
        click.echo(outcome.sentence, err=bool(outcome.code) and not is_status)
    return outcome.code


def _read_key(provider: str | None, *, is_piped: bool) -> str:
    if is_piped:
        return sys.stdin.buffer.read(_MAX_KEY_CHARACTERS).decode("utf-8", "replace").strip()
    if sys.stdin is None or not sys.stdin.isatty():
        raise click.UsageError("standard input is not a terminal; give the key with --stdin")
    # The usual handler would end the program while the terminal shows no input.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    plugins = [get_plugin(provider)] if provider else [*_WITH_KEYS.values()]
    sources = " or ".join(f"{plugin.title} ({plugin.key_source})" for plugin in plugins)
    key: str = click.prompt(f"API key of {sources}, not shown", hide_input=True, err=True)
    return key


def _find_owner(key: str) -> ProviderPlugin | None:
    """Return the provider whose keys have this form."""
    return next((one for one in _WITH_KEYS.values() if one.key_prefix and key.startswith(one.key_prefix)), None)


async def _store(provider: str | None, key: str, config: Path | None, path: Path, is_unverified: bool) -> Outcome:  # noqa: FBT001 - the end of a chain
    owner = _find_owner(key)
    plugin = get_plugin(provider) if provider else owner
    if not key:
        return _refuse("no key was given")
    if plugin is None:
        raise click.UsageError(f"the form of the key names no provider: say {' or '.join(_WITH_KEYS)}")
    name = f"{plugin.prefix}API_KEY"
    report = explain_settings({name: key}, get_environment(), config_path=config)
    if problem := next((one for one in report.problems if one.setting == name), None):
        remedy = (
            f"Run `flowport auth {owner.name}`."
            if owner and owner != plugin
            else problem.remedy.replace(", or remove the variable", "")
        )
        return _refuse(f"the text {problem.problem}. {remedy}")
    configured = next(one for one in report.settings.providers if one.provider == plugin.name)
    stored = load_key_file(path)
    if stored.problems:
        return _refuse(str(ConfigurationError.unite(stored.problems)))
    says = "It was not verified."
    if not is_unverified:
        [facts] = await _verify(replace(report, settings=replace(report.settings, providers=(configured,))))
        if not isinstance(facts.outcome, Answered):
            is_refused = isinstance(facts.outcome.error, ProviderRefused)
            hint = "" if is_refused else " --no-verify stores it all the same."
            return _refuse(f"{facts.outcome.sentence}{hint}", FAILED if is_refused else UNAVAILABLE)
        says = f"{plugin.title} accepts it."
    try:
        save_key_file(path, {**stored.values, name: configured.api_key})
    except OSError as exc:
        return _refuse(f"{path} cannot be written to ({exc.strerror or type(exc).__name__})")
    origin = explain_settings({}, get_environment(), config_path=config).origins.get(name)
    more = f" {name} is also set by the {origin}, which has priority." if origin is not Origin.KEY_FILE else ""
    facts_ = {"provider": plugin.name, "path": str(path), "verified": not is_unverified, "used": not more}
    return Outcome(0, f"The key was stored in {path}. {says}{more}", facts_)


def _refuse(reason: str, code: int = FAILED) -> Outcome:
    return Outcome(code, f"The key was not stored: {reason.rstrip('.')}.", {})


async def _verify(report: SettingsReport) -> list[AccountFacts]:
    """Return what each provider says of its key; all are asked at once."""
    found: dict[str, AccountFacts] = {}
    async with AsyncExitStack() as stack:
        accounts = await open_reading_accounts(report.settings, stack)

        async def check(name: str, number: int) -> None:
            found[name] = await check_account(accounts[number], report.origins)

        async with anyio.create_task_group() as tasks:
            for number, account in enumerate(accounts):
                tasks.start_soon(check, account.account.provider, number)
    return [found[account.account.provider] for account in accounts]


async def _show(provider: str | None, config: Path | None, path: Path) -> Outcome:
    report = explain_settings({}, get_environment(), config_path=config)
    wanted = [plugin for plugin in _WITH_KEYS.values() if provider in {None, plugin.name}]
    chosen = tuple(one for one in report.settings.providers if provider in {None, one.provider})
    checked = await _verify(replace(report, settings=replace(report.settings, providers=chosen)))
    keys = [
        _describe(plugin, report, {one.provider: one for one in checked}.get(plugin.name), path) for plugin in wanted
    ]
    # Other settings do not matter here, but a broken file would hide a key.
    broken = [str(one) for one in load_key_file(path).problems]
    codes = {key.pop("code") for key in keys}
    code = (
        FAILED if FAILED in codes or broken else UNAVAILABLE if UNAVAILABLE in codes else 0 if 0 in codes else NOT_FOUND
    )
    return Outcome(code, "\n".join([*(key["sentence"] for key in keys), *broken]), {"keys": keys, "problems": broken})


def _describe(plugin: ProviderPlugin, report: SettingsReport, facts: AccountFacts | None, path: Path) -> dict[str, Any]:
    name = f"{plugin.prefix}API_KEY"
    origin = report.origins.get(name)
    source = f"{origin} {path}" if origin is Origin.KEY_FILE else origin
    common: dict[str, Any] = {"provider": plugin.name, "source": source}
    if problem := next((one for one in report.problems if one.setting == name), None):
        return {**common, "accepted": False, "code": FAILED, "sentence": f"{plugin.title}: {problem}"}
    if facts is None:
        sentence = f"{plugin.title}: no key. `flowport auth {plugin.name}` stores one."
        return {**common, "accepted": None, "code": NOT_FOUND, "sentence": sentence}
    if isinstance(facts.outcome, Answered):
        sentence = f"{plugin.title}: the key of the {source} is accepted."
        return {**common, "accepted": True, "code": 0, "sentence": sentence}
    is_refused = isinstance(facts.outcome.error, ProviderRefused)
    sentence = f"{plugin.title}: the key of the {source} {'is refused' if is_refused else 'could not be verified'}. {facts.outcome.sentence}"
    return {
        **common,
        "accepted": False if is_refused else None,
        "code": FAILED if is_refused else UNAVAILABLE,
        "sentence": sentence,
    }


def _remove(provider: str | None, config: Path | None, path: Path) -> Outcome:
    stored = load_key_file(path)
    if stored.problems:
        return Outcome(FAILED, str(ConfigurationError.unite(stored.problems)), {})
    names = {f"{plugin.prefix}API_KEY": plugin for plugin in _WITH_KEYS.values() if provider in {None, plugin.name}}
    found = [name for name in stored.values if name in names]
    if len(found) > 1:
        raise click.UsageError(f"several keys are stored: say {' or '.join(_WITH_KEYS)}")
    if not found:
        return Outcome(
            NOT_FOUND, f"No key{f' of {get_plugin(provider).title}' if provider else ''} is stored in {path}.", {}
        )
    [name] = found
    try:
        save_key_file(path, {other: key for other, key in stored.values.items() if other != name})
    except OSError as exc:
        return Outcome(FAILED, f"{path} cannot be written to ({exc.strerror or type(exc).__name__}).", {})
    origin = explain_settings({}, get_environment(), config_path=config).origins.get(name)
    more = f" {name} is still set by the {origin}." if origin else ""
    return Outcome(
        0,
        f"The key of {names[name].title} was removed from {path}.{more}",
        {"provider": names[name].name, "removed": True},
    )
