"""Read the configuration once, into one frozen record. The only reader of the environment.

Highest first: flags, environment, a TOML file, defaults. The file is the one given by `--config`, else
`config.toml` in the person's configuration folder for Flowport; never one from the working directory, because a
repository that is opened in an editor must not redirect the key. Its keys are the variables' names in lower case.
"""

import hashlib
import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import platformdirs

from flowport.declarations import WORKFLOWS_KEY, DeclaredWorkflow, parse_declarations
from flowport.errors import ConfigurationError
from flowport.model import Source
from flowport.naming import get_nearest
from flowport.purse import PurseRules, UnknownPrice
from flowport.rehearsal import REHEARSAL, Rehearsal, parse_rehearsal
from flowport.variables import VARIABLES

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
    """How long runs that are over and seen stay in the ledger; 0: for ever."""
    purse: PurseRules = field(default_factory=PurseRules)
    requests_per_minute: int | None = None
    """None: the provider's documented one; 0: no limit."""
    requests_per_day: int | None = None
    """None: the provider's documented one; 0: no limit."""
    should_save_outputs: bool = True
    should_show_previews: bool = True
    should_send_links: bool = True
    """Whether answers hold resource links, which some clients cannot take; addresses are in the text either way."""
    rehearsal: Rehearsal | None = None
    """None in every normal start."""


def load_settings(flags: Mapping[str, str], environ: Mapping[str, str], *, config_path: Path | None = None) -> Settings:
    """Return the settings made from flags, environment and file.

    Args:
        flags: Values by variable name, as the command line gave them.
        environ: The process's environment; empty values count as not set.
        config_path: A file that must exist; None for the person's own, which may be missing.

    Raises:
        ConfigurationError: The first thing that cannot be used.
    """
    rehearsal = parse_rehearsal(environ.get(REHEARSAL, ""))
    ours = (name for name in environ if _is_ours(name) and name != REHEARSAL)
    given = {name: environ[name] for name in ours if environ[name].strip()}
    _refuse_unknown(given)
    file = _load_file(config_path)
    values = {**file.values, **given, **flags}
    _refuse_unknown(values)
    settings = _build_settings(values, file.declared)
    _check_rehearsal(rehearsal, settings)
    return replace(settings, rehearsal=rehearsal)


def get_environment() -> Mapping[str, str]:
    """Return the process's environment; every other module gets what it needs from `Settings`."""
    return os.environ


def _build_settings(values: Mapping[str, str], declared: tuple[DeclaredWorkflow, ...]) -> Settings:
    home = _parse_path(values, "FLOWPORT_HOME", Path(platformdirs.user_data_dir("flowport", appauthor=False)))
    output_dir = _parse_path(values, "FLOWPORT_OUTPUT_DIR", Path(platformdirs.user_pictures_dir()) / "Flowport")
    return Settings(
        providers=tuple(_build_providers(values, declared)),
        home=home,
        output_dir=output_dir,
        file_roots=_parse_roots(values, output_dir),
        apps=tuple(part.strip() for part in values.get("FLOWPORT_APPS", "").split(",") if part.strip()),
        max_tools=int(_parse_number(values, "FLOWPORT_MAX_TOOLS", 40, low=0, high=MAX_LISTED_TOOLS, is_whole=True)),
        source=Source(_parse_choice(values, "FLOWPORT_SOURCE", [source.value for source in Source])),
        wait_seconds=_parse_number(values, "FLOWPORT_WAIT_SECONDS", 50, low=0, high=86_400),
        should_stop_on_cancel=_parse_choice(values, "FLOWPORT_ON_CANCEL", ("keep", "stop")) == "stop",
        reattach_seconds=_parse_number(values, "FLOWPORT_REATTACH_SECONDS", 3600, low=0, high=86_400),
        keep_days=int(_parse_number(values, "FLOWPORT_KEEP_DAYS", 90, low=0, high=36_500, is_whole=True)),
        purse=_build_purse(values),
        requests_per_minute=_parse_budget(values, "FLOWPORT_REQUESTS_PER_MINUTE"),
        requests_per_day=_parse_day_budget(values),
        should_save_outputs=_parse_choice(values, "FLOWPORT_SAVE_OUTPUTS", ("true", "false")) == "true",
        should_show_previews=_parse_choice(values, "FLOWPORT_PREVIEWS", ("true", "false")) == "true",
        should_send_links=_parse_choice(values, "FLOWPORT_LINKS", ("resource", "text")) == "resource",
    )


