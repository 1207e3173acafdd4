"""Read the configuration once, into one frozen record. The only reader of the environment.

Highest first: flags, environment, a TOML file, defaults. The file is the one given by `--config`, else
`config.toml` in the person's configuration folder for Flowport; never one from the working directory, because a
repository that is opened in an editor must not redirect the key. Its keys are the variables' names in lower case.
"""

import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from flowport.domain.errors import ConfigurationError
from flowport.domain.models import Source
from flowport.domain.spending import SpendingLimits, UnknownPrice
from flowport.domain.text import get_nearest
from flowport.providers.magica.declared import DeclaredWorkflow
from flowport.settings.config_file import ConfigFile, load_config_file
from flowport.settings.folders import (
    ANY_FOLDER,
    FOLDER_SETTINGS,
    get_default_config_path,
    parse_home,
    parse_output_dir,
    parse_roots,
)
from flowport.settings.values import parse_api_key, parse_boolean, strip_quotes
from flowport.settings.variables import VARIABLES

MAX_LISTED_TOOLS: Final = 1000
"""The largest FLOWPORT_MAX_TOOLS; above it no client that we know of copes."""

_INJECTED = re.compile(r"FLOWPORT_(PORT|SERVICE)(_|$)")
"""Names that Kubernetes adds to every container beside a service called `flowport`; they are not ours."""

_CANCEL_PATH: Final = re.compile(r"(/[A-Za-z0-9_-]+)*/\{run_id\}(/[A-Za-z0-9_-]+)*")

_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})

_BASE_URLS: Final = {"magnific": "https://api.magnific.com", "magica": "https://api.magica.com/api"}
"""The providers' own addresses."""

_PROVIDER_PREFIXES: Final = ("MAGNIFIC_", "MAGICA_")

_SLIP: Final = 0.8
"""How like one of ours a provider's variable must be to count as misspelt. Their own programs may have variables too."""


@dataclass(frozen=True, slots=True)
class ProviderSettings:
    """One provider that is turned on."""

    provider: str
    """In lower case: `magnific`."""
    base_url: str
    """Without a slash at the end."""
    api_key: str = field(repr=False)
    api_style: str = "auto"
    """A path family of the provider, or `auto`."""
    cancel_path: str = ""
    """The path that cancels a run, with `{run_id}` in it; empty when the person names none."""
    declared: tuple[DeclaredWorkflow, ...] = ()
    """The workflows whose inputs the person has declared."""

    @property
    def base_url_setting(self) -> str:
        """The variable that names the address; empty for the provider's own."""
        return "" if self.base_url == _BASE_URLS.get(self.provider) else f"{self.provider.upper()}_BASE_URL"

    @property
    def fingerprint(self) -> str:
        """A digest of the key, short enough to show and long enough to tell keys apart."""
        return hashlib.sha256(self.api_key.encode()).hexdigest()[:12]


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
    """How long runs that are over and seen stay in the store; 0: for ever."""
    spending_limits: SpendingLimits = field(default_factory=SpendingLimits)
    requests_per_minute: int | None = None
    """None: the provider's documented one; 0: no limit."""
    requests_per_day: int | None = None
    """None: the provider's documented one; 0: no limit."""
    should_save_outputs: bool = True
    should_show_previews: bool = True
    should_send_links: bool = True
    """Whether answers hold resource links, which some clients cannot take; addresses are in the text either way."""

    @property
    def api_hosts(self) -> frozenset[str]:
        """The hosts of the providers' APIs."""
        return frozenset(urlsplit(one.base_url).hostname or "" for one in self.providers)


def load_settings(flags: Mapping[str, str], environ: Mapping[str, str], *, config_path: Path | None = None) -> Settings:
    """Return the settings made from flags, environment and file.

    Args:
        flags: Values by variable name, as the command line gave them.
        environ: The process's environment; empty values count as not set.
        config_path: A file that must exist; None for the person's own, which may be missing.

    Raises:
        ConfigurationError: Everything that cannot be used, the first with the others beside it.
    """
    sources = _read_sources(flags, environ, config_path)
    settings, problems = _build_all(sources.values, sources.declared)
    if settings is None or sources.problems:
        raise ConfigurationError.unite((*sources.problems, *problems))
    return settings


def load_home(flags: Mapping[str, str], environ: Mapping[str, str], *, config_path: Path | None = None) -> Path:
    """Return the home folder alone, for what needs no other setting; see `load_settings`.

    Raises:
        ConfigurationError: It is not given and has no default, or what names it cannot be used.
    """
    sources = _read_sources(flags, environ, config_path)
    if sources.problems:
        raise ConfigurationError.unite(sources.problems)
    return parse_home(sources.values)


@dataclass(frozen=True, slots=True)
class _Sources:
    """What flags, environment and file say together."""

    values: Mapping[str, str]
    """By variable name; only names that this version obeys."""
    declared: tuple[DeclaredWorkflow, ...]
    problems: tuple[ConfigurationError, ...]


