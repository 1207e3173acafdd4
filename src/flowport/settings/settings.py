"""Read the configuration once, into one frozen record. The only reader of the environment.

Highest first: flags, environment, a TOML file, the key file of `flowport auth`, defaults. The TOML file is the one given
by `--config`, else `config.toml` in the person's configuration folder for Flowport; never one from the working directory,
because a repository that is opened in an editor must not redirect the key. Its keys are the variables' names in lower case.
"""

import logging
import os
import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from flowport.domain.errors import ConfigurationError
from flowport.domain.models import Source
from flowport.domain.spending import SpendingLimits, UnknownPrice
from flowport.domain.text import get_nearest
from flowport.providers.registry import ProviderSettings, get_plugins
from flowport.settings.config_file import ConfigFile, load_config_file
from flowport.settings.http_settings import HttpSettings
from flowport.settings.key_file import get_key_file_path, is_exposed, load_key_file
from flowport.settings.values import (
    choose_home,
    choose_output_dir,
    find_usual_roots,
    get_default_config_path,
    parse_database_url,
    parse_path,
    strip_quotes,
)
from flowport.settings.variables import DATABASE_URL, get_variables

logger = logging.getLogger(__name__)

_INJECTED = re.compile(r"FLOWPORT_(PORT|SERVICE)(_|$)")
"""Names that Kubernetes adds to every container beside a service called `flowport`; they are not ours."""

_SLIP: Final = 0.8
"""How like one of ours a provider's variable must be to count as misspelt. Their own programs may have variables too."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The whole configuration."""

    providers: tuple[ProviderSettings, ...]
    """Empty when no key is given: then the built-in sandbox runs."""
    home: Path
    output_dir: Path
    file_roots: tuple[Path, ...]
    apps: tuple[str, ...] = ()
    """Globs over tool names, app names and app ids, in their order of preference."""
    max_tools: int = 40
    source: Source = Source.ALL
    wait_seconds: float = 50.0
    should_stop_on_cancel: bool = False
    reattach_seconds: float = 3600.0
    """How long a repeated call joins its earlier run; 0: never."""
    keep_days: int = 90
    """How long delivered runs stay in the store after their end; 0: without limit."""
    spending_limits: SpendingLimits = field(default_factory=SpendingLimits)
    requests_per_minute: int | None = None
    """None: the provider's documented one; 0: no limit."""
    requests_per_day: int | None = None
    """None: the provider's documented one; 0: no limit."""
    should_save_outputs: bool = True
    should_show_previews: bool = True
    should_send_links: bool = True
    """Whether answers hold resource links, which some clients cannot take; addresses are in the text either way."""
    http: HttpSettings = field(default_factory=HttpSettings)
    database_url: str = field(default="", repr=False)
    """The PostgreSQL database of a team, with its password; empty for SQLite in the home."""
    worker_runs: int = 500
    """The most runs that a worker of the team carries out side by side."""
    keyless: tuple[ProviderSettings, ...] = ()
    """The other providers that take a key, without one: what the accounts of people's own keys are opened with."""

    @property
    def api_hosts(self) -> frozenset[str]:
        """The hosts of the providers' APIs."""
        return frozenset(one.host for one in (*self.providers, *self.keyless))


class Origin(StrEnum):
    """Where a setting comes from, the weakest first."""

    KEY_FILE = "key file"
    CONFIG_FILE = "configuration file"
    ENVIRONMENT = "environment"
    FLAG = "flag"


@dataclass(frozen=True, slots=True)
class SettingsReport:
    """The configuration with all that is wrong with it."""

    settings: Settings
    """With the default in the place of whatever cannot be used."""
    values: Mapping[str, str]
    """What was given, by variable name, keys included; only names that this version obeys."""
    origins: Mapping[str, Origin]
    """Where each of these comes from."""
    problems: tuple[ConfigurationError, ...]
    unread: tuple[Origin, ...] = ()
    """The files of which nothing could be read, so that what they set is not known."""