def _check_rehearsal(rehearsal: Rehearsal | None, settings: Settings) -> None:
    hosts = {urlsplit(provider.base_url).hostname for provider in settings.providers}
    if rehearsal is not None and not hosts <= _LOOPBACK:
        problem = "kills this process on purpose, which is for providers on this machine alone"
        raise ConfigurationError(REHEARSAL, problem, "Remove it.")


def _build_providers(values: Mapping[str, str], declared: tuple[DeclaredWorkflow, ...]) -> Iterator[ProviderSettings]:
    style = _parse_choice(values, "MAGNIFIC_API_STYLE", ("auto", "flows", "apps"))
    key, url = (
        _parse_key(values, "MAGNIFIC_API_KEY"),
        _parse_base_url(values, "MAGNIFIC_BASE_URL", _BASE_URLS["magnific"]),
    )
    if key:
        yield ProviderSettings("magnific", url, key, style)
    path = values.get("MAGICA_CANCEL_PATH", "").strip()
    if path and not _CANCEL_PATH.fullmatch(path):
        raise ConfigurationError("MAGICA_CANCEL_PATH", f"is {path!r}", "It looks like /v1/runs/{run_id}/cancel.")
    key, url = (
        _parse_key(values, "MAGICA_API_KEY"),
        _parse_base_url(values, "MAGICA_BASE_URL", _BASE_URLS["magica"]),
    )
    if key:
        yield ProviderSettings("magica", url, key, cancel_path=path, declared=declared)


def _parse_key(values: Mapping[str, str], name: str) -> str:
    key = values.get(name, "").strip()
    if not key.isascii() or not key.isprintable() or " " in key:
        problem = "holds a character that no key has"
        raise ConfigurationError(name, problem, "Copy the key again, without quotes or line breaks.")
    return key


def _build_purse(values: Mapping[str, str]) -> PurseRules:
    per_run = _parse_credits(values, "FLOWPORT_MAX_CREDITS_PER_RUN")
    per_day = _parse_credits(values, "FLOWPORT_MAX_CREDITS_PER_DAY")
    threshold = _parse_credits(values, "FLOWPORT_CONFIRM_ABOVE_CREDITS")
    # Who sets a limit wants none of its kind passed unasked, and an unknown price may be above any.
    is_limited = (per_run, per_day, threshold) != (None, None, None)
    usual = UnknownPrice.CONFIRM if is_limited else UnknownPrice.ALLOW
    words = dict.fromkeys((usual.value, *UnknownPrice))
    return PurseRules(
        per_run, per_day, threshold, UnknownPrice(_parse_choice(values, "FLOWPORT_UNKNOWN_PRICE", list(words)))
    )


def _parse_credits(values: Mapping[str, str], name: str) -> float | None:
    return _parse_number(values, name, 0, low=0, high=1_000_000_000) if name in values else None


def _is_ours(name: str) -> bool:
    return name.startswith(("FLOWPORT_", *_PROVIDER_PREFIXES)) and not _INJECTED.match(name)


def _refuse_unknown(values: Mapping[str, str]) -> None:
    known = {variable.name: variable for variable in VARIABLES}
    for name in values:
        is_slip = bool(get_close_matches(name, known, 1, cutoff=_SLIP))
        if name not in known and (name.startswith("FLOWPORT_") or is_slip):
            nearest = get_nearest(name, [variable.name for variable in VARIABLES if variable.is_built])
            hint = f"Did you mean {nearest[0]}?" if nearest else "The README lists the variables."
            raise ConfigurationError(name, "is not a variable that Flowport knows", hint)
        if name in known and not known[name].is_built:
            raise ConfigurationError(name, "is not built in this version, so it would have no effect", "Remove it.")