def _read_sources(flags: Mapping[str, str], environ: Mapping[str, str], config_path: Path | None) -> _Sources:
    ours = (name for name in environ if _is_ours(name))
    # Whoever starts us may hand quotes on that no shell took off.
    given = {name: text for name in ours if (text := strip_quotes(environ[name]))}
    file = _load_file(config_path)
    values = {**file.values, **given, **flags}
    unknown = {name: problem for name in values if (problem := _find_name_problem(name))}
    obeyed = {name: text for name, text in values.items() if name not in unknown}
    return _Sources(obeyed, file.declared, (*file.problems, *unknown.values()))


def _load_file(config_path: Path | None) -> ConfigFile:
    path = config_path or get_default_config_path()
    return ConfigFile() if path is None else load_config_file(path, must_exist=config_path is not None)


def _build_all(
    values: Mapping[str, str], declared: tuple[DeclaredWorkflow, ...]
) -> tuple[Settings | None, tuple[ConfigurationError, ...]]:
    """Return the settings, or all that is wrong: each wrong value is put aside and the rest read again."""
    problems: list[ConfigurationError] = []
    rest = dict(values)
    while True:
        try:
            settings = _build_settings(rest, declared)
        except ConfigurationError as exc:
            if exc.setting in {problem.setting for problem in problems}:
                return None, tuple(problems)
            problems.append(exc)
            rest.pop(exc.setting, None)
            if exc.setting in FOLDER_SETTINGS:
                # Any will do: without one the missing default would be reported too.
                rest[exc.setting] = ANY_FOLDER
        else:
            return (None if problems else settings), tuple(problems)


def get_environment() -> Mapping[str, str]:
    """Return the process's environment; every other module gets what it needs from `Settings`."""
    return os.environ


def _build_settings(values: Mapping[str, str], declared: tuple[DeclaredWorkflow, ...]) -> Settings:
    home = parse_home(values)
    should_save = _parse_switch(values, "FLOWPORT_SAVE_OUTPUTS")
    # Where nothing is saved the folder needs no default of the platform.
    output_dir = parse_output_dir(values, None if should_save else home / "outputs")
    return Settings(
        providers=tuple(_build_providers(values, declared)),
        home=home,
        output_dir=output_dir,
        file_roots=parse_roots(values, output_dir),
        apps=tuple(part.strip() for part in values.get("FLOWPORT_APPS", "").split(",") if part.strip()),
        max_tools=int(_parse_number(values, "FLOWPORT_MAX_TOOLS", 40, low=0, high=MAX_LISTED_TOOLS, is_whole=True)),
        source=Source(_parse_choice(values, "FLOWPORT_SOURCE", [source.value for source in Source])),
        wait_seconds=_parse_number(values, "FLOWPORT_WAIT_SECONDS", 50, low=0, high=86_400),
        should_stop_on_cancel=_parse_choice(values, "FLOWPORT_ON_CANCEL", ("keep", "stop")) == "stop",
        reattach_seconds=_parse_number(values, "FLOWPORT_REATTACH_SECONDS", 3600, low=0, high=86_400),
        keep_days=int(_parse_number(values, "FLOWPORT_KEEP_DAYS", 90, low=0, high=36_500, is_whole=True)),
        spending_limits=_build_spending_limits(values),
        requests_per_minute=_parse_budget(values, "FLOWPORT_REQUESTS_PER_MINUTE"),
        requests_per_day=_parse_day_budget(values),
        should_send_links=_parse_choice(values, "FLOWPORT_LINKS", ("resource", "text")) == "resource",
        should_save_outputs=should_save,
        should_show_previews=_parse_switch(values, "FLOWPORT_PREVIEWS"),
    )


def _build_providers(values: Mapping[str, str], declared: tuple[DeclaredWorkflow, ...]) -> Iterator[ProviderSettings]:
    style = _parse_choice(values, "MAGNIFIC_API_STYLE", ("auto", "flows", "apps"))
    key, url = (
        parse_api_key("MAGNIFIC_API_KEY", values.get("MAGNIFIC_API_KEY", "")),
        _parse_base_url(values, "MAGNIFIC_BASE_URL", _BASE_URLS["magnific"]),
    )
    if key:
        yield ProviderSettings("magnific", url, key, style)
    path = values.get("MAGICA_CANCEL_PATH", "").strip()
    if path and not _CANCEL_PATH.fullmatch(path):
        raise ConfigurationError("MAGICA_CANCEL_PATH", f"is {path!r}", "It looks like /v1/runs/{run_id}/cancel.")
    key, url = (
        parse_api_key("MAGICA_API_KEY", values.get("MAGICA_API_KEY", "")),
        _parse_base_url(values, "MAGICA_BASE_URL", _BASE_URLS["magica"]),
    )
    if key:
        yield ProviderSettings("magica", url, key, cancel_path=path, declared=declared)