def load_settings(flags: Mapping[str, str], environ: Mapping[str, str], *, config_path: Path | None = None) -> Settings:
    """Return the settings made from flags, environment and files.

    Args:
        flags: Values by variable name, as the command line gave them.
        environ: The process's environment; empty values count as not set.
        config_path: A file that must exist; None for the person's own, which may be missing.

    Raises:
        ConfigurationError: Everything that cannot be used, the first with the others beside it.
    """
    report = explain_settings(flags, environ, config_path=config_path)
    if report.problems:
        raise ConfigurationError.unite(report.problems)
    keys = get_key_file_path()
    if keys is not None and Origin.KEY_FILE in report.origins.values() and is_exposed(keys):
        logger.warning("other users of this computer may read the API keys in %s: run `chmod 600` on it", keys)
    return report.settings


def explain_settings(
    flags: Mapping[str, str], environ: Mapping[str, str], *, config_path: Path | None = None
) -> SettingsReport:
    """Return the settings as far as they can be used, where they come from and what is wrong; see `load_settings`."""
    sources = _read_sources(flags, environ, config_path)
    problems = [*sources.problems]
    read: dict[str, Any] = {**sources.tables}
    usual = {variable.name: variable.usual for variable in get_variables()}
    for variable in get_variables():
        read[variable.name] = variable.usual
        if variable.name in sources.values:
            try:
                read[variable.name] = variable.parse(variable, sources.values[variable.name])
            except ConfigurationError as exc:
                problems.append(exc)
    idle = _find_idle(read, {problem.setting for problem in problems})
    problems += idle
    read |= {problem.setting: usual[problem.setting] for problem in idle}
    try:
        settings = _combine(read, wrong={problem.setting for problem in problems})
    except ConfigurationError as exc:
        problems += [exc, *exc.others]
        wrong = {problem.setting for problem in problems}
        settings = _combine({**read, **{name: usual[name] for name in wrong & usual.keys()}}, wrong)
    return SettingsReport(settings, sources.values, sources.origins, tuple(problems), sources.unread)


def _find_idle(read: Mapping[str, Any], wrong: AbstractSet[str]) -> list[ConfigurationError]:
    """Return what would have no effect: rules for access tokens without an issuer of them."""
    if read["FLOWPORT_OAUTH_ISSUER"] or "FLOWPORT_OAUTH_ISSUER" in wrong:
        return []
    given = [name for name in ("FLOWPORT_OAUTH_AUDIENCE", "FLOWPORT_OAUTH_SCOPES") if read[name]]
    problem = "has no effect without FLOWPORT_OAUTH_ISSUER"
    return [ConfigurationError(name, problem, "Set that too, or remove this one.") for name in given]


def load_home(flags: Mapping[str, str], environ: Mapping[str, str], *, config_path: Path | None = None) -> Path:
    """Return the home folder alone, for what needs no other setting; see `load_settings`.

    Raises:
        ConfigurationError: It is not given and has no default, or what names it cannot be used.
    """
    return load_home_and_database(flags, environ, config_path=config_path)[0]


def load_home_and_database(
    flags: Mapping[str, str], environ: Mapping[str, str], *, config_path: Path | None = None
) -> tuple[Path, str]:
    """Return the home folder, and the address of the team's database or nothing; see `load_home`."""
    sources = _read_sources(flags, environ, config_path)
    if sources.problems:
        raise ConfigurationError.unite(sources.problems)
    variables = {variable.name: variable for variable in get_variables()}
    home, database = variables["FLOWPORT_HOME"], variables[DATABASE_URL]
    given, url = sources.values.get(home.name), sources.values.get(database.name, "")
    return choose_home(None if given is None else parse_path(home, given)), parse_database_url(
        database, url
    ) if url else ""


def load_database_url(flags: Mapping[str, str], environ: Mapping[str, str], *, config_path: Path | None = None) -> str:
    """Return the database of a team alone, empty without one, as `load_home` returns the home.

    Raises:
        ConfigurationError: It cannot be used, or what names it cannot be read.
    """
    sources = _read_sources(flags, environ, config_path)
    if sources.problems:
        raise ConfigurationError.unite(sources.problems)
    variable = next(variable for variable in get_variables() if variable.name == DATABASE_URL)
    text = sources.values.get(DATABASE_URL, "")
    return parse_database_url(variable, text) if text else ""


@dataclass(frozen=True, slots=True)
class _Sources:
    """What flags, environment and files say together."""

    values: Mapping[str, str]
    """By variable name; only names that this version obeys."""
    origins: Mapping[str, Origin]
    tables: Mapping[str, Any]
    problems: tuple[ConfigurationError, ...]
    unread: tuple[Origin, ...]