def get_default_config_path() -> Path:
    """Return where the person's own configuration file lies, whether or not there is one."""
    return Path(platformdirs.user_config_dir("flowport", appauthor=False)) / "config.toml"


@dataclass(frozen=True, slots=True)
class _File:
    """What the configuration file says."""

    values: Mapping[str, str] = field(default_factory=dict)
    """By variable name."""
    declared: tuple[DeclaredWorkflow, ...] = ()


def _load_file(config_path: Path | None) -> _File:
    path = config_path or get_default_config_path()
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if config_path is None:
            return _File()
        raise ConfigurationError(str(path), "does not exist", "Give the path of a TOML file.") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise ConfigurationError(str(path), f"cannot be read ({type(exc).__name__})", "Mend or remove it.") from exc
    declared = parse_declarations(table.pop(WORKFLOWS_KEY, []))
    known = {variable.name for variable in VARIABLES}
    values = {}
    for key, value in table.items():
        if key.upper() not in known or key != key.lower():
            raise ConfigurationError(f"{key} in {path.name}", "is not a variable that Flowport knows", "Remove it.")
        values[key.upper()] = _format_toml(key, value, path)
    return _File(values, declared)


def _format_toml(key: str, value: Any, path: Path) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int | float):
        return str(value)
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return (os.pathsep if key.endswith("roots") else ",").join(value)
    raise ConfigurationError(f"{key} in {path.name}", "is neither text, a number nor a list of texts", "Correct it.")


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
    raise ConfigurationError(name, f"is {text!r}", f"It takes {' or '.join(choices)}.")


def _parse_budget(values: Mapping[str, str], name: str) -> int | None:
    return int(_parse_number(values, name, 0, low=0, high=100_000, is_whole=True)) if name in values else None


def _parse_day_budget(values: Mapping[str, str]) -> int | None:
    name = "FLOWPORT_REQUESTS_PER_DAY"
    found = _parse_budget(values, name)
    if found and _parse_budget(values, "FLOWPORT_REQUESTS_PER_MINUTE") == 0:
        # Without a limit nothing is counted.
        raise ConfigurationError(
            name, "does not hold beside FLOWPORT_REQUESTS_PER_MINUTE=0", "Set a limit for the minute, or none for both."
        )
    return found


def _parse_path(values: Mapping[str, str], name: str, default: Path) -> Path:
    text = values.get(name)
    if text is None:
        return default
    try:
        path = Path(text).expanduser()
    except RuntimeError as exc:
        raise ConfigurationError(name, f"is {text!r}", "There is no such person on this machine.") from exc
    if not path.is_absolute() or "\0" in text:
        raise ConfigurationError(name, f"is {text!r}", "It takes an absolute path, or one that begins with ~.")
    return path


def _parse_roots(values: Mapping[str, str], output_dir: Path) -> tuple[Path, ...]:
    name = "FLOWPORT_FILE_ROOTS"
    if name in values:
        parts = [part for part in values[name].split(os.pathsep) if part.strip()]
        return tuple(_parse_path({name: part.strip()}, name, output_dir) for part in parts)
    folders: tuple[Callable[[], str], ...] = (
        platformdirs.user_pictures_dir,
        platformdirs.user_downloads_dir,
        platformdirs.user_desktop_dir,
    )
    roots = [*(Path(folder()) for folder in folders), output_dir]
    working = _get_working_folder()
    if working is not None:
        roots.append(working)
    # Desktop clients start us in `/` or in the home folder. As a root either would open every key file to an assistant.
    # Resolved, because the home folder may be reached through a link and the working directory never is.
    home = Path.home().resolve()
    return tuple(root for root in roots if not home.is_relative_to(root.resolve()))


def _get_working_folder() -> Path | None:
    try:
        return Path.cwd()
    except FileNotFoundError:
        return None  # it was removed while a shell stood in it


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