def _build_spending_limits(values: Mapping[str, str]) -> SpendingLimits:
    per_run = _parse_credits(values, "FLOWPORT_MAX_CREDITS_PER_RUN")
    per_day = _parse_credits(values, "FLOWPORT_MAX_CREDITS_PER_DAY")
    threshold = _parse_credits(values, "FLOWPORT_CONFIRM_ABOVE_CREDITS")
    # Who sets a limit wants none of its kind passed unasked, and an unknown price may be above any.
    is_limited = (per_run, per_day, threshold) != (None, None, None)
    usual = UnknownPrice.CONFIRM if is_limited else UnknownPrice.ALLOW
    words = dict.fromkeys((usual.value, *UnknownPrice))
    return SpendingLimits(
        per_run, per_day, threshold, UnknownPrice(_parse_choice(values, "FLOWPORT_UNKNOWN_PRICE", list(words)))
    )


def _parse_credits(values: Mapping[str, str], name: str) -> float | None:
    return _parse_number(values, name, 0, low=0, high=1_000_000_000) if name in values else None


def _is_ours(name: str) -> bool:
    return name.startswith(("FLOWPORT_", *_PROVIDER_PREFIXES)) and not _INJECTED.match(name)


def _find_name_problem(name: str) -> ConfigurationError | None:
    """Return what is wrong with a variable's name; None when this version obeys it, or when it is not ours."""
    known = {variable.name: variable for variable in VARIABLES}
    if name in known:
        remedy = "Remove it."
        return (
            None
            if known[name].is_built
            else ConfigurationError(name, "is not built in this version, so it would have no effect", remedy)
        )
    if not name.startswith("FLOWPORT_") and not get_close_matches(name, known, 1, cutoff=_SLIP):
        return None
    nearest = get_nearest(name, [variable.name for variable in VARIABLES if variable.is_built])
    hint = f"Did you mean {nearest[0]}?" if nearest else "The README lists the variables."
    return ConfigurationError(name, "is not a variable that Flowport knows", hint)


def _parse_number(
    values: Mapping[str, str], name: str, default: float, *, low: float, high: float, is_whole: bool = False
) -> float:
    text = values.get(name)
    if text is None:
        return default
    try:
        number: float = int(text) if is_whole else float(text)
    except ValueError:
        number = float("nan")
    if low <= number <= high:
        return number
    kind = "a whole number" if is_whole else "a number"
    raise ConfigurationError(name, f"is {text!r}", f"It takes {kind} from {low:g} to {high:g}.")


def _parse_choice(values: Mapping[str, str], name: str, choices: Sequence[str]) -> str:
    """Return the chosen word; the first choice is the default."""
    text = values.get(name, choices[0]).strip().lower()
    if text in choices:
        return text
    raise ConfigurationError(
        name, f"is {text!r}", f"It takes {' or '.join(filter(None, (', '.join(choices[:-1]), choices[-1])))}."
    )


def _parse_switch(values: Mapping[str, str], name: str) -> bool:
    """Return whether something is to be done; it is unless the person says otherwise."""
    text = values.get(name, "true")
    is_on = parse_boolean(text)
    if is_on is None:
        raise ConfigurationError(name, f"is {text!r}", "It takes true or false.")
    return is_on


def _parse_budget(values: Mapping[str, str], name: str) -> int | None:
    return int(_parse_number(values, name, 0, low=0, high=100_000, is_whole=True)) if name in values else None


def _parse_day_budget(values: Mapping[str, str]) -> int | None:
    name = "FLOWPORT_REQUESTS_PER_DAY"
    found = _parse_budget(values, name)
    if found and _parse_budget(values, "FLOWPORT_REQUESTS_PER_MINUTE") == 0:
        # Without a limit nothing is counted.
        raise ConfigurationError(
            name,
            "cannot be combined with FLOWPORT_REQUESTS_PER_MINUTE=0",
            "Set a limit for the minute, or none for both.",
        )
    return found


def _parse_base_url(values: Mapping[str, str], name: str, default: str) -> str:
    text = values.get(name, default).strip().rstrip("/")
    try:
        parts = urlsplit(text)
        is_loopback = parts.hostname in _LOOPBACK
        _ = parts.port
    except ValueError as exc:
        raise ConfigurationError(name, "is not a URL", f"It looks like {default}.") from exc
    is_plain = text.isascii() and text.isprintable() and not set(text) & set(" ?#\\")
    if not parts.hostname or "@" in parts.netloc or not is_plain:
        raise ConfigurationError(name, "is not a plain URL", f"It looks like {default}.")
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback):
        raise ConfigurationError(name, "is not https", "Only an address on this machine may be http.")
    return text