def _read_sources(flags: Mapping[str, str], environ: Mapping[str, str], config_path: Path | None) -> _Sources:
    ours = (name for name in environ if _is_ours(name))
    # A client may pass on quotes that no shell took off.
    given = {name: text for name in ours if (text := strip_quotes(environ[name]))}
    path, key_path = config_path or get_default_config_path(), get_key_file_path()
    file = ConfigFile() if path is None else load_config_file(path, must_exist=config_path is not None)
    keys = ConfigFile() if key_path is None else load_key_file(key_path)
    layers = (
        (Origin.KEY_FILE, keys.values),
        (Origin.CONFIG_FILE, file.values),
        (Origin.ENVIRONMENT, given),
        (Origin.FLAG, flags),
    )
    found = {name: (text, origin) for origin, values in layers for name, text in values.items()}
    unknown = {name: problem for name in found if (problem := _find_name_problem(name))}
    obeyed = {name: text for name, (text, _) in found.items() if name not in unknown}
    origins = {name: found[name][1] for name in obeyed}
    problems = (*file.problems, *keys.problems, *unknown.values())
    files = {Origin.CONFIG_FILE: file, Origin.KEY_FILE: keys}
    unread = tuple(origin for origin, one in files.items() if one.is_unread)
    return _Sources(obeyed, origins, file.tables, problems, unread)


def get_environment() -> Mapping[str, str]:
    """Return the process's environment; every other module gets what it needs from `Settings`."""
    return os.environ


def _combine(read: Mapping[str, Any], wrong: AbstractSet[str]) -> Settings:
    """Return the settings made of single values, whose defaults may depend on each other.

    Args:
        wrong: What is reported already; it stands here as if it were not given, and a default that is missing too is no
            second problem.

    Raises:
        ConfigurationError: A default is missing, or two values contradict each other.
    """
    home, output_dir = _choose_folders(read, wrong)
    roots = read["FLOWPORT_FILE_ROOTS"]
    per_minute, per_day = read["FLOWPORT_REQUESTS_PER_MINUTE"], read["FLOWPORT_REQUESTS_PER_DAY"]
    if per_day and per_minute == 0:
        # Without a limit nothing is counted.
        problem = "cannot be combined with FLOWPORT_REQUESTS_PER_MINUTE=0"
        remedy = "Set a limit for the minute, or none for both."
        raise ConfigurationError("FLOWPORT_REQUESTS_PER_DAY", problem, remedy)
    providers = tuple(filter(None, (plugin.build_settings(read) for plugin in get_plugins())))
    return Settings(
        providers=providers,
        home=home,
        output_dir=output_dir,
        file_roots=find_usual_roots(output_dir) if roots is None else roots,
        apps=read["FLOWPORT_APPS"],
        max_tools=read["FLOWPORT_MAX_TOOLS"],
        source=Source(read["FLOWPORT_SOURCE"]),
        wait_seconds=read["FLOWPORT_WAIT_SECONDS"],
        should_stop_on_cancel=read["FLOWPORT_ON_CANCEL"] == "stop",
        reattach_seconds=read["FLOWPORT_REATTACH_SECONDS"],
        keep_days=read["FLOWPORT_KEEP_DAYS"],
        spending_limits=_build_spending_limits(read),
        requests_per_minute=per_minute,
        requests_per_day=per_day,
        should_send_links=read["FLOWPORT_LINKS"] == "resource",
        should_save_outputs=read["FLOWPORT_SAVE_OUTPUTS"],
        should_show_previews=read["FLOWPORT_PREVIEWS"],
        http=_build_http_settings(read),
        database_url=read["FLOWPORT_DATABASE_URL"],
        worker_runs=read["FLOWPORT_WORKER_RUNS"],
        keyless=_build_keyless(read, {one.provider for one in providers}),
    )


def _build_keyless(read: Mapping[str, Any], configured: AbstractSet[str]) -> tuple[ProviderSettings, ...]:
    """Return the settings, without a key, of the providers that take one and have none."""
    if not read["FLOWPORT_OWN_KEYS"]:
        return ()
    others = [plugin for plugin in get_plugins() if plugin.name not in configured and plugin.find_row("api_key")]
    built = (plugin.build_settings({**read, f"{plugin.prefix}API_KEY": "-"}) for plugin in others)
    return tuple(replace(one, api_key="") for one in built if one is not None)


def _build_http_settings(read: Mapping[str, Any]) -> HttpSettings:
    return HttpSettings(
        public_url=read["FLOWPORT_PUBLIC_URL"],
        trusted_proxies=read["FLOWPORT_TRUSTED_PROXIES"],
        oauth_issuer=read["FLOWPORT_OAUTH_ISSUER"],
        oauth_audience=read["FLOWPORT_OAUTH_AUDIENCE"],
        oauth_scopes=read["FLOWPORT_OAUTH_SCOPES"],
        should_accept_own_keys=read["FLOWPORT_OWN_KEYS"],
        max_sessions=read["FLOWPORT_MAX_SESSIONS"],
        max_connections=read["FLOWPORT_MAX_CONNECTIONS"],
        requests_per_minute=read["FLOWPORT_PERSON_REQUESTS_PER_MINUTE"],
        max_file_bytes=read["FLOWPORT_PERSON_MAX_MEGABYTES"] * 1_000_000,
        link_hours=read["FLOWPORT_LINK_HOURS"],
        max_waiting_calls=read["FLOWPORT_PERSON_MAX_WAITING_CALLS"],
        log_format=read["FLOWPORT_LOGS"],
    )


def _choose_folders(read: Mapping[str, Any], wrong: AbstractSet[str]) -> tuple[Path, Path]:
    """Return the folders of the store and of results.

    Raises:
        ConfigurationError: A default is missing; both are reported together.
    """
    home = output_dir = Path()
    problems: list[ConfigurationError] = []
    try:
        home = choose_home(read["FLOWPORT_HOME"] or (home if "FLOWPORT_HOME" in wrong else None))
    except ConfigurationError as exc:
        problems.append(exc)
    # If nothing is saved, the folder needs no default of the platform.
    is_spare_enough = not read["FLOWPORT_SAVE_OUTPUTS"] or "FLOWPORT_OUTPUT_DIR" in wrong
    try:
        output_dir = choose_output_dir(read["FLOWPORT_OUTPUT_DIR"], home / "outputs" if is_spare_enough else None)
    except ConfigurationError as exc:
        problems.append(exc)
    if problems:
        raise ConfigurationError.unite(problems)
    return home, output_dir


def _build_spending_limits(read: Mapping[str, Any]) -> SpendingLimits:
    limits = SpendingLimits(
        read["FLOWPORT_MAX_CREDITS_PER_RUN"],
        read["FLOWPORT_MAX_CREDITS_PER_DAY"],
        read["FLOWPORT_CONFIRM_ABOVE_CREDITS"],
        max_credits_per_month=read["FLOWPORT_MAX_CREDITS_PER_MONTH"],
        max_account_credits_per_day=read["FLOWPORT_ACCOUNT_MAX_CREDITS_PER_DAY"],
        max_account_credits_per_month=read["FLOWPORT_ACCOUNT_MAX_CREDITS_PER_MONTH"],
    )
    # A person who sets a limit wants none of its kind passed unasked, and an unknown price may be above any.
    usual = UnknownPrice.ALLOW if limits == SpendingLimits() else UnknownPrice.CONFIRM
    return replace(limits, unknown_price=UnknownPrice(read["FLOWPORT_UNKNOWN_PRICE"] or usual))


def _is_ours(name: str) -> bool:
    return name.startswith(("FLOWPORT_", *(plugin.prefix for plugin in get_plugins()))) and not _INJECTED.match(name)


def _find_name_problem(name: str) -> ConfigurationError | None:
    """Return what is wrong with a variable's name; None when this version obeys it, or when it is not ours."""
    known = [variable.name for variable in get_variables()]
    if name in known:
        return None
    if not name.startswith("FLOWPORT_") and not get_close_matches(name, known, 1, cutoff=_SLIP):
        return None
    nearest = get_nearest(name, known)
    hint = f"Did you mean {nearest[0]}?" if nearest else "See docs/settings.md for all variables."
    return ConfigurationError(name, "is not a variable that Flowport knows", hint)
